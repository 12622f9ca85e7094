#include "pg_extension/foreign_tables.hpp"

#include <algorithm>

#include "pg_extension/ancestors.hpp"
#include "pg_extension/classes.hpp"
#include "pg_extension/held_locks.hpp"
#include "pg_extension/shared_state.hpp"
#include "pg_extension/tags.hpp"
#include "shm_cache/monotonic_time.hpp"

extern "C" {
#include <access/relation.h>
#include <access/skey.h>
#include <access/stratnum.h>
#include <access/tableam.h>
#include <catalog/dependency.h>
#include <catalog/namespace.h>
#include <catalog/pg_class.h>
#include <catalog/pg_type.h>
#include <commands/extension.h>
#include <executor/tuptable.h>
#include <utils/fmgroids.h>
#include <utils/lsyscache.h>
#include <utils/rel.h>
#include <utils/timestamp.h>
}

namespace tiercache::foreign_tables {

namespace {

// Columns of tiercache.foreign_tables.
enum Column : int { column_relation = 1, column_ttl = 2, columns = 2 };

[[nodiscard]] Oid settings_table() {
    const Oid schema = get_namespace_oid("tiercache", true);
    return OidIsValid(schema) ? get_relname_relid("foreign_tables", schema) : InvalidOid;
}

[[nodiscard]] bool has_our_columns(Relation table) {
    TupleDesc description = RelationGetDescr(table);
    if (description->natts < columns) return false;
    return TupleDescAttr(description, column_relation - 1)->atttypid == REGCLASSOID &&
           TupleDescAttr(description, column_ttl - 1)->atttypid == INTERVALOID;
}

// Without the extension anybody who may make a schema could make such a table.
[[nodiscard]] bool is_of_extension(Oid table) {
    const Oid extension = get_extension_oid("tiercache", true);
    return OidIsValid(extension) && getExtensionOfObject(RelationRelationId, table) == extension;
}

[[nodiscard]] std::optional<std::uint32_t> find_row(Relation table, Oid relation) {
    std::optional<std::uint32_t> ttl_ms;
    ScanKeyData key;
    ScanKeyInit(&key, column_relation, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relation));
    Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
    TupleTableSlot* slot = table_slot_create(table, nullptr);
    TableScanDesc scan = table_beginscan(table, snapshot, 1, &key);
    if (table_scan_getnextslot(scan, ForwardScanDirection, slot)) {
        bool is_null = false;
        const Datum ttl = slot_getattr(slot, column_ttl, &is_null);
        if (!is_null) ttl_ms = classes::milliseconds_of(DatumGetIntervalP(ttl));
    }
    table_endscan(scan);
    ExecDropSingleTupleTableSlot(slot);
    UnregisterSnapshot(snapshot);
    return ttl_ms;
}

// By hand and not by a query: no hook of anybody's sees it, ours among them.
[[nodiscard]] std::optional<std::uint32_t> read_ttl(Oid settings, Oid relation) {
    Relation table = try_relation_open(settings, AccessShareLock);
    if (table == nullptr) return std::nullopt;
    std::optional<std::uint32_t> ttl_ms;
    if (table->rd_rel->relkind == RELKIND_RELATION && has_our_columns(table)) {
        ttl_ms = find_row(table, relation);
    }
    relation_close(table, AccessShareLock);
    return ttl_ms;
}

struct Locked {
    static constexpr int room = 64;
    Oid relations[room];
    int count = 0;
    bool overflow = false;

    static void visit(void* self, Oid relation, LOCKMASK /*modes*/) {
        auto& locked = *static_cast<Locked*>(self);
        if (locked.count == room) {
            locked.overflow = true;
            return;
        }
        locked.relations[locked.count++] = relation;
    }
};

struct Noted {
    LocalTransactionId transaction = InvalidLocalTransactionId;
    Beginning beginning{};
};
Noted noted;

}  // namespace

std::optional<std::uint32_t> ttl_ms_of(Oid relation) {
    const Oid settings = settings_table();
    if (!OidIsValid(settings) || !is_of_extension(settings)) return std::nullopt;
    return read_ttl(settings, relation);
}

std::optional<Tag> settings_tag() {
    const Oid settings = settings_table();
    if (!OidIsValid(settings)) return std::nullopt;
    return relation_tag(settings);
}

bool changed_here() {
    if (!may_hold_writing_lock()) return false;
    Locked locked;
    for_each_written_relation(Locked::visit, &locked);
    return locked.overflow || std::any_of(locked.relations, locked.relations + locked.count,
                                          [](Oid relation) { return ancestors::of(relation).foreign; });
}

void note_statement() noexcept {
    if (noted.transaction == pg::this_transaction()) return;
    // The coarse clock is behind: too old at worst.
    noted = {pg::this_transaction(), {shared::clock_now(), monotonic_coarse_ns()}};
}

Beginning beginning() noexcept {
    note_statement();
    return noted.beginning;
}

}  // namespace tiercache::foreign_tables
