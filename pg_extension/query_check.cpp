#include "pg_extension/query_check.hpp"

#include <algorithm>
#include <cstdarg>
#include <cstring>

#include "pg_extension/operator_functions.hpp"
#include "pg_extension/promised_settings.hpp"
#include "pg_extension/query_compat.hpp"
#include "pg_extension/relation_check.hpp"
#include "pg_extension/stable_functions.hpp"
#include "pg_extension/tags.hpp"
#include "pg_extension/type_text.hpp"

extern "C" {
#include <catalog/heap.h>
#include <catalog/pg_aggregate.h>
#include <catalog/pg_proc.h>
#include <catalog/pg_type.h>
#include <lib/stringinfo.h>
#include <nodes/value.h>
#include <optimizer/optimizer.h>
#include <parser/parse_coerce.h>
#include <utils/builtins.h>
#include <utils/fmgroids.h>
#include <utils/lsyscache.h>
#include <utils/regproc.h>
#include <utils/syscache.h>
#include <utils/typcache.h>
}

namespace tiercache {

void Reasons::add(const char* format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    pg_vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    ListCell* cell = nullptr;
    foreach (cell, list) {
        if (std::strcmp(static_cast<const char*>(lfirst(cell)), text) == 0) return;
    }
    list = lappend(list, pstrdup(text));
}

char* Reasons::joined() const {
    StringInfoData text;
    initStringInfo(&text);
    ListCell* cell = nullptr;
    foreach (cell, list) {
        if (text.len > 0) appendStringInfoString(&text, "; ");
        appendStringInfoString(&text, static_cast<const char*>(lfirst(cell)));
    }
    return text.data;
}

void Reasons::raise_if_any() const {
    if (!any()) return;
    ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("query cannot be cached: %s", joined()),
                    errhint("Run it without tiercache, or change what stands in the way.")));
}

namespace query_check {

namespace {

// A literal of the query's text that holds "now", "today", ...: its place in the text.
struct ClockLiterals {
    List* locations = nullptr;
};

struct Walk {
    Reasons& reasons;
    Dependencies& dependencies;
    SettingsRead settings;
    Findings findings;
    Node* node = nullptr;               // whose functions are being checked
    bool writes_anonymous = false;      // the text of a record is made, of columns we can't tell
    Oid first_unwritable = InvalidOid;  // a type in the query whose text is not cacheable
    bool anonymous_json = false;        // as writes_anonymous, of JSON
    List* types = nullptr;              // OIDs of the users' types in the query
};

[[nodiscard]] Oid type_of(Node* node) { return node == nullptr ? InvalidOid : exprType(node); }

void check_text(Walk& walk, Oid type) {
    switch (text_output(type)) {
        case TextUse::cacheable:
        case TextUse::of_clock:
            break;
        case TextUse::anonymous:
            walk.writes_anonymous = true;
            break;
        case TextUse::refused:
            walk.reasons.add("the text of type %s depends on the catalogs or on an unknown function",
                             format_type_be(type));
            break;
    }
}

void check_read(Walk& walk, Oid type) {
    switch (text_input(type)) {
        case TextUse::cacheable:
            break;
        case TextUse::of_clock:
            walk.reasons.add(
                "text is turned into %s, where 'now' and 'today' are values (use to_date or to_timestamp)",
                format_type_be(type));
            break;
        case TextUse::anonymous:
        case TextUse::refused:
            walk.reasons.add("the value of type %s that a text stands for depends on more than the text",
                             format_type_be(type));
            break;
    }
}

bool check_function(Oid function, void* context);

// JSON of a value is made by the cast to json that somebody defined for its type, or for what is in it.
void check_json_casts(Walk& walk, Oid type) {
    check_stack_depth();
    type = getBaseType(type);
    if (type == RECORDOID || type == RECORDARRAYOID) walk.anonymous_json = true;
    if (type < FirstNormalObjectId) return;
    if (const Oid element = get_element_type(type); OidIsValid(element)) {
        check_json_casts(walk, element);
    } else if (type_is_rowtype(type)) {
        TupleDesc columns = lookup_rowtype_tupdesc_copy(type, -1);
        for (int i = 0; i < columns->natts; ++i) {
            const auto* column = TupleDescAttr(columns, i);
            if (!column->attisdropped) check_json_casts(walk, column->atttypid);
        }
    } else {
        Oid function = InvalidOid;
        Node* node = walk.node;
        walk.node = nullptr;
        if (find_coercion_pathway(JSONOID, type, COERCION_EXPLICIT, &function) == COERCION_PATH_FUNC) {
            (void)check_function(function, &walk);
        }
        walk.node = node;
    }
}

// As text or as JSON: it is not known which.
void check_written(Walk& walk, Oid type) {
    check_text(walk, type);
    check_json_casts(walk, type);
}

// The arguments of whatever node calls a function.
[[nodiscard]] List* arguments_of(Node* node) {
    switch (nodeTag(node)) {
        case T_FuncExpr:
            return reinterpret_cast<FuncExpr*>(node)->args;
        case T_OpExpr:
        case T_DistinctExpr:
        case T_NullIfExpr:
            return reinterpret_cast<OpExpr*>(node)->args;
        case T_ScalarArrayOpExpr:
            return reinterpret_cast<ScalarArrayOpExpr*>(node)->args;
        case T_Aggref:
            return reinterpret_cast<Aggref*>(node)->args;
        case T_WindowFunc:
            return reinterpret_cast<WindowFunc*>(node)->args;
        default:
            return NIL;
    }
}

void check_arguments_written(Walk& walk) {
    ListCell* cell = nullptr;
    foreach (cell, arguments_of(walk.node)) {
        auto* argument = static_cast<Node*>(lfirst(cell));
        if (IsA(argument, TargetEntry)) {
            argument = reinterpret_cast<Node*>(reinterpret_cast<TargetEntry*>(argument)->expr);
        }
        check_written(walk, exprType(argument));
    }
}

void check_promise(Walk& walk, Oid function) {
    List* names = NIL;
    if (!promised_settings(function, names)) {
        walk.reasons.add(
            "function %s is STABLE, and nothing tells what it depends on (see tiercache.depends_on_settings)",
            format_procedure(function));
    } else if (names != NIL && walk.settings != SettingsRead::in_key) {
        walk.reasons.add("function %s depends on settings", format_procedure(function));
    } else {
        walk.findings.settings = list_union(walk.findings.settings, names);
    }
}

void check_stable_function(Walk& walk, Oid function) {
    if (function >= FirstNormalObjectId) {
        check_promise(walk, function);
        return;
    }
    if (walk.node == nullptr) {
        walk.reasons.add("function %s is STABLE, and tiercache cannot tell what it depends on",
                         format_procedure(function));
        return;
    }
    if (walk.settings == SettingsRead::in_key) {
        if (const char* setting = setting_read_by(walk.node)) {
            walk.findings.settings = list_append_unique(walk.findings.settings, makeString(pstrdup(setting)));
            return;
        }
    }
    switch (stable_use(function)) {
        case StableUse::settings_only:
            break;
        case StableUse::writes_arguments:
            check_arguments_written(walk);
            break;
        case StableUse::reads_result:
            // The columns of a record come with the FROM item.
            if (const Oid type = exprType(walk.node); type != RECORDOID) check_read(walk, type);
            break;
        case StableUse::refused:
            walk.reasons.add("function %s depends on more than its arguments", format_procedure(function));
            break;
    }
}

// An aggregate's own volatility is never declared; those of its parts are.
void check_user_aggregate(Walk& walk, Oid aggregate) {
    HeapTuple row = SearchSysCache1(AGGFNOID, ObjectIdGetDatum(aggregate));
    if (!HeapTupleIsValid(row)) return;
    const auto* parts = reinterpret_cast<Form_pg_aggregate>(GETSTRUCT(row));
    const Oid functions[] = {parts->aggtransfn,     parts->aggfinalfn,    parts->aggcombinefn,
                             parts->aggserialfn,    parts->aggdeserialfn, parts->aggmtransfn,
                             parts->aggminvtransfn, parts->aggmfinalfn};
    for (const Oid function : functions) {
        if (OidIsValid(function)) (void)check_function(function, &walk);
    }
    ReleaseSysCache(row);
}

// PostgreSQL's own that are declared IMMUTABLE and go by settings, or by rows of catalogs, all the same: what
// writes values as text, what takes a text search configuration or dictionary, and these. (sql/immutable
// looks for others.)
[[nodiscard]] bool reads_session(Oid function) {
    switch (function) {
        case F_QUOTE_IDENT:
        case F_AGE_TIMESTAMPTZ_TIMESTAMPTZ:
        case F_TIMEZONE_TEXT_TIMESTAMP:
        case F_TIMEZONE_TEXT_TIMESTAMPTZ:
            return true;
        default:
            break;
    }
    Oid* arguments = nullptr;
    int count = 0;
    if (get_func_signature(function, &arguments, &count) == CSTRINGOID) return true;
    return std::any_of(arguments, arguments + count,
                       [](Oid type) { return type == REGCONFIGOID || type == REGDICTIONARYOID; });
}

bool check_function(Oid function, void* context) {
    auto& walk = *static_cast<Walk*>(context);
    if (function >= FirstNormalObjectId) {
        walk.findings.calls_user_functions = true;
        if (func_volatile(function) != PROVOLATILE_STABLE) walk.findings.folds_user_functions = true;
        walk.dependencies.add_function(function);
        if (get_func_prokind(function) == PROKIND_AGGREGATE) check_user_aggregate(walk, function);
    }
    switch (func_volatile(function)) {
        case PROVOLATILE_VOLATILE:
            walk.reasons.add("function %s is volatile", format_procedure(function));
            break;
        case PROVOLATILE_STABLE:
            walk.findings.reads_session = true;
            check_stable_function(walk, function);
            break;
        default:
            walk.findings.reads_session |= reads_session(function);
            break;
    }
    return false;
}

void check_value_function(Walk& walk, const SQLValueFunction* function) {
    switch (function->op) {
        case SVFOP_CURRENT_ROLE:
        case SVFOP_CURRENT_USER:
        case SVFOP_USER:
        case SVFOP_CURRENT_CATALOG:
            break;
        case SVFOP_SESSION_USER:
            walk.reasons.add("SESSION_USER is not what tiercache tells sessions apart by");
            break;
        case SVFOP_CURRENT_SCHEMA:
            walk.reasons.add("CURRENT_SCHEMA depends on the catalogs");
            break;
        default:
            walk.reasons.add("CURRENT_DATE, CURRENT_TIMESTAMP and their kin depend on the time of the query");
            break;
    }
}

// A name that parse analysis turned into an object's number: only tables' are known to be followed.
void check_constant(Walk& walk, const Const* constant) {
    Oid type = getBaseType(constant->consttype);
    if (type == REGCLASSOID) {
        if (!constant->constisnull) {
            walk.dependencies.add_named_relation(DatumGetObjectId(constant->constvalue));
        }
        return;
    }
    const Oid element = get_element_type(type);
    if (OidIsValid(element)) type = getBaseType(element);
    switch (type) {
        case REGCLASSOID:  // an array of them
        case REGPROCOID:
        case REGPROCEDUREOID:
        case REGOPEROID:
        case REGOPERATOROID:
        case REGTYPEOID:
        case REGROLEOID:
        case REGNAMESPACEOID:
        case REGCOLLATIONOID:
            walk.reasons.add("a constant of type %s is a name from the catalogs",
                             format_type_be(constant->consttype));
            break;
        default:
            break;
    }
}

void check_variable(Walk& walk, const Var* variable) {
    // tableoid is a table's identity; the others change without a write that anybody sees.
    if (variable->varattno < 0 && variable->varattno != TableOidAttributeNumber) {
        walk.reasons.add("system column %s is read",
                         NameStr(SystemAttributeDefinition(variable->varattno)->attname));
    }
}

using TypeCheck = void (*)(Walk&, Oid);

void check_list(Walk& walk, List* expressions, TypeCheck check) {
    ListCell* cell = nullptr;
    foreach (cell, expressions) check(walk, exprType(static_cast<Node*>(lfirst(cell))));
}

// Types of columns that the query defines, whose values are read from text.
void check_defined_types(Walk& walk, List* types) {
    ListCell* cell = nullptr;
    foreach (cell, types) {
        walk.dependencies.add_type(lfirst_oid(cell));
        check_read(walk, lfirst_oid(cell));
    }
}

void check_domain(Walk& walk, Oid domain) {
    if (has_mutable_check(domain)) {
        walk.reasons.add("a CHECK of domain %s calls a function that is not IMMUTABLE",
                         format_type_be(domain));
    }
}

[[nodiscard]] bool reads_session(const Node* node) noexcept {
    switch (nodeTag(node)) {
        case T_SQLValueFunction:
        case T_CoerceViaIO:
        case T_XmlExpr:
        case T_TableFunc:
#if PG_VERSION_NUM >= 160000
        case T_JsonConstructorExpr:
#endif
#if PG_VERSION_NUM >= 170000
        case T_JsonExpr:
#endif
            return true;
        default:
            return false;
    }
}

// What only certain nodes have; functions are checked for all of them.
void check_node(Walk& walk, Node* node) {
    switch (nodeTag(node)) {
        case T_SQLValueFunction:
            check_value_function(walk, reinterpret_cast<SQLValueFunction*>(node));
            break;
        case T_NextValueExpr:
            walk.reasons.add("nextval is volatile");
            break;
        case T_Const:
            check_constant(walk, reinterpret_cast<Const*>(node));
            break;
        case T_Var:
            check_variable(walk, reinterpret_cast<Var*>(node));
            break;
        case T_CoerceViaIO:
            check_text(walk, type_of(reinterpret_cast<Node*>(reinterpret_cast<CoerceViaIO*>(node)->arg)));
            check_read(walk, reinterpret_cast<CoerceViaIO*>(node)->resulttype);
            break;
        case T_XmlExpr:
            check_list(walk, reinterpret_cast<XmlExpr*>(node)->named_args, check_text);
            check_list(walk, reinterpret_cast<XmlExpr*>(node)->args, check_text);
            break;
        case T_CoerceToDomain:
            check_domain(walk, reinterpret_cast<CoerceToDomain*>(node)->resulttype);
            break;
        case T_TableFunc:
            check_defined_types(walk, reinterpret_cast<TableFunc*>(node)->coltypes);
            break;
#if PG_VERSION_NUM >= 160000
        case T_JsonConstructorExpr:
            check_list(walk, reinterpret_cast<JsonConstructorExpr*>(node)->args, check_written);
            break;
#endif
#if PG_VERSION_NUM >= 170000
        case T_JsonExpr:
            check_read(walk, exprType(node));
            break;
#endif
        default:
            break;
    }
}

// Types that occur: their definitions are dependencies, and whether a record of them can be written.
void note_type(Walk& walk, Node* node) {
    switch (nodeTag(node)) {
        case T_Var:
        case T_Const:
        case T_Param:
        case T_FuncExpr:
        case T_RelabelType:
        case T_CoerceToDomain:
        case T_CoerceViaIO:
        case T_ArrayCoerceExpr:
        case T_ConvertRowtypeExpr:
        case T_RowExpr:
            break;
        default:
            return;
    }
    const Oid type = exprType(node);
    walk.dependencies.add_type(type);
    // Its input, output and check functions may be somebody's.
    if (type >= FirstNormalObjectId) {
        walk.findings.calls_user_functions = true;
        walk.findings.folds_user_functions = true;
        walk.types = list_append_unique_oid(walk.types, type);
        if (get_typtype(type) == TYPTYPE_DOMAIN && has_check_of_users(type))
            walk.dependencies.add(names_tag());
    }
    if (!OidIsValid(walk.first_unwritable) && text_output(type) == TextUse::refused) {
        walk.first_unwritable = type;
    }
}

void note_support(Walk& walk, Oid op) {
    ListCell* cell = nullptr;
    Node* node = walk.node;
    walk.node = nullptr;
    foreach (cell, support_functions(op)) (void)check_function(lfirst_oid(cell), &walk);
    walk.node = node;
}

void note_operator(Walk& walk, Oid op) {
    walk.dependencies.add_operator(op);
    note_support(walk, op);
}

void note_operators(Walk& walk, List* ops) {
    ListCell* cell = nullptr;
    foreach (cell, ops) note_operator(walk, lfirst_oid(cell));
}

// Names one of them, at most, and both are called by what sorts or groups.
void note_order(Walk& walk, const SortGroupClause* clause) {
    note_operator(walk, clause->sortop);
    note_support(walk, clause->eqop);
    Node* node = walk.node;
    walk.node = nullptr;
    for (const Oid op : {clause->sortop, clause->eqop}) {
        if (op >= FirstNormalObjectId) (void)check_function(get_opcode(op), &walk);
    }
    walk.node = node;
}

void note_set_operation(Walk& walk, const SetOperationStmt* operation) {
    ListCell* cell = nullptr;
    foreach (cell, operation->groupClauses) {
        note_order(walk, static_cast<const SortGroupClause*>(lfirst(cell)));
    }
}

// Operators and collations: their names are looked up in schemas, and what else is called for them.
void note_names(Walk& walk, Node* node) {
    switch (nodeTag(node)) {
        case T_OpExpr:
        case T_DistinctExpr:
        case T_NullIfExpr:
            note_operator(walk, reinterpret_cast<OpExpr*>(node)->opno);
            break;
        case T_ScalarArrayOpExpr:
            note_operator(walk, reinterpret_cast<ScalarArrayOpExpr*>(node)->opno);
            break;
        case T_RowCompareExpr:
            note_operators(walk, reinterpret_cast<RowCompareExpr*>(node)->opnos);
            break;
        case T_SortGroupClause:
            note_order(walk, reinterpret_cast<SortGroupClause*>(node));
            break;
        case T_SetOperationStmt:
            note_set_operation(walk, reinterpret_cast<SetOperationStmt*>(node));
            break;
        case T_Aggref:
            note_support(walk, sort_operator(reinterpret_cast<Aggref*>(node)->aggfnoid));
            break;
        case T_CollateExpr:
            walk.dependencies.add_collation(reinterpret_cast<CollateExpr*>(node)->collOid);
            break;
        default:
            break;
    }
}

// jsonb_to_record and its kin read text as the columns that the FROM item defines.
void check_defined_columns(Walk& walk, const RangeTblFunction* function) {
    auto* call = reinterpret_cast<FuncExpr*>(function->funcexpr);
    if (call == nullptr || !IsA(call, FuncExpr)) return;
    if (stable_use(call->funcid) != StableUse::reads_result || call->funcid >= FirstNormalObjectId) return;
    check_defined_types(walk, function->funccoltypes);
}

// A call's arguments with those that the planner will put in for the ones left out; NIL when it puts in none.
[[nodiscard]] List* arguments_with_defaults(Node* node) {
    Oid function = InvalidOid;
    if (IsA(node, FuncExpr)) {
        function = reinterpret_cast<FuncExpr*>(node)->funcid;
    } else if (IsA(node, WindowFunc)) {
        function = reinterpret_cast<WindowFunc*>(node)->winfnoid;
    } else {
        return NIL;
    }
    HeapTuple row = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
    if (!HeapTupleIsValid(row)) return NIL;
    const auto* form = reinterpret_cast<Form_pg_proc>(GETSTRUCT(row));
    List* given = arguments_of(node);
    List* all = NIL;
    if (form->pronargdefaults > 0 && list_length(given) < form->pronargs) {
        all = expand_function_arguments(list_copy(given), false, exprType(node), row);
    }
    ReleaseSysCache(row);
    return all;
}

void check_query_node(Walk& walk, const Query* query) {
    if (query->commandType != CMD_SELECT || query->hasModifyingCTE) {
        walk.reasons.add("it changes data");
    }
    if (query->rowMarks != NIL) walk.reasons.add("it locks rows (FOR UPDATE or FOR SHARE)");
}

bool visit(Node* node, void* context) {
    if (node == nullptr) return false;
    auto& walk = *static_cast<Walk*>(context);
    if (IsA(node, Query)) {
        auto* query = reinterpret_cast<Query*>(node);
        check_query_node(walk, query);
        return pg::walk_query(query, visit, context,
                              QTW_EXAMINE_RTES_BEFORE | QTW_IGNORE_JOINALIASES | QTW_EXAMINE_SORTGROUP);
    }
    if (IsA(node, RangeTblEntry)) {
        const auto* entry = reinterpret_cast<RangeTblEntry*>(node);
        relation_check::check_entry(reinterpret_cast<RangeTblEntry*>(node), walk.reasons);
        return entry->rtekind == RTE_JOIN && pg::walk_merged_columns(entry, visit, context);
    }
    if (IsA(node, RangeTblFunction)) check_defined_columns(walk, reinterpret_cast<RangeTblFunction*>(node));
    check_node(walk, node);
    walk.findings.reads_session |= reads_session(node);
    note_type(walk, node);
    note_names(walk, node);
    if (!IsA(node, CoerceViaIO)) {
        walk.node = node;
        (void)check_functions_in_node(node, check_function, context);
    }
    if (List* all = arguments_with_defaults(node); all != NIL) {
        // These once, not those given a second time: calls may be nested deep.
        if (IsA(node, WindowFunc)) {
            (void)visit(reinterpret_cast<Node*>(reinterpret_cast<WindowFunc*>(node)->aggfilter), context);
        }
        return pg::walk_expression(reinterpret_cast<Node*>(all), visit, context);
    }
    return pg::walk_expression(node, visit, context);
}

// The tables that the text names, before views are replaced.
bool visit_named(Node* node, void* context) {
    if (node == nullptr) return false;
    if (IsA(node, Query)) {
        return pg::walk_query(reinterpret_cast<Query*>(node), visit_named, context,
                              QTW_EXAMINE_RTES_BEFORE | QTW_IGNORE_JOINALIASES);
    }
    if (IsA(node, RangeTblEntry)) {
        const auto* entry = reinterpret_cast<RangeTblEntry*>(node);
        if (entry->rtekind == RTE_RELATION) {
            static_cast<Dependencies*>(context)->add_named_relation(entry->relid);
        }
        return false;
    }
    return pg::walk_expression(node, visit_named, context);
}

bool visit_raw(Node* node, void* context) {
    if (node == nullptr) return false;
    if (IsA(node, A_Const)) {
        const auto* literal = reinterpret_cast<A_Const*>(node);
        const char* text = pg::string_literal(literal);
        if (text != nullptr) {
            auto* found = static_cast<ClockLiterals*>(context);
            if (has_clock_word(text)) found->locations = lappend_int(found->locations, literal->location);
        }
        return false;
    }
    return pg::walk_raw(node, visit_raw, context);
}

struct ClockConstants {
    Reasons& reasons;
    List* locations;
};

// Parse analysis has turned 'today' into a date: what it means now is not what it means tomorrow.
bool visit_constants(Node* node, void* context) {
    if (node == nullptr) return false;
    auto& search = *static_cast<ClockConstants*>(context);
    if (IsA(node, Query)) {
        return pg::walk_query(reinterpret_cast<Query*>(node), visit_constants, context,
                              QTW_IGNORE_JOINALIASES);
    }
    if (IsA(node, Const)) {
        const auto* constant = reinterpret_cast<Const*>(node);
        if (constant->location >= 0 && constant->consttype == TIMETZOID) {
            search.reasons.add(
                "a constant of type time with time zone may depend on today's daylight saving");
        }
        if (list_member_int(search.locations, constant->location) &&
            text_input(constant->consttype) != TextUse::cacheable) {
            search.reasons.add("'now', 'today' and their kin depend on the time of the query");
        }
        return false;
    }
    return pg::walk_expression(node, visit_constants, context);
}

void check_clock_literals(RawStmt* statement, Query* analyzed, Reasons& reasons) {
    ClockLiterals literals;
    (void)visit_raw(statement->stmt, &literals);
    ClockConstants search{reasons, literals.locations};
    (void)visit_constants(reinterpret_cast<Node*>(analyzed), &search);
}

void check_columns(Walk& walk, Query* query, PayloadFormat format) {
    ListCell* cell = nullptr;
    foreach (cell, query->targetList) {
        const auto* column = static_cast<const TargetEntry*>(lfirst(cell));
        if (column->resjunk) continue;
        const Oid type = type_of(reinterpret_cast<Node*>(column->expr));
        walk.dependencies.add_type(type);
        if (format == PayloadFormat::pg_tuples) continue;
        check_text(walk, type);
        if (format == PayloadFormat::json) check_json_casts(walk, type);
    }
}

}  // namespace

RawStmt* check_statement(List* parse_trees, Reasons& reasons) {
    if (parse_trees == NIL) {
        reasons.add("it is empty");
        return nullptr;
    }
    if (list_length(parse_trees) > 1) {
        reasons.add("it holds %d statements, not one", list_length(parse_trees));
        return nullptr;
    }
    auto* statement = linitial_node(RawStmt, parse_trees);
    if (!IsA(statement->stmt, SelectStmt)) {
        reasons.add("it is not a SELECT, VALUES, TABLE or WITH");
        return nullptr;
    }
    const auto* select = reinterpret_cast<SelectStmt*>(statement->stmt);
    while (select->op != SETOP_NONE) select = select->larg;
    if (select->intoClause != nullptr) {
        reasons.add("SELECT INTO makes a table");
        return nullptr;
    }
    return statement;
}

Findings check_rewritten(Query* rewritten, PayloadFormat format, SettingsRead settings, Reasons& reasons,
                         Dependencies& dependencies) {
    Walk walk{reasons, dependencies, settings, {}};
    (void)visit(reinterpret_cast<Node*>(rewritten), &walk);
    check_columns(walk, rewritten, format);
    if (walk.writes_anonymous && OidIsValid(walk.first_unwritable)) {
        reasons.add("the text of type %s depends on the catalogs or on an unknown function",
                    format_type_be(walk.first_unwritable));
    }
    if (walk.anonymous_json) {
        ListCell* cell = nullptr;
        foreach (cell, walk.types) check_json_casts(walk, lfirst_oid(cell));
    }
    if (dependencies.temporary()) {
        reasons.add("it uses a function, type, operator or collation of a temporary schema");
    }
    return walk.findings;
}

Findings check_query(RawStmt* statement, Query* analyzed, Query* rewritten, PayloadFormat format,
                     Reasons& reasons, Dependencies& dependencies) {
    (void)visit_named(reinterpret_cast<Node*>(analyzed), &dependencies);
    const Findings findings =
        check_rewritten(rewritten, format, SettingsRead::refused, reasons, dependencies);
    check_clock_literals(statement, analyzed, reasons);
    return findings;
}

void check_plan(PlannedStmt* plan, Reasons& reasons) {
    ListCell* cell = nullptr;
    foreach (cell, plan->rtable) {
        relation_check::check_entry(static_cast<RangeTblEntry*>(lfirst(cell)), reasons);
    }
}

void check_parameter(int number, Oid type, const char* text, Reasons& reasons) {
    if (text == nullptr) return;
    switch (text_input(type)) {
        case TextUse::cacheable:
            break;
        case TextUse::of_clock:
            if (has_clock_word(text) || getBaseType(type) == TIMETZOID) {
                reasons.add("parameter $%d of type %s depends on the time of the query", number,
                            format_type_be(type));
            }
            break;
        case TextUse::anonymous:
        case TextUse::refused:
            reasons.add("the value of type %s of parameter $%d depends on more than its text",
                        format_type_be(type), number);
            break;
    }
}

}  // namespace query_check
}  // namespace tiercache
