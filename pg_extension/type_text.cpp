#include "pg_extension/type_text.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "pg_extension/query_compat.hpp"
#include "pg_extension/stable_functions.hpp"

extern "C" {
#include <access/htup_details.h>
#include <catalog/pg_proc.h>
#include <catalog/pg_type.h>
#include <nodes/execnodes.h>
#include <optimizer/optimizer.h>
#include <utils/lsyscache.h>
#include <utils/typcache.h>
}

namespace tiercache {

namespace {

enum class Direction : unsigned char { output, input };

TextUse text_use(Oid type, Direction direction);

TextUse worse(TextUse a, TextUse b) noexcept {
    // In the order of their severity: a clock word can be looked for, an unknown type cannot.
    constexpr auto rank = [](TextUse use) {
        switch (use) {
            case TextUse::cacheable:
                return 0;
            case TextUse::anonymous:
                return 1;
            case TextUse::of_clock:
                return 2;
            case TextUse::refused:
                break;
        }
        return 3;
    };
    return rank(a) >= rank(b) ? a : b;
}

TextUse columns_use(Oid type, Direction direction) {
    TupleDesc columns = lookup_rowtype_tupdesc(type, -1);
    TextUse use = TextUse::cacheable;
    for (int i = 0; i < columns->natts; ++i) {
        const auto* column = TupleDescAttr(columns, i);
        if (!column->attisdropped) use = worse(use, text_use(column->atttypid, direction));
    }
    ReleaseTupleDesc(columns);
    return use;
}

TextUse input_use(Oid type) {
    switch (type) {
        case DATEOID:
        case TIMEOID:
        case TIMETZOID:
        case TIMESTAMPOID:
        case TIMESTAMPTZOID:
            return TextUse::of_clock;
        default:
            break;
    }
    Oid function = InvalidOid;
    Oid parameter = InvalidOid;
    getTypeInputInfo(type, &function, &parameter);
    if (func_volatile(function) == PROVOLATILE_IMMUTABLE) return TextUse::cacheable;
    const bool known = function < FirstNormalObjectId && stable_use(function) == StableUse::settings_only;
    return known ? TextUse::cacheable : TextUse::refused;
}

TextUse output_use(Oid type) {
    Oid function = InvalidOid;
    bool is_varlena = false;
    getTypeOutputInfo(type, &function, &is_varlena);
    if (func_volatile(function) == PROVOLATILE_IMMUTABLE) return TextUse::cacheable;
    const bool known = function < FirstNormalObjectId && stable_use(function) == StableUse::settings_only;
    return known ? TextUse::cacheable : TextUse::refused;
}

TextUse text_use(Oid type, Direction direction) {
    check_stack_depth();
    if (type == RECORDOID || type == RECORDARRAYOID) return TextUse::anonymous;
    switch (get_typtype(type)) {
        case TYPTYPE_DOMAIN:
            // Text that is read becomes a value only where the CHECKs let it.
            if (direction == Direction::input && has_mutable_check(type)) return TextUse::refused;
            return text_use(getBaseType(type), direction);
        case TYPTYPE_COMPOSITE:
            return columns_use(type, direction);
        case TYPTYPE_RANGE:
            return text_use(get_range_subtype(type), direction);
        case TYPTYPE_MULTIRANGE:
            return text_use(get_multirange_range(type), direction);
        default:
            break;
    }
    if (const Oid element = get_base_element_type(type); OidIsValid(element)) {
        return text_use(element, direction);
    }
    return direction == Direction::output ? output_use(type) : input_use(type);
}

bool is_letter(char c) noexcept { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

}  // namespace

TextUse text_output(Oid type) { return text_use(type, Direction::output); }
TextUse text_input(Oid type) { return text_use(type, Direction::input); }

namespace {

bool is_of_users(Oid function, void* /*context*/) { return function >= FirstNormalObjectId; }

bool calls_functions_of_users(Node* node, void* context) {
    if (node == nullptr) return false;
    if (check_functions_in_node(node, is_of_users, context)) return true;
    return pg::walk_expression(node, calls_functions_of_users, context);
}

// Is there a CHECK of the domain, or of one that it is made of, for which is(expression)?
template <class Is>
[[nodiscard]] bool any_check(Oid domain, Is is) {
    MemoryContext scratch =
        AllocSetContextCreate(CurrentMemoryContext, "tiercache domain", ALLOCSET_SMALL_SIZES);
    // In the context whose end it is told of.
    auto* checks =
        static_cast<DomainConstraintRef*>(MemoryContextAllocZero(scratch, sizeof(DomainConstraintRef)));
    InitDomainConstraintRef(domain, checks, scratch, /*need_exprstate=*/false);
    bool found = false;
    ListCell* cell = nullptr;
    foreach (cell, checks->constraints) {
        const auto* check = static_cast<const DomainConstraintState*>(lfirst(cell));
        if (check->constrainttype != DOM_CONSTRAINT_CHECK) continue;
        found = found || is(reinterpret_cast<Node*>(check->check_expr));
    }
    MemoryContextDelete(scratch);
    return found;
}

}  // namespace

bool has_mutable_check(Oid domain) {
    return any_check(domain, [](Node* check) { return contain_mutable_functions(check); });
}
bool has_check_of_users(Oid domain) {
    return any_check(domain, [](Node* check) { return calls_functions_of_users(check, nullptr); });
}

bool has_clock_word(const char* text) noexcept {
    constexpr const char* words[] = {"now", "today", "tomorrow", "yesterday"};
    while (*text != '\0') {
        if (!is_letter(*text)) {
            ++text;
            continue;
        }
        const char* end = text;
        while (is_letter(*end)) ++end;
        const auto length = static_cast<std::size_t>(end - text);
        const bool found = std::any_of(std::begin(words), std::end(words), [&](const char* word) {
            return std::strlen(word) == length && pg_strncasecmp(word, text, length) == 0;
        });
        if (found) return true;
        text = end;
    }
    return false;
}

}  // namespace tiercache
