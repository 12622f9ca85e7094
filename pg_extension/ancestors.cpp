#include "pg_extension/ancestors.hpp"

extern "C" {
#include <access/genam.h>
#include <access/stratnum.h>
#include <access/table.h>
#include <catalog/indexing.h>
#include <catalog/pg_class.h>
#include <catalog/pg_inherits.h>
#include <nodes/pg_list.h>
#include <utils/fmgroids.h>
#include <utils/hsearch.h>
#include <utils/rel.h>
#include <utils/syscache.h>
}

namespace tiercache::ancestors {

namespace {

struct Remembered {
    Oid relation;  // the hash key
    bool temporary;
    bool foreign;
    int count;
    Oid* ancestors;
};

MemoryContext memory = nullptr;
HTAB* table = nullptr;
bool outdated = true;

void start_over() {
    if (memory == nullptr) {
        memory = AllocSetContextCreate(TopMemoryContext, "tiercache ancestors", ALLOCSET_SMALL_SIZES);
    } else {
        MemoryContextReset(memory);
    }
    table = nullptr;
    HASHCTL control = {};
    control.keysize = sizeof(Oid);
    control.entrysize = sizeof(Remembered);
    control.hcxt = memory;
    table = hash_create("tiercache ancestors", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
    outdated = false;
}

// Adds the direct parents of `child` that are not in the list yet.
List* add_parents(Relation inherits, Oid child, List* found) {
    ScanKeyData key;
    ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(child));
    // SnapshotAny: also the rows that this transaction (a DROP of the child) deleted, and those that a
    // concurrent one is just adding. Too many ancestors only invalidate too much.
    SysScanDesc scan = systable_beginscan(inherits, InheritsRelidSeqnoIndexId, true, SnapshotAny, 1, &key);
    HeapTuple row = nullptr;
    while (HeapTupleIsValid(row = systable_getnext(scan))) {
        found = list_append_unique_oid(found, reinterpret_cast<Form_pg_inherits>(GETSTRUCT(row))->inhparent);
    }
    systable_endscan(scan);
    return found;
}

List* all_ancestors(Oid relation) {
    Relation inherits = table_open(InheritsRelationId, AccessShareLock);
    List* found = add_parents(inherits, relation, NIL);
    for (int i = 0; i < list_length(found); ++i) found = add_parents(inherits, list_nth_oid(found, i), found);
    table_close(inherits, AccessShareLock);
    return found;
}

struct Kind {
    bool temporary = false;
    bool foreign = false;
};

// A relation that was dropped in this transaction counts as a permanent table.
Kind kind_of(Oid relation) {
    HeapTuple row = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
    if (!HeapTupleIsValid(row)) return {};
    const auto* fields = reinterpret_cast<Form_pg_class>(GETSTRUCT(row));
    const Kind kind{fields->relpersistence == RELPERSISTENCE_TEMP, fields->relkind == RELKIND_FOREIGN_TABLE};
    ReleaseSysCache(row);
    return kind;
}

Family as_family(const Remembered& entry) noexcept {
    return {entry.temporary, entry.foreign, {entry.ancestors, static_cast<std::size_t>(entry.count)}};
}

}  // namespace

Family of(Oid relation) {
    if (outdated) start_over();
    if (const auto* known = static_cast<Remembered*>(hash_search(table, &relation, HASH_FIND, nullptr))) {
        return as_family(*known);
    }
    List* found = all_ancestors(relation);
    const Kind kind = kind_of(relation);
    // Reading the catalogs may have processed invalidations.
    if (outdated) start_over();
    const int count = list_length(found);
    Oid* copy = count == 0 ? nullptr : static_cast<Oid*>(MemoryContextAlloc(memory, count * sizeof(Oid)));
    for (int i = 0; i < count; ++i) copy[i] = list_nth_oid(found, i);
    list_free(found);
    auto* entry = static_cast<Remembered*>(hash_search(table, &relation, HASH_ENTER, nullptr));
    entry->temporary = kind.temporary;
    entry->foreign = kind.foreign;
    entry->count = count;
    entry->ancestors = copy;
    return as_family(*entry);
}

Family remembered(Oid relation) noexcept {
    if (outdated) return {};
    const auto* known = static_cast<Remembered*>(hash_search(table, &relation, HASH_FIND, nullptr));
    return known == nullptr ? Family{} : as_family(*known);
}

void forget() noexcept { outdated = true; }

}  // namespace tiercache::ancestors
