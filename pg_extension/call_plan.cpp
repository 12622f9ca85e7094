#include "pg_extension/call_plan.hpp"

#include <cstring>

#include "pg_extension/query_compat.hpp"

extern "C" {
#include <access/htup_details.h>
#include <catalog/pg_language.h>
#include <catalog/pg_proc.h>
#include <catalog/pg_type.h>
#include <fmgr.h>
#include <nodes/makefuncs.h>
#include <nodes/nodeFuncs.h>
#include <utils/inval.h>
#include <utils/syscache.h>

Datum tiercache_query(PG_FUNCTION_ARGS);
Datum tiercache_query_json(PG_FUNCTION_ARGS);
}

namespace tiercache::call_plan {

namespace {

struct OwnFunction {
    const char* name;
    PGFunction address;
};
constexpr OwnFunction json_function{"query_json", tiercache_query_json};
constexpr OwnFunction rows_function{"query", tiercache_query};

// Others of that name in C are asked for their address, too, which loads their library.
[[nodiscard]] bool is_named(Oid function, const char* name) {
    HeapTuple row = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
    if (!HeapTupleIsValid(row)) return false;
    const auto* known = reinterpret_cast<Form_pg_proc>(GETSTRUCT(row));
    const bool named = known->prolang == ClanguageId && std::strcmp(NameStr(known->proname), name) == 0;
    ReleaseSysCache(row);
    return named;
}

// The call, if it is one of that function with one literal as its argument.
[[nodiscard]] const FuncExpr* call_of(const Node* node, const OwnFunction& function) {
    if (node == nullptr || !IsA(node, FuncExpr)) return nullptr;
    const auto* call = reinterpret_cast<const FuncExpr*>(node);
    if (list_length(call->args) != 1 || call->funcvariadic) return nullptr;
    const auto* argument = static_cast<const Node*>(linitial(call->args));
    if (!IsA(argument, Const) || reinterpret_cast<const Const*>(argument)->consttype != TEXTOID ||
        !is_named(call->funcid, function.name)) {
        return nullptr;
    }
    FmgrInfo called;
    fmgr_info(call->funcid, &called);
    return called.fn_addr == function.address && called.fn_nargs == 1 ? call : nullptr;
}

// A list of columns and where they come from, and nothing else.
[[nodiscard]] bool is_plain(const Query* query) noexcept {
    return query->commandType == CMD_SELECT && query->utilityStmt == nullptr && !query->hasAggs &&
           !query->hasWindowFuncs && !query->hasTargetSRFs && !query->hasSubLinks &&
           !query->hasModifyingCTE && !query->hasForUpdate && query->cteList == NIL &&
           query->jointree->quals == nullptr && query->groupClause == NIL && query->groupingSets == NIL &&
           query->havingQual == nullptr && query->windowClause == NIL && query->distinctClause == NIL &&
           query->sortClause == NIL && query->limitOffset == nullptr && query->limitCount == nullptr &&
           query->rowMarks == NIL && query->setOperations == nullptr;
}

// Prepared statements are planned anew when the function changes.
[[nodiscard]] List* dependency_on(const FuncExpr* call) {
    auto* item = makeNode(PlanInvalItem);
    item->cacheId = PROCOID;
    item->hashValue = GetSysCacheHashValue1(PROCOID, ObjectIdGetDatum(call->funcid));
    return list_make1(item);
}

[[nodiscard]] PlannedStmt* statement_of(const Query* query, Plan* plan, const FuncExpr* call) {
    plan->targetlist = query->targetList;
    auto* statement = makeNode(PlannedStmt);
    statement->commandType = CMD_SELECT;
    statement->queryId = query->queryId;
    statement->canSetTag = query->canSetTag;
    statement->stmt_location = query->stmt_location;
    statement->stmt_len = query->stmt_len;
    statement->planTree = plan;
    statement->rtable = query->rtable;
    statement->invalItems = dependency_on(call);
    return statement;
}

[[nodiscard]] PlannedStmt* value_of_call(const Query* query) {
    if (query->rtable != NIL || list_length(query->targetList) != 1) return nullptr;
    const auto* column = linitial_node(TargetEntry, query->targetList);
    const FuncExpr* call = call_of(reinterpret_cast<const Node*>(column->expr), json_function);
    if (call == nullptr || column->resjunk) return nullptr;
    auto* result = makeNode(Result);
    result->plan.plan_rows = 1;
    return statement_of(query, &result->plan, call);
}

[[nodiscard]] bool are_columns_of_call(List* columns) noexcept {
    ListCell* cell = nullptr;
    foreach (cell, columns) {
        const auto* column = lfirst_node(TargetEntry, cell);
        if (column->resjunk || !IsA(column->expr, Var)) return false;
        const auto* variable = reinterpret_cast<const Var*>(column->expr);
        if (variable->varno != 1 || variable->varlevelsup != 0 || variable->varattno <= 0) return false;
    }
    return columns != NIL;
}

[[nodiscard]] PlannedStmt* rows_of_call(const Query* query) {
    if (list_length(query->rtable) != 1 || list_length(query->jointree->fromlist) != 1 ||
        !IsA(linitial(query->jointree->fromlist), RangeTblRef) || !are_columns_of_call(query->targetList)) {
        return nullptr;
    }
    const auto* source = linitial_node(RangeTblEntry, query->rtable);
    if (source->rtekind != RTE_FUNCTION || source->funcordinality || source->securityQuals != NIL ||
        list_length(source->functions) != 1) {
        return nullptr;
    }
    const auto* function = linitial_node(RangeTblFunction, source->functions);
    const FuncExpr* call = call_of(function->funcexpr, rows_function);
    if (call == nullptr) return nullptr;
    auto* scan = makeNode(FunctionScan);
    scan->scan.scanrelid = 1;
    scan->functions = source->functions;
    return statement_of(query, &scan->scan.plan, call);
}

}  // namespace

PlannedStmt* make(Query* query) {
    if (!is_plain(query)) return nullptr;
    return query->jointree->fromlist == NIL ? value_of_call(query) : rows_of_call(query);
}

}  // namespace tiercache::call_plan
