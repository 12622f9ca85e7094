#include "pg_extension/nested_settings.hpp"

#include "pg_extension/promised_settings.hpp"
#include "pg_extension/query_compat.hpp"
#include "pg_extension/stable_functions.hpp"

extern "C" {
#include <common/hashfn.h>
#include <nodes/makefuncs.h>
#include <nodes/value.h>
#include <utils/fmgroids.h>
}

namespace tiercache::nested_settings {

namespace {

// No syscache has this number: PostgreSQL never finds that such an item was changed.
constexpr int note_id = -1;
// Of a setting whose name is not known before it is read.
constexpr int any_setting = 0;

[[nodiscard]] List* add_call(List* numbers, FuncExpr* call) {
    auto* node = reinterpret_cast<Node*>(call);
    if (call->funcid == F_CURRENT_SETTING_TEXT || call->funcid == F_CURRENT_SETTING_TEXT_BOOL) {
        const char* name = setting_read_by(node);
        return list_append_unique_int(numbers, name != nullptr ? number_of(name) : any_setting);
    }
    List* names = NIL;
    if (call->funcid < FirstNormalObjectId || !promised_settings(call->funcid, names)) return numbers;
    ListCell* cell = nullptr;
    foreach (cell, names) numbers = list_append_unique_int(numbers, number_of(strVal(lfirst(cell))));
    return numbers;
}

bool visit(Node* node, void* context) {
    if (node == nullptr) return false;
    if (IsA(node, Query)) {
        return pg::walk_query(reinterpret_cast<Query*>(node), visit, context, QTW_IGNORE_JOINALIASES);
    }
    if (IsA(node, FuncExpr)) {
        auto& numbers = *static_cast<List**>(context);
        numbers = add_call(numbers, reinterpret_cast<FuncExpr*>(node));
    }
    return pg::walk_expression(node, visit, context);
}

}  // namespace

List* read_by(Query* query) {
    List* numbers = NIL;
    (void)visit(reinterpret_cast<Node*>(query), &numbers);
    return numbers;
}

int number_of(const char* name) noexcept {
    std::uint32_t hash = 0;
    for (const char* c = name; *c != '\0'; ++c) {
        hash = hash_combine(hash, pg_ascii_tolower(static_cast<unsigned char>(*c)));
    }
    return hash == any_setting ? 1 : static_cast<int>(hash);
}

void note(PlannedStmt* plan, const List* numbers) {
    ListCell* cell = nullptr;
    foreach (cell, numbers) {
        auto* item = makeNode(PlanInvalItem);
        item->cacheId = note_id;
        item->hashValue = static_cast<std::uint32_t>(lfirst_int(cell));
        plan->invalItems = lappend(plan->invalItems, item);
    }
}

bool is_note(const PlanInvalItem* item) noexcept { return item->cacheId == note_id; }

int number_in(const PlanInvalItem* note) noexcept { return static_cast<int>(note->hashValue); }

}  // namespace tiercache::nested_settings
