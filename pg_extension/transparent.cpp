#include "pg_extension/transparent.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "pg_extension/cache_scan_state.hpp"
#include "pg_extension/call_plan.hpp"
#include "pg_extension/dependencies.hpp"
#include "pg_extension/nested_settings.hpp"
#include "pg_extension/pause_point.hpp"
#include "pg_extension/query_check.hpp"
#include "pg_extension/query_compat.hpp"
#include "pg_extension/read_ahead.hpp"
#include "pg_extension/read_locks.hpp"
#include "pg_extension/refusals.hpp"
#include "pg_extension/session_key.hpp"
#include "pg_extension/settings.hpp"
#include "pg_extension/shared_state.hpp"
#include "pg_extension/statement_digest.hpp"
#include "pg_extension/statement_text.hpp"
#include "pg_extension/tags.hpp"
#include "shm_cache/monotonic_time.hpp"

extern "C" {
#include <access/parallel.h>
#include <catalog/pg_type.h>
#include <commands/explain.h>
#include <nodes/nodeFuncs.h>
#include <optimizer/planner.h>
#include <tcop/dest.h>
#include <tcop/tcopprot.h>
#include <utils/builtins.h>
#include <utils/inval.h>
#include <utils/lsyscache.h>
#include <utils/snapmgr.h>
}

namespace tiercache::transparent {

namespace {

ExplainOneQuery_hook_type previous_explain_hook = nullptr;
// The query that EXPLAIN is about to have planned.
const Query* explained_query = nullptr;

// What is known of a query before it is planned. No destructors: errors may jump over it.
struct Candidate {
    PlanAge age;
    std::uint64_t started_ns;
    std::string_view text;
    StatementDigest digest;
    bool has_digest;
    Reasons reasons;
    Dependencies dependencies;
    query_check::Findings findings;
    bool is_ordered;
};

constexpr int options_of_cursors = CURSOR_OPT_SCROLL | CURSOR_OPT_HOLD | CURSOR_OPT_FAST_PLAN;

// Does it read anything? PL/pgSQL's expressions do not, and their plans are taken apart.
[[nodiscard]] bool reads_something(const Query* query) noexcept {
    return query->jointree->fromlist != NIL || query->hasSubLinks || query->setOperations != nullptr;
}

[[nodiscard]] bool is_wanted(const Query* query, int cursor_options) {
    return settings::mode == static_cast<int>(settings::Mode::automatic) &&
           (cursor_options & cursor_option_plain) == 0 && query->commandType == CMD_SELECT &&
           reads_something(query) && shared::available() && !IsParallelWorker() && OidIsValid(MyDatabaseId);
}

// The suites of PostgreSQL show plans; what is tested by them is the rows.
[[nodiscard]] bool hides_from_explain() noexcept {
#ifdef TIERCACHE_PAUSE_POINTS
    return settings::repeat;
#else
    return false;
#endif
}

// A record's columns are known to the backend that made it only; a cstring is no value of a table.
void check_columns(Candidate& candidate, const Query* query) {
    ListCell* cell = nullptr;
    foreach (cell, query->targetList) {
        const auto* column = static_cast<const TargetEntry*>(lfirst(cell));
        const Oid type = exprType(reinterpret_cast<Node*>(column->expr));
        if (type == RECORDOID || type == RECORDARRAYOID || get_typlen(type) < -1) {
            candidate.reasons.add("the values of column %d are of type %s", column->resno,
                                  format_type_be(type));
        }
    }
}

void examine(Candidate& candidate, Query* query, const char* source, int cursor_options,
             ParamListInfo parameters, bool explained) {
    if (query->hasModifyingCTE || query->rowMarks != NIL) {
        candidate.reasons.add("it changes data or locks rows");
        return;
    }
    if (!statement_text(query, source, explained, candidate.text)) {
        candidate.reasons.add("its text is a part of another command");
        return;
    }
    check_columns(candidate, query);
    candidate.findings =
        query_check::check_rewritten(query, PayloadFormat::pg_tuples, query_check::SettingsRead::in_key,
                                     candidate.reasons, candidate.dependencies);
    if (candidate.reasons.any()) return;
    candidate.dependencies.add(roles_tag());
    candidate.dependencies.add(definitions_tag());
    candidate.dependencies.add_query(query);
    candidate.is_ordered = query->sortClause != NIL;
    if (!candidate.has_digest) {
        digest_statement(query, (cursor_options & CURSOR_OPT_FAST_PLAN) != 0, parameters != nullptr,
                         candidate.digest);
    }
    // The key is made of what the digest found.
    if (list_difference(candidate.findings.settings, candidate.digest.settings) != NIL) {
        candidate.reasons.add("it reads a setting in a way that the key does not tell");
    }
}

// Whatever reads tables while the query is planned is computed under another snapshot than its rows.
[[nodiscard]] PlannedStmt* plan_watched(Candidate& candidate, Planner planner, Query* query,
                                        const char* source, int cursor_options, ParamListInfo parameters) {
    if (candidate.reasons.any() || !candidate.findings.calls_user_functions) {
        return planner(query, source, cursor_options, parameters);
    }
    Dependencies nested;
    PlannedStmt* plan = nullptr;
    nested.allow_settings(candidate.findings.settings);
    nested.begin();
    PG_TRY();
    { plan = planner(query, source, cursor_options, parameters); }
    PG_CATCH();
    {
        nested.end();
        PG_RE_THROW();
    }
    PG_END_TRY();
    nested.end();
    // A function of the language SQL runs as one even where it reads nothing.
    const bool reads = std::ranges::any_of(nested.tags(), [](Tag tag) { return tag != names_tag(); });
    if ((reads && candidate.findings.folds_user_functions) || nested.untracked() || nested.overflow()) {
        candidate.reasons.add("it runs queries when it is planned");
    } else {
        // Of STABLE functions, for estimates. What they call may keep what it computed then.
        for (const Tag tag : nested.tags()) candidate.dependencies.add(tag);
        if (!nested.tags().empty()) candidate.dependencies.add(names_tag());
    }
    return plan;
}

[[nodiscard]] bool any_of(const List* plans, bool (*is)(const Plan*)) {
    ListCell* cell = nullptr;
    foreach (cell, plans) {
        if (is(static_cast<const Plan*>(lfirst(cell)))) return true;
    }
    return false;
}

[[nodiscard]] bool prunes_at_start(const PartitionPruneInfo* info) noexcept {
    if (info == nullptr) return false;
    ListCell* hierarchy = nullptr;
    foreach (hierarchy, info->prune_infos) {
        ListCell* table = nullptr;
        foreach (table, static_cast<List*>(lfirst(hierarchy))) {
            const auto* pruned = static_cast<const PartitionedRelPruneInfo*>(lfirst(table));
            if (pruned->initial_pruning_steps != NIL) return true;
        }
    }
    return false;
}

// Are partitions chosen before our node, which watches what that runs, is started?
#if PG_VERSION_NUM >= 180000
[[nodiscard]] bool prunes_unwatched(const PlannedStmt* plan) noexcept {
    ListCell* cell = nullptr;
    foreach (cell, plan->partPruneInfos) {
        if (prunes_at_start(static_cast<const PartitionPruneInfo*>(lfirst(cell)))) return true;
    }
    return false;
}
#else
[[nodiscard]] bool prunes_at_start(const Plan* plan) {
    if (plan == nullptr) return false;
    check_stack_depth();
    bool found = prunes_at_start(plan->lefttree) || prunes_at_start(plan->righttree);
    if (IsA(plan, Append)) {
        const auto* append = reinterpret_cast<const Append*>(plan);
        found =
            found || prunes_at_start(append->part_prune_info) || any_of(append->appendplans, prunes_at_start);
    } else if (IsA(plan, MergeAppend)) {
        const auto* append = reinterpret_cast<const MergeAppend*>(plan);
        found =
            found || prunes_at_start(append->part_prune_info) || any_of(append->mergeplans, prunes_at_start);
    } else if (IsA(plan, SubqueryScan)) {
        found = found || prunes_at_start(reinterpret_cast<const SubqueryScan*>(plan)->subplan);
    }
    return found;
}

[[nodiscard]] bool prunes_unwatched(const PlannedStmt* plan) {
    return any_of(plan->subplans, prunes_at_start);
}
#endif

// Of a cursor's plan: does WHERE CURRENT OF find the scan of a table in it? It looks where search_plan_tree()
// does (PostgreSQL's execCurrent.c): not below joins, sorts, aggregates.
[[nodiscard]] bool shows_a_scan(const Plan* plan) {
    if (plan == nullptr) return false;
    check_stack_depth();
    switch (nodeTag(plan)) {
        case T_SeqScan:
        case T_SampleScan:
        case T_IndexScan:
        case T_IndexOnlyScan:
        case T_BitmapHeapScan:
        case T_TidScan:
        case T_TidRangeScan:
        case T_ForeignScan:
        case T_CustomScan:
            return true;
        case T_Result:
        case T_Limit:
            return shows_a_scan(plan->lefttree);
        case T_Append:
            return any_of(reinterpret_cast<const Append*>(plan)->appendplans, shows_a_scan);
        case T_MergeAppend:
            return any_of(reinterpret_cast<const MergeAppend*>(plan)->mergeplans, shows_a_scan);
        case T_SubqueryScan:
            return shows_a_scan(reinterpret_cast<const SubqueryScan*>(plan)->subplan);
        default:
            return false;
    }
}

void examine_plan(Candidate& candidate, PlannedStmt* plan, int cursor_options) {
    if (candidate.reasons.any()) return;
    if ((cursor_options & options_of_cursors) != 0 && shows_a_scan(plan->planTree)) {
        candidate.reasons.add("it is a cursor's query, and WHERE CURRENT OF may name its rows");
    }
    candidate.dependencies.add_plan(plan);
    query_check::check_plan(plan, candidate.reasons);
    if (plan->parallelModeNeeded && candidate.findings.calls_user_functions) {
        candidate.reasons.add("parallel workers run functions that may read tables");
    }
    if (candidate.findings.calls_user_functions && prunes_unwatched(plan)) {
        candidate.reasons.add("functions that may read tables say which partitions are read");
    }
    if (candidate.dependencies.overflow()) {
        candidate.reasons.add("it depends on more than %d tables, schemas, functions and types",
                              Dependencies::limit);
    }
    if (plan->planTree->total_cost < settings::min_cost) {
        candidate.reasons.add("it costs less than tiercache.min_cost");
    }
}

[[nodiscard]] List* numbers_of(const Bitmapset* set) {
    List* numbers = NIL;
    int number = -1;
    while ((number = bms_next_member(set, number)) >= 0) numbers = lappend_int(numbers, number);
    return numbers;
}

[[nodiscard]] tuple_payload::DependsOn rows_depend_on(const query_check::Findings& findings) noexcept {
    using tuple_payload::DependsOn;
    if (findings.calls_user_functions || findings.settings != NIL) return DependsOn::anything;
    return findings.reads_session ? DependsOn::session : DependsOn::nothing;
}

void put_on_top(const Candidate& candidate, PlannedStmt* plan) {
    const bool refused = candidate.reasons.any();
    const std::uint64_t us = (monotonic_ns() - candidate.started_ns) / 1000;
    cache_scan::Facts facts{};
    facts.plan_age = candidate.age;
    facts.plan_us = static_cast<std::uint32_t>(std::min<std::uint64_t>(us, UINT32_MAX));
    if (refused) {
        facts.refusal = candidate.reasons.joined();
    } else {
        facts.calls_user_functions = candidate.findings.calls_user_functions;
        facts.reads_ahead = read_ahead::is_unnoticed(plan->planTree);
        facts.is_ordered = candidate.is_ordered;
        facts.rows_depend_on = rows_depend_on(candidate.findings);
        facts.tag_count = static_cast<std::uint32_t>(candidate.dependencies.tags().size());
        facts.tags = candidate.dependencies.tags().data();
        facts.text = pnstrdup(candidate.text.data(), candidate.text.size());
        facts.digest = pstrdup(candidate.digest.text);
        facts.parameters = numbers_of(candidate.digest.parameters);
        facts.settings = candidate.digest.settings;
    }
    cache_scan::put_on_top(plan, facts);
}

// As PostgreSQL does it, but the planner is told that it plans for EXPLAIN.
void explain_query(Query* query, int cursor_options, IntoClause* into, ExplainState* es, const char* source,
                   ParamListInfo parameters, QueryEnvironment* environment) {
    explained_query = query;
    if (previous_explain_hook != nullptr) {
        previous_explain_hook(query, cursor_options, into, es, source, parameters, environment);
        return;
    }
#if PG_VERSION_NUM >= 170000
    standard_ExplainOneQuery(query, cursor_options, into, es, source, parameters, environment);
#else
    instr_time start;
    instr_time duration;
    BufferUsage buffers_at_start = pgBufferUsage;
    BufferUsage buffers{};
    INSTR_TIME_SET_CURRENT(start);
    PlannedStmt* plan = pg_plan_query(query, source, cursor_options, parameters);
    INSTR_TIME_SET_CURRENT(duration);
    INSTR_TIME_SUBTRACT(duration, start);
    if (es->buffers) BufferUsageAccumDiff(&buffers, &pgBufferUsage, &buffers_at_start);
    ExplainOnePlan(plan, into, es, source, parameters, environment, &duration,
                   es->buffers ? &buffers : nullptr);
#endif
}

}  // namespace

namespace {

// Plan the next query as if no answer were there.
bool wants_child = false;

// A client's own statement, which runs as soon as it is planned; most are then forgotten. A named one without
// parameters keeps its plan.
[[nodiscard]] bool runs_at_once(const char* source, int cursor_options) noexcept {
    return source != nullptr && source == debug_query_string && (cursor_options & options_of_cursors) == 0;
}

// EXCEPT and INTERSECT are planned with one column more.
[[nodiscard]] bool has_planned_columns(const Node* operation) noexcept {
    if (operation == nullptr || !IsA(operation, SetOperationStmt)) return false;
    const auto* set = reinterpret_cast<const SetOperationStmt*>(operation);
    return set->op != SETOP_UNION || has_planned_columns(set->larg) || has_planned_columns(set->rarg);
}

// Is there an entry that a look-up would find now?
[[nodiscard]] bool has_entry(const cache_scan::Facts& facts, ParamListInfo parameters, l4_cache::Key& key,
                             EntryView& entry) {
    const char* reason = nullptr;
    if (!cache_scan::make_key(facts, parameters, key, reason)) return false;
    if (!l4_cache::peek(key, entry) || entry.fields.lifetime.expired_at(monotonic_coarse_ns())) return false;
    std::array<Tag, max_entry_tags> room;
    const std::span<const Tag> tags = entry.tags.copy_to(room);
    if (check_for_transaction(tags, entry.fields.stamp, entry.fields.epoch) != Verdict::fresh) return false;
    if (!read_locks::are_needed(read_locks::Asked::by_plan)) return true;
    if (!read_locks::are_known(tags)) return false;
    // Before the snapshot of the query is taken, as the planner locks what it finds. The look-up judges
    // again.
    read_locks::take(tags);
    return true;
}

[[nodiscard]] std::uint64_t refusal_hash(const Query* query, const char* source) {
    return refusals::hash_of(source, query->stmt_location, session_key());
}

// The plan of a query that needs none, since its answer is there; else nullptr. The entry is the proof that
// the query can be cached: its key says all that was examined then, and its tags tell when that changed.
[[nodiscard]] PlannedStmt* leave_out(Candidate& candidate, Query* query, const char* source,
                                     ParamListInfo parameters) {
    if (settings::verify != static_cast<int>(settings::Verify::off) || query->rowMarks != NIL ||
        query->hasModifyingCTE || has_planned_columns(query->setOperations) ||
        !statement_text(query, source, false, candidate.text)) {
        return nullptr;
    }
    digest_statement(query, false, parameters != nullptr, candidate.digest);
    candidate.has_digest = true;
    cache_scan::Facts facts{};
    facts.plan_age = candidate.age;
    facts.text = pnstrdup(candidate.text.data(), candidate.text.size());
    facts.digest = candidate.digest.text;
    facts.parameters = numbers_of(candidate.digest.parameters);
    facts.settings = candidate.digest.settings;
    l4_cache::Key key;
    EntryView entry;
    if (!has_entry(facts, parameters, key, entry)) return nullptr;
    facts.digest = pstrdup(facts.digest);
    return cache_scan::make_childless(query, facts, key, entry);
}

#ifdef TIERCACHE_PAUSE_POINTS
// tiercache.repeat: the query is run to its end when it is planned, so that it is served without a plan.
[[nodiscard]] PlannedStmt* fill_and_leave_out(PlannedStmt* plan, Query* query, const char* source,
                                              ParamListInfo parameters) {
    QueryDesc* fill = CreateQueryDesc(copyObject(plan), source, GetActiveSnapshot(), InvalidSnapshot,
                                      None_Receiver, parameters, nullptr, 0);
    fill->plannedstmt->queryId = 0;
    ExecutorStart(fill, 0);
    pg::run_to_end(fill);
    ExecutorFinish(fill);
    ExecutorEnd(fill);
    FreeQueryDesc(fill);
    Candidate candidate{};
    candidate.age = plan_age_now();
    return leave_out(candidate, query, source, parameters);
}
#endif

}  // namespace

namespace {

[[nodiscard]] PlannedStmt* plan_for_mode(Planner planner, Query* query, const char* source,
                                         int cursor_options, ParamListInfo parameters) {
    const bool explained = query == explained_query;
    explained_query = nullptr;
    const bool wants_own_plan = std::exchange(wants_child, false);
    if (!is_wanted(query, cursor_options) || (explained && hides_from_explain())) {
        return planner(query, source, cursor_options & ~cursor_option_plain, parameters);
    }
    const bool once = !wants_own_plan && !explained && runs_at_once(source, cursor_options);
    if (once && bypass_reason() != nullptr) {
        // It will not be able to use the cache when it runs, either.
        pg_atomic_fetch_add_u64(&shared::state().counters.bypasses, 1);
        return planner(query, source, cursor_options, parameters);
    }
    if (!explained && source != nullptr && refusals::any() &&
        refusals::contains(refusal_hash(query, source))) {
        return planner(query, source, cursor_options, parameters);
    }
    Candidate candidate{};
    candidate.age = plan_age_now();
    // What the plan is made of must be as new as its age.
    AcceptInvalidationMessages();
    if (once) {
        PlannedStmt* childless = leave_out(candidate, query, source, parameters);
        if (childless != nullptr) {
            pause_point(PausePoint::plan_left_out);
            return childless;
        }
    }
    candidate.started_ns = monotonic_ns();
    examine(candidate, query, source, cursor_options, parameters, explained);
    if (source != nullptr && candidate.reasons.any()) refusals::add(refusal_hash(query, source));
#ifdef TIERCACHE_PAUSE_POINTS
    auto* untouched = once && settings::repeat ? copyObject(query) : nullptr;
#endif
    PlannedStmt* plan = plan_watched(candidate, planner, query, source, cursor_options, parameters);
    examine_plan(candidate, plan, cursor_options);
    // EXPLAIN says why not.
    if (explained || !candidate.reasons.any()) put_on_top(candidate, plan);
#ifdef TIERCACHE_PAUSE_POINTS
    if (untouched != nullptr && !candidate.reasons.any()) {
        PlannedStmt* childless = fill_and_leave_out(plan, untouched, source, parameters);
        if (childless != nullptr) return childless;
    }
#endif
    return plan;
}

}  // namespace

PlannedStmt* plan(Planner planner, Query* query, const char* source, int cursor_options,
                  ParamListInfo parameters) {
    const bool is_nested = source == nullptr || source != debug_query_string;
    // Other modules' planners are not gone around.
    if (!is_nested && query != explained_query && planner == standard_planner &&
        (cursor_options & options_of_cursors) == 0) {
        if (PlannedStmt* call = call_plan::make(query); call != nullptr) return call;
    }
    const List* settings_read = is_nested ? nested_settings::read_by(query) : nullptr;
    PlannedStmt* plan = plan_for_mode(planner, query, source, cursor_options, parameters);
    nested_settings::note(plan, settings_read);
    return plan;
}

PlannedStmt* plan_with_child(Query* query, const char* source, ParamListInfo parameters) {
    wants_child = true;
    return pg_plan_query(query, source, 0, parameters);
}

void install_hooks() {
    cache_scan::register_methods();
    previous_explain_hook = ExplainOneQuery_hook;
    ExplainOneQuery_hook = explain_query;
}

}  // namespace tiercache::transparent
