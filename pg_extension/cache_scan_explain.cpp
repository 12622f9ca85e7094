// What EXPLAIN says of a cache scan.
#include <array>

#include "pg_extension/cache_scan_state.hpp"
#include "pg_extension/tag_names.hpp"

extern "C" {
#include <commands/explain.h>
#if PG_VERSION_NUM >= 180000
#include <commands/explain_format.h>
#include <commands/explain_state.h>
#endif
#include <utils/builtins.h>
#include <utils/lsyscache.h>
}

namespace tiercache::cache_scan {

namespace {

[[nodiscard]] const char* name_of(Outcome outcome) noexcept {
    switch (outcome) {
        case Outcome::refused:
            return "not cacheable";
        case Outcome::bypassed:
            return "bypass";
        case Outcome::miss:
            return "miss";
        case Outcome::hit:
            break;
    }
    return "hit";
}

void list_relations(List* oids, ExplainState* es) {
    List* names = NIL;
    ListCell* cell = nullptr;
    foreach (cell, oids) {
        const char* name = get_rel_name(lfirst_oid(cell));
        const char* schema = get_namespace_name(get_rel_namespace(lfirst_oid(cell)));
        if (name == nullptr || schema == nullptr) continue;
        names = list_append_unique(names, makeString(quote_qualified_identifier(schema, name)));
    }
    List* texts = NIL;
    foreach (cell, names) texts = lappend(texts, strVal(lfirst(cell)));
    if (texts != NIL) ExplainPropertyList("Cache Relations", texts, es);
}

// What the answer depends on: of a hit that of its entry, which knows what functions read, too.
void list_dependencies(const State& state, ExplainState* es) {
    std::array<Tag, max_entry_tags> room;
    std::span<const Tag> tags{state.facts.tags, state.facts.tag_count};
    EntryView entry;
    if (state.outcome == Outcome::hit && l4_cache::peek(state.key, entry)) tags = entry.tags.copy_to(room);
    List* texts = tag_names::describe(tags);
    if (texts != NIL) ExplainPropertyList("Cache Dependencies", texts, es);
}

}  // namespace

void explain(CustomScanState* node, List* /*ancestors*/, ExplainState* es) {
    const State& state = state_of(node);
    ExplainPropertyText("Cache", name_of(state.outcome), es);
    if (state.reason != nullptr) ExplainPropertyText("Cache Reason", state.reason, es);
    if (state.outcome == Outcome::hit) {
        ExplainPropertyInteger("Cache Stamp", nullptr, static_cast<int64>(state.stamp), es);
    }
    if (state.outcome == Outcome::miss && es->analyze) {
        ExplainPropertyBool("Cache Stored", state.is_stored, es);
    }
    if (state.outcome == Outcome::refused) return;
    ExplainPropertyInteger("Cache Tags", nullptr, state.facts.tag_count, es);
    if (!es->verbose) return;
    list_relations(node->ss.ps.state->es_plannedstmt->relationOids, es);
    list_dependencies(state, es);
}

}  // namespace tiercache::cache_scan
