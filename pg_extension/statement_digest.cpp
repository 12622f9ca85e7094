#include "pg_extension/statement_digest.hpp"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>

#include "pg_extension/promised_settings.hpp"
#include "pg_extension/query_compat.hpp"
#include "pg_extension/shared_state.hpp"
#include "pg_extension/stable_functions.hpp"

extern "C" {
#include <catalog/pg_class.h>
#include <jit/jit.h>
#include <nodes/value.h>
#include <optimizer/cost.h>
#include <optimizer/geqo.h>
#include <optimizer/optimizer.h>
#include <optimizer/paths.h>
#include <optimizer/planmain.h>
#include <utils/datum.h>
#include <utils/plancache.h>
}

namespace tiercache {

namespace {

// What was fed, and the hash of what no longer fits: it goes first then, so that the last hash is of all.
struct Walk {
    std::array<char, 4096> bytes;
    std::size_t used;
    Bitmapset* parameters;
    List* settings;
    bool reads_partitions;
};

[[nodiscard]] XXH128_canonical_t hash_of(const Walk& walk) noexcept {
    XXH128_canonical_t hash;
    XXH128_canonicalFromHash(
        &hash, XXH3_128bits_withSeed(walk.bytes.data(), walk.used, shared::state().digest_seed));
    return hash;
}

void make_room(Walk& walk) noexcept {
    const XXH128_canonical_t hash = hash_of(walk);
    std::memcpy(walk.bytes.data(), &hash, sizeof(hash));
    walk.used = sizeof(hash);
}

template <class... T>
void feed(Walk& walk, const T&... values) noexcept {
    static_assert((std::is_scalar_v<T> && ...));
    constexpr std::size_t size = (sizeof(T) + ...);
    static_assert(size + sizeof(XXH128_canonical_t) <= sizeof(walk.bytes));
    if (size > walk.bytes.size() - walk.used) make_room(walk);
    char* next = walk.bytes.data() + walk.used;
    ((std::memcpy(next, &values, sizeof(T)), next += sizeof(T)), ...);
    walk.used += size;
}

void feed_bytes(Walk& walk, const void* bytes, std::size_t size) {
    feed(walk, static_cast<std::uint32_t>(size));
    const auto* from = static_cast<const char*>(bytes);
    while (size > 0) {
        if (walk.used == walk.bytes.size()) make_room(walk);
        const std::size_t part = std::min(size, walk.bytes.size() - walk.used);
        std::memcpy(walk.bytes.data() + walk.used, from, part);
        walk.used += part;
        from += part;
        size -= part;
    }
}

void feed_text(Walk& walk, const char* text) {
    if (text == nullptr) text = "";
    feed_bytes(walk, text, std::strlen(text));
}

void feed_names(Walk& walk, List* names) {
    feed(walk, list_length(names));
    ListCell* cell = nullptr;
    foreach (cell, names) feed_text(walk, strVal(lfirst(cell)));
}

// Of a list of integers or of OIDs: both lie in the same place.
void feed_numbers(Walk& walk, List* numbers) {
    feed(walk, list_length(numbers));
    ListCell* cell = nullptr;
    foreach (cell, numbers) feed(walk, lfirst_oid(cell));
}

void feed_constant(Walk& walk, const Const* c) {
    feed(walk, c->consttype, c->consttypmod, c->constcollid, c->constisnull);
    if (c->constisnull) return;
    if (c->constbyval) {
        feed(walk, c->constvalue);
        return;
    }
    feed_bytes(walk, DatumGetPointer(c->constvalue), datumGetSize(c->constvalue, false, c->constlen));
}

void feed_parameter(Walk& walk, const Param* p) {
    feed(walk, static_cast<int>(p->paramkind), p->paramid, p->paramtype, p->paramtypmod, p->paramcollid);
    if (p->paramkind == PARAM_EXTERN && p->paramid > 0) {
        walk.parameters = bms_add_member(walk.parameters, p->paramid);
    }
}

void feed_query(Walk& walk, const Query* q) {
    feed(walk, static_cast<int>(q->commandType), q->hasAggs, q->hasWindowFuncs, q->hasTargetSRFs,
         q->hasDistinctOn, q->hasRecursive, q->groupDistinct, static_cast<int>(q->limitOption));
    feed(walk, list_length(q->rtable), list_length(q->targetList), list_length(q->groupClause),
         list_length(q->groupingSets), list_length(q->windowClause), list_length(q->distinctClause),
         list_length(q->sortClause), list_length(q->cteList));
}

void feed_range_table_entry(Walk& walk, const RangeTblEntry* e) {
    feed(walk, static_cast<int>(e->rtekind), e->relid, e->relkind, e->inh, e->lateral, e->security_barrier,
         e->funcordinality, static_cast<int>(e->jointype), e->ctelevelsup, e->self_reference);
    feed_text(walk, e->ctename);
    feed_text(walk, e->enrname);
    feed_names(walk, e->eref->colnames);
    feed_numbers(walk, e->coltypes);
    feed_numbers(walk, e->coltypmods);
    if (e->rtekind != RTE_JOIN) return;
    feed(walk, e->joinmergedcols);
    feed_numbers(walk, e->joinleftcols);
    feed_numbers(walk, e->joinrightcols);
}

void feed_operator(Walk& walk, const OpExpr* op) {
    feed(walk, op->opno, op->opresulttype, op->opcollid, op->inputcollid);
}

void feed_aggregate(Walk& walk, const Aggref* a) {
    feed(walk, a->aggfnoid, a->aggtype, a->aggcollid, a->inputcollid, a->aggstar, a->aggvariadic, a->aggkind,
         a->agglevelsup, list_length(a->args), list_length(a->aggorder), list_length(a->aggdistinct));
}

void feed_window_clause(Walk& walk, const WindowClause* w) {
    feed(walk, w->frameOptions, w->winref, w->startInRangeFunc, w->endInRangeFunc, w->inRangeColl,
         w->inRangeAsc, w->inRangeNullsFirst, list_length(w->partitionClause), list_length(w->orderClause));
}

void note_settings(Walk& walk, const FuncExpr* call) {
    List* names = NIL;
    if (const char* setting = setting_read_by(reinterpret_cast<const Node*>(call))) {
        names = list_make1(makeString(pstrdup(setting)));
    } else if (call->funcid >= FirstNormalObjectId) {
        (void)promised_settings(call->funcid, names);
    }
    walk.settings = list_union(walk.settings, names);
}

// What nodes say besides their children, for those whose fields tell names, types or structure. False: it is
// a node of another kind.
#define TIERCACHE_NODE(type) const auto* n = reinterpret_cast<const type*>(node)

// Tables, literals, parameters, columns, functions.
bool feed_names_and_values(Walk& walk, Node* node) {
    switch (nodeTag(node)) {
        case T_Query:
            feed_query(walk, reinterpret_cast<const Query*>(node));
            break;
        case T_RangeTblEntry:
            feed_range_table_entry(walk, reinterpret_cast<const RangeTblEntry*>(node));
            break;
        case T_Const:
            feed_constant(walk, reinterpret_cast<const Const*>(node));
            break;
        case T_Param:
            feed_parameter(walk, reinterpret_cast<const Param*>(node));
            break;
        case T_Var: {
            TIERCACHE_NODE(Var);
            feed(walk, n->varno, n->varattno, n->vartype, n->vartypmod, n->varcollid, n->varlevelsup);
            break;
        }
        case T_FuncExpr: {
            TIERCACHE_NODE(FuncExpr);
            feed(walk, n->funcid, n->funcresulttype, n->funcvariadic, n->funccollid, n->inputcollid,
                 list_length(n->args));
            note_settings(walk, n);
            break;
        }
        case T_OpExpr:
        case T_DistinctExpr:
        case T_NullIfExpr:
            feed_operator(walk, reinterpret_cast<const OpExpr*>(node));
            break;
        case T_ScalarArrayOpExpr: {
            TIERCACHE_NODE(ScalarArrayOpExpr);
            feed(walk, n->opno, n->useOr, n->inputcollid);
            break;
        }
        case T_RowCompareExpr: {
            TIERCACHE_NODE(RowCompareExpr);
            feed(walk, pg::row_comparison(n));
            feed_numbers(walk, n->opnos);
            feed_numbers(walk, n->inputcollids);
            break;
        }
        case T_Aggref:
            feed_aggregate(walk, reinterpret_cast<const Aggref*>(node));
            break;
        case T_WindowFunc: {
            TIERCACHE_NODE(WindowFunc);
            feed(walk, n->winfnoid, n->wintype, n->wincollid, n->inputcollid, n->winref, n->winstar,
                 list_length(n->args));
            break;
        }
        default:
            return false;
    }
    return true;
}

// How a query is put together.
bool feed_structure(Walk& walk, Node* node) {
    switch (nodeTag(node)) {
        case T_GroupingFunc: {
            TIERCACHE_NODE(GroupingFunc);
            feed(walk, n->agglevelsup);
            feed_numbers(walk, n->refs);
            break;
        }
        case T_SortGroupClause: {
            TIERCACHE_NODE(SortGroupClause);
            feed(walk, n->tleSortGroupRef, n->eqop, n->sortop, n->nulls_first, n->hashable);
            break;
        }
        case T_WindowClause:
            feed_window_clause(walk, reinterpret_cast<const WindowClause*>(node));
            break;
        case T_TargetEntry: {
            TIERCACHE_NODE(TargetEntry);
            feed(walk, n->resno, n->ressortgroupref, n->resjunk);
            feed_text(walk, n->resname);
            break;
        }
        case T_SubLink: {
            TIERCACHE_NODE(SubLink);
            feed(walk, static_cast<int>(n->subLinkType));
            break;
        }
        case T_BoolExpr: {
            TIERCACHE_NODE(BoolExpr);
            feed(walk, static_cast<int>(n->boolop), list_length(n->args));
            break;
        }
        case T_FromExpr: {
            TIERCACHE_NODE(FromExpr);
            feed(walk, list_length(n->fromlist), n->quals != nullptr);
            break;
        }
        case T_JoinExpr: {
            TIERCACHE_NODE(JoinExpr);
            feed(walk, static_cast<int>(n->jointype), n->rtindex, n->quals != nullptr);
            break;
        }
        case T_RangeTblRef: {
            TIERCACHE_NODE(RangeTblRef);
            feed(walk, n->rtindex);
            break;
        }
        case T_SetOperationStmt: {
            TIERCACHE_NODE(SetOperationStmt);
            feed(walk, static_cast<int>(n->op), n->all);
            feed_numbers(walk, n->colTypes);
            feed_numbers(walk, n->colCollations);
            break;
        }
        case T_CommonTableExpr: {
            TIERCACHE_NODE(CommonTableExpr);
            feed(walk, static_cast<int>(n->ctematerialized), n->cterecursive);
            feed_text(walk, n->ctename);
            break;
        }
        default:
            return false;
    }
    return true;
}

// Expressions that are no calls.
bool feed_expression(Walk& walk, Node* node) {
    switch (nodeTag(node)) {
        case T_CaseExpr: {
            TIERCACHE_NODE(CaseExpr);
            feed(walk, n->casetype, list_length(n->args), n->arg != nullptr, n->defresult != nullptr);
            break;
        }
        case T_MinMaxExpr: {
            TIERCACHE_NODE(MinMaxExpr);
            feed(walk, n->minmaxtype, static_cast<int>(n->op), n->inputcollid, list_length(n->args));
            break;
        }
        case T_NullTest: {
            TIERCACHE_NODE(NullTest);
            feed(walk, static_cast<int>(n->nulltesttype), n->argisrow);
            break;
        }
        case T_BooleanTest: {
            TIERCACHE_NODE(BooleanTest);
            feed(walk, static_cast<int>(n->booltesttype));
            break;
        }
        case T_SQLValueFunction: {
            TIERCACHE_NODE(SQLValueFunction);
            feed(walk, static_cast<int>(n->op), n->typmod);
            break;
        }
        case T_XmlExpr: {
            TIERCACHE_NODE(XmlExpr);
            feed(walk, static_cast<int>(n->op), static_cast<int>(n->xmloption), list_length(n->args));
            feed_text(walk, n->name);
            feed_names(walk, n->arg_names);
            break;
        }
        case T_RowExpr: {
            TIERCACHE_NODE(RowExpr);
            feed(walk, n->row_typeid, list_length(n->args));
            feed_names(walk, n->colnames);
            break;
        }
        case T_FieldSelect: {
            TIERCACHE_NODE(FieldSelect);
            feed(walk, n->fieldnum);
            break;
        }
        case T_SubscriptingRef: {
            TIERCACHE_NODE(SubscriptingRef);
            feed(walk, n->refcontainertype, list_length(n->refupperindexpr), list_length(n->reflowerindexpr));
            break;
        }
        case T_TableFunc: {
            TIERCACHE_NODE(TableFunc);
            feed(walk, n->ordinalitycol);
            feed_names(walk, n->colnames);
            break;
        }
        case T_RangeTblFunction: {
            TIERCACHE_NODE(RangeTblFunction);
            feed_numbers(walk, n->funccoltypes);
            feed_numbers(walk, n->funccoltypmods);
            break;
        }
        case T_CollateExpr: {
            TIERCACHE_NODE(CollateExpr);
            feed(walk, n->collOid);
            break;
        }
        default:
            return false;
    }
    return true;
}

#undef TIERCACHE_NODE

// The types of those whose fields above do not tell them.
void feed_type(Walk& walk, Node* node) {
    switch (nodeTag(node)) {
        case T_RelabelType:
        case T_CoerceViaIO:
        case T_ArrayCoerceExpr:
        case T_ConvertRowtypeExpr:
        case T_CoerceToDomain:
        case T_CoerceToDomainValue:
        case T_ArrayExpr:
        case T_CoalesceExpr:
        case T_FieldSelect:
        case T_FieldStore:
        case T_SubscriptingRef:
            feed(walk, exprType(node), exprTypmod(node), exprCollation(node));
            break;
        default:
            break;
    }
}

// PostgreSQL's walkers do not know these.
void feed_grouping_sets(Walk& walk, List* sets) {
    check_stack_depth();
    feed(walk, list_length(sets));
    ListCell* cell = nullptr;
    foreach (cell, sets) {
        const auto* set = static_cast<const GroupingSet*>(lfirst(cell));
        feed(walk, static_cast<int>(set->kind));
        if (set->kind == GROUPING_SET_SIMPLE) {
            feed_numbers(walk, set->content);
        } else {
            feed_grouping_sets(walk, set->content);
        }
    }
}

bool visit(Node* node, void* context) {
    if (node == nullptr) return false;
    auto& walk = *static_cast<Walk*>(context);
    feed(walk, static_cast<int>(nodeTag(node)));
    if (IsA(node, List)) feed(walk, list_length(reinterpret_cast<List*>(node)));
    if (!feed_names_and_values(walk, node)) {
        if (!feed_structure(walk, node)) (void)feed_expression(walk, node);
        feed_type(walk, node);
    }
    if (IsA(node, RangeTblEntry)) {
        const auto* entry = reinterpret_cast<const RangeTblEntry*>(node);
        walk.reads_partitions |=
            entry->rtekind == RTE_RELATION && entry->relkind == RELKIND_PARTITIONED_TABLE;
        return entry->rtekind == RTE_JOIN && pg::walk_merged_columns(entry, visit, context);
    }
    if (IsA(node, Query)) {
        auto* query = reinterpret_cast<Query*>(node);
        feed_grouping_sets(walk, query->groupingSets);
        return pg::walk_query(query, visit, context,
                              QTW_EXAMINE_RTES_BEFORE | QTW_IGNORE_JOINALIASES | QTW_EXAMINE_SORTGROUP);
    }
    return pg::walk_expression(node, visit, context);
}

// Which plan there will be does not change the rows, but it may change the order of those that no ORDER BY
// orders, and the last digits of sums of floating point numbers.
void feed_planner_settings(Walk& walk) {
    feed(walk, enable_seqscan, enable_indexscan, enable_indexonlyscan, enable_bitmapscan, enable_tidscan,
         enable_sort, enable_incremental_sort, enable_hashagg, enable_nestloop, enable_material,
         enable_memoize, enable_mergejoin, enable_hashjoin, enable_gathermerge, enable_partitionwise_join,
         enable_partitionwise_aggregate, enable_parallel_append, enable_parallel_hash,
         enable_partition_pruning, enable_async_append, enable_geqo);
    feed(walk, seq_page_cost, random_page_cost, cpu_tuple_cost, cpu_index_tuple_cost, cpu_operator_cost,
         parallel_tuple_cost, parallel_setup_cost, cursor_tuple_fraction, hash_mem_multiplier, Geqo_seed,
         Geqo_selection_bias);
    feed(walk, effective_cache_size, constraint_exclusion, from_collapse_limit, join_collapse_limit,
         geqo_threshold, Geqo_effort, Geqo_pool_size, Geqo_generations, min_parallel_table_scan_size,
         min_parallel_index_scan_size, max_parallel_workers_per_gather, parallel_leader_participation,
         plan_cache_mode, work_mem);
#if PG_VERSION_NUM >= 150000
    feed(walk, recursive_worktable_factor);
#endif
#if PG_VERSION_NUM >= 160000
    feed(walk, enable_presorted_aggregate);
#endif
#if PG_VERSION_NUM >= 170000
    feed(walk, enable_group_by_reordering);
#endif
#if PG_VERSION_NUM >= 180000
    feed(walk, enable_self_join_elimination, enable_distinct_reordering);
#endif
}

}  // namespace

void digest_statement(Query* query, bool first_rows_fast, bool parameters_known, StatementDigest& digest) {
    Walk walk;
    walk.used = 0;
    walk.parameters = nullptr;
    walk.settings = NIL;
    walk.reads_partitions = false;
    feed_planner_settings(walk);
    feed(walk, first_rows_fast);
    (void)visit(reinterpret_cast<Node*>(query), &walk);
    // A plan for any parameters reads, and locks, partitions that one for these leaves out.
    if (!parameters_known && walk.parameters != nullptr && walk.reads_partitions) feed(walk, true);

    const XXH128_canonical_t hash = hash_of(walk);
    static_assert(digest_text_bytes == 2 * sizeof(hash.digest));
    constexpr char digits[] = "0123456789abcdef";
    char* next = digest.text;
    for (const unsigned char byte : hash.digest) {
        *next++ = digits[byte >> 4];
        *next++ = digits[byte & 15];
    }
    *next = '\0';
    digest.parameters = walk.parameters;
    digest.settings = walk.settings;
}

}  // namespace tiercache
