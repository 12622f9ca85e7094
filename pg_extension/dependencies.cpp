#include "pg_extension/dependencies.hpp"

#include <algorithm>
#include <cstring>

#include "pg_extension/foreign_tables.hpp"
#include "pg_extension/nested_settings.hpp"
#include "pg_extension/query_compat.hpp"
#include "pg_extension/relation_check.hpp"
#include "pg_extension/shared_state.hpp"
#include "pg_extension/tags.hpp"

extern "C" {
#include <catalog/partition.h>
#include <catalog/pg_class.h>
#include <catalog/pg_collation.h>
#include <catalog/pg_language.h>
#include <catalog/pg_namespace.h>
#include <catalog/pg_operator.h>
#include <catalog/pg_proc.h>
#include <catalog/pg_type.h>
#include <optimizer/optimizer.h>
#include <optimizer/planmain.h>
#include <utils/builtins.h>
#include <utils/lsyscache.h>
#include <utils/syscache.h>
#include <utils/typcache.h>
#include <utils/varlena.h>
}

namespace tiercache {

namespace {

// The innermost collection of this backend.
Dependencies* collection = nullptr;
ExecutorStart_hook_type previous_executor_start = nullptr;

[[nodiscard]] bool is_partition_of_one(Oid relation, List* relations) {
    if (!get_rel_relispartition(relation)) return false;
    List* ancestors = get_partition_ancestors(relation);
    ListCell* cell = nullptr;
    bool found = false;
    foreach (cell, ancestors) found = found || list_member_oid(relations, lfirst_oid(cell));
    list_free(ancestors);
    return found;
}

[[nodiscard]] Oid domain_base(Oid domain) {
    HeapTuple row = SearchSysCache1(TYPEOID, ObjectIdGetDatum(domain));
    if (!HeapTupleIsValid(row)) return InvalidOid;
    const Oid base = reinterpret_cast<Form_pg_type>(GETSTRUCT(row))->typbasetype;
    ReleaseSysCache(row);
    return base;
}

}  // namespace

void Dependencies::add(Tag tag) noexcept {
    if (std::find(tags_, tags_ + count_, tag) != tags_ + count_) return;
    if (count_ == limit) {
        overflow_ = true;
        return;
    }
    tags_[count_++] = tag;
}

void Dependencies::add_relation(Oid relation) {
    add(relation_tag(relation));
    if (context_ == nullptr) return;
    MemoryContext caller = MemoryContextSwitchTo(context_);
    if (list_length(relations_) < limit) relations_ = list_append_unique_oid(relations_, relation);
    MemoryContextSwitchTo(caller);
}

void Dependencies::add_named_relation(Oid relation) {
    const Oid schema = get_rel_namespace(relation);
    char* name = get_rel_name(relation);
    if (name == nullptr) return;
    if (!isAnyTempNamespace(schema)) add_schema(schema);
    add_shadowing(RELNAMENSP, name, schema);
}

void Dependencies::add_shadowing(int cache_id, const char* name, Oid schema) {
    List* path = pg::search_path_now(CurrentMemoryContext)->schemas;
    if (!list_member_oid(path, schema)) return;
    ListCell* cell = nullptr;
    foreach (cell, path) {
        const Oid earlier = lfirst_oid(cell);
        if (earlier == schema) break;
        if (isTempNamespace(earlier)) continue;
        add(catalog_tag(cache_id,
                        GetSysCacheHashValue2(cache_id, CStringGetDatum(name), ObjectIdGetDatum(earlier))));
    }
}

void Dependencies::add_operator(Oid op) {
    if (op < FirstNormalObjectId) return;
    HeapTuple row = SearchSysCache1(OPEROID, ObjectIdGetDatum(op));
    if (!HeapTupleIsValid(row)) return;
    add_schema(reinterpret_cast<Form_pg_operator>(GETSTRUCT(row))->oprnamespace);
    ReleaseSysCache(row);
}

// Whether it will be inlined, and what its source looks up, in which order and with whose rights, only its
// language knows.
void Dependencies::add_function(Oid function) {
    add(catalog_tag(PROCOID, GetSysCacheHashValue1(PROCOID, ObjectIdGetDatum(function))));
    HeapTuple row = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
    if (!HeapTupleIsValid(row)) return;
    const auto* fields = reinterpret_cast<Form_pg_proc>(GETSTRUCT(row));
    add_schema(fields->pronamespace);
    if (fields->prolang != INTERNALlanguageId && fields->prolang != ClanguageId) add(names_tag());
    ReleaseSysCache(row);
}

void Dependencies::add_collation(Oid collation) {
    if (collation < FirstNormalObjectId) return;
    HeapTuple row = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
    if (!HeapTupleIsValid(row)) return;
    add_schema(reinterpret_cast<Form_pg_collation>(GETSTRUCT(row))->collnamespace);
    ReleaseSysCache(row);
}

void Dependencies::add_schema(Oid schema) {
    if (schema == PG_CATALOG_NAMESPACE || !OidIsValid(schema)) return;
    if (isAnyTempNamespace(schema)) temporary_ = true;
    add(catalog_tag(NAMESPACEOID, GetSysCacheHashValue1(NAMESPACEOID, ObjectIdGetDatum(schema))));
}

void Dependencies::add_search_path() {
    List* names = NIL;
    if (!SplitIdentifierString(pstrdup(namespace_search_path), ',', &names)) return;
    ListCell* cell = nullptr;
    foreach (cell, names) {
        const char* name = static_cast<const char*>(lfirst(cell));
        if (std::strcmp(name, "$user") == 0) name = GetUserNameFromId(GetUserId(), true);
        if (name == nullptr) continue;
        add(catalog_tag(NAMESPACENAME, GetSysCacheHashValue1(NAMESPACENAME, CStringGetDatum(name))));
    }
}

void Dependencies::add_type_name(Oid type) {
    HeapTuple row = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
    if (!HeapTupleIsValid(row)) return;
    const auto* fields = reinterpret_cast<Form_pg_type>(GETSTRUCT(row));
    add_schema(fields->typnamespace);
    add_shadowing(TYPENAMENSP, NameStr(fields->typname), fields->typnamespace);
    ReleaseSysCache(row);
}

void Dependencies::add_type(Oid type) {
    check_stack_depth();
    if (type < FirstNormalObjectId) return;
    add(catalog_tag(TYPEOID, GetSysCacheHashValue1(TYPEOID, ObjectIdGetDatum(type))));
    add_type_name(type);
    switch (get_typtype(type)) {
        case TYPTYPE_DOMAIN:
            // Not getBaseType(), which passes over the domains in between.
            add_type(domain_base(type));
            return;
        case TYPTYPE_RANGE:
            add_type(get_range_subtype(type));
            return;
        case TYPTYPE_MULTIRANGE:
            add_type(get_multirange_range(type));
            return;
        case TYPTYPE_COMPOSITE: {
            add(relation_definition_tag(get_typ_typrelid(type)));
            TupleDesc columns = lookup_rowtype_tupdesc(type, -1);
            for (int i = 0; i < columns->natts; ++i) {
                const auto* column = TupleDescAttr(columns, i);
                if (!column->attisdropped) add_type(column->atttypid);
            }
            ReleaseTupleDesc(columns);
            return;
        }
        default:
            break;
    }
    if (const Oid element = get_element_type(type); OidIsValid(element)) add_type(element);
}

void Dependencies::add_items(List* invalidation_items) noexcept {
    ListCell* cell = nullptr;
    foreach (cell, invalidation_items) {
        const auto* item = static_cast<const PlanInvalItem*>(lfirst(cell));
        if (nested_settings::is_note(item)) continue;
        add(catalog_tag(item->cacheId, item->hashValue));
    }
}

namespace {

// The tables and views of a query and all in it, whose rows it may read.
bool note_tables(Node* node, void* context) {
    if (node == nullptr) return false;
    if (IsA(node, RangeTblEntry)) {
        auto** tables = static_cast<List**>(context);
        // Since PostgreSQL 16 a view has its number in the entry of its query.
        const Oid relation = reinterpret_cast<RangeTblEntry*>(node)->relid;
        if (OidIsValid(relation)) *tables = list_append_unique_oid(*tables, relation);
        return false;
    }
    if (IsA(node, Query)) {
        return pg::walk_query(reinterpret_cast<Query*>(node), note_tables, context, QTW_EXAMINE_RTES_BEFORE);
    }
    return pg::walk_expression(node, note_tables, context);
}

}  // namespace

void Dependencies::add_query(Query* query) {
    List* relations = NIL;
    List* items = NIL;
    bool has_row_security = false;
    extract_query_dependencies(reinterpret_cast<Node*>(query), &relations, &items, &has_row_security);
    List* tables = NIL;
    (void)note_tables(reinterpret_cast<Node*>(query), &tables);
    ListCell* cell = nullptr;
    foreach (cell, relations) add_relation_of(lfirst_oid(cell), tables);
    add_items(items);
}

void Dependencies::add_relation_of(Oid relation, const List* tables) {
    if (list_member_oid(tables, relation)) {
        add_relation(relation);
    } else {
        add(relation_definition_tag(relation));
    }
}

// Writers mark a relation's ancestors too, so a partition may be left out where they are many. Not so a child
// of plain inheritance: it may get its parent (or its parent's parent) while a writer is about to commit.
void Dependencies::add_plan_relations(const PlannedStmt* plan) {
    List* relations = plan->relationOids;
    List* tables = NIL;
    ListCell* entry = nullptr;
    foreach (entry, plan->rtable) {
        tables = lappend_oid(tables, static_cast<const RangeTblEntry*>(lfirst(entry))->relid);
    }
    const bool many = list_length(relations) > limit / 2;
    ListCell* cell = nullptr;
    foreach (cell, relations) {
        const Oid relation = lfirst_oid(cell);
        if (many && is_partition_of_one(relation, relations)) {
            add(unlisted_partitions_tag());
        } else {
            add_relation_of(relation, tables);
        }
    }
    list_free(tables);
}

void Dependencies::add_plan(PlannedStmt* plan) {
    add_plan_relations(plan);
    add_items(plan->invalItems);
    add_foreign_tables(plan);
}

void Dependencies::add_foreign_tables(const PlannedStmt* plan) {
    ListCell* cell = nullptr;
    foreach (cell, plan->rtable) {
        const auto* entry = static_cast<const RangeTblEntry*>(lfirst(cell));
        if (entry->rtekind != RTE_RELATION || entry->relkind != RELKIND_FOREIGN_TABLE) continue;
        const std::optional<std::uint32_t> ttl_ms = foreign_tables::ttl_ms_of(entry->relid);
        const std::optional<Tag> settings = foreign_tables::settings_tag();
        if (!ttl_ms || !settings) {
            untracked_ = true;
            continue;
        }
        bound_life(*ttl_ms);
        add(foreign_servers_tag());
        add(*settings);
    }
}

void Dependencies::add_nested_plan(PlannedStmt* plan) {
    Reasons reasons;
    ListCell* cell = nullptr;
    foreach (cell, plan->rtable) {
        relation_check::check_entry(static_cast<RangeTblEntry*>(lfirst(cell)), reasons);
    }
    if (reasons.any()) untracked_ = true;
    foreach (cell, plan->invalItems) {
        const auto* item = static_cast<const PlanInvalItem*>(lfirst(cell));
        if (!nested_settings::is_note(item)) continue;
        if (!list_member_int(settings_, nested_settings::number_in(item))) untracked_ = true;
    }
    add(names_tag());
    add_plan(plan);
}

void Dependencies::allow_settings(const List* names) {
    ListCell* cell = nullptr;
    foreach (cell, names) {
        settings_ = lappend_int(settings_, nested_settings::number_of(strVal(lfirst(cell))));
    }
}

void Dependencies::begin() noexcept {
    context_ = CurrentMemoryContext;
    outer_ = collection;
    collection = this;
}

void Dependencies::end() noexcept {
    collection = outer_;
    if (outer_ == nullptr) return;
    // What was computed inside is part of the outer result.
    for (const Tag tag : tags()) outer_->add(tag);
    outer_->overflow_ = outer_->overflow_ || overflow_;
    outer_->untracked_ = outer_->untracked_ || untracked_;
    outer_->bound_life(ttl_ms_);
}

namespace dependencies {

namespace {

void on_executor_start(QueryDesc* query, int flags) {
    if (shared::available()) foreign_tables::note_statement();
    for (Dependencies* d = collection; d != nullptr; d = d->outer()) {
        if (!d->is_own(query->plannedstmt)) d->add_nested_plan(query->plannedstmt);
    }
    if (previous_executor_start != nullptr) {
        previous_executor_start(query, flags);
    } else {
        standard_ExecutorStart(query, flags);
    }
}

}  // namespace

bool collecting() noexcept { return collection != nullptr; }

void add_to_all(std::span<const Tag> tags) noexcept {
    for (Dependencies* d = collection; d != nullptr; d = d->outer()) {
        for (const Tag tag : tags) d->add(tag);
    }
}

void bound_all(std::uint32_t ttl_ms) noexcept {
    for (Dependencies* d = collection; d != nullptr; d = d->outer()) d->bound_life(ttl_ms);
}

void install_hook() {
    previous_executor_start = ExecutorStart_hook;
    ExecutorStart_hook = on_executor_start;
}

}  // namespace dependencies
}  // namespace tiercache
