// The plan of a hit that has none, when its rows have to be computed after all: made and started when that
// turns out.
#include "pg_extension/cache_scan_state.hpp"
#include "pg_extension/query_compat.hpp"
#include "pg_extension/read_locks.hpp"
#include "pg_extension/snapshot_clock.hpp"
#include "pg_extension/tags.hpp"
#include "pg_extension/transparent.hpp"

extern "C" {
#include <access/genam.h>
#include <access/htup_details.h>
#include <access/table.h>
#include <access/xact.h>
#include <catalog/indexing.h>
#include <catalog/pg_class.h>
#include <catalog/pg_inherits.h>
#include <executor/executor.h>
#include <miscadmin.h>
#include <tcop/dest.h>
#include <tcop/tcopprot.h>
#include <utils/fmgroids.h>
#include <utils/inval.h>
#include <utils/lsyscache.h>
#include <utils/snapmgr.h>
#include <utils/syscache.h>
}

namespace tiercache::cache_scan {

namespace {

// Returns the one before; an error sets another one by itself.
ResourceOwner use_late_owner(const State& state) noexcept {
    ResourceOwner owner = CurrentResourceOwner;
    if (state.late_owner != nullptr) CurrentResourceOwner = state.late_owner;
    return owner;
}

[[nodiscard]] PlannedStmt* plan_late(const State& state) {
    const EState* executor = state.node.ss.ps.state;
    auto* query = copyObject(query_of(reinterpret_cast<CustomScan*>(state.node.ss.ps.plan)));
    // A hit is compared with the query's own rows; what is missing is looked up again and filled.
    PlannedStmt* plan =
        state.outcome == Outcome::hit
            ? pg_plan_query(query, executor->es_sourceText, transparent::cursor_option_plain,
                            executor->es_param_list_info)
            : transparent::plan_with_child(query, executor->es_sourceText, executor->es_param_list_info);
    // The pattern's statistics count the query around it.
    plan->queryId = 0;
    const List* promised = state.node.ss.ps.plan->targetlist;
    if (list_length(plan->planTree->targetlist) != list_length(promised)) {
        elog(ERROR, "tiercache: the plan has %d columns, not %d", list_length(plan->planTree->targetlist),
             list_length(promised));
    }
    return plan;
}

// The row of pg_class as the snapshot shows it.
[[nodiscard]] HeapTuple relation_seen_by(Snapshot snapshot, Oid relation) {
    Relation catalog = table_open(RelationRelationId, AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, Anum_pg_class_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relation));
    SysScanDesc scan = systable_beginscan(catalog, ClassOidIndexId, true, snapshot, 1, &key);
    HeapTuple row = systable_getnext(scan);
    if (HeapTupleIsValid(row)) row = heap_copytuple(row);
    systable_endscan(scan);
    table_close(catalog, AccessShareLock);
    return row;
}

[[nodiscard]] bool is_of_others_since(HeapTuple row, Snapshot snapshot) noexcept {
    const TransactionId writer = HeapTupleHeaderGetXmin(row->t_data);
    return !TransactionIdIsCurrentTransactionId(writer) && XidInMVCCSnapshot(writer, snapshot);
}

// Its parents, in a set, as the snapshot shows them; nullptr: as they are now.
[[nodiscard]] List* parents_seen_by(Snapshot snapshot, Oid relation) {
    Relation catalog = table_open(InheritsRelationId, AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relation));
    SysScanDesc scan = systable_beginscan(catalog, InheritsRelidSeqnoIndexId, true, snapshot, 1, &key);
    List* parents = NIL;
    for (HeapTuple row = systable_getnext(scan); HeapTupleIsValid(row); row = systable_getnext(scan)) {
        parents = list_append_unique_oid(
            parents, reinterpret_cast<const FormData_pg_inherits*>(GETSTRUCT(row))->inhparent);
    }
    systable_endscan(scan);
    table_close(catalog, AccessShareLock);
    return parents;
}

// Was it given a parent since, or taken from one? That one is being detached changes nothing yet.
[[nodiscard]] bool has_other_parents(Oid relation, Snapshot snapshot) {
    const List* now = parents_seen_by(nullptr, relation);
    const List* then = parents_seen_by(snapshot, relation);
    return list_difference_oid(now, then) != NIL || list_difference_oid(then, now) != NIL;
}

// Are its rows of the snapshot's moment no longer to be had, because others emptied, altered, dropped,
// attached or detached it since? One that is new since then has none.
[[nodiscard]] bool is_unseen(Oid relation, Snapshot snapshot) {
    HeapTuple then = relation_seen_by(snapshot, relation);
    if (!HeapTupleIsValid(then)) return false;
    HeapTuple now = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(relation));
    if (!HeapTupleIsValid(now) || has_other_parents(relation, snapshot)) return true;
    const auto* fields_now = reinterpret_cast<const FormData_pg_class*>(GETSTRUCT(now));
    const auto* fields_then = reinterpret_cast<const FormData_pg_class*>(GETSTRUCT(then));
    return is_of_others_since(now, snapshot) && (fields_now->relfilenode != fields_then->relfilenode ||
                                                 fields_now->relnatts != fields_then->relnatts);
}

// Has nothing that the hit's rows were read from been altered since? Of tables that nobody named, and of
// those that functions read, the snapshot may be older than the locks.
[[nodiscard]] bool is_as_hit(const State& state) noexcept {
    return plan_is_current({state.stamp, false}, state.hit_tags);
}

[[nodiscard]] Oid unseen_table(const State& state, const PlannedStmt* plan, Snapshot snapshot) {
    for (const Tag tag : state.hit_tags) {
        const Oid relation = relation_of(tag);
        if (OidIsValid(relation) && is_unseen(relation, snapshot)) return relation;
    }
    // Of partitions whose tags it has not, what is gone can't be told.
    const bool knows_all = read_locks::are_known(state.hit_tags);
    ListCell* cell = nullptr;
    foreach (cell, plan->rtable) {
        const auto* entry = static_cast<const RangeTblEntry*>(lfirst(cell));
        if (entry->rtekind != RTE_RELATION) continue;
        if (!knows_all || is_unseen(entry->relid, snapshot)) return entry->relid;
    }
    return InvalidOid;
}

void start(State& state, PlannedStmt* plan, Snapshot snapshot, int eflags) {
    const EState* executor = state.node.ss.ps.state;
    state.late_query = CreateQueryDesc(plan, executor->es_sourceText, snapshot, InvalidSnapshot,
                                       None_Receiver, executor->es_param_list_info, executor->es_queryEnv, 0);
    PushActiveSnapshot(state.late_query->snapshot);
    ExecutorStart(state.late_query, eflags);
    PopActiveSnapshot();
    // Looked at here: what this session does to the tables later leaves this plan as it is.
    if (state.outcome == Outcome::hit && outerPlan(state.node.ss.ps.plan) == nullptr &&
        snapshot == executor->es_snapshot && !is_as_hit(state)) {
        state.late_unseen = unseen_table(state, plan, snapshot);
    }
}

}  // namespace

void start_late(State& state, int eflags) {
    const EState* executor = state.node.ss.ps.state;
    PlannedStmt* plan = plan_late(state);
    // Planning has locked tables that nobody had locked when the snapshot was taken, partitions for one: what
    // TRUNCATE and its kin did meanwhile is not in it. These are statements of a client, which may as well
    // have begun now.
    Snapshot snapshot = state.outcome == Outcome::hit || IsolationUsesXactSnapshot()
                            ? executor->es_snapshot
                            : GetTransactionSnapshot();
    start(state, plan, snapshot, eflags);
}

void start_after_all(State& state) {
    const EState* executor = state.node.ss.ps.state;
    const bool has_child = outerPlan(state.node.ss.ps.plan) != nullptr;
    // All locks may be held already, and then nothing else looks for what others have changed.
    AcceptInvalidationMessages();
    Oid role = InvalidOid;
    int security = 0;
    // Planner and executor look at rights, too. An error ends the role with its transaction.
    GetUserIdAndSecContext(&role, &security);
    SetUserIdAndSecContext(state.started.role, state.started.security);
    PlannedStmt* plan = has_child ? copyObject(executor->es_plannedstmt) : plan_late(state);
    if (has_child) {
        plan->planTree = outerPlan(plan->planTree);
        plan->queryId = 0;
    }
    // The query's start has passed that, by the rights of its moment.
    pg::waive_plan_permissions(plan);
    // As in start_late(), where the hit has locked nothing (read_locks.hpp). But what this transaction did
    // since does not belong into the answer.
    const bool takes_new = !has_child && !IsTransactionBlock() && !IsolationUsesXactSnapshot() &&
                           bypass_reason() == nullptr && !is_as_hit(state) &&
                           OidIsValid(unseen_table(state, plan, executor->es_snapshot));
    if (takes_new) {
        // Planned under it, too: it says which partitions are being detached.
        PushActiveSnapshot(GetTransactionSnapshot());
        plan = plan_late(state);
        pg::waive_plan_permissions(plan);
        start(state, plan, GetActiveSnapshot(), executor->es_top_eflags);
        PopActiveSnapshot();
    } else {
        start(state, plan, executor->es_snapshot, executor->es_top_eflags);
    }
    SetUserIdAndSecContext(role, security);
}

void check_late_rows(const State& state) {
    if (!OidIsValid(state.late_unseen)) return;
    const char* name = get_rel_name(state.late_unseen);
    ereport(ERROR,
            (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
             name != nullptr
                 ? errmsg("could not serialize access due to a concurrent change of table \"%s\"", name)
                 : errmsg("could not serialize access due to a concurrent drop of a table"),
             errdetail("The rows of a cached query had to be computed later than its portal was started."),
             errhint("The transaction might succeed if retried.")));
}

void end_late(State& state) {
    if (state.late_query == nullptr) return;
    ResourceOwner owner = use_late_owner(state);
    ExecutorFinish(state.late_query);
    ExecutorEnd(state.late_query);
    FreeQueryDesc(state.late_query);
    state.late_query = nullptr;
    CurrentResourceOwner = owner;
}

void rescan_child(State& state) {
    if (child_of(state) == nullptr) return;
    ResourceOwner owner = use_late_owner(state);
    ExecReScan(child_of(state));
    CurrentResourceOwner = owner;
}

PlanState* child_of(State& state) noexcept {
    return state.late_query != nullptr ? state.late_query->planstate : outerPlanState(&state.node);
}

TupleTableSlot* next_of_late(State& state) {
    EState* executor = state.late_query->estate;
    MemoryContext caller = MemoryContextSwitchTo(executor->es_query_cxt);
    ResourceOwner owner = use_late_owner(state);
    ResetPerTupleExprContext(executor);
    executor->es_direction = state.node.ss.ps.state->es_direction;
    PushActiveSnapshot(executor->es_snapshot);
    TupleTableSlot* slot = ExecProcNode(state.late_query->planstate);
    PopActiveSnapshot();
    CurrentResourceOwner = owner;
    MemoryContextSwitchTo(caller);
    return slot;
}

}  // namespace tiercache::cache_scan
