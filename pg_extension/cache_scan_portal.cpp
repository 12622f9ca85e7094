// What a portal whose answer is at hand owes to the statements that come between its start and its first row.
#include "pg_extension/boundary.hpp"
#include "pg_extension/cache_scan_state.hpp"
#include "pg_extension/statement_count.hpp"

extern "C" {
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
    if (child_of(state) != nullptr) return;
    EState* executor = portal->queryDesc->estate;
    ResourceOwnerData* owner = CurrentResourceOwner;
    MemoryContext caller = MemoryContextSwitchTo(executor->es_query_cxt);
    CurrentResourceOwner = portal->resowner;
    // An error ends the transaction, and with it what is current.
    PushActiveSnapshot(executor->es_snapshot);
    start_after_all(state);
    PopActiveSnapshot();
    CurrentResourceOwner = owner;
    MemoryContextSwitchTo(caller);
}

ProcessUtility_hook_type previous_utility = nullptr;

void run_utility(PlannedStmt* plan, const char* source, bool read_only_tree, ProcessUtilityContext context,
                 ParamListInfo parameters, QueryEnvironment* environment, DestReceiver* receiver,
                 QueryCompletion* completion) {
    if (!IsA(plan->utilityStmt, TransactionStmt)) pg::enter([] { start_plan_of_unnamed_portal(); });
    (previous_utility != nullptr ? previous_utility : standard_ProcessUtility)(
        plan, source, read_only_tree, context, parameters, environment, receiver, completion);
}

}  // namespace

// Cursors, loops of PL/pgSQL and named portals: their client may run other statements between two rows.
bool can_stay_open() noexcept {
    // EXECUTE has a portal with a name, too, but not one that others see.
    return ActivePortal != nullptr && ActivePortal->visible && ActivePortal->name[0] != '\0';
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
