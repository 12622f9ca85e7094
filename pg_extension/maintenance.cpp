#include "pg_extension/maintenance.hpp"

#include "pg_extension/foreign_tables.hpp"
#include "pg_extension/pg.hpp"
#include "pg_extension/shared_state.hpp"

extern "C" {
#include <access/xact.h>
#include <commands/defrem.h>
#include <nodes/parsenodes.h>
#include <tcop/utility.h>
}

namespace tiercache::maintenance {

namespace {

ProcessUtility_hook_type previous_utility_hook = nullptr;
bool is_running = false;  // within the command; it may end transactions and begin others
bool was_last = false;    // it ended, in the transaction that is still open
bool others_ran = false;  // in this transaction

[[nodiscard]] bool is_full(const VacuumStmt* statement) {
    ListCell* cell = nullptr;
    foreach (cell, statement->options) {
        const auto* option = static_cast<const DefElem*>(lfirst(cell));
        if (strcmp(option->defname, "full") == 0) return true;
    }
    return false;
}

// Alone in its transaction so far. (In a block, or after other commands of a pipeline, it counts as a
// change.)
[[nodiscard]] bool is_maintenance(const PlannedStmt* plan, ProcessUtilityContext context) {
    if (context != PROCESS_UTILITY_TOPLEVEL || !IsA(plan->utilityStmt, VacuumStmt)) return false;
    return !is_full(reinterpret_cast<const VacuumStmt*>(plan->utilityStmt)) && !IsInTransactionBlock(true) &&
           !TransactionIdIsValid(GetTopTransactionIdIfAny()) && !others_ran;
}

void on_utility(PlannedStmt* plan, const char* source, bool read_only_tree, ProcessUtilityContext context,
                ParamListInfo parameters, QueryEnvironment* environment, DestReceiver* receiver,
                QueryCompletion* completion) {
    if (shared::available()) foreign_tables::note_statement();
    const bool begins = is_maintenance(plan, context);
    if (begins) {
        is_running = true;
    } else {
        // Also what functions of indexes run within it, or a pipeline after it.
        others_ran = true;
    }
    const auto next = previous_utility_hook != nullptr ? previous_utility_hook : standard_ProcessUtility;
    next(plan, source, read_only_tree, context, parameters, environment, receiver, completion);
    if (begins) {
        is_running = false;
        was_last = true;
    }
}

}  // namespace

bool only() noexcept { return (is_running || was_last || pg::is_autovacuum_worker()) && !others_ran; }

void after_commit() noexcept {
    was_last = false;
    others_ran = false;
}

void after_abort() noexcept {
    is_running = false;
    after_commit();
}

void install_hook() {
    previous_utility_hook = ProcessUtility_hook;
    ProcessUtility_hook = on_utility;
}

}  // namespace tiercache::maintenance
