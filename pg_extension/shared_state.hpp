// What all backends share: the clock table (in its own shared-memory object, which apps map read-only), the
// L4 segment and the counters (in PostgreSQL's main shared memory).
//
// Everything is made anew when the postmaster starts, and again after it reset shared memory because a
// backend died.
#pragma once

#include <optional>

#include "pg_extension/pg.hpp"
#include "shm_cache/clock_table.hpp"
#include "shm_cache/segment.hpp"

namespace tiercache {

// Why a lookup in L4 was no hit, or no lookup was made; the counters of tiercache.stats.
struct L4Counters {
    pg_atomic_uint64 hits;
    pg_atomic_uint64 misses_absent;
    pg_atomic_uint64 misses_changed;  // there was an entry, but it was not fresh
    pg_atomic_uint64 misses_expired;
    pg_atomic_uint64 bypasses;  // own changes, SERIALIZABLE, recovery, switched off, ...
    pg_atomic_uint64 fills;
    pg_atomic_uint64 fills_unpublished;  // computed but not stored: stamp unknown, plan too old, too large
    pg_atomic_uint64 saved_us;           // fill cost of the entries that hits returned
    pg_atomic_uint64 stale_hits;         // hits that a max_staleness allowed
    pg_atomic_uint64 shared_waits;       // for the same query of another session
    pg_atomic_uint64 shared_hits;        // of them, served from its result
    pg_atomic_uint64 recalled_hits;      // hits that a backend served from its own copy of an entry
    // Microseconds a unit of the planner's cost, of queries that were run to be stored: the sum of logarithms
    // (base 2, in thousandths, two's complement) and their number.
    pg_atomic_uint64 rates_log;
    pg_atomic_uint64 rates;
};

struct InDoubtList;

struct SharedState {
    LWLock* lock;  // guards the in-doubt list
    std::uint64_t base;
    std::uint64_t digest_seed;  // secret: nobody can make two statements that have the same digest
    std::uint64_t ceiling;      // the clock may not pass it before a higher one is on disk
    pg_atomic_uint32 open;      // the worker opened the cache: recovery is over, the in-doubt list complete
    pg_atomic_uint32
        ddl_pending;            // transactions between PRE_COMMIT and the end of their invalidation messages
    pg_atomic_uint32 in_doubt;  // used entries of the in-doubt list
    pg_atomic_uint32 blocked;   // in-doubt transactions of which we don't know what they changed
    pg_atomic_uint64 erasures;  // entries that tiercache.reset() took out, each counted after that
    L4Counters counters;
};

namespace shared {

// Installs the shared-memory hooks. Only while shared_preload_libraries are loaded.
void install_hooks();

// Is the library preloaded, and its shared memory there?
[[nodiscard]] bool available() noexcept;
// Raises an error that says what to do when it is not.
void require();

[[nodiscard]] SharedState& state() noexcept;
[[nodiscard]] ClockTable clock() noexcept;
// Per clock slot: the clock of the last DDL on it.
[[nodiscard]] pg_atomic_uint64& ddl_version(Tag tag) noexcept;
// This backend's attachment to the L4 segment; nullptr when tiercache.memory is 0 or it can't be attached.
[[nodiscard]] Segment* segment() noexcept;

// False when somebody removed the clock table's name: apps that have not mapped it can't.
[[nodiscard]] bool clock_can_be_found() noexcept;

// A name for a life of the cache that was never used before.
[[nodiscard]] std::uint64_t random_epoch();

// The authority's clock now.
[[nodiscard]] std::uint64_t clock_now() noexcept;

}  // namespace shared
}  // namespace tiercache
