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
#include "pg_extension/query_options.hpp"
#include "pg_extension/session_key.hpp"
#include "pg_extension/settings.hpp"
#include "pg_extension/shared_state.hpp"
#include "pg_extension/sharing.hpp"
#include "pg_extension/tuple_payload.hpp"
#include "pg_extension/verify.hpp"
#include "pg_extension/wire_payload.hpp"
#include "shm_cache/monotonic_time.hpp"

extern "C" {
#include <access/xlog.h>
#include <funcapi.h>
#include <utils/builtins.h>

PG_FUNCTION_INFO_V1(tiercache_query);
PG_FUNCTION_INFO_V1(tiercache_query_json);
PG_FUNCTION_INFO_V1(tiercache_fetch);
PG_FUNCTION_INFO_V1(tiercache_query_with);
PG_FUNCTION_INFO_V1(tiercache_query_json_with);
PG_FUNCTION_INFO_V1(tiercache_fetch_with);
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

// What is asked, of whichever function.
struct Question {
    const text* sql;
    QueryArguments arguments;
    QueryOptions options;
};

[[nodiscard]] EntryFields fields_of(const Fill& fill, const l4_cache::Key& key, const QueryOptions& options,
                                    bool keep) {
    const ClassSettings data_class = options.data_class();
    EntryFields fields;
    l4_cache::date(fields, key, {keep ? *fill.stamp : 0, fill.started_ns}, data_class.ttl_ms,
                   fill.dependencies);
    fields.epoch = shared::clock().epoch();
    fields.flags = keep ? 0 : entry_no_store;
    if (RecoveryInProgress()) fields.flags = entry_no_store | entry_standby;
    fields.format = fill.request.format;
    fields.data_class = data_class.data_class;
    fields.fill_cost_us = fill.cost_us;
    return fields;
}

void count_fill(bool published) noexcept {
    L4Counters& counters = shared::state().counters;
    count(published ? counters.fills : counters.fills_unpublished);
}

[[nodiscard]] FillRequest request_of(const Question& question, PayloadFormat format) {
    return {text_to_cstring(question.sql), format, {question.arguments.texts, question.arguments.count}};
}

[[nodiscard]] Fill* fill_of(const Question& question, PayloadFormat format) {
    Fill* fill = new_fill(request_of(question, format));
    for (const Tag label : question.options.label_tags()) fill->dependencies.add(label);
    return fill;
}

[[nodiscard]] bool may_keep(const Fill& fill, const l4_cache::Key& key) {
    return fill::may_keep(fill) && l4_cache::is_current(key);
}

// Stores the result of a fill that nobody but this server needs.
[[nodiscard]] bool publish(const Fill& fill, const l4_cache::Key& key, const QueryOptions& options,
                           std::span<const std::byte> payload) {
    bool published = false;
    if (payload.size() <= size_limit() && may_keep(fill, key)) {
        const std::span<std::byte> entry =
            l4_cache::encode(fields_of(fill, key, options, true), fill.dependencies.tags(), key, payload, 0);
        published = !entry.empty() && l4_cache::put(entry);
        if (!entry.empty()) pfree(entry.data());
    }
    count_fill(published);
    return published;
}

// The payload of a hit, decompressed: is it what tiercache.verify would have?
[[nodiscard]] bool is_verified(const Question& question, const EntryView& entry,
                               std::span<const std::byte> payload, TupleDesc columns = nullptr) {
    return settings::verify == static_cast<int>(settings::Verify::off) ||
           verify::agrees(request_of(question, entry.fields.format), entry, payload, columns);
}

// Looks the entry up by `find`, which says whether it was there. When it was not, the query has to be run:
// then `flight` is set, if others may wait for its result.
template <class F>
[[nodiscard]] bool look_up(const l4_cache::Key& key, sharing::Flight*& flight, F find) {
    flight = nullptr;
    if (!may_look_up()) return false;
    if (find()) return true;
    if (l4_cache::is_out_of_reach(key, std::nullopt)) return false;
    if (sharing::wait_for_leader(key.hash) && find()) {
        count(shared::state().counters.shared_hits);
        return true;
    }
    flight = sharing::lead(key.hash);
    return false;
}

// ---- query_json ----

[[nodiscard]] bool find_json(const l4_cache::Key& key, const Question& question, Datum& json) {
    EntryView entry;
    if (!l4_cache::find(key, entry, question.options.demand)) return false;
    std::byte* room = l4_cache::read_payload_at(entry, VARHDRSZ);
    if (room == nullptr || !is_verified(question, entry, {room + VARHDRSZ, entry.raw_length})) return false;
    SET_VARSIZE(room, VARHDRSZ + entry.raw_length);
    json = PointerGetDatum(room);
    return true;
}

[[nodiscard]] Datum fill_json(const l4_cache::Key& key, const Question& question, sharing::Flight* flight) {
    Fill* fill = fill_of(question, PayloadFormat::json);
    StringInfoData json;
    initStringInfo(&json);
    // Room for the varlena header, so that the text is the function's result as it stands.
    appendStringInfoSpaces(&json, VARHDRSZ);
    fill::run(*fill, json_payload::make_receiver(&json));
    json_payload::finish(&json);
    const bool stored =
        fill->bypassed == nullptr && publish(*fill, key, question.options, bytes_of(json).subspan(VARHDRSZ));
    sharing::end(flight, stored);
    SET_VARSIZE(json.data, json.len);
    return PointerGetDatum(json.data);
}

[[nodiscard]] Datum query_json(const Question& question) {
    const l4_cache::Key key = key_of(PayloadFormat::json, question.sql, question.arguments);
    sharing::Flight* flight = nullptr;
    Datum json{0};
    if (look_up(key, flight, [&] { return find_json(key, question, json); })) return json;
    return fill_json(key, question, flight);
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

[[nodiscard]] bool replay_entry(const l4_cache::Key& key, const Question& question, TupleDesc expected,
                                Tuplestorestate* rows) {
    EntryView entry;
    if (!l4_cache::find(key, entry, question.options.demand)) return false;
    const std::byte* payload = l4_cache::read_payload_at(entry, 0);
    if (payload == nullptr || !is_verified(question, entry, {payload, entry.raw_length}, expected))
        return false;
    if (tuple_payload::replay({payload, entry.raw_length}, expected, rows)) return true;
    tuplestore_clear(rows);
    return false;
}

void fill_rows(const l4_cache::Key& key, const Question& question, sharing::Flight* flight,
               TupleDesc expected, Tuplestorestate* rows) {
    Fill* fill = fill_of(question, PayloadFormat::pg_tuples);
    tuple_payload::Sink sink{};
    sink.expected = expected;
    sink.rows = rows;
    sink.limit = std::min(size_limit(), static_cast<std::size_t>(MaxAllocSize) / 2);
    fill::run(*fill, tuple_payload::make_receiver(&sink));
    if (fill->bypassed != nullptr) return;
    if (sink.copy.complete) {
        sharing::end(flight, publish(*fill, key, question.options, bytes_of(sink.copy.payload)));
    } else {
        count_fill(false);
        sharing::end(flight, false);
    }
}

Datum query(FunctionCallInfo fcinfo, const Question& question) {
    ReturnSetInfo* result = result_set(fcinfo);
    result->returnMode = SFRM_Materialize;
    if (question.sql == nullptr) return Datum{0};
    const l4_cache::Key key = key_of(PayloadFormat::pg_tuples, question.sql, question.arguments);
    Tuplestorestate* rows = new_store(result);
    sharing::Flight* flight = nullptr;
    const auto replay = [&] { return replay_entry(key, question, result->expectedDesc, rows); };
    if (!look_up(key, flight, replay)) fill_rows(key, question, flight, result->expectedDesc, rows);
    result->setResult = rows;
    return Datum{0};
}

// ---- fetch ----

// The entry as it travels: without this host's clock.
[[nodiscard]] Datum in_transit(std::span<std::byte> entry, const EntryLifetime& lifetime) {
    set_entry_lifetime(entry, lifetime.in_transit(monotonic_ns()));
    std::byte* whole = entry.data() - VARHDRSZ;
    SET_VARSIZE(whole, VARHDRSZ + entry.size());
    return PointerGetDatum(whole);
}

[[nodiscard]] Datum fetched_entry(const EntryView& found) {
    auto* room = static_cast<std::byte*>(palloc(VARHDRSZ + found.bytes.size()));
    std::ranges::copy(found.bytes, room + VARHDRSZ);
    return in_transit({room + VARHDRSZ, found.bytes.size()}, found.fields.lifetime);
}

[[nodiscard]] Datum fill_entry(const l4_cache::Key& key, const Question& question, sharing::Flight* flight) {
    Fill* fill = fill_of(question, PayloadFormat::pg_wire);
    StringInfoData messages;
    initStringInfo(&messages);
    fill::run(*fill, wire_payload::make_receiver(&messages, &fill->plan));

    const bool keep = may_keep(*fill, key);
    const EntryFields fields = fields_of(*fill, key, question.options, keep);
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
    sharing::end(flight, published);
    return in_transit(entry, fields.lifetime);
}

[[nodiscard]] bool find_entry(const l4_cache::Key& key, const Question& question, EntryView& entry) {
    if (!l4_cache::find(key, entry, question.options.demand)) return false;
    if (settings::verify == static_cast<int>(settings::Verify::off)) return true;
    const std::byte* payload = l4_cache::read_payload_at(entry, 0);
    return payload != nullptr && is_verified(question, entry, {payload, entry.raw_length});
}

[[nodiscard]] Datum fetch(const Question& question) {
    const l4_cache::Key key = key_of_fetch(question.sql, question.arguments);
    sharing::Flight* flight = nullptr;
    EntryView found;
    if (look_up(key, flight, [&] { return find_entry(key, question, found); })) {
        return fetched_entry(found);
    }
    return fill_entry(key, question, flight);
}

// ---- arguments ----

// (sql): the way that costs least.
[[nodiscard]] Question plain_question(FunctionCallInfo fcinfo) {
    shared::require();
    Question question{};
    question.sql = PG_GETARG_TEXT_PP(0);
    question.arguments.reversible = true;
    return question;
}

// (sql, params, class, ttl, tags, max_staleness): all but the first may be NULL, and are not given then.
void read_question(FunctionCallInfo fcinfo, Question& question) {
    shared::require();
    question.arguments.reversible = true;
    if (PG_ARGISNULL(0)) return;
    question.sql = PG_GETARG_TEXT_PP(0);
    if (!PG_ARGISNULL(1)) question.arguments = read_arguments(PG_GETARG_ARRAYTYPE_P(1));
    read_options(fcinfo, 2, question.options);
}

template <class F>
Datum answer(FunctionCallInfo fcinfo, F function) {
    Question question{};
    read_question(fcinfo, question);
    if (question.sql == nullptr) PG_RETURN_NULL();
    return function(question);
}

}  // namespace
}  // namespace tiercache

Datum tiercache_query(PG_FUNCTION_ARGS) {
    return tiercache::pg::enter(
        [fcinfo] { return tiercache::query(fcinfo, tiercache::plain_question(fcinfo)); });
}
Datum tiercache_query_json(PG_FUNCTION_ARGS) {
    return tiercache::pg::enter(
        [fcinfo] { return tiercache::query_json(tiercache::plain_question(fcinfo)); });
}
Datum tiercache_fetch(PG_FUNCTION_ARGS) {
    return tiercache::pg::enter([fcinfo] {
        tiercache::Question question = tiercache::plain_question(fcinfo);
        question.arguments = tiercache::read_arguments(PG_GETARG_ARRAYTYPE_P(1));
        return tiercache::fetch(question);
    });
}
Datum tiercache_query_with(PG_FUNCTION_ARGS) {
    return tiercache::pg::enter([fcinfo] {
        tiercache::Question question{};
        tiercache::read_question(fcinfo, question);
        return tiercache::query(fcinfo, question);
    });
}
Datum tiercache_query_json_with(PG_FUNCTION_ARGS) {
    return tiercache::pg::enter([fcinfo] { return tiercache::answer(fcinfo, tiercache::query_json); });
}
Datum tiercache_fetch_with(PG_FUNCTION_ARGS) {
    return tiercache::pg::enter([fcinfo] { return tiercache::answer(fcinfo, tiercache::fetch); });
}
