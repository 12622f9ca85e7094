// Statistics of query patterns: queries that differ in constants only, told apart by PostgreSQL's query id,
// per database and role. They say what is worth caching before anything is cached.
//
// Each pattern has a slot of a fixed table in shared memory, changed by relaxed atomics: no lock, on no path.
// What races there loses a count, or mixes two patterns' counts when one takes over the slot of another:
// numbers for people. Nothing is done, and no memory taken, while tiercache.track_patterns is off.
#pragma once

#include <optional>

#include "pg_extension/pg.hpp"

namespace tiercache::patterns {

// Calls since the slot was taken, and what came of them.
struct Slot {
    pg_atomic_uint64 key;    // hash of database, role and query id; 0: free
    pg_atomic_uint32 ready;  // the fields that do not change are there
    Oid database;
    Oid role;
    std::int64_t query_id;
    std::uint64_t first_ns;  // on the monotonic clock
    static constexpr int relations_max = 8;
    Oid relations[relations_max];  // InvalidOid: no more
    static constexpr int text_max = 320;
    char text[text_max];  // of the first call, cut

    pg_atomic_uint64 last_ns;
    pg_atomic_uint64 calls;
    pg_atomic_uint64 hits;          // served by the cache
    pg_atomic_uint64 run_us;        // of all others
    pg_atomic_uint64 rows;          // of all
    pg_atomic_uint64 bytes;         // of all, estimated
    pg_atomic_uint64 repeats;       // the same question as lately, and nothing that it reads had changed
    pg_atomic_uint64 changes;       // calls that found something changed since the call before
    pg_atomic_uint64 last_version;  // of what it reads
    // Questions lately: 32 bits of the question's hash, 32 of the version of what it reads.
    static constexpr int lately_max = 16;
    pg_atomic_uint64 lately[lately_max];
};

// All slots; 0 of them while patterns are not tracked.
[[nodiscard]] int slot_count() noexcept;
[[nodiscard]] Slot& slot(int number) noexcept;

// What a call of this query id took on average, of those that were no hits, by this role here, in
// microseconds; nothing when there was none.
[[nodiscard]] std::optional<double> mean_run_us(std::uint64_t query_id) noexcept;

void reset() noexcept;

[[nodiscard]] Size shared_bytes() noexcept;
void init(void* memory, bool found) noexcept;
// Chains the executor's hooks, when patterns are tracked. Once a process.
void install_hooks();

}  // namespace tiercache::patterns
