#include "pg_extension/name_changes.hpp"

#include <algorithm>
#include <span>

extern "C" {
#include <access/genam.h>
#include <access/htup_details.h>
#include <access/table.h>
#include <access/xact.h>
#include <catalog/indexing.h>
#include <catalog/namespace.h>
#include <catalog/pg_attribute.h>
#include <catalog/pg_class.h>
#include <catalog/pg_type.h>
#include <storage/sinval.h>
#include <utils/fmgroids.h>
#include <utils/snapmgr.h>
#include <utils/syscache.h>
}

namespace tiercache::name_changes {

namespace {

// What was looked at and is nobody else's business.
struct Private {
    List* types = NIL;  // hash values
};

// This transaction's own messages, unlike those that callbacks hear.
[[nodiscard]] std::span<const SharedInvalidationMessage> own_messages() {
    SharedInvalidationMessage* messages = nullptr;
    bool init_file = false;
    const int count = xactGetCommittedInvalidationMessages(&messages, &init_file);
    return {messages, static_cast<std::size_t>(count)};
}

// All versions of the rows, also of what this transaction dropped.
template <class F>
void for_each_version(Oid catalog, Oid index, AttrNumber key_column, Oid key, F visit) {
    ScanKeyData scan_key;
    ScanKeyInit(&scan_key, key_column, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(key));
    Relation relation = table_open(catalog, AccessShareLock);
    SysScanDesc scan = systable_beginscan(relation, index, true, SnapshotAny, 1, &scan_key);
    HeapTuple row = nullptr;
    while (HeapTupleIsValid(row = systable_getnext(scan))) visit(row);
    systable_endscan(scan);
    table_close(relation, AccessShareLock);
}

// Rows that are changed in place (by CREATE INDEX, for one) are not.
[[nodiscard]] bool is_written_here(HeapTuple row) {
    const HeapTupleHeader header = row->t_data;
    if (TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(header))) return true;
    return (header->t_infomask & (HEAP_XMAX_INVALID | HEAP_XMAX_IS_MULTI)) == 0 &&
           TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetRawXmax(header));
}

[[nodiscard]] bool has_columns_written_here(Oid relation) {
    bool found = false;
    for_each_version(AttributeRelationId, AttributeRelidNumIndexId, Anum_pg_attribute_attrelid, relation,
                     [&found](HeapTuple row) { found = found || is_written_here(row); });
    return found;
}

[[nodiscard]] uint32 type_hash(Oid type) { return GetSysCacheHashValue1(TYPEOID, ObjectIdGetDatum(type)); }

// A temporary table has a type, and its arrays one.
void add_row_type(Private& own, Oid type) {
    if (!OidIsValid(type)) return;
    own.types = lappend_int(own.types, static_cast<int>(type_hash(type)));
    for_each_version(TypeRelationId, TypeOidIndexId, Anum_pg_type_oid, type, [&own](HeapTuple row) {
        const Oid array = reinterpret_cast<Form_pg_type>(GETSTRUCT(row))->typarray;
        if (OidIsValid(array)) own.types = lappend_int(own.types, static_cast<int>(type_hash(array)));
    });
}

[[nodiscard]] bool is_public_change(Oid relation, List* redefined, Private& own) {
    bool found = false;
    bool is_private = false;
    bool is_written = false;
    Oid row_type = InvalidOid;
    for_each_version(RelationRelationId, ClassOidIndexId, Anum_pg_class_oid, relation, [&](HeapTuple row) {
        const auto* fields = reinterpret_cast<Form_pg_class>(GETSTRUCT(row));
        found = true;
        is_private = fields->relpersistence == RELPERSISTENCE_TEMP || fields->relkind == RELKIND_INDEX ||
                     fields->relkind == RELKIND_PARTITIONED_INDEX;
        is_written = is_written || is_written_here(row);
        row_type = fields->reltype;
    });
    if (is_private) {
        add_row_type(own, row_type);
        return false;
    }
    return !found || is_written || list_member_oid(redefined, relation) || has_columns_written_here(relation);
}

// Each once: a transaction may make thousands of temporary tables, with several messages for each.
[[nodiscard]] List* relations_of(std::span<const SharedInvalidationMessage> messages) {
    List* relations = NIL;
    for (const SharedInvalidationMessage& message : messages) {
        if (message.id != SHAREDINVALRELCACHE_ID || message.rc.dbId != MyDatabaseId) continue;
        if (OidIsValid(message.rc.relId)) relations = lappend_oid(relations, message.rc.relId);
    }
    list_sort(relations, list_oid_cmp);
    list_deduplicate_oid(relations);
    return relations;
}

[[nodiscard]] bool any_relation(std::span<const SharedInvalidationMessage> messages, List* redefined,
                                Private& own) {
    ListCell* cell = nullptr;
    foreach (cell, relations_of(messages)) {
        if (is_public_change(lfirst_oid(cell), redefined, own)) return true;
    }
    list_sort(own.types, list_int_cmp);
    return false;
}

[[nodiscard]] bool has_type(const Private& own, uint32 hash) {
    if (own.types == NIL) return false;
    const std::span<const ListCell> cells(own.types->elements, static_cast<std::size_t>(own.types->length));
    return std::ranges::binary_search(cells, static_cast<int>(hash), {}, &ListCell::int_value);
}

[[nodiscard]] bool is_temporary_schema(uint32 hash) {
    Oid schema = InvalidOid;
    Oid toast_schema = InvalidOid;
    GetTempNamespaceState(&schema, &toast_schema);
    const auto is = [hash](Oid oid) {
        return OidIsValid(oid) && GetSysCacheHashValue1(NAMESPACEOID, ObjectIdGetDatum(oid)) == hash;
    };
    return is(schema) || is(toast_schema);
}

[[nodiscard]] bool any_row(std::span<const SharedInvalidationMessage> messages, const Private& own) {
    for (const SharedInvalidationMessage& message : messages) {
        const uint32 hash = message.cc.hashValue;
        if (message.id == TYPEOID && !has_type(own, hash)) return true;
        if (message.id == NAMESPACEOID && !is_temporary_schema(hash)) return true;
    }
    return false;
}

}  // namespace

bool any(List* redefined) {
    const auto messages = own_messages();
    Private own;
    return any_relation(messages, redefined, own) || any_row(messages, own);
}

}  // namespace tiercache::name_changes
