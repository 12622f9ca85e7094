// The tiers of a Cache, from the nearest to the authority.
#include <algorithm>
#include <cstring>

#include "client/cache_core.hpp"
#include "shm_cache/monotonic_time.hpp"

namespace tiercache {

namespace {

// As std::ranges::equal, which takes std::byte one by one.
bool same_bytes(std::span<const std::byte> a, std::span<const std::byte> b) noexcept {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

// Why tier L1 or L2 passed a call on.
Counter miss_counter(Tier tier, Judgement judgement) noexcept {
    const bool l1 = tier == Tier::l1;
    switch (judgement) {
        case Judgement::expired:
            return l1 ? Counter::l1_expired : Counter::l2_expired;
        case Judgement::changed:
        case Judgement::being_written:
            return l1 ? Counter::l1_changed : Counter::l2_changed;
        case Judgement::outdated:
            return l1 ? Counter::l1_outdated : Counter::l2_outdated;
        case Judgement::unvouched:
            return l1 ? Counter::l1_unvouched : Counter::l2_unvouched;
        case Judgement::fresh:
        case Judgement::stale:
            break;
    }
    return l1 ? Counter::l1_malformed : Counter::l2_malformed;
}

// The same for the segment's own statistics.
Note note_of(Judgement judgement) noexcept {
    switch (judgement) {
        case Judgement::stale:
            return Note::stale_hit;
        case Judgement::expired:
            return Note::expired;
        case Judgement::changed:
            return Note::changed;
        case Judgement::being_written:
            return Note::being_written;
        case Judgement::outdated:
            return Note::outdated;
        case Judgement::unvouched:
            return Note::unvouched;
        case Judgement::fresh:
            break;
    }
    return Note::malformed;
}

Counter error_counter(StatusCode code) noexcept {
    switch (code) {
        case StatusCode::timeout:
            return Counter::l4_timeouts;
        case StatusCode::unavailable:
            return Counter::l4_unavailable;
        default:
            return Counter::l4_errors;
    }
}

// The session key within a query key (query_key.hpp); empty when there can be none.
std::span<const std::byte> session_key_in(std::span<const std::byte> key) noexcept {
    constexpr std::size_t at_length = 4;
    std::uint32_t length = 0;
    if (key.size() < at_length + sizeof(length)) return {};
    std::memcpy(&length, key.data() + at_length, sizeof(length));
    const std::span<const std::byte> rest = key.subspan(at_length + sizeof(length));
    return length <= rest.size() ? rest.first(length) : std::span<const std::byte>();
}

Status foreign_answer() {
    return {StatusCode::corrupt,
            "PostgreSQL's answer is not the entry that was asked for; use the same tiercache release on the "
            "server and here"};
}

}  // namespace

bool Cache::Impl::serve(Call& call, const EntryView& entry, Tier tier) noexcept {
    const Judged judged = judge(entry, clock_.table(), call.rules);
    const bool stale = judged.judgement == Judgement::stale;
    if (judged.judgement != Judgement::fresh && !stale) {
        counters_.add(miss_counter(tier, judged.judgement));
        if (tier == Tier::l1) note_l1(note_of(judged.judgement));
        return false;
    }
    const bool l1 = tier == Tier::l1;
    if (!call.writer.accept(entry)) {
        counters_.add(l1 ? Counter::l1_malformed : Counter::l2_malformed);
        if (l1) note_l1(Note::malformed);
        return false;
    }
    call.writer.label(tier, stale ? Freshness::stale : Freshness::fresh, judged.age_ms);
    counters_.add(l1 ? Counter::l1_hits : Counter::l2_hits);
    if (stale) counters_.add(l1 ? Counter::l1_stale_hits : Counter::l2_stale_hits);
    if (stale && l1) note_l1(Note::stale_hit);
    return true;
}

// ---- L1: the segment ----

void Cache::Impl::note_l1(Note note) noexcept {
    // It may have been replaced since the get(): a count in the wrong one then.
    if (Segment* segment = segment_.get(); segment != nullptr) segment->note(note);
}

bool Cache::Impl::read_l1(Call& call) noexcept {
    Segment* segment = segment_.get();
    if (segment == nullptr) return false;
    if (call.rules.max_staleness_ms == 0 && !clock_.table().valid()) {
        counters_.add(Counter::l1_unvouched);
        segment->note(Note::not_asked);
        return false;
    }
    // The private copy is decoded, and its key compared: other processes write the segment.
    EntryView entry;
    if (segment->get(call.hash, call.key, call.writer.entry_target(), entry).empty()) {
        counters_.add(Counter::l1_absent);
        return false;
    }
    return serve(call, entry, Tier::l1);
}

void Cache::Impl::write_l1(const Call& call, std::span<std::byte> entry,
                           const EntryLifetime& arrival) noexcept {
    Segment* segment = segment_.get();
    if (segment == nullptr) return;
    EntryLifetime lifetime = arrival;
    lifetime.hard_ttl_ms = std::min(jittered_ms(call.policy.l1_ttl, call.hash), arrival.hard_ttl_ms);
    set_entry_lifetime(entry, lifetime, call.data_class);
    counters_.add(segment->put(entry).ok() ? Counter::l1_puts : Counter::l1_put_failures);
}

// ---- L2: Redis ----

bool Cache::Impl::read_l2(Call& call) noexcept {
    if (!l2_ || !entries_can_be_judged(call.rules)) return false;
    // The age is counted from before the question: too old at worst.
    const std::uint64_t sent_at_ns = monotonic_ns();
    const RedisTier::Lookup found = l2_->get(call.hash, call.writer.entry_buffer(), call.deadline);
    if (found.outcome != RedisTier::Outcome::found) {
        counters_.add(found.outcome == RedisTier::Outcome::absent   ? Counter::l2_absent
                      : found.outcome == RedisTier::Outcome::failed ? Counter::l2_failures
                                                                    : Counter::l2_skipped);
        return false;
    }
    EntryView entry;
    const bool ours = decode_entry(found.value, entry) == StatusCode::ok &&
                      entry.bytes.size() == found.value.size() && entry_checksum_ok(entry) &&
                      same_bytes(entry.key, call.key) &&
                      (entry.fields.flags & (entry_no_store | entry_standby)) == 0;
    const std::uint32_t stored_ttl_ms = ours ? entry.fields.lifetime.hard_ttl_ms : ttl_never_ms;
    if (stored_ttl_ms == ttl_never_ms || found.ttl_left_ms > stored_ttl_ms) {
        counters_.add(Counter::l2_malformed);
        return false;
    }
    EntryLifetime& lifetime = entry.fields.lifetime;
    const std::uint64_t age_ms = lifetime.age_ms + (stored_ttl_ms - found.ttl_left_ms);
    lifetime = {.received_at_ns = sent_at_ns,
                .age_ms = static_cast<std::uint32_t>(std::min<std::uint64_t>(age_ms, UINT32_MAX)),
                .hard_ttl_ms = static_cast<std::uint32_t>(found.ttl_left_ms)};
    if (!serve(call, entry, Tier::l2)) return false;
    write_l1(call, found.value, lifetime);
    return true;
}

void Cache::Impl::write_l2(const Call& call, std::span<std::byte> entry,
                           const EntryLifetime& arrival) noexcept {
    if (!l2_) return;
    const EntryLifetime now = arrival.in_transit(monotonic_ns());
    const std::uint32_t ttl_ms = std::min(jittered_ms(call.policy.l2_ttl, call.hash), now.hard_ttl_ms);
    if (ttl_ms == 0) return;
    set_entry_lifetime(entry, {.age_ms = now.age_ms, .hard_ttl_ms = ttl_ms}, call.data_class);
    const RedisTier::Outcome outcome =
        l2_->put(call.hash, entry, std::chrono::milliseconds(ttl_ms), call.deadline);
    if (outcome == RedisTier::Outcome::skipped) return;
    counters_.add(outcome == RedisTier::Outcome::found ? Counter::l2_puts : Counter::l2_put_failures);
}

// ---- L4: PostgreSQL ----

Status Cache::Impl::read_l4(Call& call) {
    PgPool::Want want = PgPool::Want::any_connection;
    while (true) {
        Result<PgPool::Lease> lease = pool_.acquire(call.deadline, want);
        note_database(lease.status());
        if (!lease.ok()) {
            counters_.add(error_counter(lease.status().code()));
            return lease.status();
        }
        PgConnection& connection = **lease;
        const std::uint64_t sent_at_ns = monotonic_ns();
        Result<PgResult> result = connection.fetch(call.sql, call.params, call.deadline);
        if (result.ok()) return take_l4_entry(call, connection, *result, sent_at_ns);
        // A new connection is never a reused one, so this goes round once.
        if (!worth_another_connection(*lease, result.status())) {
            counters_.add(error_counter(result.status().code()));
            return result.status();
        }
        want = PgPool::Want::new_connection;
    }
}

Status Cache::Impl::take_l4_entry(Call& call, PgConnection& connection, const PgResult& result,
                                  std::uint64_t sent_at_ns) {
    counters_.add(Counter::l4_answers);
    if (result.row_count() != 1 || result.column_count() != 1 || result.is_null(0, 0))
        return foreign_answer();
    const std::span<const std::byte> sent = result.bytes(0, 0);
    std::byte* room = call.writer.entry_buffer().reserve(sent.size());
    if (room == nullptr) return Status(StatusCode::no_space, "not enough memory for the answer");
    std::memcpy(room, sent.data(), sent.size());
    const std::span<std::byte> bytes(room, sent.size());

    EntryView entry;
    const StatusCode decoded = decode_entry(bytes, entry);
    if (decoded != StatusCode::ok || entry.bytes.size() != bytes.size() || !entry_checksum_ok(entry) ||
        !check_key(call, connection, entry.key) || !call.writer.accept(entry)) {
        return foreign_answer();
    }
    const bool standby = (entry.fields.flags & entry_standby) != 0;
    if (standby && call.rules.token > 0) {
        return {StatusCode::unavailable,
                "a standby can't promise to have seen that token; connect to the primary"};
    }
    // Data may be as old as the question: PostgreSQL took its snapshot after that. The stamp is not compared
    // with the token: what has not changed since may well be stamped earlier.
    const EntryLifetime arrival = {.received_at_ns = sent_at_ns,
                                   .age_ms = entry.fields.lifetime.age_ms,
                                   .hard_ttl_ms = entry.fields.lifetime.hard_ttl_ms};
    call.writer.label(Tier::l4, standby ? Freshness::stale : Freshness::fresh,
                      arrival.age_ms_at(monotonic_ns()));
    if (standby || (entry.fields.flags & entry_no_store) != 0) {
        counters_.add(Counter::l4_not_stored);
        return Status();
    }
    // Whether it is fresh is asked at each read, so storing it is right in any case.
    write_l1(call, bytes, arrival);
    write_l2(call, bytes, arrival);
    return Status();
}

bool Cache::Impl::check_key(Call& call, PgConnection& connection, std::span<const std::byte> entry_key) {
    if (!call.key.empty() && same_bytes(entry_key, call.key)) return true;
    const std::span<const std::byte> session_key = session_key_in(entry_key);
    if (!build_key(call, session_key).ok() || !same_bytes(entry_key, call.key)) return false;
    if (!same_bytes(connection.session_key, session_key)) {
        connection.session_key.assign(session_key.begin(), session_key.end());
    }
    adopt(session_key);
    return true;
}

}  // namespace tiercache
