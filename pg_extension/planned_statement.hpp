// What every plan that is not the planner's has of its query.
#pragma once

#include "pg_extension/pg.hpp"

extern "C" {
#include <nodes/parsenodes.h>
#include <nodes/plannodes.h>
}

namespace tiercache {

[[nodiscard]] inline PlannedStmt* make_planned_statement(const Query* query, Plan* plan) {
    PlannedStmt* statement = makeNode(PlannedStmt);
    statement->commandType = CMD_SELECT;
    statement->queryId = query->queryId;
    statement->canSetTag = query->canSetTag;
    statement->stmt_location = query->stmt_location;
    statement->stmt_len = query->stmt_len;
    statement->planTree = plan;
    return statement;
}

}  // namespace tiercache
