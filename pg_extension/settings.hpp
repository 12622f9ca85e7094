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

#ifdef TIERCACHE_PAUSE_POINTS
// Deliberately broken variants of the freshness rule, which the race tests must catch.
enum class Mutant : int { none, late_stamp, no_writers, no_versions, no_check };
extern int mutant;  // tiercache.mutant
#endif

void define();

}  // namespace tiercache::settings
