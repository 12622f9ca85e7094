// pg_tuples: a description of the columns, and MinimalTuples; meaningful only inside the server that made
// them.
//
//   u32 column count | u32 DependsOn | u64 row count
//   per column: u32 type | i32 type modifier | name (64 bytes)
//   per row: a MinimalTuple without pointers to out-of-line values, padded to MAXALIGN
//
// Bytes from shared memory are not trusted: each tuple is checked against its bounds before it is used.
#pragma once

#include <span>

#include "pg_extension/pg.hpp"

extern "C" {
#include <access/tupdesc.h>
#include <lib/stringinfo.h>
#include <tcop/dest.h>
#include <utils/tuplestore.h>
}

namespace tiercache::tuple_payload {

// What rows depend on besides snapshot and parameters, and so on the moment when they are computed.
enum class DependsOn : std::uint32_t { anything, session, nothing };

// The payload while it is being written: the whole result, or nothing once it has more than `limit` bytes.
struct Copy {
    StringInfoData payload;
    Size limit;
    std::uint64_t row_count;
    bool complete;  // payload holds all rows that were added
};

// Starts a copy of rows of that description, in the current memory context.
void begin_copy(Copy& copy, Size limit, TupleDesc description, DependsOn depends_on = DependsOn::anything);
void add_to_copy(Copy& copy, MinimalTuple row);
// Writes the row count into the payload.
void finish_copy(Copy& copy);

// The row as one tuple that holds all of its values, palloc'ed.
[[nodiscard]] MinimalTuple flatten(TupleTableSlot* slot);

// May rows of that description be kept at all?
[[nodiscard]] bool can_be_kept(TupleDesc description);

// The rows of a payload, which is MAXALIGNed; they point into it.
struct Rows {
    MinimalTuple* rows;  // palloc'ed
    std::uint64_t count;
    DependsOn depends_on;
};
// False when the bytes are no payload of rows of that description. Raises no errors but for memory.
[[nodiscard]] bool read(std::span<const std::byte> payload, TupleDesc description, Rows& rows);

// Rows go to the caller's tuplestore and to a copy.
struct Sink {
    TupleDesc expected;  // the caller's column definition list
    Tuplestorestate* rows;
    Size limit;
    Copy copy;
};

// Raises an error that tells the right column definition list when the query's columns are not
// `sink->expected`.
[[nodiscard]] DestReceiver* make_receiver(Sink* sink);

// Puts the rows of a payload, which is MAXALIGNed, into `rows`; false when the bytes are no payload. Raises
// the same error as a fill when its columns are not `expected`.
[[nodiscard]] bool replay(std::span<const std::byte> payload, TupleDesc expected, Tuplestorestate* rows);

// Rows in a payload; 0 when it is none.
[[nodiscard]] std::uint64_t row_count(std::span<const std::byte> payload) noexcept;

}  // namespace tiercache::tuple_payload
