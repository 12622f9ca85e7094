// The clock slots that one transaction changes: a set, in the order of insertion. A process has one.
//
// Tags are kept as slots because a transaction must mark a slot once, however many of its tags share it, and
// because the set then has a bound: its bitmap and its list together are 264 KiB at most.
#pragma once

#include <span>

#include "pg_extension/pg.hpp"
#include "shm_cache/clock_table.hpp"

namespace tiercache {

class ChangedSlots {
 public:
    static constexpr std::uint32_t capacity = ClockTable::default_slot_count;
    static constexpr std::size_t bitmap_words = capacity / 64;

    // May raise out of memory, unless there is room (has_room).
    void add(Tag tag);
    [[nodiscard]] bool contains(Tag tag) const noexcept;
    [[nodiscard]] bool has_room() const noexcept { return count_ < allocated_; }
    void clear() noexcept;

    [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
    // Each is a tag of its slot.
    [[nodiscard]] std::span<const std::uint32_t> slots() const noexcept { return {list_, count_}; }
    [[nodiscard]] std::span<const std::uint64_t, bitmap_words> bitmap() const noexcept {
        return std::span<const std::uint64_t, bitmap_words>(bits_, bitmap_words);
    }

 private:
    [[nodiscard]] static std::uint32_t slot_of(Tag tag) noexcept {
        return static_cast<std::uint32_t>(tag & (capacity - 1));
    }

    std::uint64_t bits_[bitmap_words] = {};
    std::uint32_t* list_ = nullptr;
    std::uint32_t count_ = 0;
    std::uint32_t allocated_ = 0;
};

}  // namespace tiercache
