// Transparent mode: tiercache.mode = auto caches the SELECTs of every client that may be cached and cost at
// least tiercache.min_cost, by putting a cache scan on top of their plans.
#pragma once

#include "pg_extension/pg.hpp"

extern "C" {
#include <nodes/params.h>
#include <nodes/parsenodes.h>
#include <nodes/plannodes.h>
}

namespace tiercache::transparent {

// Of a query that tiercache itself plans: leave its plan alone. No bit of PostgreSQL's own.
inline constexpr int cursor_option_plain = 1 << 30;

using Planner = PlannedStmt* (*)(Query*, const char*, int, ParamListInfo);

// Plans with `planner`, and puts a cache scan on top where that is due.
[[nodiscard]] PlannedStmt* plan(Planner planner, Query* query, const char* source, int cursor_options,
                                ParamListInfo parameters);

// Plans a query that was left without a plan since its answer was there, and is there no longer.
[[nodiscard]] PlannedStmt* plan_with_child(Query* query, const char* source, ParamListInfo parameters);

// Once a process.
void install_hooks();

}  // namespace tiercache::transparent
