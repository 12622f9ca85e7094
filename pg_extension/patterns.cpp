#include "pg_extension/patterns.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "pg_extension/boundary.hpp"
#include "pg_extension/cache_scan.hpp"
#include "pg_extension/settings.hpp"
#include "pg_extension/shared_state.hpp"
#include "pg_extension/tags.hpp"
#include "shm_cache/monotonic_time.hpp"

extern "C" {
#include <access/parallel.h>
#include <executor/executor.h>
#include <executor/instrument.h>
#include <mb/pg_wchar.h>
#include <utils/lsyscache.h>
#if PG_VERSION_NUM >= 160000
#include <nodes/queryjumble.h>
#include <varatt.h>
#else
#include <utils/queryjumble.h>
#endif
}

namespace tiercache::patterns {

namespace {

constexpr int slots = 2048;
// A pattern has its slot within these.
constexpr int probes = 8;
// A pattern that was not seen for so long may lose its slot.
constexpr std::uint64_t idle_ns = 600'000'000'000U;

Slot* all = nullptr;
ExecutorStart_hook_type previous_start = nullptr;
ExecutorEnd_hook_type previous_end = nullptr;

void add(pg_atomic_uint64& counter, std::uint64_t n) noexcept {
    pg_atomic_fetch_add_u64(&counter, static_cast<int64>(n));
}

[[nodiscard]] bool is_tracked(const QueryDesc* query) noexcept {
    // Who reads nothing is not cached: PL/pgSQL's expressions, mostly.
    return query->operation == CMD_SELECT && query->plannedstmt->queryId != 0 &&
           query->plannedstmt->relationOids != NIL && !IsParallelWorker();
}

[[nodiscard]] std::string_view text_of(const QueryDesc* query) noexcept {
    std::string_view text = query->sourceText != nullptr ? query->sourceText : "";
    const int start = query->plannedstmt->stmt_location;
    const int size = query->plannedstmt->stmt_len;
    if (start < 0 || static_cast<std::size_t>(start) > text.size()) return text;
    text.remove_prefix(static_cast<std::size_t>(start));
    return size > 0 ? text.substr(0, static_cast<std::size_t>(size)) : text;
}

[[nodiscard]] std::uint64_t mix(std::uint64_t hash, const void* bytes, std::size_t size) noexcept {
    return XXH3_64bits_withSeed(bytes, size, hash);
}

[[nodiscard]] std::uint64_t mix_value(std::uint64_t hash, const ParamExternData& parameter) {
    hash = mix(hash, &parameter.ptype, sizeof(parameter.ptype));
    if (parameter.isnull || !OidIsValid(parameter.ptype)) return hash + 1;
    std::int16_t length = 0;
    bool by_value = false;
    get_typlenbyval(parameter.ptype, &length, &by_value);
    if (by_value) return mix(hash, &parameter.value, sizeof(parameter.value));
    const char* start = DatumGetPointer(parameter.value);
    if (length > 0) return mix(hash, start, static_cast<std::size_t>(length));
    if (length == -2) return mix(hash, start, std::strlen(start));
    // As it is stored: what is equal and stored otherwise counts as another question.
    return mix(hash, start, VARSIZE_ANY(start));
}

// What is asked, constants and parameters included.
[[nodiscard]] std::uint64_t question_of(const QueryDesc* query) {
    const std::string_view text = text_of(query);
    std::uint64_t hash = mix(0, text.data(), text.size());
    ParamListInfo parameters = query->params;
    if (parameters == nullptr || parameters->numParams == 0) return hash;
    for (int i = 0; i < parameters->numParams; ++i) {
        ParamExternData room{};
        const ParamExternData* parameter = parameters->paramFetch != nullptr
                                               ? parameters->paramFetch(parameters, i + 1, true, &room)
                                               : &parameters->params[i];
        hash = mix_value(hash, *parameter);
    }
    return hash;
}

// The clock of the last change of anything that the query reads.
[[nodiscard]] std::uint64_t version_of(const QueryDesc* query) noexcept {
    std::uint64_t version = 0;
    ListCell* cell = nullptr;
    foreach (cell, query->plannedstmt->relationOids) {
        version = std::max(version, shared::clock().version_of(relation_tag(lfirst_oid(cell))));
    }
    return version;
}

void describe(Slot& slot, const QueryDesc* query) noexcept {
    slot.database = MyDatabaseId;
    slot.role = GetUserId();
    slot.query_id = static_cast<std::int64_t>(query->plannedstmt->queryId);
    slot.first_ns = monotonic_ns();
    std::fill(std::begin(slot.relations), std::end(slot.relations), InvalidOid);
    int count = 0;
    ListCell* cell = nullptr;
    foreach (cell, query->plannedstmt->relationOids) {
        const Oid relation = lfirst_oid(cell);
        Oid* end = slot.relations + count;
        if (count < Slot::relations_max && std::find(slot.relations, end, relation) == end) {
            slot.relations[count++] = relation;
        }
    }
    const std::string_view text = text_of(query);
    const int size = pg_mbcliplen(text.data(), static_cast<int>(text.size()), Slot::text_max - 1);
    std::memcpy(slot.text, text.data(), static_cast<std::size_t>(size));
    slot.text[size] = '\0';
    pg_atomic_write_u64(&slot.last_version, version_of(query));
}

void clear_counts(Slot& slot) noexcept {
    for (pg_atomic_uint64* counter : {&slot.last_ns, &slot.calls, &slot.hits, &slot.run_us, &slot.rows,
                                      &slot.bytes, &slot.repeats, &slot.changes, &slot.last_version}) {
        pg_atomic_write_u64(counter, 0);
    }
    for (pg_atomic_uint64& question : slot.lately) pg_atomic_write_u64(&question, 0);
}

// Whoever changes the key describes the pattern; nobody shows it before it is ready.
[[nodiscard]] bool take(Slot& slot, uint64 old_key, std::uint64_t key, const QueryDesc* query) noexcept {
    if (!pg_atomic_compare_exchange_u64(&slot.key, &old_key, key)) return false;
    pg_atomic_write_u32(&slot.ready, 0);
    pg_write_barrier();
    clear_counts(slot);
    describe(slot, query);
    pg_write_barrier();
    pg_atomic_write_u32(&slot.ready, 1);
    return true;
}

[[nodiscard]] std::uint64_t key_of(std::uint64_t query_id) noexcept {
    const std::uint64_t name[] = {query_id, std::uint64_t{MyDatabaseId} << 32 | GetUserId()};
    return hash_bytes(std::as_bytes(std::span(name))) | 1U;
}

[[nodiscard]] Slot& slot_at(std::uint64_t key, int probe) noexcept {
    return all[(key / slots + static_cast<std::uint64_t>(probe)) % slots];
}

[[nodiscard]] Slot* slot_of(const QueryDesc* query) noexcept {
    const std::uint64_t key = key_of(static_cast<std::uint64_t>(query->plannedstmt->queryId));
    const auto at = [key](int probe) -> Slot& { return slot_at(key, probe); };
    for (int i = 0; i < probes; ++i) {
        const uint64 seen = pg_atomic_read_u64(&at(i).key);
        if (seen == key) return &at(i);
        if (seen == 0 && take(at(i), 0, key, query)) return &at(i);
    }
    for (int i = 0; i < probes; ++i) {
        const uint64 seen = pg_atomic_read_u64(&at(i).key);
        if (pg_atomic_read_u64(&at(i).last_ns) + idle_ns < monotonic_coarse_ns() &&
            take(at(i), seen, key, query)) {
            return &at(i);
        }
    }
    return nullptr;
}

void note_question(Slot& slot, const QueryDesc* query) {
    const std::uint64_t version = version_of(query);
    const std::uint64_t question = question_of(query);
    const std::uint64_t word = question << 32 | (version & UINT32_MAX);
    pg_atomic_uint64& last = slot.lately[question % Slot::lately_max];
    if (pg_atomic_read_u64(&last) == word) {
        add(slot.repeats, 1);
    } else {
        pg_atomic_write_u64(&last, word);
    }
    if (pg_atomic_read_u64(&slot.last_version) != version) {
        add(slot.changes, 1);
        pg_atomic_write_u64(&slot.last_version, version);
    }
}

void note(QueryDesc* query) {
    Slot* slot = slot_of(query);
    if (slot == nullptr) return;
    InstrEndLoop(query->totaltime);
    const std::uint64_t rows = query->estate->es_processed;
    const int width = query->plannedstmt->planTree->plan_width;
    pg_atomic_write_u64(&slot->last_ns, monotonic_coarse_ns());
    add(slot->calls, 1);
    add(slot->rows, rows);
    add(slot->bytes, rows * static_cast<std::uint64_t>(std::max(width, 0)));
    if (cache_scan::is_hit(query->planstate)) {
        add(slot->hits, 1);
    } else {
        add(slot->run_us, static_cast<std::uint64_t>(query->totaltime->total * 1e6));
    }
    note_question(*slot, query);
}

void start(QueryDesc* query, int eflags) {
    if (previous_start != nullptr) {
        previous_start(query, eflags);
    } else {
        standard_ExecutorStart(query, eflags);
    }
    if (all == nullptr || (eflags & EXEC_FLAG_EXPLAIN_ONLY) != 0 || !is_tracked(query)) return;
    if (query->totaltime != nullptr) return;
    MemoryContext caller = MemoryContextSwitchTo(query->estate->es_query_cxt);
    query->totaltime = InstrAlloc(1, INSTRUMENT_TIMER, false);
    MemoryContextSwitchTo(caller);
}

void finish(QueryDesc* query) {
    if (all != nullptr && query->totaltime != nullptr && is_tracked(query)) note(query);
    if (previous_end != nullptr) {
        previous_end(query);
    } else {
        standard_ExecutorEnd(query);
    }
}

}  // namespace

int slot_count() noexcept { return all != nullptr ? slots : 0; }
Slot& slot(int number) noexcept { return all[number]; }

std::optional<double> mean_run_us(std::uint64_t query_id) noexcept {
    if (all == nullptr || query_id == 0) return std::nullopt;
    const std::uint64_t key = key_of(query_id);
    for (int i = 0; i < probes; ++i) {
        Slot& slot = slot_at(key, i);
        if (pg_atomic_read_u64(&slot.key) != key) continue;
        const std::uint64_t calls = pg_atomic_read_u64(&slot.calls);
        const std::uint64_t hits = pg_atomic_read_u64(&slot.hits);
        if (calls <= hits) return std::nullopt;
        return static_cast<double>(pg_atomic_read_u64(&slot.run_us)) / static_cast<double>(calls - hits);
    }
    return std::nullopt;
}

void reset() noexcept {
    for (int i = 0; i < slot_count(); ++i) {
        pg_atomic_write_u32(&all[i].ready, 0);
        pg_atomic_write_u64(&all[i].key, 0);
    }
}

Size shared_bytes() noexcept { return settings::track_patterns ? slots * sizeof(Slot) : 0; }

void init(void* memory, bool found) noexcept {
    all = static_cast<Slot*>(memory);
    if (found) return;
    for (int i = 0; i < slots; ++i) {
        pg_atomic_init_u64(&all[i].key, 0);
        pg_atomic_init_u32(&all[i].ready, 0);
        clear_counts(all[i]);
    }
}

void install_hooks() {
    if (!settings::track_patterns) return;
    EnableQueryId();
    previous_start = ExecutorStart_hook;
    ExecutorStart_hook = start;
    previous_end = ExecutorEnd_hook;
    ExecutorEnd_hook = finish;
}

}  // namespace tiercache::patterns
