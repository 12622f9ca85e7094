// What a portal whose answer is at hand owes to the statements that come between its start and its first row.
#include "pg_extension/boundary.hpp"
#include "pg_extension/cache_scan_state.hpp"
#include "pg_extension/query_compat.hpp"
#include "pg_extension/statement_count.hpp"

extern "C" {
#include <catalog/pg_class.h>
#include <miscadmin.h>
#include <tcop/pquery.h>
#include <tcop/utility.h>
#include <utils/portal.h>
#include <utils/resowner.h>
#include <utils/timestamp.h>
}

namespace tiercache::cache_scan {

namespace {

// Of the unnamed portal: next to none gets to see another statement while it is open, and of those that do,
// next to none is one that asks who uses a table. So its hits open their tables here only.
void use_tables_of_unnamed_portal() {
    PortalData* portal = GetPortalByName("");
    if (portal == nullptr || portal == ActivePortal || portal->status != PORTAL_READY ||
        portal->queryDesc == nullptr || !is_hit(portal->queryDesc->planstate)) {
        return;
    }
    EState* executor = portal->queryDesc->estate;
    ResourceOwnerData* owner = CurrentResourceOwner;
    MemoryContext caller = MemoryContextSwitchTo(executor->es_query_cxt);
    CurrentResourceOwner = portal->resowner;
    // An error ends the transaction, and with it what is current.
    use_tables(executor);
    CurrentResourceOwner = owner;
    MemoryContextSwitchTo(caller);
}

ProcessUtility_hook_type previous_utility = nullptr;

void run_utility(PlannedStmt* plan, const char* source, bool read_only_tree, ProcessUtilityContext context,
                 ParamListInfo parameters, QueryEnvironment* environment, DestReceiver* receiver,
                 QueryCompletion* completion) {
    if (!IsA(plan->utilityStmt, TransactionStmt)) pg::enter([] { use_tables_of_unnamed_portal(); });
    (previous_utility != nullptr ? previous_utility : standard_ProcessUtility)(
        plan, source, read_only_tree, context, parameters, environment, receiver, completion);
}

}  // namespace

// Cursors, loops of PL/pgSQL and named portals: their client may run other statements between two rows.
bool can_stay_open() noexcept {
    // EXECUTE has a portal with a name, too, but not one that others see.
    return ActivePortal != nullptr && ActivePortal->visible && ActivePortal->name[0] != '\0';
}

void use_tables(EState* executor) {
    Index number = 0;
    ListCell* cell = nullptr;
    foreach (cell, executor->es_range_table) {
        ++number;
        const auto* entry = static_cast<const RangeTblEntry*>(lfirst(cell));
        if (entry->rtekind == RTE_RELATION && entry->relkind != RELKIND_VIEW) {
            pg::use_table(executor, number);
        }
    }
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
