// The plans of statements that do nothing but call tiercache.query_json or tiercache.query with one literal:
// what the planner would make of them, at a fraction of the cost.
#pragma once

#include "pg_extension/pg.hpp"

extern "C" {
#include <nodes/parsenodes.h>
#include <nodes/plannodes.h>
}

namespace tiercache::call_plan {

//   SELECT tiercache.query_json('...')
//   SELECT * FROM tiercache.query('...') AS t(a integer, ...)
// nullptr: the statement is something else, or the role may not call the function.
[[nodiscard]] PlannedStmt* make(Query* query);

}  // namespace tiercache::call_plan
