#include "pg_extension/temp_names.hpp"

#include <cstring>

#include "pg_extension/settings.hpp"

extern "C" {
#include <access/genam.h>
#include <access/table.h>
#include <catalog/indexing.h>
#include <catalog/namespace.h>
#include <catalog/pg_class.h>
#include <catalog/pg_depend.h>
#include <catalog/pg_inherits.h>
#include <catalog/pg_namespace.h>
#include <catalog/pg_type.h>
#include <common/cryptohash.h>
#include <common/sha2.h>
#include <lib/stringinfo.h>
#include <utils/fmgroids.h>
#include <utils/inval.h>
#include <utils/lsyscache.h>
#include <utils/syscache.h>
}

namespace tiercache::temp_names {

namespace {

Names names;
bool valid = false;
bool registered = false;
static_assert(sizeof(names.digest) == PG_SHA256_DIGEST_LENGTH);

void on_relation_change(Datum /*argument*/, Oid /*relation*/) { valid = false; }
void on_type_change(Datum /*argument*/, int /*cache_id*/, uint32 /*hash_value*/) { valid = false; }

void register_callbacks() {
    if (registered) return;
    CacheRegisterRelcacheCallback(on_relation_change, Datum{0});
    CacheRegisterSyscacheCallback(TYPEOID, on_type_change, Datum{0});
    registered = true;
}

// One line for each object, e.g. "r my_table 0"; the identity only where the object changes what other tables
// hold.
char* describe(Oid catalog, Oid object) {
    if (catalog == RelationRelationId) {
        const char* name = get_rel_name(object);
        if (name == nullptr || get_rel_relkind(object) == RELKIND_INDEX) return nullptr;
        return psprintf("r %s %u", name, has_superclass(object) ? object : InvalidOid);
    }
    if (catalog == TypeRelationId) {
        HeapTuple row = SearchSysCache1(TYPEOID, ObjectIdGetDatum(object));
        if (!HeapTupleIsValid(row)) return nullptr;
        char* line = psprintf("t %s", NameStr(reinterpret_cast<Form_pg_type>(GETSTRUCT(row))->typname));
        ReleaseSysCache(row);
        return line;
    }
    return nullptr;
}

// What depends on the schema: its tables, views, sequences and free-standing types.
List* collect(Oid schema) {
    List* lines = NIL;
    ScanKeyData keys[2];
    ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber, F_OIDEQ,
                ObjectIdGetDatum(NamespaceRelationId));
    ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(schema));
    Relation depend = table_open(DependRelationId, AccessShareLock);
    SysScanDesc scan = systable_beginscan(depend, DependReferenceIndexId, true, nullptr, 2, keys);
    while (true) {
        HeapTuple row = systable_getnext(scan);
        if (!HeapTupleIsValid(row)) break;
        auto* dependency = reinterpret_cast<Form_pg_depend>(GETSTRUCT(row));
        char* line = describe(dependency->classid, dependency->objid);
        if (line != nullptr) lines = lappend(lines, line);
    }
    systable_endscan(scan);
    table_close(depend, AccessShareLock);
    return lines;
}

int compare_lines(const ListCell* a, const ListCell* b) {
    return std::strcmp(static_cast<const char*>(lfirst(a)), static_cast<const char*>(lfirst(b)));
}

void digest_lines(List* lines, unsigned char* out) {
    StringInfoData all;
    initStringInfo(&all);
    ListCell* cell = nullptr;
    foreach (cell, lines) {
        const char* line = static_cast<const char*>(lfirst(cell));
        appendBinaryStringInfo(&all, line, static_cast<int>(std::strlen(line)) + 1);
    }
    pg_cryptohash_ctx* hash = pg_cryptohash_create(PG_SHA256);
    const bool ok = hash != nullptr && pg_cryptohash_init(hash) == 0 &&
                    pg_cryptohash_update(hash, reinterpret_cast<const uint8*>(all.data),
                                         static_cast<std::size_t>(all.len)) == 0 &&
                    pg_cryptohash_final(hash, out, PG_SHA256_DIGEST_LENGTH) == 0;
    if (hash != nullptr) pg_cryptohash_free(hash);
    if (!ok) ereport(ERROR, (errmsg("could not compute a SHA-256 of the temporary names")));
    pfree(all.data);
}

void look_up() {
    Oid schema = InvalidOid;
    Oid toast_schema = InvalidOid;
    GetTempNamespaceState(&schema, &toast_schema);
    // Callbacks that run from here on say that the answer is already old.
    valid = true;
    Names found;
    if (OidIsValid(schema)) {
        MemoryContext scratch =
            AllocSetContextCreate(CurrentMemoryContext, "tiercache temporary names", ALLOCSET_DEFAULT_SIZES);
        MemoryContext caller = MemoryContextSwitchTo(scratch);
        List* lines = collect(schema);
        list_sort(lines, compare_lines);
        found.any = lines != NIL && !settings::is_broken(settings::Mutant::no_temp_names);
        if (found.any) digest_lines(lines, found.digest);
        MemoryContextSwitchTo(caller);
        MemoryContextDelete(scratch);
    }
    if (found.any != names.any || std::memcmp(found.digest, names.digest, sizeof(found.digest)) != 0) {
        found.generation = names.generation + 1;
        names = found;
    }
}

}  // namespace

const Names& current() {
    register_callbacks();
    if (!valid) {
        valid = false;
        PG_TRY();
        { look_up(); }
        PG_CATCH();
        {
            valid = false;
            PG_RE_THROW();
        }
        PG_END_TRY();
    }
    return names;
}

}  // namespace tiercache::temp_names
