#include "pg_extension/relation_check.hpp"

#include "pg_extension/foreign_tables.hpp"
#include "pg_extension/query_compat.hpp"

extern "C" {
#include <catalog/catalog.h>
#include <catalog/pg_class.h>
#include <utils/lsyscache.h>
}

namespace tiercache::relation_check {

namespace {

[[nodiscard]] const char* name_of(Oid relation) {
    const char* name = get_rel_name(relation);
    return name != nullptr ? name : "?";
}

void check_kind(Oid relation, Reasons& reasons) {
    switch (get_rel_relkind(relation)) {
        case RELKIND_RELATION:
        case RELKIND_MATVIEW:
        case RELKIND_PARTITIONED_TABLE:
        case RELKIND_VIEW:
            break;
        case RELKIND_FOREIGN_TABLE:
            if (foreign_tables::ttl_ms_of(relation)) break;
            reasons.add(
                "\"%s\" is a foreign table, and no row of tiercache.foreign_tables says how long its rows "
                "may be "
                "used",
                name_of(relation));
            break;
        case RELKIND_SEQUENCE:
            reasons.add("\"%s\" is a sequence", name_of(relation));
            break;
        default:
            reasons.add("\"%s\" is not a table or view", name_of(relation));
            break;
    }
}

}  // namespace

void check_entry(const RangeTblEntry* entry, Reasons& reasons) {
    if (entry->rtekind == RTE_NAMEDTUPLESTORE) reasons.add("it reads a transition table");
    if (!pg::names_relation(entry)) return;
    const Oid relation = entry->relid;
    if (IsCatalogRelationOid(relation) || IsToastNamespace(get_rel_namespace(relation))) {
        reasons.add("\"%s\" is a system catalog", name_of(relation));
        return;
    }
    check_kind(relation, reasons);
    if (get_rel_persistence(relation) == RELPERSISTENCE_TEMP) {
        reasons.add("\"%s\" is a temporary %s", name_of(relation),
                    get_rel_relkind(relation) == RELKIND_VIEW ? "view" : "table");
    }
    if (entry->tablesample != nullptr) reasons.add("TABLESAMPLE reads a part of the table at random");
}

}  // namespace tiercache::relation_check
