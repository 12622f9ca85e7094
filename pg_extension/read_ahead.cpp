#include "pg_extension/read_ahead.hpp"

extern "C" {
#include <access/htup_details.h>
#include <access/stratnum.h>
#include <catalog/pg_index.h>
#include <miscadmin.h>
#include <nodes/primnodes.h>
#include <utils/lsyscache.h>
#include <utils/syscache.h>
}

namespace tiercache::read_ahead {

namespace {

// Only columns of the plan below: nothing is computed that may fail.
[[nodiscard]] bool copies_columns(const List* targets) noexcept {
    ListCell* cell = nullptr;
    foreach (cell, targets) {
        const auto* target = static_cast<const TargetEntry*>(lfirst(cell));
        if (!IsA(target->expr, Var) && !IsA(target->expr, Const)) return false;
    }
    return true;
}

[[nodiscard]] bool is_one(const Node* count) noexcept {
    if (count == nullptr || !IsA(count, Const)) return false;
    const auto* constant = reinterpret_cast<const Const*>(count);
    return !constant->constisnull && DatumGetInt64(constant->constvalue) <= 1;
}

// Does the index hold one row at most for the conditions, at any time?
[[nodiscard]] bool finds_one_row(Oid index, const List* conditions) {
    HeapTuple row = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
    if (!HeapTupleIsValid(row)) return false;
    const auto* fields = reinterpret_cast<Form_pg_index>(GETSTRUCT(row));
    const bool is_unique = fields->indisunique && fields->indimmediate;
    const int columns = fields->indnkeyatts;
    ReleaseSysCache(row);
    if (!is_unique || list_length(conditions) != columns) return false;
    ListCell* cell = nullptr;
    foreach (cell, conditions) {
        auto* condition = static_cast<OpExpr*>(lfirst(cell));
        // Conditions on the same column twice leave another one open.
        const auto* left = IsA(condition, OpExpr) ? static_cast<Node*>(linitial(condition->args)) : nullptr;
        if (left == nullptr || !IsA(left, Var)) return false;
        if (reinterpret_cast<const Var*>(left)->varattno != foreach_current_index(cell) + 1) return false;
        // Every B-tree operator class calls its equality so; others have no unique indexes.
        const char* name = get_opname(condition->opno);
        if (name == nullptr || name[0] != '=' || name[1] != '\0') return false;
    }
    return true;
}

}  // namespace

bool is_unnoticed(const Plan* plan) {
    check_stack_depth();
    switch (nodeTag(plan)) {
        case T_Sort:
            return true;
        case T_Limit:
            // It looks at no row behind its last one, and what its plan has computed it has.
            return is_one(reinterpret_cast<const Limit*>(plan)->limitCount) &&
                   reinterpret_cast<const Limit*>(plan)->limitOption == LIMIT_OPTION_COUNT;
        case T_Agg: {
            const auto* aggregate = reinterpret_cast<const Agg*>(plan);
            return aggregate->aggstrategy == AGG_PLAIN && aggregate->groupingSets == NIL;
        }
        case T_Material:
            return is_unnoticed(outerPlan(plan));
        case T_IndexScan: {
            const auto* scan = reinterpret_cast<const IndexScan*>(plan);
            return finds_one_row(scan->indexid, scan->indexqual);
        }
        case T_IndexOnlyScan: {
            const auto* scan = reinterpret_cast<const IndexOnlyScan*>(plan);
            return finds_one_row(scan->indexid, scan->indexqual);
        }
        case T_Result: {
            const Plan* child = outerPlan(plan);
            if (child == nullptr) return true;
            return copies_columns(plan->targetlist) && plan->qual == NIL && is_unnoticed(child);
        }
        default:
            return false;
    }
}

}  // namespace tiercache::read_ahead
