// Whether an entry may be served now: the clock's verdict, the entry's age, and what the caller allows.
#pragma once

#include <array>
#include <cstdint>

#include "shm_cache/clock_table.hpp"
#include "shm_cache/entry.hpp"
#include "shm_cache/monotonic_time.hpp"

namespace tiercache {

// What a caller allows.
struct ReadRules {
    std::uint32_t max_staleness_ms = 0;  // 0: only fresh
    std::uint64_t token = 0;
};

enum class Judgement : unsigned char {
    fresh,
    stale,          // not fresh, but within what the caller allows
    expired,        // its TTL has passed
    changed,        // something it depends on changed
    being_written,  // something it depends on is being changed
    outdated,       // of another life of the authority, or older than the token
    unvouched,      // nobody vouches for the clock table, or there is none
};

struct Judged {
    Judgement judgement = Judgement::expired;
    std::uint32_t age_ms = 0;
};

// `entry` is a private copy with its lifetime on this host's clock. A fresh entry satisfies every token that
// this host's authority gave: the clock table has seen that commit.
[[nodiscard]] inline Judged judge(const EntryView& entry, ClockTable clock, const ReadRules& rules) noexcept {
    const std::uint64_t now = monotonic_coarse_ns();
    const EntryLifetime& lifetime = entry.fields.lifetime;
    const std::uint32_t age_ms = lifetime.age_ms_at(now);
    // An arrival in the future would never grow old. The coarse clock lags, so a little future is the past.
    const bool from_future = lifetime.received_at_ns > now + 100 * coarse_error_ns;
    if (from_future || lifetime.expired_at(now)) return {Judgement::expired, age_ms};

    std::array<Tag, max_entry_tags> tags;  // NOLINT(cppcoreguidelines-pro-type-member-init): copy_to fills it
    const Verdict verdict = clock.check(entry.tags.copy_to(tags), entry.fields.stamp, entry.fields.epoch);
    if (verdict == Verdict::fresh) return {Judgement::fresh, age_ms};
    if (rules.max_staleness_ms > 0 && entry.fields.stamp >= rules.token) {
        const std::uint32_t exact_age_ms = lifetime.age_ms_at(monotonic_ns());
        if (exact_age_ms < rules.max_staleness_ms) return {Judgement::stale, exact_age_ms};
    }
    switch (verdict) {
        case Verdict::fresh:
        case Verdict::changed:
            return {Judgement::changed, age_ms};
        case Verdict::being_written:
            return {Judgement::being_written, age_ms};
        case Verdict::below_floor:
        case Verdict::other_epoch:
            return {Judgement::outdated, age_ms};
        case Verdict::lease_expired:
        case Verdict::no_clock:
            return {Judgement::unvouched, age_ms};
    }
    return {Judgement::unvouched, age_ms};
}

}  // namespace tiercache
