// Parser, planner and executor: the differences between server versions 14 to 18 on the query side.
#pragma once

#include "pg_extension/pg.hpp"

extern "C" {
#include <access/htup_details.h>
#include <catalog/namespace.h>
#include <catalog/pg_proc.h>
#include <executor/executor.h>
#include <nodes/nodeFuncs.h>
#include <parser/analyze.h>
#include <parser/parse_relation.h>
#include <utils/acl.h>
#include <utils/guc_tables.h>
#if PG_VERSION_NUM >= 160000
#include <varatt.h>
#endif
}

namespace tiercache::pg {

inline Query* analyze(RawStmt* statement, const char* text, Oid** parameter_types, int* parameter_count) {
#if PG_VERSION_NUM >= 150000
    return parse_analyze_varparams(statement, text, parameter_types, parameter_count, nullptr);
#else
    return parse_analyze_varparams(statement, text, parameter_types, parameter_count);
#endif
}

inline void run_to_end(QueryDesc* query) {
#if PG_VERSION_NUM >= 180000
    ExecutorRun(query, ForwardScanDirection, 0);
#else
    ExecutorRun(query, ForwardScanDirection, 0, true);
#endif
}

inline MinimalTuple form_minimal_tuple(TupleDesc description, Datum* values, bool* is_null) {
#if PG_VERSION_NUM >= 180000
    return heap_form_minimal_tuple(description, values, is_null, 0);
#else
    return heap_form_minimal_tuple(description, values, is_null);
#endif
}

// May the current role read what the plan reads? Raises the usual error when not.
inline void check_plan_permissions(PlannedStmt* plan) {
#if PG_VERSION_NUM >= 160000
    (void)ExecCheckPermissions(plan->rtable, plan->permInfos, true);
#else
    (void)ExecCheckRTPerms(plan->rtable, true);
#endif
}

// What the plan may read was checked already.
inline void waive_plan_permissions(PlannedStmt* plan) {
    ListCell* cell = nullptr;
#if PG_VERSION_NUM >= 160000
    foreach (cell, plan->permInfos) static_cast<RTEPermissionInfo*>(lfirst(cell))->requiredPerms = 0;
#else
    foreach (cell, plan->rtable) static_cast<RangeTblEntry*>(lfirst(cell))->requiredPerms = 0;
#endif
}

// May the current role call it?
inline bool may_call(Oid function) {
#if PG_VERSION_NUM >= 160000
    return object_aclcheck(ProcedureRelationId, function, GetUserId(), ACL_EXECUTE) == ACLCHECK_OK;
#else
    return pg_proc_aclcheck(function, GetUserId(), ACL_EXECUTE) == ACLCHECK_OK;
#endif
}

// The tables and views that the plan names, for an executor that opens none of them.
inline void init_range_table(EState* executor, PlannedStmt* plan) {
#if PG_VERSION_NUM >= 180000
    ExecInitRangeTable(executor, plan->rtable, plan->permInfos, bms_copy(plan->unprunableRelids));
#elif PG_VERSION_NUM >= 160000
    ExecInitRangeTable(executor, plan->rtable, plan->permInfos);
#else
    ExecInitRangeTable(executor, plan->rtable);
#endif
}

// Is it a table or a view? Since 16 a view is the subquery in its place; before, an entry beside that.
inline bool names_relation(const RangeTblEntry* entry) {
    return entry->rtekind == RTE_RELATION || (entry->rtekind == RTE_SUBQUERY && OidIsValid(entry->relid));
}

// Lists a table or view of the query in the plan, with the rights to check.
inline void add_relation(PlannedStmt* plan, const Query* query, RangeTblEntry* entry) {
#if PG_VERSION_NUM >= 160000
    auto* own = makeNode(RangeTblEntry);
    *own = *entry;
    own->subquery = nullptr;
    own->securityQuals = NIL;
    if (entry->perminfoindex != 0) {
        plan->permInfos = lappend(plan->permInfos, getRTEPermissionInfo(query->rteperminfos, entry));
        own->perminfoindex = static_cast<Index>(list_length(plan->permInfos));
    }
    entry = own;
#else
    (void)query;
#endif
    plan->rtable = lappend(plan->rtable, entry);
    plan->relationOids = lappend_oid(plan->relationOids, entry->relid);
}

using TreeWalker = bool (*)(Node*, void*);

#if PG_VERSION_NUM < 160000
// The walkers of older servers take a function without a prototype.
inline auto unprototyped(TreeWalker walker) {
    return reinterpret_cast<bool (*)()>(reinterpret_cast<void (*)()>(walker));
}
#else
inline auto unprototyped(TreeWalker walker) { return walker; }
#endif

inline bool walk_query(Query* query, TreeWalker walker, void* context, int flags) {
    return query_tree_walker(query, unprototyped(walker), context, flags);
}
inline bool walk_expression(Node* node, TreeWalker walker, void* context) {
    return expression_tree_walker(node, unprototyped(walker), context);
}
// A column of JOIN ... USING that is made of both sides', or of one by a cast, is defined with the join
// alone: walks of queries that leave these definitions out miss what it calls.
inline bool walk_merged_columns(const RangeTblEntry* join, TreeWalker walker, void* context) {
    ListCell* cell = nullptr;
    foreach (cell, join->joinaliasvars) {
        auto* column = static_cast<Node*>(lfirst(cell));
        if (column != nullptr && !IsA(column, Var) && walker(column, context)) return true;
    }
    return false;
}
inline bool walk_raw(Node* node, TreeWalker walker, void* context) {
    return raw_expression_tree_walker(node, unprototyped(walker), context);
}

// The text of a literal in a raw parse tree; nullptr when it is not a string.
inline const char* string_literal(const A_Const* literal) {
#if PG_VERSION_NUM >= 150000
    if (literal->isnull || !IsA(&literal->val, String)) return nullptr;
    return literal->val.sval.sval;
#else
    return literal->val.type == T_String ? literal->val.val.str : nullptr;
#endif
}

// Which of <, <=, >=, > a comparison of rows is.
inline int row_comparison(const RowCompareExpr* comparison) {
#if PG_VERSION_NUM >= 180000
    return static_cast<int>(comparison->cmptype);
#else
    return static_cast<int>(comparison->rctype);
#endif
}

// The description of a setting, which lives as long as the process; nullptr when there is none of that name.
inline config_generic* find_setting(const char* name) {
#if PG_VERSION_NUM >= 160000
    return find_option(name, false, true, 0);
#else
    config_generic** all = get_guc_variables();
    for (int i = 0; i < GetNumConfigOptions(); ++i) {
        if (pg_strcasecmp(all[i]->name, name) == 0) return all[i];
    }
    return nullptr;
#endif
}

// The resolved search path, and whether it is still what names are looked up in. Cheap to compare.
#if PG_VERSION_NUM >= 170000
using SearchPath = SearchPathMatcher;
inline SearchPath* search_path_now(MemoryContext context) { return GetSearchPathMatcher(context); }
inline bool is_search_path(SearchPath* path) { return SearchPathMatchesCurrentEnvironment(path); }
#else
using SearchPath = OverrideSearchPath;
inline SearchPath* search_path_now(MemoryContext context) { return GetOverrideSearchPath(context); }
inline bool is_search_path(SearchPath* path) { return OverrideSearchPathMatchesCurrent(path); }
#endif

}  // namespace tiercache::pg
