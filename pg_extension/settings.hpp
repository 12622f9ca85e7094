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

extern int share_wait_ms;    // tiercache.share_wait: for the same query of another session; 0: not at all
extern char* default_class;  // tiercache.default_class: of queries that name none

// tiercache.mode: are queries cached that nobody asked tiercache to cache?
enum class Mode : int { off, automatic };
extern int mode;
// tiercache.verify: is each hit compared with the query's own answer, and what happens when they differ?
enum class Verify : int { off, warning, error };
extern int verify;

#ifdef TIERCACHE_PAUSE_POINTS
// Deliberately broken variants of the freshness rule, which the race tests must catch.
enum class Mutant : int { none, late_stamp, no_writers, no_versions, no_check };
extern int mutant;  // tiercache.mutant
// tiercache.repeat: a transparent miss runs its query to the end first and is then served from the entry, so
// that every query that can be cached is served at least once.
extern bool repeat;
#endif

void define();

}  // namespace tiercache::settings
