// What the view tiercache.patterns is made of.
#include <algorithm>

#include "pg_extension/boundary.hpp"
#include "pg_extension/entry_copies.hpp"
#include "pg_extension/patterns.hpp"
#include "pg_extension/shared_state.hpp"
#include "shm_cache/monotonic_time.hpp"

extern "C" {
#include <catalog/pg_type.h>
#include <funcapi.h>
#include <utils/array.h>
#include <utils/builtins.h>
#include <utils/tuplestore.h>

PG_FUNCTION_INFO_V1(tiercache_list_patterns);
PG_FUNCTION_INFO_V1(tiercache_reset_patterns);
}

namespace tiercache {
namespace {

constexpr int pattern_columns = 13;

[[nodiscard]] Datum relations_of(const patterns::Slot& slot) {
    const auto* end = std::find(slot.relations, slot.relations + patterns::Slot::relations_max, InvalidOid);
    Datum oids[patterns::Slot::relations_max];
    std::transform(slot.relations, end, oids, [](Oid oid) { return ObjectIdGetDatum(oid); });
    return PointerGetDatum(construct_array(oids, static_cast<int>(end - slot.relations), OIDOID, sizeof(Oid),
                                           true, TYPALIGN_INT));
}

void put_pattern(patterns::Slot& slot, const entry_copies::Output& out) {
    if (pg_atomic_read_u32(&slot.ready) == 0) return;
    pg_read_barrier();
    const auto number = [](pg_atomic_uint64& counter) {
        return Int64GetDatum(static_cast<int64>(pg_atomic_read_u64(&counter)));
    };
    const std::uint64_t last = pg_atomic_read_u64(&slot.last_ns);
    const std::uint64_t seconds = (std::max(last, slot.first_ns) - slot.first_ns) / 1'000'000'000U;
    const char* text = entry_copies::shows_text_of(slot.role) ? slot.text : "<insufficient privilege>";
    Datum values[pattern_columns] = {ObjectIdGetDatum(slot.database),
                                     ObjectIdGetDatum(slot.role),
                                     Int64GetDatum(slot.query_id),
                                     CStringGetTextDatum(text),
                                     relations_of(slot),
                                     Int64GetDatum(static_cast<int64>(seconds)),
                                     number(slot.calls),
                                     number(slot.hits),
                                     number(slot.run_us),
                                     number(slot.rows),
                                     number(slot.bytes),
                                     number(slot.repeats),
                                     number(slot.changes)};
    bool nulls[pattern_columns] = {};
    tuplestore_putvalues(out.rows, out.description, values, nulls);
}

Datum list_patterns(FunctionCallInfo fcinfo) {
    shared::require();
    const entry_copies::Output out = entry_copies::begin_output(fcinfo);
    for (int i = 0; i < patterns::slot_count(); ++i) put_pattern(patterns::slot(i), out);
    return Datum{0};
}

}  // namespace
}  // namespace tiercache

Datum tiercache_list_patterns(PG_FUNCTION_ARGS) {
    return tiercache::pg::enter([fcinfo] { return tiercache::list_patterns(fcinfo); });
}
Datum tiercache_reset_patterns(PG_FUNCTION_ARGS) {
    (void)fcinfo;
    tiercache::pg::enter([] {
        tiercache::shared::require();
        tiercache::patterns::reset();
    });
    PG_RETURN_VOID();
}
