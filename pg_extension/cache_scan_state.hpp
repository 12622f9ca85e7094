// The state of a cache scan that runs. Plain C data: errors may jump over all of it.
#pragma once

#include <optional>

#include "pg_extension/cache_scan.hpp"
#include "pg_extension/dependencies.hpp"
#include "pg_extension/l4_cache.hpp"
#include "pg_extension/sharing.hpp"
#include "pg_extension/tuple_payload.hpp"

extern "C" {
#include <datatype/timestamp.h>
#include <executor/execdesc.h>
#include <nodes/execnodes.h>
}

struct ExplainState;

namespace tiercache::cache_scan {

enum class Outcome : unsigned char {
    refused,   // the query cannot be cached
    bypassed,  // this transaction may not use the cache, or not now
    miss,
    hit,
};

// When a portal was started: what others may change before its first row is asked for.
struct Started {
    std::uint64_t statements;  // that had run
    TimestampTz configured;    // when the configuration was last read
    Oid role;
    int security;  // SECURITY_* of miscadmin.h
};
[[nodiscard]] Started started_now() noexcept;
// Of a portal whose first row is asked for now: has no other statement run since its start, and was no
// configuration read?
[[nodiscard]] bool is_alone(const Started& started) noexcept;

struct State {
    CustomScanState node;  // first: PostgreSQL knows the state by it
    Facts facts;
    Outcome outcome;
    const char* reason;  // of refused, bypassed, and of a miss that is explained
    l4_cache::Key key;
    std::uint64_t stamp;       // of the executor's snapshot, or of the entry that was hit
    std::uint64_t erasures;    // when it was looked up, see SharedState
    std::uint64_t started_ns;  // of a miss, on the monotonic clock
    Started started;
    std::uint64_t first_ns;  // of its first row: the client of a cursor may take its time

    bool stays_open;                // other statements may come between its rows
    std::span<const Tag> hit_tags;  // of the entry that was hit, if the hit has no plan, or stays open

    QueryDesc* late_query;     // of a node without a plan below it whose entry went away
    Oid late_unseen;           // a table that it reads and its snapshot does not show as it is; or none
    ResourceOwner late_owner;  // of what that holds; nullptr: its portal's

    // Rows at hand, and how far they were read: 0 is before the first, count + 1 behind the last.
    tuple_payload::Rows rows;
    std::uint64_t position;
    bool serves_rows;     // they come next, not those of the child
    bool rows_are_whole;  // there are no others
    TupleTableSlot* slot;

    // The copy that a miss makes.
    bool has_started;
    bool is_filling;
    bool is_filled;  // to the end, not yet stored
    bool is_stored;
    sharing::Flight* flight;  // of those who wait for it
    bool must_verify;         // a hit that has still to be compared
    tuple_payload::Copy copy;
    List* settings;  // when the copy was begun, or the portal that stays open
    MemoryContext row_context;
    Dependencies* nested;  // of queries that functions run, of a copy
};

[[nodiscard]] Node* create_state(CustomScan* scan);

[[nodiscard]] inline State& state_of(CustomScanState* node) noexcept {
    return *reinterpret_cast<State*>(node);
}

// May other statements come between two rows of the portal that runs?
[[nodiscard]] bool can_stay_open() noexcept;
// Of a query, before it is started.
void note_executor_start(const QueryDesc* query, int flags) noexcept;

// Sets the clock of the snapshot; else returns why the cache can't be used.
[[nodiscard]] const char* know_clock(Snapshot snapshot, std::uint64_t& clock);

// The row that the scan's direction leads to, of those at hand.
TupleTableSlot* next_of_rows(State& state);
// The next row of a hit; from the query itself, should a statement have come in between that changed what its
// answer depends on.
TupleTableSlot* next_of_hit(State& state);

// The entry's rows in the current memory context; false when they are none of these columns.
[[nodiscard]] bool read_rows(const EntryView& entry, TupleDesc columns, tuple_payload::Rows& rows);

// The key of the statement with its parameters' values, for this session. False, and `reason` says why: there
// is none.
[[nodiscard]] bool make_key(const Facts& facts, ParamListInfo parameters, l4_cache::Key& key,
                            const char*& reason);

// A parameter, in `fetched` when it has to be fetched; its number is not above numParams.
[[nodiscard]] const ParamExternData& parameter_of(ParamListInfo parameters, int number,
                                                  ParamExternData& fetched);

// The value without how it is stored: equal bytes, equal value. It may point to `value` itself. Nothing where
// that takes a copy: it is stored elsewhere, or compressed.
[[nodiscard]] std::optional<std::span<const std::byte>> value_in_place(const Datum& value, Oid type);

// The settings that the statement reads, as they are now: equal lists, equal values. NIL when it reads none.
[[nodiscard]] List* settings_now(const Facts& facts);

// Plans the query of a node without a plan below it, and starts it: to compare a hit, or for what was not
// found.
void start_late(State& state, int eflags);
// The same for a hit whose portal is open, when another statement comes that may ask which tables are in use,
// or has come before its first row was asked for: with the rights, and where that is possible the snapshot,
// of its start.
void start_after_all(State& state);
// Raises an error where the late plan's rows can't be those of its snapshot.
void check_late_rows(const State& state);
// Its next row, in the direction of the scan.
[[nodiscard]] TupleTableSlot* next_of_late(State& state);
void end_late(State& state);
void rescan_child(State& state);
// The root of the plan that makes the rows.
[[nodiscard]] PlanState* child_of(State& state) noexcept;

// The child's next row, with what its functions read noted.
[[nodiscard]] TupleTableSlot* next_of_child(State& state);

// Stores the copy if everything speaks for it; later when it cannot be told yet.
void publish(State& state);
void stop_filling(State& state) noexcept;

// Runs the child, compares its rows with those of the entry, and reports a difference as tiercache.verify
// says.
void verify(State& state);

void explain(CustomScanState* node, List* ancestors, ExplainState* es);

}  // namespace tiercache::cache_scan
