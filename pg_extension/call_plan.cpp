#include "pg_extension/call_plan.hpp"

#include <cstring>

#include "pg_extension/planned_statement.hpp"
#include "pg_extension/query_compat.hpp"

extern "C" {
#include <access/htup_details.h>
#include <catalog/pg_language.h>
#include <catalog/pg_proc.h>
#include <catalog/pg_type.h>
#include <fmgr.h>
#include <nodes/makefuncs.h>
#include <nodes/nodeFuncs.h>
#include <optimizer/optimizer.h>
#include <utils/inval.h>
#include <utils/lsyscache.h>
#include <utils/syscache.h>

Datum tiercache_query(PG_FUNCTION_ARGS);
Datum tiercache_query_json(PG_FUNCTION_ARGS);
}

namespace tiercache::call_plan {

namespace {

// A function of ours; and under which number the catalog has it, as it was seen last.
struct OwnFunction {
    const char* name;
    PGFunction address;
    Oid oid;
    double cost;  // of one call, per cpu_operator_cost
    double rows;
};
OwnFunction json_function{"query_json", tiercache_query_json, InvalidOid, 0, 0};
OwnFunction rows_function{"query", tiercache_query, InvalidOid, 0, 0};
bool callback_registered = false;

void on_function_change(Datum /*argument*/, int /*cache*/, uint32 /*hash*/) {
    json_function.oid = rows_function.oid = InvalidOid;
}

// Of other modules' functions no library is loaded here: that is for the executor to do, which asks for
// rights before.
[[nodiscard]] bool is_in_catalog(Oid oid, OwnFunction& function) {
    HeapTuple row = SearchSysCache1(PROCOID, ObjectIdGetDatum(oid));
    if (!HeapTupleIsValid(row)) return false;
    const auto* known = reinterpret_cast<Form_pg_proc>(GETSTRUCT(row));
    const bool named = known->prolang == ClanguageId && known->pronargs == 1 &&
                       std::strcmp(NameStr(known->proname), function.name) == 0;
    const double cost = known->procost;
    const double rows = known->prorows;
    ReleaseSysCache(row);
    if (!named || !pg::may_call(oid)) return false;
    FmgrInfo called;
    fmgr_info(oid, &called);
    if (called.fn_addr != function.address) return false;
    if (!callback_registered) CacheRegisterSyscacheCallback(PROCOID, on_function_change, Datum{0});
    callback_registered = true;
    function.oid = oid;
    function.cost = cost;
    function.rows = rows;
    return true;
}

struct Call {
    const FuncExpr* expression;
    double cost;  // of one, in the planner's units
    double rows;
};

// The call, if it is one of that function with one literal as its argument.
[[nodiscard]] bool find_call(const Node* node, OwnFunction& function, Call& call) {
    if (node == nullptr || !IsA(node, FuncExpr)) return false;
    call.expression = reinterpret_cast<const FuncExpr*>(node);
    if (list_length(call.expression->args) != 1 || call.expression->funcvariadic) return false;
    const auto* argument = static_cast<const Node*>(linitial(call.expression->args));
    if (!IsA(argument, Const)) return false;
    const auto* literal = reinterpret_cast<const Const*>(argument);
    // The planner calls no strict function with NULL.
    if (literal->consttype != TEXTOID || literal->constisnull) return false;
    const Oid oid = call.expression->funcid;
    if (oid == function.oid ? !pg::may_call(oid) : !is_in_catalog(oid, function)) return false;
    call.cost = function.cost * cpu_operator_cost;
    call.rows = function.rows;
    return true;
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
[[nodiscard]] List* dependency_on(const Call& call) {
    auto* item = makeNode(PlanInvalItem);
    item->cacheId = PROCOID;
    item->hashValue = GetSysCacheHashValue1(PROCOID, ObjectIdGetDatum(call.expression->funcid));
    return list_make1(item);
}

// For EXPLAIN of a statement that was prepared.
void estimate(Plan* plan, const Call& call, double rows) {
    plan->plan_rows = rows;
    plan->startup_cost = call.cost;
    plan->total_cost = call.cost + rows * cpu_tuple_cost;
    ListCell* cell = nullptr;
    foreach (cell, plan->targetlist) {
        const auto* column = reinterpret_cast<Node*>(lfirst_node(TargetEntry, cell)->expr);
        plan->plan_width += get_typavgwidth(exprType(column), exprTypmod(column));
    }
}

[[nodiscard]] PlannedStmt* statement_of(const Query* query, Plan* plan, const Call& call, double rows) {
    plan->targetlist = query->targetList;
    estimate(plan, call, rows);
    PlannedStmt* statement = make_planned_statement(query, plan);
    statement->rtable = query->rtable;
    statement->invalItems = dependency_on(call);
    return statement;
}

[[nodiscard]] PlannedStmt* value_of_call(const Query* query) {
    if (query->rtable != NIL || list_length(query->targetList) != 1) return nullptr;
    const auto* column = linitial_node(TargetEntry, query->targetList);
    Call call{};
    if (column->resjunk || !find_call(reinterpret_cast<const Node*>(column->expr), json_function, call)) {
        return nullptr;
    }
    return statement_of(query, &makeNode(Result)->plan, call, 1);
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
    Call call{};
    if (!find_call(function->funcexpr, rows_function, call)) return nullptr;
    auto* scan = makeNode(FunctionScan);
    scan->scan.scanrelid = 1;
    scan->functions = source->functions;
    return statement_of(query, &scan->scan.plan, call, call.rows);
}

}  // namespace

PlannedStmt* make(Query* query) {
    if (!is_plain(query)) return nullptr;
    return query->jointree->fromlist == NIL ? value_of_call(query) : rows_of_call(query);
}

}  // namespace tiercache::call_plan
