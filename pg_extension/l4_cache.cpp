#include "pg_extension/l4_cache.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "pg_extension/foreign_tables.hpp"
#include "pg_extension/pause_point.hpp"
#include "pg_extension/read_locks.hpp"
#include "pg_extension/shared_state.hpp"
#include "pg_extension/snapshot_clock.hpp"
#include "shm_cache/monotonic_time.hpp"

extern "C" {
#include <utils/inval.h>
}

namespace tiercache::l4_cache {

namespace {

constexpr std::uint32_t jitter_percent = 10;

[[nodiscard]] std::byte* allocate(std::size_t bytes) {
    return static_cast<std::byte*>(palloc_extended(bytes, MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM));
}

void count(pg_atomic_uint64& counter, std::uint64_t by = 1) noexcept {
    pg_atomic_fetch_add_u64(&counter, static_cast<int64>(by));
}

// palloc without errors does not raise any for sizes below its own limit.
std::byte* reserve(void* /*context*/, std::size_t bytes) noexcept { return allocate(bytes); }

[[nodiscard]] bool copy_out(const Key& key, EntryView& entry) {
    Segment* segment = shared::segment();
    if (segment == nullptr || !key.unambiguous) return false;
    // The bytes were written on this host: their checksum is for those whom fetch() sends them to.
    return !segment->get(key.hash, key.bytes, {reserve, nullptr}, entry).empty();
}

// What runs inside a query that is being filled is part of its result.
void tell_dependents(const EntryFields& fields, std::span<const Tag> tags) noexcept {
    if (!dependencies::collecting()) return;
    dependencies::add_to_all(tags);
    if (!reads_foreign_tables(tags)) return;
    dependencies::bound_all(fields.lifetime.in_transit(monotonic_ns()).hard_ttl_ms);
}

}  // namespace

Key make_key(PayloadFormat format, std::string_view sql, std::span<const QueryParam> params) {
    AcceptInvalidationMessages();
    const std::span<const std::byte> session = session_key();
    const std::size_t size = query_key_bytes(session, sql, params);
    auto* room = static_cast<std::byte*>(palloc(size));
    const std::span<const std::byte> bytes = write_query_key(format, session, sql, params, {room, size});
    Key key{bytes, hash_key(bytes), {}};
    std::ranges::copy(session, key.session.begin());
    return key;
}

bool is_current(const Key& key) { return key.unambiguous && is_session_key(key.session); }

bool peek(const Key& key, EntryView& entry) { return copy_out(key, entry); }

namespace {

// May rows that are not fresh be served? Not when the entry's rights or definitions may have changed since:
// only what transactions did to rows may be missing. Not inside a query that is being filled: its own stamp
// would hide the age. In REPEATABLE READ nobody asked for rows of another moment.
[[nodiscard]] bool may_be_stale(const EntryView& entry, std::span<const Tag> tags, const Demand& demand) {
    if (entry.fields.lifetime.age_ms_at(monotonic_ns()) >= demand.max_staleness_ms) return false;
    if (IsolationUsesXactSnapshot() || dependencies::collecting()) return false;
    const std::uint64_t stamp = entry.fields.stamp;
    // Of its epoch, and above the floor.
    if (shared::clock().check_unleased({}, stamp, entry.fields.epoch) != Verdict::fresh) return false;
    // The pending ones first: one that ended before has left its versions.
    if (pg_atomic_read_u32(&shared::state().ddl_pending) != 0) return false;
    pg_read_barrier();
    return std::ranges::all_of(
        tags, [stamp](Tag tag) { return pg_atomic_read_u64(&shared::ddl_version(tag)) <= stamp; });
}

[[nodiscard]] bool has_labels(std::span<const Tag> tags, std::span<const Tag> labels) noexcept {
    return std::ranges::all_of(labels,
                               [tags](Tag label) { return std::ranges::find(tags, label) != tags.end(); });
}

void note_hit(const EntryFields& fields, std::span<const Tag> tags) {
    pause_point(PausePoint::hit_checked);
    L4Counters& counters = shared::state().counters;
    count(counters.hits);
    count(counters.saved_us, fields.fill_cost_us);
    tell_dependents(fields, tags);
}

// What is checked before locks were waited for is checked again.
template <class Check>
[[nodiscard]] Verdict check_and_lock(std::span<const Tag> tags, read_locks::Asked asked, Check check) {
    const Verdict verdict = check();
    if (verdict != Verdict::fresh || !read_locks::are_needed(asked)) return verdict;
    if (!read_locks::are_known(tags)) return Verdict::no_clock;
    read_locks::take(tags);
    return check();
}

// May it be served? Counts the answer.
[[nodiscard]] bool judge(const EntryView& entry, std::optional<std::uint64_t> snapshot_clock,
                         const Demand& demand) {
    L4Counters& counters = shared::state().counters;
    const std::uint64_t now = monotonic_coarse_ns();
    if (entry.fields.lifetime.expired_at(now) ||
        (demand.age_max_ms != ttl_never_ms && entry.fields.lifetime.age_ms_at(now) >= demand.age_max_ms)) {
        count(counters.misses_expired);
        return false;
    }
    std::array<Tag, max_entry_tags> room;
    const std::span<const Tag> tags = entry.tags.copy_to(room);
    if (!has_labels(tags, demand.labels)) {
        count(counters.misses_absent);
        return false;
    }
    const std::uint64_t stamp = entry.fields.stamp;
    const std::uint64_t epoch = entry.fields.epoch;
    const auto asked = snapshot_clock ? read_locks::Asked::by_plan : read_locks::Asked::by_function;
    const Verdict verdict = check_and_lock(tags, asked, [&] {
        return snapshot_clock ? check_for_snapshot(tags, stamp, epoch, *snapshot_clock)
                              : check_for_transaction(tags, stamp, epoch);
    });
    if (verdict != Verdict::fresh) {
        if (demand.max_staleness_ms == 0 || !may_be_stale(entry, tags, demand)) {
            count(counters.misses_changed);
            return false;
        }
        count(counters.stale_hits);
    }
    note_hit(entry.fields, tags);
    return true;
}

[[nodiscard]] bool find_for(const Key& key, EntryView& entry, std::optional<std::uint64_t> snapshot_clock,
                            const Demand& demand) {
    if (copy_out(key, entry)) return judge(entry, snapshot_clock, demand);
    count(shared::state().counters.misses_absent);
    return false;
}

}  // namespace

bool find(const Key& key, EntryView& entry, const Demand& demand) {
    return find_for(key, entry, std::nullopt, demand);
}
bool find(const Key& key, EntryView& entry, std::uint64_t snapshot_clock) {
    return find_for(key, entry, snapshot_clock, {});
}
bool serves(const EntryView& entry, std::uint64_t snapshot_clock) {
    std::array<Tag, max_entry_tags> tags;
    return serves(entry.fields, entry.tags.copy_to(tags), snapshot_clock);
}
bool serves(const EntryFields& fields, std::span<const Tag> tags, std::uint64_t snapshot_clock) {
    if (fields.lifetime.expired_at(monotonic_coarse_ns())) return false;
    const Verdict verdict = check_and_lock(tags, read_locks::Asked::by_plan, [&] {
        return check_for_snapshot(tags, fields.stamp, fields.epoch, snapshot_clock);
    });
    if (verdict != Verdict::fresh) return false;
    note_hit(fields, tags);
    return true;
}
bool is_out_of_reach(const Key& key, std::optional<std::uint64_t> snapshot_clock) {
    const auto asked = snapshot_clock ? read_locks::Asked::by_plan : read_locks::Asked::by_function;
    EntryView entry;
    if (!read_locks::are_needed(asked) || !peek(key, entry) ||
        entry.fields.lifetime.expired_at(monotonic_coarse_ns())) {
        return false;
    }
    std::array<Tag, max_entry_tags> room;
    const std::span<const Tag> tags = entry.tags.copy_to(room);
    if (read_locks::are_known(tags)) return false;
    const EntryFields& fields = entry.fields;
    const Verdict verdict = snapshot_clock
                                ? check_for_snapshot(tags, fields.stamp, fields.epoch, *snapshot_clock)
                                : check_for_transaction(tags, fields.stamp, fields.epoch);
    return verdict == Verdict::fresh;
}
bool still_serves(const Key& key, const EntryView& entry, std::uint64_t snapshot_clock) {
    AcceptInvalidationMessages();
    return is_current(key) && serves(entry, snapshot_clock);
}

std::byte* read_payload_at(const EntryView& entry, std::size_t offset) {
    std::byte* room = allocate(offset + entry.raw_length);
    if (room == nullptr) return nullptr;
    if (read_payload(entry, {room + offset, entry.raw_length}) != StatusCode::ok) {
        pfree(room);
        return nullptr;
    }
    return room;
}

void date(EntryFields& fields, const Key& key, Moment computed, std::uint32_t ttl_ms,
          const Dependencies& dependencies) {
    if (dependencies.reads_foreign_tables()) {
        const foreign_tables::Beginning beginning = foreign_tables::beginning();
        computed = {std::min(computed.stamp, beginning.clock), std::min(computed.ns, beginning.ns)};
    }
    ttl_ms = std::min(ttl_ms, dependencies.ttl_ms());
    // The hash and the time are random enough to spread entries out.
    const std::uint32_t range = ttl_ms / 100 * jitter_percent + 1;
    ttl_ms -= static_cast<std::uint32_t>((key.hash.high ^ computed.ns) % range);
    fields.stamp = computed.stamp;
    fields.lifetime = {computed.ns, 0, ttl_ms, ttl_ms};
}

namespace {

// Status may own memory: it stays inside a frame that no error jumps over.
[[nodiscard]] std::size_t encode_into(const EntryFields& fields, std::span<const Tag> tags, const Key& key,
                                      std::span<const std::byte> payload, std::span<std::byte> out) noexcept {
    try {
        Result<std::size_t> written = encode_entry(fields, tags, key.bytes, payload, out);
        return written.ok() ? *written : 0;
    } catch (...) {
        return 0;
    }
}

}  // namespace

std::span<std::byte> encode(const EntryFields& fields, std::span<const Tag> tags, const Key& key,
                            std::span<const std::byte> payload, std::size_t offset) {
    const std::size_t bound = encoded_entry_bound(tags.size(), key.bytes.size(), payload.size());
    std::byte* room = allocate(offset + bound);
    if (room == nullptr) return {};
    const std::size_t size = encode_into(fields, tags, key, payload, {room + offset, bound});
    if (size == 0) pfree(room);
    return size == 0 ? std::span<std::byte>{} : std::span<std::byte>{room + offset, size};
}

namespace {

constexpr double log_scale = 1000;

}  // namespace

// The geometric mean: one plan whose cost was misjudged by a million counts no more than any other.
void note_cost(double cost, std::uint32_t us) noexcept {
    constexpr double least = 1;  // cheaper ones tell of planning only
    constexpr double most = 1e12;
    if (!(cost >= least && cost <= most)) return;
    const double log = std::log2(std::max<double>(us, 1) / cost);
    count(shared::state().counters.rates_log, static_cast<std::uint64_t>(std::llround(log * log_scale)));
    count(shared::state().counters.rates);
}

double expected_us(double cost) noexcept {
    // With PostgreSQL's own cost constants, on a machine of these days, where nothing is known.
    constexpr double usual_us_per_unit = 5;
    L4Counters& counters = shared::state().counters;
    const std::uint64_t rates = pg_atomic_read_u64(&counters.rates);
    if (rates == 0) return cost * usual_us_per_unit;
    const auto sum = static_cast<double>(static_cast<std::int64_t>(pg_atomic_read_u64(&counters.rates_log)));
    return cost * std::exp2(sum / static_cast<double>(rates) / log_scale);
}

bool put(std::span<const std::byte> entry) noexcept {
    Segment* segment = shared::segment();
    return segment != nullptr && segment->put(entry).ok();
}

}  // namespace tiercache::l4_cache
