// The SQL functions that answer queries: tiercache.query, query_json and fetch.
//
// Each looks its query up and serves a fresh entry, or runs the query and keeps what it returned. Where the
// cache may not be used at all, the query is just run. No C++ object with a destructor lives in these frames.
#include <algorithm>

#include "pg_extension/boundary.hpp"
#include "pg_extension/fill.hpp"
#include "pg_extension/json_payload.hpp"
#include "pg_extension/l4_cache.hpp"
#include "pg_extension/query_arguments.hpp"
#include "pg_extension/query_compat.hpp"
#include "pg_extension/session_key.hpp"
#include "pg_extension/settings.hpp"
#include "pg_extension/shared_state.hpp"
#include "pg_extension/tuple_payload.hpp"
#include "pg_extension/wire_payload.hpp"
#include "shm_cache/monotonic_time.hpp"

extern "C" {
#include <access/xlog.h>
#include <funcapi.h>
#include <utils/builtins.h>

PG_FUNCTION_INFO_V1(tiercache_query);
PG_FUNCTION_INFO_V1(tiercache_query_json);
PG_FUNCTION_INFO_V1(tiercache_fetch);
}

namespace tiercache {
namespace {

[[nodiscard]] std::span<const std::byte> bytes_of(const StringInfoData& text) noexcept {
    return std::as_bytes(std::span(text.data, static_cast<std::size_t>(text.len)));
}

[[nodiscard]] std::size_t size_limit() noexcept {
    return static_cast<std::size_t>(settings::max_entry_size_kb) * 1024;
}

void count(pg_atomic_uint64& counter) noexcept { pg_atomic_fetch_add_u64(&counter, 1); }

// May this transaction look entries up?
[[nodiscard]] bool may_look_up() {
    if (bypass_reason() == nullptr) return true;
    count(shared::state().counters.bypasses);
    return false;
}

[[nodiscard]] EntryFields fields_of(const Fill& fill, const l4_cache::Key& key, bool keep) {
    EntryFields fields;
    fields.lifetime = l4_cache::new_lifetime(key, fill.started_ns);
    fields.epoch = shared::clock().epoch();
    fields.stamp = keep ? *fill.stamp : 0;
    fields.flags = keep ? 0 : entry_no_store;
    if (RecoveryInProgress()) fields.flags = entry_no_store | entry_standby;
    fields.format = fill.request.format;
    fields.data_class = DataClass::warm;
    fields.fill_cost_us = fill.cost_us;
    return fields;
}

void count_fill(bool published) noexcept {
    L4Counters& counters = shared::state().counters;
    count(published ? counters.fills : counters.fills_unpublished);
}

[[nodiscard]] bool may_keep(const Fill& fill, const l4_cache::Key& key) {
    return fill::may_keep(fill) && l4_cache::is_current(key);
}

// Stores the result of a fill that nobody but this server needs.
void publish(const Fill& fill, const l4_cache::Key& key, std::span<const std::byte> payload) {
    bool published = false;
    if (payload.size() <= size_limit() && may_keep(fill, key)) {
        const std::span<std::byte> entry =
            l4_cache::encode(fields_of(fill, key, true), fill.dependencies.tags(), key, payload, 0);
        published = !entry.empty() && l4_cache::put(entry);
        if (!entry.empty()) pfree(entry.data());
    }
    count_fill(published);
}

// ---- query_json ----

[[nodiscard]] Datum json_of(const l4_cache::Key& key, bool& found) {
    EntryView entry;
    found = false;
    if (!l4_cache::find(key, entry)) return Datum{0};
    std::byte* room = l4_cache::read_payload_at(entry, VARHDRSZ);
    if (room == nullptr) return Datum{0};
    found = true;
    SET_VARSIZE(room, VARHDRSZ + entry.raw_length);
    return PointerGetDatum(room);
}

[[nodiscard]] Datum fill_json(const l4_cache::Key& key, const text* sql) {
    Fill* fill = new_fill({text_to_cstring(sql), PayloadFormat::json, {}});
    StringInfoData json;
    initStringInfo(&json);
    // Room for the varlena header, so that the text is the function's result as it stands.
    appendStringInfoSpaces(&json, VARHDRSZ);
    fill::run(*fill, json_payload::make_receiver(&json));
    json_payload::finish(&json);
    if (fill->bypassed == nullptr) publish(*fill, key, bytes_of(json).subspan(VARHDRSZ));
    SET_VARSIZE(json.data, json.len);
    return PointerGetDatum(json.data);
}

Datum query_json(FunctionCallInfo fcinfo) {
    shared::require();
    const text* sql = PG_GETARG_TEXT_PP(0);
    const l4_cache::Key key = l4_cache::make_key(PayloadFormat::json, view_of(sql), {});
    if (may_look_up()) {
        bool found = false;
        const Datum json = json_of(key, found);
        if (found) return json;
    }
    return fill_json(key, sql);
}

// ---- query ----

[[nodiscard]] ReturnSetInfo* result_set(FunctionCallInfo fcinfo) {
    auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    if (result == nullptr || !IsA(result, ReturnSetInfo) || (result->allowedModes & SFRM_Materialize) == 0) {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("tiercache.query returns a set, which is not allowed here"),
                        errhint("Use it in FROM: SELECT * FROM tiercache.query($$...$$) AS t(a integer).")));
    }
    if (result->expectedDesc == nullptr) {
        ereport(ERROR,
                (errcode(ERRCODE_SYNTAX_ERROR), errmsg("tiercache.query needs a column definition list"),
                 errhint("Use it in FROM: SELECT * FROM tiercache.query($$...$$) AS t(a integer).")));
    }
    return result;
}

[[nodiscard]] Tuplestorestate* new_store(const ReturnSetInfo* result) {
    MemoryContext caller = MemoryContextSwitchTo(result->econtext->ecxt_per_query_memory);
    Tuplestorestate* store =
        tuplestore_begin_heap((result->allowedModes & SFRM_Materialize_Random) != 0, false, work_mem);
    MemoryContextSwitchTo(caller);
    return store;
}

[[nodiscard]] bool replay_entry(const l4_cache::Key& key, TupleDesc expected, Tuplestorestate* rows) {
    EntryView entry;
    if (!l4_cache::find(key, entry)) return false;
    const std::byte* payload = l4_cache::read_payload_at(entry, 0);
    if (payload == nullptr) return false;
    if (tuple_payload::replay({payload, entry.raw_length}, expected, rows)) return true;
    tuplestore_clear(rows);
    return false;
}

void fill_rows(const l4_cache::Key& key, const text* sql, TupleDesc expected, Tuplestorestate* rows) {
    Fill* fill = new_fill({text_to_cstring(sql), PayloadFormat::pg_tuples, {}});
    tuple_payload::Sink sink{};
    sink.expected = expected;
    sink.rows = rows;
    sink.limit = std::min(size_limit(), static_cast<std::size_t>(MaxAllocSize) / 2);
    fill::run(*fill, tuple_payload::make_receiver(&sink));
    if (fill->bypassed != nullptr) return;
    if (sink.copy.complete) {
        publish(*fill, key, bytes_of(sink.copy.payload));
    } else {
        count_fill(false);
    }
}

Datum query(FunctionCallInfo fcinfo) {
    shared::require();
    ReturnSetInfo* result = result_set(fcinfo);
    const text* sql = PG_GETARG_TEXT_PP(0);
    const l4_cache::Key key = l4_cache::make_key(PayloadFormat::pg_tuples, view_of(sql), {});
    Tuplestorestate* rows = new_store(result);
    if (!may_look_up() || !replay_entry(key, result->expectedDesc, rows)) {
        fill_rows(key, sql, result->expectedDesc, rows);
    }
    result->returnMode = SFRM_Materialize;
    result->setResult = rows;
    return Datum{0};
}

// ---- fetch ----

// The entry as it travels: without this host's clock.
[[nodiscard]] Datum in_transit(std::span<std::byte> entry, const EntryLifetime& lifetime) {
    set_entry_lifetime(entry, l4_cache::lifetime_in_transit(lifetime, monotonic_ns()));
    std::byte* whole = entry.data() - VARHDRSZ;
    SET_VARSIZE(whole, VARHDRSZ + entry.size());
    return PointerGetDatum(whole);
}

[[nodiscard]] Datum fetched_entry(const EntryView& found) {
    auto* room = static_cast<std::byte*>(palloc(VARHDRSZ + found.bytes.size()));
    std::ranges::copy(found.bytes, room + VARHDRSZ);
    return in_transit({room + VARHDRSZ, found.bytes.size()}, found.fields.lifetime);
}

[[nodiscard]] Datum fill_entry(const l4_cache::Key& key, const text* sql, const QueryArguments& arguments) {
    Fill* fill = new_fill({text_to_cstring(sql), PayloadFormat::pg_wire, {arguments.texts, arguments.count}});
    StringInfoData messages;
    initStringInfo(&messages);
    fill::run(*fill, wire_payload::make_receiver(&messages, &fill->plan));

    const bool keep = may_keep(*fill, key);
    const EntryFields fields = fields_of(*fill, key, keep);
    const std::span<const Tag> tags = keep ? fill->dependencies.tags() : std::span<const Tag>{};
    const std::span<std::byte> entry = l4_cache::encode(fields, tags, key, bytes_of(messages), VARHDRSZ);
    if (entry.empty() || entry.size() > MaxAllocSize - VARHDRSZ) {
        ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
                        errmsg("the query or its result is too large for an entry"),
                        errhint("Fetch less at a time, or run the query without tiercache.")));
    }
    const bool published =
        keep && static_cast<std::size_t>(messages.len) <= size_limit() && l4_cache::put(entry);
    if (fill->bypassed == nullptr) count_fill(published);
    return in_transit(entry, fields.lifetime);
}

Datum fetch(FunctionCallInfo fcinfo) {
    shared::require();
    const text* sql = PG_GETARG_TEXT_PP(0);
    const QueryArguments arguments = read_arguments(PG_GETARG_ARRAYTYPE_P(1));
    const l4_cache::Key key = key_of_fetch(sql, arguments);
    if (may_look_up()) {
        EntryView found;
        if (l4_cache::find(key, found)) return fetched_entry(found);
    }
    return fill_entry(key, sql, arguments);
}

}  // namespace
}  // namespace tiercache

Datum tiercache_query(PG_FUNCTION_ARGS) {
    return tiercache::pg::enter([fcinfo] { return tiercache::query(fcinfo); });
}
Datum tiercache_query_json(PG_FUNCTION_ARGS) {
    return tiercache::pg::enter([fcinfo] { return tiercache::query_json(fcinfo); });
}
Datum tiercache_fetch(PG_FUNCTION_ARGS) {
    return tiercache::pg::enter([fcinfo] { return tiercache::fetch(fcinfo); });
}
