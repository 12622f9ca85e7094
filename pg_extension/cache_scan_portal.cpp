// What a portal whose answer is at hand owes to the statements that come between its start and its first row.
#include "pg_extension/boundary.hpp"
#include "pg_extension/cache_scan_state.hpp"
#include "pg_extension/statement_count.hpp"

extern "C" {
#include <executor/executor.h>
#include <miscadmin.h>
#include <tcop/pquery.h>
#include <tcop/utility.h>
#include <utils/portal.h>
#include <utils/resowner.h>
#include <utils/snapmgr.h>
#include <utils/timestamp.h>
}

namespace tiercache::cache_scan {

namespace {

// Can it not be the statement, by itself, that asks which tables are in use? Those that others run for it
// come here, too.
[[nodiscard]] bool asks_nothing(const Node* statement) noexcept {
    switch (nodeTag(statement)) {
        case T_TransactionStmt:
        case T_VariableSetStmt:
        case T_VariableShowStmt:
        case T_PrepareStmt:
        case T_ExecuteStmt:
        case T_DeallocateStmt:
        case T_DeclareCursorStmt:
        case T_FetchStmt:
        case T_ClosePortalStmt:
        case T_ExplainStmt:
        case T_CopyStmt:
        case T_CallStmt:
        case T_DoStmt:
        case T_LockStmt:
        case T_ListenStmt:
        case T_UnlistenStmt:
        case T_NotifyStmt:
        case T_ConstraintsSetStmt:
            return true;
        default:
            return false;
    }
}

// A transaction block goes on after an error in one of its subtransactions, and the portal with it.
void start_plan_of(PortalData& portal, State& state) {
    ResourceOwner caller_owner = CurrentResourceOwner;
    MemoryContext caller = MemoryContextSwitchTo(portal.queryDesc->estate->es_query_cxt);
    state.late_owner = ResourceOwnerCreate(portal.resowner, "tiercache late plan");
    CurrentResourceOwner = state.late_owner;
    PushActiveSnapshot(portal.queryDesc->estate->es_snapshot);
    PG_TRY();
    { start_after_all(state); }
    PG_CATCH();
    {
        CurrentResourceOwner = caller_owner;
        for (const ResourceReleasePhase phase :
             {RESOURCE_RELEASE_BEFORE_LOCKS, RESOURCE_RELEASE_LOCKS, RESOURCE_RELEASE_AFTER_LOCKS}) {
            ResourceOwnerRelease(state.late_owner, phase, false, false);
        }
        ResourceOwnerDelete(state.late_owner);
        state.late_owner = nullptr;
        state.late_query = nullptr;
        PG_RE_THROW();
    }
    PG_END_TRY();
    PopActiveSnapshot();
    CurrentResourceOwner = caller_owner;
    MemoryContextSwitchTo(caller);
}

// What TRUNCATE, for one, finds in use are the tables that the executor opened, and a hit opened none. Hits
// of named portals have their plan started for that. Of unnamed ones next to none gets to see another
// statement: they have it started here, when one comes that may ask.
void start_plan_of_unnamed_portal() {
    PortalData* portal = GetPortalByName("");
    if (portal == nullptr || portal == ActivePortal || portal->status != PORTAL_READY ||
        portal->queryDesc == nullptr || !is_hit(portal->queryDesc->planstate)) {
        return;
    }
    State& state = *reinterpret_cast<State*>(portal->queryDesc->planstate);
    if (child_of(state) == nullptr) start_plan_of(*portal, state);
}

ProcessUtility_hook_type previous_utility = nullptr;
bool starts_lazy_function = false;  // the query that was started last

void run_utility(PlannedStmt* plan, const char* source, bool read_only_tree, ProcessUtilityContext context,
                 ParamListInfo parameters, QueryEnvironment* environment, DestReceiver* receiver,
                 QueryCompletion* completion) {
    if (!asks_nothing(plan->utilityStmt)) pg::enter([] { start_plan_of_unnamed_portal(); });
    (previous_utility != nullptr ? previous_utility : standard_ProcessUtility)(
        plan, source, read_only_tree, context, parameters, environment, receiver, completion);
}

}  // namespace

// Cursors, loops of PL/pgSQL, named portals, and SQL functions that are asked for one row after the other:
// other statements may run between two rows.
bool can_stay_open() noexcept {
    if (starts_lazy_function) return true;
    // EXECUTE has a portal with a name, too, but not one that others see.
    return ActivePortal != nullptr && ActivePortal->visible && ActivePortal->name[0] != '\0';
}

void note_executor_start(const QueryDesc* query, int flags) noexcept {
    // That is how functions.c starts them.
    starts_lazy_function = query->dest->mydest == DestSQLFunction && (flags & EXEC_FLAG_SKIP_TRIGGERS) != 0;
}

Started started_now() noexcept {
    Started started{statement_count::now(), PgReloadTime, InvalidOid, 0};
    GetUserIdAndSecContext(&started.role, &started.security);
    return started;
}

bool is_alone(const Started& started) noexcept {
    // One more: its own run.
    return statement_count::now() == started.statements + 1 && PgReloadTime == started.configured;
}

void install_portal_hook() {
    previous_utility = ProcessUtility_hook;
    ProcessUtility_hook = run_utility;
}

}  // namespace tiercache::cache_scan
