#include "pg_extension/tag_names.hpp"

#include <algorithm>
#include <cstring>

#include "pg_extension/boundary.hpp"
#include "pg_extension/entry_copies.hpp"
#include "pg_extension/query_compat.hpp"
#include "pg_extension/shared_state.hpp"
#include "pg_extension/tags.hpp"

extern "C" {
#include <access/genam.h>
#include <access/table.h>
#include <catalog/pg_class.h>
#include <catalog/pg_namespace.h>
#include <catalog/pg_proc.h>
#include <catalog/pg_type.h>
#include <utils/builtins.h>
#include <utils/lsyscache.h>
#include <utils/regproc.h>
#include <utils/syscache.h>
#include <utils/tuplestore.h>
#include <utils/varlena.h>

PG_FUNCTION_INFO_V1(tiercache_list_tag_names);
}

namespace tiercache::tag_names {

namespace {

struct Search {
    std::span<const Tag> wanted;
    List* schemas = NIL;  // of search_path: OIDs
    List* found = NIL;

    [[nodiscard]] bool wants(Tag tag) const noexcept {
        return wanted.empty() || std::find(wanted.begin(), wanted.end(), tag) != wanted.end();
    }
    void add(Tag tag, const char* kind, const char* name, Oid relation = InvalidOid) {
        auto* found_name = static_cast<Name*>(palloc(sizeof(Name)));
        *found_name = {tag, kind, name, relation};
        found = lappend(found, found_name);
    }
};

template <class Form, class F>
void for_each_row(Oid catalog, F visit) {
    Relation relation = table_open(catalog, AccessShareLock);
    SysScanDesc scan = systable_beginscan(relation, InvalidOid, false, nullptr, 0, nullptr);
    HeapTuple row = nullptr;
    while (HeapTupleIsValid(row = systable_getnext(scan))) visit(reinterpret_cast<Form>(GETSTRUCT(row)));
    systable_endscan(scan);
    table_close(relation, AccessShareLock);
}

[[nodiscard]] Tag tag_by_oid(int cache_id, Oid oid) {
    return catalog_tag(cache_id, GetSysCacheHashValue1(cache_id, ObjectIdGetDatum(oid)));
}

[[nodiscard]] const char* qualified(Oid schema, const char* name) {
    const char* schema_name = get_namespace_name(schema);
    return schema_name != nullptr ? quote_qualified_identifier(schema_name, name) : pstrdup(name);
}

// nullptr: nothing depends on relations of that kind.
[[nodiscard]] const char* kind_of_relation(char relkind) noexcept {
    switch (relkind) {
        case RELKIND_RELATION:
        case RELKIND_PARTITIONED_TABLE:
            return "table";
        case RELKIND_VIEW:
            return "view";
        case RELKIND_MATVIEW:
            return "materialized view";
        case RELKIND_FOREIGN_TABLE:
            return "foreign table";
        default:
            return nullptr;
    }
}

// A thing that is not there: in an earlier schema of search_path, it would be found instead.
void add_earlier_names(Search& search, int cache_id, Oid schema, const NameData& name) {
    if (!list_member_oid(search.schemas, schema)) return;
    ListCell* cell = nullptr;
    foreach (cell, search.schemas) {
        const Oid earlier = lfirst_oid(cell);
        if (earlier == schema) return;
        const Tag tag = catalog_tag(
            cache_id, GetSysCacheHashValue2(cache_id, NameGetDatum(&name), ObjectIdGetDatum(earlier)));
        if (search.wants(tag)) search.add(tag, "name", qualified(earlier, NameStr(name)));
    }
}

void add_relations(Search& search) {
    for_each_row<Form_pg_class>(RelationRelationId, [&search](const FormData_pg_class* row) {
        const char* kind = kind_of_relation(row->relkind);
        if (kind == nullptr) return;
        for (const Tag tag : {relation_tag(row->oid), relation_definition_tag(row->oid)}) {
            if (search.wants(tag)) {
                search.add(tag, kind, qualified(row->relnamespace, NameStr(row->relname)), row->oid);
            }
        }
        add_earlier_names(search, RELNAMENSP, row->relnamespace, row->relname);
    });
}

void add_types(Search& search) {
    for_each_row<Form_pg_type>(TypeRelationId, [&search](const FormData_pg_type* row) {
        const Tag tag = tag_by_oid(TYPEOID, row->oid);
        if (search.wants(tag)) search.add(tag, "type", qualified(row->typnamespace, NameStr(row->typname)));
        add_earlier_names(search, TYPENAMENSP, row->typnamespace, row->typname);
    });
}

void add_functions(Search& search) {
    for_each_row<Form_pg_proc>(ProcedureRelationId, [&search](const FormData_pg_proc* row) {
        const Tag tag = tag_by_oid(PROCOID, row->oid);
        if (search.wants(tag)) search.add(tag, "function", format_procedure_qualified(row->oid));
    });
}

void add_schema_name(Search& search, const char* name) {
    const Tag tag = catalog_tag(NAMESPACENAME, GetSysCacheHashValue1(NAMESPACENAME, CStringGetDatum(name)));
    if (search.wants(tag)) search.add(tag, "schema name", quote_identifier(name));
}

void add_schemas(Search& search) {
    for_each_row<Form_pg_namespace>(NamespaceRelationId, [&search](const FormData_pg_namespace* row) {
        const Tag tag = tag_by_oid(NAMESPACEOID, row->oid);
        const char* name = pstrdup(NameStr(row->nspname));
        if (search.wants(tag)) search.add(tag, "schema", quote_identifier(name));
        add_schema_name(search, name);
    });
    // Those that search_path names and nobody has made.
    List* names = NIL;
    if (!SplitIdentifierString(pstrdup(namespace_search_path), ',', &names)) return;
    ListCell* cell = nullptr;
    foreach (cell, names) {
        const char* name = static_cast<const char*>(lfirst(cell));
        if (std::strcmp(name, "$user") == 0) name = GetUserNameFromId(GetUserId(), true);
        if (name != nullptr && !OidIsValid(get_namespace_oid(name, true))) add_schema_name(search, name);
    }
}

void add_kinds(Search& search) {
    if (search.wants(roles_tag())) search.add(roles_tag(), "roles", nullptr);
    if (search.wants(definitions_tag())) search.add(definitions_tag(), "definitions", nullptr);
    if (search.wants(names_tag())) search.add(names_tag(), "names", nullptr);
    if (search.wants(foreign_servers_tag())) search.add(foreign_servers_tag(), "foreign servers", nullptr);
}

[[nodiscard]] char* text_of(List* names, Tag tag) {
    ListCell* cell = nullptr;
    foreach (cell, names) {
        const auto* name = static_cast<const Name*>(lfirst(cell));
        if (name->tag != tag) continue;
        return name->name != nullptr ? psprintf("%s %s", name->kind, name->name) : pstrdup(name->kind);
    }
    return psprintf("tag %lld", static_cast<long long>(tag));
}

}  // namespace

List* find(std::span<const Tag> tags) {
    Search search{tags};
    search.schemas = pg::search_path_now(CurrentMemoryContext)->schemas;
    add_kinds(search);
    add_relations(search);
    add_types(search);
    add_functions(search);
    add_schemas(search);
    return search.found;
}

List* describe(std::span<const Tag> tags) {
    List* texts = NIL;
    if (tags.empty()) return texts;
    List* names = find(tags);
    for (const Tag tag : tags) texts = lappend(texts, text_of(names, tag));
    return texts;
}

namespace {

Datum list_tag_names(FunctionCallInfo fcinfo) {
    shared::require();
    const entry_copies::Output out = entry_copies::begin_output(fcinfo);
    ListCell* cell = nullptr;
    foreach (cell, find({})) {
        const auto* name = static_cast<const Name*>(lfirst(cell));
        Datum values[] = {Int64GetDatum(static_cast<int64>(name->tag)), CStringGetTextDatum(name->kind),
                          name->name != nullptr ? CStringGetTextDatum(name->name) : Datum{0},
                          ObjectIdGetDatum(name->relation)};
        bool nulls[] = {false, false, name->name == nullptr, !OidIsValid(name->relation)};
        tuplestore_putvalues(out.rows, out.description, values, nulls);
    }
    return Datum{0};
}

}  // namespace
}  // namespace tiercache::tag_names

Datum tiercache_list_tag_names(PG_FUNCTION_ARGS) {
    return tiercache::pg::enter([fcinfo] { return tiercache::tag_names::list_tag_names(fcinfo); });
}
