// The settings (GUCs) tiercache.*; documented in docs/api.md.
#pragma once

#include "pg_extension/pg.hpp"

namespace tiercache::settings {

extern bool enabled;      // tiercache.enabled: look up and fill at all
extern int memory_mb;     // tiercache.memory
extern char* clock_name;  // tiercache.clock_name
extern int clock_mode;    // tiercache.clock_mode
extern int lease_ms;      // tiercache.lease
inline constexpr int lease_ms_max = 60000;
extern int max_entry_size_kb;  // tiercache.max_entry_size
extern int min_cost;           // tiercache.min_cost, in units of the planner: cheaper queries are not cached

extern int
    min_fill_us_per_kb;  // tiercache.min_fill_cost: what is quicker to compute is not stored transparently
extern bool track_patterns;  // tiercache.track_patterns
extern int share_wait_ms;    // tiercache.share_wait: for the same query of another session; 0: not at all
extern char* default_class;  // tiercache.default_class: of queries that name none

// tiercache.mode: are queries cached that nobody asked tiercache to cache?
enum class Mode : int { off, automatic };
extern int mode;
// tiercache.verify: is each hit compared with the query's own answer, and what happens when they differ?
enum class Verify : int { off, warning, error };
extern int verify;

// Deliberately broken variants of the freshness rule and of what feeds it, which the race tests must catch.
enum class Mutant : int {
    none,
    late_stamp,      // the stamp is read after the snapshot
    no_writers,      // nothing is marked while it is being committed
    no_versions,     // a commit moves no version
    no_check,        // every entry is fresh
    rows_only,       // tables' definitions are ignored: neither their locks nor their messages count
    one_lock,        // only one of the relations that a transaction locked counts
    no_ancestors,    // a child's change is not its parents'
    no_relations,    // relcache messages are ignored: GRANT, policies
    no_catalogs,     // messages of types, names and schemas are ignored
    no_definitions,  // messages of functions, enum labels, operators, ... are ignored
    no_roles,        // messages of roles and memberships are ignored
    no_in_doubt,     // COMMIT PREPARED moves no version
    no_own_writes,   // a transaction with changes of its own looks up and fills
    no_snapshot,     // REPEATABLE READ is served by what is fresh now
    no_plan_age,     // a result of an outdated plan is stored
    no_temp_names,   // temporary names are not in the key
    no_names,        // what functions look up by name is not followed
};
#ifdef TIERCACHE_PAUSE_POINTS
extern int mutant;  // tiercache.mutant
// tiercache.repeat: a transparent miss runs its query to the end first and is then served from the entry: a
// client's statement without a plan below, any other by its plan's node. So every query that can be cached is
// served at least once.
extern bool repeat;
[[nodiscard]] inline bool is_broken(Mutant m) noexcept { return mutant == static_cast<int>(m); }
#else
[[nodiscard]] constexpr bool is_broken(Mutant /*m*/) noexcept { return false; }
#endif

void define();

}  // namespace tiercache::settings
