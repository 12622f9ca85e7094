// The plan node of transparent mode: made, copied and read.
#include <cstring>

#include "pg_extension/cache_scan.hpp"
#include "pg_extension/cache_scan_state.hpp"
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
    std::uint64_t ready;
    std::uint32_t plan_us;
    std::uint32_t tag_count;
    bool calls_user_functions;
    bool reads_ahead;
    bool is_ordered;
    bool is_refused;
};

enum Item : int { item_note, item_text, item_reason, item_digest, item_parameters, item_query };

// Bytes as a node that PostgreSQL can copy.
[[nodiscard]] Const* make_bytes(const void* first, std::size_t first_size, const void* second,
                                std::size_t second_size) {
    auto* bytes = static_cast<bytea*>(palloc0(VARHDRSZ + first_size + second_size));
    SET_VARSIZE(bytes, VARHDRSZ + first_size + second_size);
    std::memcpy(VARDATA(bytes), first, first_size);
    if (second_size > 0) std::memcpy(VARDATA(bytes) + first_size, second, second_size);
    return makeConst(BYTEAOID, -1, InvalidOid, -1, PointerGetDatum(bytes), false, false);
}

[[nodiscard]] List* note_facts(const Facts& facts) {
    const Note note{facts.plan_age,
                    facts.ready,
                    facts.plan_us,
                    facts.tag_count,
                    facts.calls_user_functions,
                    facts.reads_ahead,
                    facts.is_ordered,
                    facts.refusal != nullptr};
    const auto string = [](const char* text) { return makeString(pstrdup(text != nullptr ? text : "")); };
    return list_make5(make_bytes(&note, sizeof(note), facts.tags, facts.tag_count * sizeof(Tag)),
                      string(facts.text), string(facts.refusal), string(facts.digest),
                      list_copy(facts.parameters));
}

const CustomScanMethods methods = {"Tiercache", create_state};

// The child's columns, once as the node's own rows and once as what they are made of.
void describe_columns(CustomScan* scan, List* columns) {
    ListCell* cell = nullptr;
    foreach (cell, columns) {
        auto* column = static_cast<TargetEntry*>(lfirst(cell));
        auto* node = reinterpret_cast<Node*>(column->expr);
        const auto variable = [&](int relation) {
            return reinterpret_cast<Expr*>(
                makeVar(relation, column->resno, exprType(node), exprTypmod(node), exprCollation(node), 0));
        };
        TargetEntry* own = flatCopyTargetEntry(column);
        own->expr = variable(INDEX_VAR);
        scan->scan.plan.targetlist = lappend(scan->scan.plan.targetlist, own);
        TargetEntry* from_child = flatCopyTargetEntry(column);
        from_child->expr = variable(OUTER_VAR);
        scan->custom_scan_tlist = lappend(scan->custom_scan_tlist, from_child);
    }
}

}  // namespace

void put_on_top(PlannedStmt* plan, const Facts& facts) {
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
    describe_columns(scan, child->targetlist);
    scan->flags = ExecSupportsBackwardScan(child) ? CUSTOMPATH_SUPPORT_BACKWARD_SCAN : 0;
    scan->custom_private = note_facts(facts);
    scan->methods = &methods;
    plan->planTree = &own;
}

namespace {

// Every table and view that the query names, in whatever part of it: PostgreSQL checks the rights to them.
bool collect_relations(Node* node, void* plan) {
    if (node == nullptr) return false;
    if (!IsA(node, Query)) return pg::walk_expression(node, collect_relations, plan);
    auto* query = reinterpret_cast<Query*>(node);
    ListCell* cell = nullptr;
    foreach (cell, query->rtable) {
        auto* entry = static_cast<RangeTblEntry*>(lfirst(cell));
        if (pg::names_relation(entry)) pg::add_relation(static_cast<PlannedStmt*>(plan), query, entry);
    }
    return pg::walk_query(query, collect_relations, plan, QTW_IGNORE_JOINALIASES);
}

// There is no plan that the columns could be shown as parts of.
void hide_columns(CustomScan* scan) {
    ListCell* cell = nullptr;
    foreach (cell, scan->custom_scan_tlist) {
        auto* column = static_cast<TargetEntry*>(lfirst(cell));
        const auto* variable = reinterpret_cast<const Var*>(column->expr);
        column->expr = reinterpret_cast<Expr*>(
            makeNullConst(variable->vartype, variable->vartypmod, variable->varcollid));
    }
}

}  // namespace

namespace {

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
    return scan == last_ready.scan && facts.ready == last_ready.number ? &last_ready.ready : nullptr;
}

PlannedStmt* make_childless(Query* query, const Facts& facts, const l4_cache::Key& key,
                            const EntryView& entry) {
    CustomScan* scan = makeNode(CustomScan);
    describe_columns(scan, query->targetList);
    hide_columns(scan);
    scan->scan.plan.plan_node_id = -1;
    Facts with_number = facts;
    with_number.ready = last_ready.number + 1;
    last_ready = {scan, with_number.ready, {key, entry}};
    scan->custom_private = lappend(note_facts(with_number), query);
    scan->methods = &methods;
    PlannedStmt* plan = makeNode(PlannedStmt);
    plan->commandType = CMD_SELECT;
    plan->queryId = query->queryId;
    plan->canSetTag = query->canSetTag;
    plan->stmt_location = query->stmt_location;
    plan->stmt_len = query->stmt_len;
    plan->planTree = &scan->scan.plan;
    (void)collect_relations(reinterpret_cast<Node*>(query), plan);
    return plan;
}

Query* query_of(const CustomScan* scan) {
    return static_cast<Query*>(list_nth(scan->custom_private, item_query));
}

Facts* facts_of(const CustomScan* scan) {
    const auto* bytes = linitial_node(Const, scan->custom_private);
    const auto* start = reinterpret_cast<const char*>(VARDATA(DatumGetPointer(bytes->constvalue)));
    Note note;
    std::memcpy(&note, start, sizeof(note));
    auto* tags = static_cast<Tag*>(palloc(sizeof(Tag) * (note.tag_count + 1)));
    std::memcpy(tags, start + sizeof(note), sizeof(Tag) * note.tag_count);
    const auto string = [scan](Item item) { return strVal(list_nth(scan->custom_private, item)); };
    auto* facts = static_cast<Facts*>(palloc0(sizeof(Facts)));
    *facts = {note.plan_age,
              note.plan_us,
              note.calls_user_functions,
              note.reads_ahead,
              note.is_ordered,
              note.tag_count,
              tags,
              note.is_refused ? string(item_reason) : nullptr,
              string(item_text),
              string(item_digest),
              static_cast<List*>(list_nth(scan->custom_private, item_parameters)),
              note.ready};
    return facts;
}

void register_methods() { RegisterCustomScanMethods(&methods); }

}  // namespace tiercache::cache_scan
