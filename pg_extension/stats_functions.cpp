// What the views tiercache.stats, entries, dependencies and tags show.
#include <algorithm>
#include <array>
#include <optional>

#include "pg_extension/boundary.hpp"
#include "pg_extension/entry_copies.hpp"
#include "pg_extension/key_reader.hpp"
#include "pg_extension/query_compat.hpp"
#include "pg_extension/session_key.hpp"
#include "pg_extension/shared_state.hpp"
#include "pg_extension/tuple_payload.hpp"
#include "pg_extension/wire_payload.hpp"
#include "shm_cache/entry.hpp"
#include "shm_cache/monotonic_time.hpp"
#include "shm_cache/query_key.hpp"

extern "C" {
#include <catalog/pg_type.h>
#include <funcapi.h>
#include <utils/array.h>
#include <utils/builtins.h>
#include <utils/tuplestore.h>

PG_FUNCTION_INFO_V1(tiercache_read_stats);
PG_FUNCTION_INFO_V1(tiercache_list_entries);
PG_FUNCTION_INFO_V1(tiercache_list_dependencies);
PG_FUNCTION_INFO_V1(tiercache_read_tag);
}

namespace tiercache {
namespace {

// A row that is filled from left to right.
template <int columns>
struct Row {
    Datum values[columns] = {};
    bool nulls[columns] = {};
    int next = 0;

    void add(Datum value) { values[next++] = value; }
    void add_null() { nulls[next++] = true; }
    void add_count(std::uint64_t value) { add(Int64GetDatum(static_cast<int64>(value))); }
    void add_text(const char* text) { add(CStringGetTextDatum(text)); }
};

[[nodiscard]] TupleDesc result_columns(FunctionCallInfo fcinfo) {
    TupleDesc description = nullptr;
    if (get_call_result_type(fcinfo, nullptr, &description) != TYPEFUNC_COMPOSITE) {
        elog(ERROR, "return type must be a row type");
    }
    return BlessTupleDesc(description);
}

// ---- stats ----

constexpr int stats_columns = 30;

void add_counters(Row<stats_columns>& row, L4Counters& c) {
    const std::uint64_t hits = pg_atomic_read_u64(&c.hits);
    const std::uint64_t absent = pg_atomic_read_u64(&c.misses_absent);
    const std::uint64_t changed = pg_atomic_read_u64(&c.misses_changed);
    const std::uint64_t expired = pg_atomic_read_u64(&c.misses_expired);
    const std::uint64_t lookups = hits + absent + changed + expired;
    row.add_count(hits);
    row.add_count(absent);
    row.add_count(changed);
    row.add_count(expired);
    if (lookups == 0) {
        row.add_null();
    } else {
        row.add(Float8GetDatum(static_cast<double>(hits) / static_cast<double>(lookups)));
    }
    row.add_count(pg_atomic_read_u64(&c.bypasses));
    row.add_count(pg_atomic_read_u64(&c.fills));
    row.add_count(pg_atomic_read_u64(&c.fills_unpublished));
    row.add(Float8GetDatum(static_cast<double>(pg_atomic_read_u64(&c.saved_us)) / 1000.0));
}

void add_segment(Row<stats_columns>& row, const SegmentStats& s) {
    row.add_count(s.items);
    row.add_count(s.item_bytes);
    row.add_count(s.size_bytes);
    row.add_count(s.block_count);
    row.add_count(s.free_blocks);
    row.add_count(s.puts);
    row.add_count(s.put_failures);
    row.add_count(s.evicted_items);
    row.add_count(s.misses_torn);
    row.add_count(s.largest_entry_bytes);
}

void add_clock(Row<stats_columns>& row) {
    SharedState& state = shared::state();
    const ClockTable clock = shared::clock();
    const std::uint64_t now = monotonic_ns();
    const std::uint64_t until = clock.valid_until_ns();
    row.add_count(shared::clock_now());
    row.add_count(clock.floor());
    row.add_text(psprintf("%016llx", static_cast<unsigned long long>(clock.epoch())));
    row.add_count(until > now ? (until - now) / 1'000'000 : 0);
    row.add(BoolGetDatum(pg_atomic_read_u32(&state.open) != 0));
    row.add(Int32GetDatum(static_cast<int32>(pg_atomic_read_u32(&state.in_doubt))));
    row.add(Int32GetDatum(static_cast<int32>(pg_atomic_read_u32(&state.ddl_pending))));
}

Datum read_stats(FunctionCallInfo fcinfo) {
    shared::require();
    TupleDesc description = result_columns(fcinfo);
    Row<stats_columns> row;
    add_counters(row, shared::state().counters);
    Segment* segment = shared::segment();
    add_segment(row, segment != nullptr ? segment->stats() : SegmentStats{});
    add_clock(row);
    row.add_count(pg_atomic_read_u64(&shared::state().counters.stale_hits));
    row.add_count(pg_atomic_read_u64(&shared::state().counters.shared_waits));
    row.add_count(pg_atomic_read_u64(&shared::state().counters.shared_hits));
    row.add_count(pg_atomic_read_u64(&shared::state().counters.recalled_hits));
    // The extension's earlier versions know fewer of them.
    Assert(row.next == stats_columns && description->natts <= stats_columns);
    return HeapTupleGetDatum(heap_form_tuple(description, row.values, row.nulls));
}

// ---- entries ----

constexpr int entry_columns = 15;

[[nodiscard]] bool add_parameters(Row<entry_columns>& row, KeyReader& key) {
    std::uint32_t count = 0;
    if (!key.take_u32(count) || count > MaxAttrNumber * 64) return false;
    auto* values = static_cast<Datum*>(palloc0(sizeof(Datum) * (count + 1)));
    auto* nulls = static_cast<bool*>(palloc0(sizeof(bool) * (count + 1)));
    for (std::uint32_t i = 0; i < count; ++i) {
        std::uint32_t size = 0;
        std::span<const std::byte> bytes;
        if (!key.take_u32(size)) return false;
        nulls[i] = size == UINT32_MAX;
        if (nulls[i]) continue;
        if (!key.take(size, bytes)) return false;
        values[i] = entry_copies::text_datum(bytes);
    }
    int dimensions[1] = {static_cast<int>(count)};
    int lower_bounds[1] = {1};
    ArrayType* array = count == 0 ? construct_empty_array(TEXTOID)
                                  : construct_md_array(values, nulls, 1, dimensions, lower_bounds, TEXTOID,
                                                       -1, false, TYPALIGN_INT);
    row.add(PointerGetDatum(array));
    return true;
}

// Whose entry it is, and what was asked; that is for its role and for those who may read all statistics.
[[nodiscard]] bool add_query(Row<entry_columns>& row, std::span<const std::byte> key_bytes) {
    KeyReader key(key_bytes);
    std::span<const std::byte> sql;
    SessionIdentity identity{};
    if (!key.take_question(identity, sql)) return false;
    row.add(ObjectIdGetDatum(identity.database));
    row.add(ObjectIdGetDatum(identity.role));
    if (entry_copies::shows_text_of(identity.role)) {
        row.add(entry_copies::text_datum(sql));
        return add_parameters(row, key);
    }
    row.add_text("<insufficient privilege>");
    row.add_null();
    return true;
}

// Rows of a result; nothing for a format that does not tell.
[[nodiscard]] std::optional<std::uint64_t> rows_of(const EntryView& entry) {
    if (entry.fields.format != PayloadFormat::pg_tuples && entry.fields.format != PayloadFormat::pg_wire) {
        return std::nullopt;
    }
    auto* room = static_cast<std::byte*>(
        palloc_extended(entry.raw_length + std::size_t{1}, MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM));
    if (room == nullptr) return std::nullopt;
    std::optional<std::uint64_t> rows;
    const std::span<std::byte> payload(room, entry.raw_length);
    if (entry_checksum_ok(entry) && read_payload(entry, payload) == StatusCode::ok) {
        rows = entry.fields.format == PayloadFormat::pg_tuples ? tuple_payload::row_count(payload)
                                                               : wire_payload::row_count(payload);
    }
    pfree(room);
    return rows;
}

void add_state(Row<entry_columns>& row, const EntryView& entry) {
    const EntryLifetime& lifetime = entry.fields.lifetime;
    const std::uint64_t now = monotonic_ns();
    const std::uint64_t passed = (now - std::min(now, lifetime.received_at_ns)) / 1'000'000;
    std::array<Tag, max_entry_tags> tags;
    const Verdict verdict =
        shared::clock().check_unleased(entry.tags.copy_to(tags), entry.fields.stamp, entry.fields.epoch);
    row.add_count(lifetime.age_ms_at(now));
    row.add_count(lifetime.hard_ttl_ms - std::min<std::uint64_t>(passed, lifetime.hard_ttl_ms));
    row.add_count(entry.fields.stamp);
    row.add(Float8GetDatum(entry.fields.fill_cost_us / 1000.0));
    row.add(Int32GetDatum(static_cast<int32>(entry.tags.size())));
    row.add_text(lifetime.expired_at(now) ? "expired" : to_string(verdict));
}

void put_entry(std::span<const std::byte> bytes, const entry_copies::Output& out) {
    EntryView entry;
    Row<entry_columns> row;
    if (decode_entry(bytes, entry) != StatusCode::ok || !add_query(row, entry.key)) return;
    row.add_text(to_string(entry.fields.format).data());
    row.add_text(to_string(entry.fields.data_class).data());
    const std::optional<std::uint64_t> rows = rows_of(entry);
    if (rows) {
        row.add_count(*rows);
    } else {
        row.add_null();
    }
    row.add_count(entry.raw_length);
    row.add_count(bytes.size());
    add_state(row, entry);
    Assert(row.next == entry_columns && out.description->natts == entry_columns);
    tuplestore_putvalues(out.rows, out.description, row.values, row.nulls);
}

Datum list_entries(FunctionCallInfo fcinfo) {
    shared::require();
    const entry_copies::Output out = entry_copies::begin_output(fcinfo);
    for (const entry_copies::Copy* copy = entry_copies::all(); copy != nullptr; copy = copy->next) {
        CHECK_FOR_INTERRUPTS();
        put_entry(copy->bytes(), out);
    }
    return Datum{0};
}

// ---- dependencies ----

constexpr int dependency_columns = 5;

// One row for each tag of the entry.
void put_dependencies(std::span<const std::byte> bytes, const entry_copies::Output& out) {
    EntryView entry;
    if (decode_entry(bytes, entry) != StatusCode::ok) return;
    KeyReader key(entry.key);
    std::span<const std::byte> sql;
    SessionIdentity identity{};
    if (!key.take_question(identity, sql)) return;
    const bool shows = entry_copies::shows_text_of(identity.role);
    for (std::size_t i = 0; i < entry.tags.size(); ++i) {
        Row<dependency_columns> row;
        row.add(ObjectIdGetDatum(identity.database));
        row.add(ObjectIdGetDatum(identity.role));
        if (shows) {
            row.add(entry_copies::text_datum(sql));
        } else {
            row.add_text("<insufficient privilege>");
        }
        row.add_text(to_string(entry.fields.format).data());
        row.add_count(entry.tags[i]);
        tuplestore_putvalues(out.rows, out.description, row.values, row.nulls);
    }
}

Datum list_dependencies(FunctionCallInfo fcinfo) {
    shared::require();
    const entry_copies::Output out = entry_copies::begin_output(fcinfo);
    for (const entry_copies::Copy* copy = entry_copies::all(); copy != nullptr; copy = copy->next) {
        CHECK_FOR_INTERRUPTS();
        put_dependencies(copy->bytes(), out);
    }
    return Datum{0};
}

Datum read_tag(FunctionCallInfo fcinfo) {
    shared::require();
    TupleDesc description = result_columns(fcinfo);
    const auto tag = static_cast<Tag>(PG_GETARG_INT64(0));
    Row<2> row;
    row.add_count(shared::clock().version_of(tag));
    row.add_count(shared::clock().writers_of(tag));
    return HeapTupleGetDatum(heap_form_tuple(description, row.values, row.nulls));
}

}  // namespace
}  // namespace tiercache

Datum tiercache_read_stats(PG_FUNCTION_ARGS) {
    return tiercache::pg::enter([fcinfo] { return tiercache::read_stats(fcinfo); });
}
Datum tiercache_list_entries(PG_FUNCTION_ARGS) {
    return tiercache::pg::enter([fcinfo] { return tiercache::list_entries(fcinfo); });
}
Datum tiercache_list_dependencies(PG_FUNCTION_ARGS) {
    return tiercache::pg::enter([fcinfo] { return tiercache::list_dependencies(fcinfo); });
}
Datum tiercache_read_tag(PG_FUNCTION_ARGS) {
    return tiercache::pg::enter([fcinfo] { return tiercache::read_tag(fcinfo); });
}
