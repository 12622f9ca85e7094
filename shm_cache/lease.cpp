#include "shm_cache/lease.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <climits>
#include <utility>

#include "shm_cache/monotonic_time.hpp"

namespace tiercache {

namespace {

constexpr std::uint32_t places_per_key = 4;
constexpr int claim_rounds_max = 8;  // each round lost means that somebody else claimed or released
constexpr std::uint64_t sequence_mask = (1U << 24) - 1;
constexpr std::uint64_t deadline_mask = (std::uint64_t{1} << 40) - 1;
constexpr std::uint64_t cost_mask = (std::uint64_t{1} << 48) - 1;
constexpr std::uint64_t waited_bit = std::uint64_t{1} << 39;
constexpr std::uint16_t mark_mask = (1U << 11) - 1;
constexpr std::uint64_t average_weight = 4;
constexpr std::uint64_t wait_slice_ns = 20'000'000;  // how soon a holder's death is noticed

struct LeaseState {
    std::uint64_t sequence = 0;
    std::uint16_t mark = 0;
    bool held = false;
    Owner owner;  // only while held

    [[nodiscard]] std::uint64_t pack() const noexcept {
        const std::uint64_t holder = held ? std::uint64_t{owner.incarnation} << 12 | (owner.slot + 1ULL) : 0;
        return (sequence & sequence_mask) << 40 | std::uint64_t{mark} << 28 | holder;
    }
    static LeaseState unpack(std::uint64_t word) noexcept {
        const auto slot = static_cast<std::uint16_t>(word & 0xfff);
        return {word >> 40,
                static_cast<std::uint16_t>(word >> 28 & mark_mask),
                slot != 0,
                {static_cast<std::uint16_t>(slot - 1), static_cast<std::uint16_t>(word >> 12)}};
    }
};

std::uint64_t now_ms() noexcept { return monotonic_ns() / 1'000'000; }

std::uint64_t bound_ms(std::uint64_t cost_us) noexcept {
    return std::clamp(cost_us / 500, lease_bound_ms_min, lease_bound_ms_max);  // twice the cost
}

// What a value costs: as remembered of its mark, else as expected.
std::uint64_t cost_of(const LeaseWords& words, std::uint16_t mark, std::uint64_t expected_us) noexcept {
    const std::uint64_t cost = words.cost.load(std::memory_order_relaxed);
    return cost != 0 && cost >> 48 == mark ? cost & cost_mask : expected_us;
}

void remember_cost(LeaseWords& words, std::uint16_t mark, std::uint64_t cost_us) noexcept {
    // Relaxed, and racy between a late holder and its successor: an estimate.
    words.cost.store(std::uint64_t{mark} << 48 | std::min(std::max<std::uint64_t>(cost_us, 1), cost_mask),
                     std::memory_order_relaxed);
}

// The deadline of `sequence`, set by whoever comes first. One that is too far off is not believed.
std::uint64_t deadline_of(LeaseWords& words, std::uint64_t sequence, std::uint64_t bound) noexcept {
    const std::uint64_t now = now_ms() & deadline_mask;
    std::uint64_t seen = words.deadline.load(std::memory_order_relaxed);
    const auto valid = [&](std::uint64_t word) {
        return word >> 40 == sequence && (word & deadline_mask) <= now + lease_bound_ms_max;
    };
    if (valid(seen)) return seen & deadline_mask;
    const std::uint64_t mine = sequence << 40 | ((now + bound) & deadline_mask);
    // Relaxed: the word says by itself which sequence it belongs to.
    if (words.deadline.compare_exchange_strong(seen, mine, std::memory_order_relaxed)) {
        return mine & deadline_mask;
    }
    return valid(seen) ? seen & deadline_mask : now + bound;
}

std::uint32_t* futex_of(LeaseWords& words) noexcept {
    static_assert(std::endian::native == std::endian::little, "the upper half comes second");
    return reinterpret_cast<std::uint32_t*>(&words.state) + 1;
}

void wake_all(LeaseWords& words) noexcept {
    syscall(SYS_futex, futex_of(words), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace

// ---- a held lease --------------------------------------------------------------------------------

Lease::Lease(Lease&& other) noexcept
    : words_(std::exchange(other.words_, nullptr)), state_(other.state_), processes_(other.processes_) {}

Lease& Lease::operator=(Lease&& other) noexcept {
    if (this != &other) {
        release();
        words_ = std::exchange(other.words_, nullptr);
        state_ = other.state_;
        processes_ = other.processes_;
    }
    return *this;
}

bool Lease::held() const noexcept {
    return words_ != nullptr && processes_->is_self(LeaseState::unpack(state_).owner) &&
           (words_->state.load(std::memory_order_acquire) & ~waited_bit) == state_;
}

std::uint32_t Lease::sequence() const noexcept { return static_cast<std::uint32_t>(state_ >> 40); }

void Lease::note_cost(std::uint64_t cost_us) noexcept {
    if (words_ == nullptr) return;
    const std::uint16_t mark = LeaseState::unpack(state_).mark;
    const std::uint64_t before = cost_of(*words_, mark, cost_us);
    const std::uint64_t after = cost_us >= before ? before + (cost_us - before) / average_weight
                                                  : before - (before - cost_us) / average_weight;
    remember_cost(*words_, mark, after);
}

void Lease::release() noexcept {
    LeaseWords* words = std::exchange(words_, nullptr);
    if (words == nullptr || !processes_->is_self(LeaseState::unpack(state_).owner)) return;
    const std::uint64_t free = LeaseState{LeaseState::unpack(state_).sequence + 1, 0, false, {}}.pack();
    std::uint64_t seen = state_;
    // Release: whoever claims it next finds the value that was put. Twice, for `waited` may be set meanwhile.
    for (int round = 0; round < 2 && (seen & ~waited_bit) == state_; ++round) {
        if (!words->state.compare_exchange_strong(seen, free, std::memory_order_release,
                                                  std::memory_order_relaxed)) {
            continue;
        }
        if ((seen & waited_bit) != 0) wake_all(*words);
        return;
    }
}

// ---- the table -----------------------------------------------------------------------------------

LeaseTable::LeaseTable(std::byte* memory, const Geometry& geometry, ProcessTable& processes) noexcept
    : leases_(reinterpret_cast<LeaseWords*>(memory + geometry.leases_at)),
      mask_(geometry.lease_count - 1),
      processes_(&processes) {}

std::optional<Lease> LeaseTable::take(LeaseWords& words, std::uint64_t seen, std::uint16_t mark,
                                      std::uint64_t cost_us) noexcept {
    const std::uint64_t sequence = (LeaseState::unpack(seen).sequence + 1) & sequence_mask;
    const std::uint64_t state = LeaseState{sequence, mark, true, processes_->self()}.pack();
    // Acquire: pairs with the release of the holder before, whose value the caller looks for once more.
    if (!words.state.compare_exchange_strong(seen, state, std::memory_order_acq_rel,
                                             std::memory_order_relaxed)) {
        return std::nullopt;
    }
    (void)deadline_of(words, sequence, bound_ms(cost_us));
    // Those who wait for the holder before learn of the new deadline.
    if ((seen & waited_bit) != 0) wake_all(words);
    return Lease(words, state, *processes_);
}

std::optional<LeaseTable::Claim> LeaseTable::join(LeaseWords& words, std::uint64_t seen, std::uint16_t mark,
                                                  std::uint64_t cost_us, Lease& mine,
                                                  HeldLease& theirs) noexcept {
    const LeaseState state = LeaseState::unpack(seen);
    std::uint64_t cost = cost_of(words, mark, cost_us);
    const std::uint64_t deadline = deadline_of(words, state.sequence, bound_ms(cost));
    const bool late = deadline <= now_ms();
    if (!late && !processes_->dead(state.owner)) {
        theirs = {&words, seen, deadline};
        return Claim::theirs;
    }
    if (late) {
        cost = bound_ms(cost) * 1000;
        remember_cost(words, mark, cost);
    }
    std::optional<Lease> taken = take(words, seen, mark, cost);
    if (!taken) return std::nullopt;
    mine = std::move(*taken);
    return Claim::mine;
}

std::optional<LeaseTable::Claim> LeaseTable::claim_once(const KeyHash& hash, std::uint64_t cost_us,
                                                        Lease& mine, HeldLease& theirs) noexcept {
    const auto mark = static_cast<std::uint16_t>(hash.high >> 32 & mark_mask);
    LeaseWords* free = nullptr;
    std::uint64_t free_seen = 0;
    for (std::uint32_t i = 0; i < places_per_key; ++i) {
        LeaseWords& words = leases_[(hash.high + i) & mask_];
        // Acquire: pairs with release().
        const std::uint64_t seen = words.state.load(std::memory_order_acquire);
        const LeaseState state = LeaseState::unpack(seen);
        if (state.held && state.mark == mark) return join(words, seen, mark, cost_us, mine, theirs);
        if (!state.held && free == nullptr) {
            free = &words;
            free_seen = seen;
        }
    }
    // All held for other keys: one whose holder is gone will do.
    for (std::uint32_t i = 0; i < places_per_key && free == nullptr; ++i) {
        LeaseWords& words = leases_[(hash.high + i) & mask_];
        const std::uint64_t seen = words.state.load(std::memory_order_acquire);
        const LeaseState state = LeaseState::unpack(seen);
        const bool late = deadline_of(words, state.sequence, lease_bound_ms_max) <= now_ms();
        if (!state.held || late || processes_->dead(state.owner)) {
            free = &words;
            free_seen = seen;
        }
    }
    if (free == nullptr) return Claim::none;
    std::optional<Lease> taken = take(*free, free_seen, mark, cost_of(*free, mark, cost_us));
    if (!taken) return std::nullopt;
    mine = std::move(*taken);
    return Claim::mine;
}

LeaseTable::Claim LeaseTable::claim(const KeyHash& hash, std::uint64_t cost_us, Lease& mine,
                                    HeldLease& theirs) noexcept {
    if (!processes_->claim_slot()) return Claim::none;
    for (int round = 0; round < claim_rounds_max; ++round) {
        if (const std::optional<Claim> claimed = claim_once(hash, cost_us, mine, theirs)) return *claimed;
    }
    return Claim::none;
}

void LeaseTable::wait(const HeldLease& held, std::uint64_t until_ns) noexcept {
    LeaseWords& words = *held.words;
    std::uint64_t seen = held.state;
    if ((seen & waited_bit) == 0) {
        // Relaxed: the futex call below looks again. Failing means that it changed, by a waiter or for good.
        if (words.state.compare_exchange_strong(seen, seen | waited_bit, std::memory_order_relaxed)) {
            seen |= waited_bit;
        } else if (seen != (held.state | waited_bit)) {
            return;
        }
    }
    const std::uint64_t now = monotonic_ns();
    const std::uint64_t until =
        std::min({until_ns, held.deadline_ms * 1'000'000 + 1'000'000, now + wait_slice_ns});
    if (until <= now) return;
    const std::uint64_t left = until - now;
    const timespec timeout{static_cast<time_t>(left / 1'000'000'000),
                           static_cast<long>(left % 1'000'000'000)};
    syscall(SYS_futex, futex_of(words), FUTEX_WAIT, static_cast<std::uint32_t>(seen >> 32), &timeout, nullptr,
            0);
}

}  // namespace tiercache
