// pg_tuples: a description of the columns, and MinimalTuples; meaningful only inside the server that made
// them.
//
//   u32 column count | u32 zero | u64 row count
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

// Rows go to the caller's tuplestore and, while there are not more than `limit` bytes of them, to the
// payload.
struct Sink {
    TupleDesc expected;  // the caller's column definition list
    Tuplestorestate* rows;
    Size limit;
    StringInfoData payload;
    std::uint64_t row_count;
    bool complete;  // payload holds the whole result
};

// Raises an error that tells the right column definition list when the query's columns are not
// `sink->expected`.
[[nodiscard]] DestReceiver* make_receiver(Sink* sink);
// Writes the row count into the payload.
void finish(Sink& sink);

// Puts the rows of a payload, which is MAXALIGNed, into `rows`; false when the bytes are no payload. Raises
// the same error as a fill when its columns are not `expected`.
[[nodiscard]] bool replay(std::span<const std::byte> payload, TupleDesc expected, Tuplestorestate* rows);

// Rows in a payload; 0 when it is none.
[[nodiscard]] std::uint64_t row_count(std::span<const std::byte> payload) noexcept;

}  // namespace tiercache::tuple_payload
