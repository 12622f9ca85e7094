// The local authority: a clock and a clock table inside the segment, for values that no database vouches for.
//
// It lives and dies with the segment, so it has no lease: whoever can read the entries can read the table.
// Any process may invalidate. Nobody announces a change, so nobody who dies half-way leaves a mark behind:
//
//   loader:       stamp := clock       then  read the source       then  put the value with the stamp
//   invalidator:  change the source    then  c := ++clock          then  version of the tag := max(it, c)
//
// A loader that read the source before the change took a stamp below c, so its value is not fresh once
// invalidate() has returned, however late it is put. One that took a stamp of c or more saw the change.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "shm_cache/clock_table.hpp"

namespace tiercache {

// When, and in which segment: from before a value was computed.
struct LocalStamp {
    std::uint64_t epoch = 0;
    std::uint64_t clock = 0;
};

// A view of two pointers; safe from any thread of any process; nothing blocks, allocates or throws.
class LocalAuthority {
 public:
    LocalAuthority() = default;  // none

    // 0 for no slots.
    [[nodiscard]] static std::size_t size_bytes(std::uint32_t slot_count) noexcept;
    // With a random epoch, so that an entry of another segment is never fresh here. Whatever has a stamp
    // below `first_clock` isn't either.
    static void format(std::span<std::byte> memory, std::uint32_t slot_count,
                       std::uint64_t first_clock = 1) noexcept;
    // The memory may hold anything; when it is no table of so many slots, there is no local authority.
    [[nodiscard]] static LocalAuthority attach(std::span<std::byte> memory,
                                               std::uint32_t slot_count) noexcept;

    [[nodiscard]] bool valid() const noexcept { return clock_ != nullptr; }

    [[nodiscard]] LocalStamp stamp() const noexcept {
        // Acquire: nothing that the caller reads from here on is older than this. Pairs with advance().
        return {table_.epoch(), clock_->load(std::memory_order_acquire)};
    }

    // Is a value of this stamp never fresh, whatever its tags?
    [[nodiscard]] bool outdated(const LocalStamp& stamp) const noexcept {
        return stamp.epoch != table_.epoch() || stamp.clock < table_.floor();
    }

    // May a value with these tags, computed under `stamp`, be used? Call it after the value was copied.
    [[nodiscard]] Verdict check(std::span<const Tag> tags, const LocalStamp& stamp) const noexcept {
        return valid() ? table_.check_unleased(tags, stamp.clock, stamp.epoch) : Verdict::no_clock;
    }

    // From its return on no value with this tag that was computed before the call is fresh.
    void invalidate(Tag tag) noexcept;
    // The same for every stamped value.
    void invalidate_all() noexcept;

 private:
    using Clock = std::atomic<std::uint64_t>;
    LocalAuthority(Clock* clock, ClockTable table) noexcept : clock_(clock), table_(table) {}
    std::uint64_t advance() noexcept;

    Clock* clock_ = nullptr;
    ClockTable table_;
};

}  // namespace tiercache
