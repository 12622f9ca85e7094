// The start of plans whose answer is at hand.
//
// A node that has its rows needs little of what the executor sets up for plans that compute: no expression
// context, no second description of the columns, no children, no subplans. What is left is done here, as
// standard_ExecutorStart() and ExecInitCustomScan() do it. All else is theirs: plans that are explained or
// measured, cursors, and a hit that is not one.
#include "pg_extension/boundary.hpp"
#include "pg_extension/cache_scan_recent.hpp"
#include "pg_extension/cache_scan_state.hpp"
#include "pg_extension/query_compat.hpp"
#include "pg_extension/settings.hpp"

extern "C" {
#include <executor/executor.h>
#include <miscadmin.h>
#include <nodes/extensible.h>
#include <utils/snapmgr.h>
}

namespace tiercache::cache_scan {

namespace {

// What does not matter where rows are read that lie in memory.
constexpr int flags_without_effect = EXEC_FLAG_REWIND | EXEC_FLAG_BACKWARD | EXEC_FLAG_SKIP_TRIGGERS;

// One of the two is there.
struct AtHand {
    const Ready* ready;
    const recent::Answer* answer;
    // In the current memory context.
    [[nodiscard]] std::span<const Tag> copy_tags() const {
        const std::size_t count = ready != nullptr ? ready->entry.tags.size() : answer->tags.size();
        auto* tags = static_cast<Tag*>(palloc(sizeof(Tag) * (count + 1)));
        for (std::size_t i = 0; i < count; ++i) {
            tags[i] = ready != nullptr ? ready->entry.tags[i] : answer->tags[i];
        }
        return {tags, count};
    }
    [[nodiscard]] const EntryFields& fields() const noexcept {
        return ready != nullptr ? ready->entry.fields : answer->fields;
    }
};

// Columns that only ORDER BY needs are filtered out by the executor.
[[nodiscard]] bool has_hidden_columns(const Plan* plan) noexcept {
    ListCell* cell = nullptr;
    foreach (cell, plan->targetlist) {
        if (static_cast<const TargetEntry*>(lfirst(cell))->resjunk) return true;
    }
    return false;
}

// The node, if it may be started here.
[[nodiscard]] CustomScan* scan_of(const QueryDesc* query, int flags) noexcept {
    const PlannedStmt* statement = query->plannedstmt;
    if (!is_own(statement->planTree) || (flags & ~flags_without_effect) != 0 ||
        query->instrument_options != 0 || query->operation != CMD_SELECT || statement->rowMarks != NIL ||
        statement->hasModifyingCTE || has_hidden_columns(statement->planTree) ||
        settings::verify != static_cast<int>(settings::Verify::off)) {
        return nullptr;
    }
    return can_stay_open() ? nullptr : reinterpret_cast<CustomScan*>(statement->planTree);
}

// Counts a hit when there is one.
[[nodiscard]] bool find_at_hand(const QueryDesc* query, const CustomScan* scan, const Facts& facts,
                                AtHand& at_hand) {
    // Settings that the query reads may have changed: they are looked at again by a look-up.
    if (facts.refusal != nullptr || facts.settings != NIL) return false;
    std::uint64_t clock = 0;
    if (know_clock(query->snapshot, clock) != nullptr) return false;
    const Ready* ready = ready_of(scan, facts);
    if (ready != nullptr && l4_cache::still_serves(ready->key, ready->entry, clock)) {
        at_hand.ready = ready;
        return true;
    }
    at_hand.answer = recent::recall(scan, facts, query->params, clock);
    return at_hand.answer != nullptr;
}

TupleTableSlot* next_row(PlanState* node) {
    CHECK_FOR_INTERRUPTS();
    return next_of_hit(*reinterpret_cast<State*>(node));
}

[[nodiscard]] EState* make_executor(QueryDesc* query, int flags) {
    EState* executor = CreateExecutorState();
    executor->es_param_list_info = query->params;
    executor->es_sourceText = query->sourceText;
    executor->es_queryEnv = query->queryEnv;
    // As of any SELECT: a portal may be open still when its transaction's triggers are fired.
    executor->es_top_eflags = flags | EXEC_FLAG_SKIP_TRIGGERS;
    executor->es_plannedstmt = query->plannedstmt;
    return executor;
}

// In the executor's memory; nullptr when the entry's rows are none.
[[nodiscard]] State* make_state(CustomScan* scan, const Facts& facts, const AtHand& at_hand,
                                EState* executor) {
    auto* state = reinterpret_cast<State*>(create_state(scan));
    TupleDesc columns = nullptr;
    if (at_hand.ready == nullptr) {
        columns = CreateTupleDescCopy(at_hand.answer->columns);
        state->rows = recent::copy_rows(*at_hand.answer);
        state->key.hash = at_hand.answer->key_hash;
        state->key.session = at_hand.answer->session;
    } else {
        columns = ExecTypeFromTL(scan->scan.plan.targetlist);
        if (!read_rows(at_hand.ready->entry, columns, state->rows)) return nullptr;
        state->key = at_hand.ready->key;
    }
    state->facts = facts;
    state->started = started_now();
    state->outcome = Outcome::hit;
    state->stamp = at_hand.fields().stamp;
    state->hit_tags = at_hand.copy_tags();
    state->serves_rows = state->rows_are_whole = true;

    ScanState& node = state->node.ss;
    node.ps.plan = &scan->scan.plan;
    node.ps.state = executor;
    node.ps.ps_ResultTupleDesc = columns;
    node.ps.ps_ResultTupleSlot = ExecAllocTableSlot(&executor->es_tupleTable, columns, &TTSOpsMinimalTuple);
    node.ps.scandesc = columns;
    node.ps.scanops = node.ps.outerops = node.ps.innerops = node.ps.resultops = &TTSOpsMinimalTuple;
    node.ps.scanopsfixed = node.ps.scanopsset = node.ps.resultopsfixed = node.ps.resultopsset = true;
    node.ss_ScanTupleSlot = state->slot = node.ps.ps_ResultTupleSlot;
    ExecSetExecProcNode(&node.ps, next_row);
    return state;
}

// False, and nothing was done: there is no hit.
[[nodiscard]] bool start_hit(QueryDesc* query, int flags) {
    CustomScan* scan = scan_of(query, flags);
    if (scan == nullptr) return false;
    const Facts facts = facts_of(scan);
    AtHand at_hand{};
    if (!find_at_hand(query, scan, facts, at_hand)) return false;

    EState* executor = make_executor(query, flags);
    MemoryContext caller = MemoryContextSwitchTo(executor->es_query_cxt);
    State* state = make_state(scan, facts, at_hand, executor);
    if (state == nullptr) {
        MemoryContextSwitchTo(caller);
        FreeExecutorState(executor);
        return false;
    }
    executor->es_snapshot = RegisterSnapshot(query->snapshot);
    executor->es_crosscheck_snapshot = RegisterSnapshot(query->crosscheck_snapshot);
    query->estate = executor;
    pg::check_plan_permissions(query->plannedstmt);
    pg::init_range_table(executor, query->plannedstmt);
    query->tupDesc = state->node.ss.ps.ps_ResultTupleDesc;
    query->planstate = &state->node.ss.ps;
    MemoryContextSwitchTo(caller);
    return true;
}

ExecutorStart_hook_type previous_start = nullptr;

// Other modules' starts are not gone around.
void start(QueryDesc* query, int flags) {
    note_executor_start(query, flags);
    if (previous_start != nullptr) {
        previous_start(query, flags);
    } else if (!pg::enter([=] { return start_hit(query, flags); })) {
        standard_ExecutorStart(query, flags);
    }
}

}  // namespace

void install_hook() {
    previous_start = ExecutorStart_hook;
    ExecutorStart_hook = start;
}

}  // namespace tiercache::cache_scan
