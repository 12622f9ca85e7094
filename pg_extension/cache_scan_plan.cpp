// The plan node of transparent mode: made, copied and read.
#include <cstring>

#include "pg_extension/cache_scan.hpp"
#include "pg_extension/cache_scan_state.hpp"
#include "pg_extension/planned_statement.hpp"
#include "pg_extension/query_compat.hpp"

extern "C" {
#include <catalog/pg_type.h>
#include <executor/executor.h>
#include <nodes/extensible.h>
#include <nodes/makefuncs.h>
#include <nodes/nodeFuncs.h>
#include <nodes/value.h>
}

namespace tiercache::cache_scan {

namespace {

// Facts without pointers, in front of the tags.
struct Note {
    PlanAge plan_age;
    std::uint64_t number;
    std::uint32_t plan_us;
    std::uint32_t tag_count;
    bool calls_user_functions;
    bool reads_ahead;
    bool is_ordered;
    bool is_refused;
    tuple_payload::DependsOn rows_depend_on;
};

enum Item : int {
    item_note,
    item_text,
    item_reason,
    item_digest,
    item_parameters,
    item_settings,
    item_query
};

// A varlena that is aligned where it begins has the note aligned, and the tags.
constexpr std::size_t note_start = MAXALIGN(VARHDRSZ);

// The note and the tags as a node that PostgreSQL can copy.
[[nodiscard]] Const* make_bytes(const Note& note, const Tag* tags) {
    const std::size_t tag_bytes = note.tag_count * sizeof(Tag);
    const std::size_t size = note_start + sizeof(note) + tag_bytes;
    auto* bytes = static_cast<char*>(palloc0(size));
    SET_VARSIZE(bytes, size);
    std::memcpy(bytes + note_start, &note, sizeof(note));
    if (tag_bytes > 0) std::memcpy(bytes + note_start + sizeof(note), tags, tag_bytes);
    return makeConst(BYTEAOID, -1, InvalidOid, -1, PointerGetDatum(bytes), false, false);
}

[[nodiscard]] List* note_facts(const Facts& facts) {
    const Note note{facts.plan_age,
                    facts.number,
                    facts.plan_us,
                    facts.tag_count,
                    facts.calls_user_functions,
                    facts.reads_ahead,
                    facts.is_ordered,
                    facts.refusal != nullptr,
                    facts.rows_depend_on};
    static char none[] = "";
    const auto string = [](const char* text) {
        return makeString(text != nullptr ? const_cast<char*>(text) : none);
    };
    List* items = list_make5(make_bytes(note, facts.tags), string(facts.text), string(facts.refusal),
                             string(facts.digest), list_copy(facts.parameters));
    return lappend(items, list_copy(facts.settings));
}

const CustomScanMethods methods = {"Tiercache", create_state};

std::uint64_t last_number = 0;

struct ColumnType {
    Oid type;
    std::int32_t modifier;
    Oid collation;
};

[[nodiscard]] ColumnType type_of(const TargetEntry* column) {
    const auto* node = reinterpret_cast<const Node*>(column->expr);
    return {exprType(node), exprTypmod(node), exprCollation(node)};
}

[[nodiscard]] Expr* make_variable(int relation, const TargetEntry* column, const ColumnType& type) {
    return reinterpret_cast<Expr*>(
        makeVar(relation, column->resno, type.type, type.modifier, type.collation, 0));
}

// Only shown, if ever: how values of the type are stored need not be looked up.
[[nodiscard]] Expr* make_null(const ColumnType& type) {
    return reinterpret_cast<Expr*>(
        makeConst(type.type, type.modifier, type.collation, -1, Datum{0}, true, false));
}

void add_column(List*& columns, TargetEntry* column, Expr* expression) {
    TargetEntry* own = flatCopyTargetEntry(column);
    own->expr = expression;
    columns = lappend(columns, own);
}

// The child's columns, once as the node's own rows and once as what they are made of. Without a child there
// is nothing that they could be shown as parts of.
void describe_columns(CustomScan* scan, List* columns, bool has_child) {
    ListCell* cell = nullptr;
    foreach (cell, columns) {
        auto* column = static_cast<TargetEntry*>(lfirst(cell));
        const ColumnType type = type_of(column);
        add_column(scan->scan.plan.targetlist, column, make_variable(INDEX_VAR, column, type));
        add_column(scan->custom_scan_tlist, column,
                   has_child ? make_variable(OUTER_VAR, column, type) : make_null(type));
    }
}

}  // namespace

void put_on_top(PlannedStmt* plan, Facts facts) {
    facts.number = ++last_number;
    Plan* child = plan->planTree;
    CustomScan* scan = makeNode(CustomScan);
    Plan& own = scan->scan.plan;
    own.startup_cost = child->startup_cost;
    own.total_cost = child->total_cost;
    own.plan_rows = child->plan_rows;
    own.plan_width = child->plan_width;
    own.plan_node_id = -1;
    own.extParam = bms_copy(child->extParam);
    own.allParam = bms_copy(child->allParam);
    own.lefttree = child;
    describe_columns(scan, child->targetlist, true);
    scan->flags = ExecSupportsBackwardScan(child) ? CUSTOMPATH_SUPPORT_BACKWARD_SCAN : 0;
    scan->custom_private = note_facts(facts);
    scan->methods = &methods;
    plan->planTree = &own;
}

namespace {

void collect_relations(PlannedStmt* plan, Query* query);

bool collect_of_subqueries(Node* node, void* plan) {
    if (node == nullptr) return false;
    if (!IsA(node, Query)) return pg::walk_expression(node, collect_of_subqueries, plan);
    collect_relations(static_cast<PlannedStmt*>(plan), reinterpret_cast<Query*>(node));
    return false;
}

// Every table and view that the query names, in whatever part of it: PostgreSQL checks the rights to them.
// Expressions have some only where there are sublinks: the planner relies on that, too.
void collect_relations(PlannedStmt* plan, Query* query) {
    check_stack_depth();
    ListCell* cell = nullptr;
    foreach (cell, query->rtable) {
        auto* entry = static_cast<RangeTblEntry*>(lfirst(cell));
        if (pg::names_relation(entry)) pg::add_relation(plan, query, entry);
    }
    if (query->hasSubLinks) {
        (void)pg::walk_query(query, collect_of_subqueries, plan, QTW_IGNORE_JOINALIASES);
        return;
    }
    foreach (cell, query->rtable) {
        const auto* entry = static_cast<const RangeTblEntry*>(lfirst(cell));
        if (entry->subquery != nullptr) collect_relations(plan, entry->subquery);
    }
    foreach (cell, query->cteList) {
        const auto* cte = static_cast<const CommonTableExpr*>(lfirst(cell));
        collect_relations(plan, castNode(Query, cte->ctequery));
    }
}

// The node, its number and its entry lie in one memory context: who comes with both has the entry, too. A
// copy of the node has the number but is another one; a new node in its place has another number.
struct LastReady {
    const CustomScan* scan;
    std::uint64_t number;
    Ready ready;
};
LastReady last_ready;

}  // namespace

const Ready* ready_of(const CustomScan* scan, const Facts& facts) noexcept {
    return scan == last_ready.scan && facts.number == last_ready.number ? &last_ready.ready : nullptr;
}

PlannedStmt* make_childless(Query* query, Facts facts, const l4_cache::Key& key, const EntryView& entry) {
    CustomScan* scan = makeNode(CustomScan);
    describe_columns(scan, query->targetList, false);
    scan->scan.plan.plan_node_id = -1;
    facts.number = ++last_number;
    last_ready = {scan, facts.number, {key, entry}};
    scan->custom_private = lappend(note_facts(facts), query);
    scan->methods = &methods;
    PlannedStmt* plan = make_planned_statement(query, &scan->scan.plan);
    collect_relations(plan, query);
    return plan;
}

Query* query_of(const CustomScan* scan) {
    return static_cast<Query*>(list_nth(scan->custom_private, item_query));
}

Facts facts_of(const CustomScan* scan) {
    const auto* bytes = linitial_node(Const, scan->custom_private);
    const char* start = DatumGetPointer(bytes->constvalue) + note_start;
    const auto* note = reinterpret_cast<const Note*>(start);
    const auto string = [scan](Item item) { return strVal(list_nth(scan->custom_private, item)); };
    const auto list = [scan](Item item) { return static_cast<List*>(list_nth(scan->custom_private, item)); };
    Facts facts{};
    facts.plan_age = note->plan_age;
    facts.plan_us = note->plan_us;
    facts.calls_user_functions = note->calls_user_functions;
    facts.reads_ahead = note->reads_ahead;
    facts.is_ordered = note->is_ordered;
    facts.rows_depend_on = note->rows_depend_on;
    facts.tag_count = note->tag_count;
    facts.tags = reinterpret_cast<const Tag*>(start + sizeof(*note));
    facts.refusal = note->is_refused ? string(item_reason) : nullptr;
    facts.text = string(item_text);
    facts.digest = string(item_digest);
    facts.parameters = list(item_parameters);
    facts.settings = list(item_settings);
    facts.number = note->number;
    return facts;
}

bool is_own(const Plan* plan) noexcept {
    return IsA(plan, CustomScan) && reinterpret_cast<const CustomScan*>(plan)->methods == &methods;
}

void register_methods() { RegisterCustomScanMethods(&methods); }

}  // namespace tiercache::cache_scan
