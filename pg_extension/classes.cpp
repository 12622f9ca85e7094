#include "pg_extension/classes.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string_view>

#include "pg_extension/boundary.hpp"
#include "pg_extension/settings.hpp"

extern "C" {
#include <access/htup_details.h>
#include <access/relation.h>
#include <access/tableam.h>
#include <catalog/namespace.h>
#include <catalog/pg_type.h>
#include <commands/trigger.h>
#include <executor/spi.h>
#include <executor/tuptable.h>
#include <utils/builtins.h>
#include <utils/inval.h>
#include <utils/lsyscache.h>
#include <utils/rel.h>
#include <utils/timestamp.h>

PG_FUNCTION_INFO_V1(tiercache_classes_edited);
}

namespace tiercache::classes {

namespace {

// Columns of tiercache.classes.
enum Column : int { column_name = 1, column_data_class = 2, column_l4 = 6, column_edited = 8, columns = 8 };

struct NamedClass {
    NameData name;
    ClassSettings settings;
};

constexpr std::uint32_t ms = 1000;
constexpr ClassSettings warm{DataClass::warm, 43200U * ms};

// More than these, and the last ones are not known.
constexpr std::size_t classes_max = 128;
struct Copy {
    std::array<NamedClass, classes_max> classes;
    std::size_t count;
    Oid table;  // it was read from
    bool is_current;
};
Copy copy;

void on_relation_change(Datum /*argument*/, Oid relation) {
    if (relation == copy.table || !OidIsValid(relation) || !OidIsValid(copy.table)) copy.is_current = false;
}

void add(std::string_view name, const ClassSettings& settings) {
    if (copy.count == classes_max || name.size() >= NAMEDATALEN) return;
    NamedClass& added = copy.classes[copy.count++];
    added = {};
    std::copy(name.begin(), name.end(), NameStr(added.name));
    added.settings = settings;
}

void add_defaults() {
    add("hot", {DataClass::hot, 86400U * ms});
    add("warm", warm);
    add("cold", {DataClass::cold, 21600U * ms});
    add("reference", {DataClass::reference, 2592000U * ms});
}

[[nodiscard]] std::optional<DataClass> data_class_of(std::string_view name) {
    for (const DataClass c : {DataClass::hot, DataClass::warm, DataClass::cold, DataClass::reference}) {
        if (to_string(c) == name) return c;
    }
    return std::nullopt;
}

[[nodiscard]] std::string_view text_at(const TupleTableSlot* slot, int column) {
    return TextDatumGetCString(slot->tts_values[column - 1]);
}

void add_row(TupleTableSlot* slot) {
    slot_getallattrs(slot);
    for (const int column : {column_name, column_data_class, column_l4}) {
        if (slot->tts_isnull[column - 1]) return;
    }
    const std::optional<DataClass> data_class = data_class_of(text_at(slot, column_data_class));
    if (!data_class) return;
    const std::uint32_t ttl = milliseconds_of(DatumGetIntervalP(slot->tts_values[column_l4 - 1]));
    add(text_at(slot, column_name), {*data_class, ttl});
}

[[nodiscard]] bool has_our_columns(Relation table) {
    TupleDesc description = RelationGetDescr(table);
    if (description->natts < columns) return false;
    const auto is = [description](int column, Oid type) {
        const auto* attribute = TupleDescAttr(description, column - 1);
        return !attribute->attisdropped && attribute->atttypid == type;
    };
    return is(column_name, TEXTOID) && is(column_data_class, TEXTOID) && is(column_l4, INTERVALOID);
}

// By hand and not by a query: no hook of anybody's sees it, ours among them.
pg_noinline void read_table() {
    Relation table = try_relation_open(copy.table, AccessShareLock);
    if (table == nullptr) return;
    if (table->rd_rel->relkind == RELKIND_RELATION && has_our_columns(table)) {
        Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
        TupleTableSlot* slot = table_slot_create(table, nullptr);
        TableScanDesc scan = table_beginscan(table, snapshot, 0, nullptr);
        while (table_scan_getnextslot(scan, ForwardScanDirection, slot)) add_row(slot);
        table_endscan(scan);
        ExecDropSingleTupleTableSlot(slot);
        UnregisterSnapshot(snapshot);
    }
    relation_close(table, AccessShareLock);
}

void read_again() {
    // Whatever changes from here on is read the next time.
    copy.is_current = true;
    copy.count = 0;
    const Oid schema = get_namespace_oid("tiercache", true);
    copy.table = OidIsValid(schema) ? get_relname_relid("classes", schema) : InvalidOid;
    MemoryContext room =
        AllocSetContextCreate(CurrentMemoryContext, "tiercache classes", ALLOCSET_SMALL_SIZES);
    MemoryContext caller = MemoryContextSwitchTo(room);
    PG_TRY();
    {
        if (OidIsValid(copy.table)) read_table();
        if (copy.count == 0) add_defaults();
    }
    PG_CATCH();
    {
        copy.is_current = false;
        PG_RE_THROW();
    }
    PG_END_TRY();
    MemoryContextSwitchTo(caller);
    MemoryContextDelete(room);
}

[[nodiscard]] const NamedClass* look_up(std::string_view name) {
    if (!copy.is_current) read_again();
    for (std::size_t i = 0; i < copy.count; ++i) {
        if (name == NameStr(copy.classes[i].name)) return &copy.classes[i];
    }
    return nullptr;
}

// A default that is given anew is the user's own from then on: dumps hold those, and a restore finds the
// defaults there already.
void replace_default(HeapTuple row, TupleDesc description) {
    bool is_null = false;
    Datum name[] = {heap_getattr(row, column_name, description, &is_null)};
    if (is_null) return;
    Oid types[] = {TEXTOID};
    SPI_connect();
    (void)SPI_execute_with_args("DELETE FROM tiercache.classes WHERE name = $1 AND NOT edited", 1, types,
                                name, nullptr, false, 0);
    SPI_finish();
}

[[nodiscard]] Datum on_edit(FunctionCallInfo fcinfo) {
    if (!CALLED_AS_TRIGGER(fcinfo)) {
        ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                        errmsg("tiercache.classes_edited is a trigger's function")));
    }
    const auto* data = reinterpret_cast<const TriggerData*>(fcinfo->context);
    // Every backend reads the table again when this commits, and this one from now on.
    CacheInvalidateRelcache(data->tg_relation);
    if (TRIGGER_FIRED_BY_DELETE(data->tg_event)) return PointerGetDatum(data->tg_trigtuple);
    TupleDesc description = RelationGetDescr(data->tg_relation);
    const bool is_new = TRIGGER_FIRED_BY_INSERT(data->tg_event);
    HeapTuple row = is_new ? data->tg_trigtuple : data->tg_newtuple;
    if (is_new) replace_default(row, description);
    int column = column_edited;
    Datum value = BoolGetDatum(true);
    bool is_null = false;
    return PointerGetDatum(heap_modify_tuple_by_cols(row, description, 1, &column, &value, &is_null));
}

}  // namespace

std::uint32_t milliseconds_of(const Interval* interval) noexcept {
    constexpr double days_per_month = 30;
    constexpr double us_per_day = 86'400'000'000.0;
    constexpr double us_per_ms = 1000;
    const double days = interval->day + days_per_month * interval->month;
    const double in_ms = (static_cast<double>(interval->time) + days * us_per_day) / us_per_ms;
    return static_cast<std::uint32_t>(std::clamp(in_ms, 0.0, static_cast<double>(ttl_never_ms - 1)));
}

ClassSettings find(const char* name) {
    const NamedClass* found = look_up(name);
    if (found == nullptr) {
        ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("there is no class \"%s\"", name),
                        errhint("The table tiercache.classes has the classes.")));
    }
    return found->settings;
}

ClassSettings of_session() {
    const NamedClass* found = look_up(settings::default_class);
    return found != nullptr ? found->settings : warm;
}

void register_callbacks() { CacheRegisterRelcacheCallback(on_relation_change, Datum{0}); }

}  // namespace tiercache::classes

Datum tiercache_classes_edited(PG_FUNCTION_ARGS) {
    return tiercache::pg::enter([fcinfo] { return tiercache::classes::on_edit(fcinfo); });
}
