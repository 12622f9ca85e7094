// The process table: who has the segment attached and what they pin.
//
// A process slot belongs to one process at a time. In a named segment it does as long as the process holds
// the slot's lock (lock_file.hpp), so that death needs no witness; in caller-owned memory all processes end
// together, and a slot that is attached again is reset.
//
// A pin is a word {generation, block} in the slot of the process that writes to that block. A thread takes a
// free word for the time of one put(). The handshake, sequentially consistent on both sides:
//
//   writer:     pin := block          then  the block's state is still OPEN?  else unpin
//   reclaimer:  state := RECLAIMING   then  a live pin of this life of it?    then back to SEALED
//
// So a writer that was stopped before it wrote can't write into a block that was recycled meanwhile. Pins of
// the dead count for nothing. Those who look at a value where it lies pin its block in the same way, in words
// of their own: however many views a process holds, its writers have theirs.
//
// What a process counts goes to its slot's record in the statistics; whoever has no slot counts in the first
// record, where it is not alone.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>

#include "shm_cache/block.hpp"
#include "shm_cache/layout.hpp"
#include "shm_cache/lock_file.hpp"
#include "shm_cache/statistics.hpp"
#include "shm_cache/view_pin.hpp"
#include "shm_cache/words.hpp"

namespace tiercache {

inline constexpr std::size_t pins_per_process = 15;
inline constexpr std::size_t views_per_process = 16;

struct ProcessSlot {
    // {incarnation 32, process id 32}; the id is 0 while nobody has the slot, and is there to be looked at.
    Word identity;
    std::array<Word, pins_per_process> pins;
    std::array<Word, views_per_process> views;
};
static_assert(sizeof(ProcessSlot) == process_slot_bytes);

// A block that this thread may write to until the pin is gone.
class Pin {
 public:
    explicit Pin(Word* word) noexcept : word_(word) {}
    Pin(Pin&& other) noexcept : word_(other.word_) { other.word_ = nullptr; }
    Pin(const Pin&) = delete;
    Pin& operator=(const Pin&) = delete;
    Pin& operator=(Pin&&) = delete;
    ~Pin() {
        // Release: pairs with the reclaimer's look at the pins; all that was written comes before it.
        if (word_ != nullptr) word_->store(0, std::memory_order_release);
    }

 private:
    Word* word_;
};

class Membership;

class ProcessTable {
 public:
    // For a named segment. When all process slots are taken it joins without one, to look only, until
    // claim_slot() finds one free.
    static ProcessTable join(std::byte* memory, const Geometry& geometry, std::shared_ptr<LockFile> lock_file,
                             std::uint64_t life);
    // The same, and no slot is claimed before one is needed.
    static ProcessTable visit(std::byte* memory, const Geometry& geometry,
                              std::shared_ptr<LockFile> lock_file, std::uint64_t life);
    // For caller-owned memory: `slot` is below geometry.process_slots, or equal to it for whoever formatted.
    static ProcessTable join(std::byte* memory, const Geometry& geometry, std::uint32_t slot);

    ProcessTable(ProcessTable&&) noexcept;
    ProcessTable& operator=(ProcessTable&&) = delete;
    ProcessTable(const ProcessTable&) = delete;
    ProcessTable& operator=(const ProcessTable&) = delete;
    ~ProcessTable();  // leaves

    // Adds to a counter, and returns what this thread's part of it was before.
    std::uint64_t count(Counter counter, std::uint64_t n = 1) noexcept;
    // Counts a hit; false when the segment is closed (Statistics::close()).
    [[nodiscard]] bool count_hit() noexcept;
    // Where this thread counts hits by Statistics::add_hit(); nullptr: only count_hit() can. Until this
    // thread forks.
    [[nodiscard]] BusyCounters* own_counters() const noexcept;
    [[nodiscard]] Statistics& statistics() noexcept { return statistics_; }
    [[nodiscard]] const Statistics& statistics() const noexcept { return statistics_; }

    // Who holds what, at a glance; approximate while others come and go.
    struct Holders {
        std::uint32_t processes = 0;
        std::uint32_t pins = 0;
    };
    [[nodiscard]] Holders holders() const noexcept { return holders_in(slots_, count_); }
    [[nodiscard]] static Holders holders_in(const ProcessSlot* slots, std::uint32_t count) noexcept;

    // Has this process a slot? One that was refused tries again, with a system call for each slot: a put()
    // has the time, a get() has not.
    [[nodiscard]] bool claim_slot() noexcept;

    [[nodiscard]] bool has_slot() const noexcept;

    // Nothing when this process has no slot, or more threads than pins are stopped in the middle of a put().
    [[nodiscard]] std::optional<Pin> pin(BlockLife life) noexcept;

    // A pin for a reader. Nothing when this process has no slot, or views_max() of them already.
    [[nodiscard]] std::optional<ViewPin> pin_view(BlockLife life) noexcept;
    // A process's views leave three quarters of the blocks to reclamation.
    [[nodiscard]] static constexpr std::uint32_t views_max(std::uint32_t block_count) noexcept {
        return std::clamp<std::uint32_t>(block_count / 4, 1, views_per_process);
    }

    // Does this process hold a view? Sequentially consistent: pairs with find_view().
    [[nodiscard]] bool holds_view() const noexcept;
    // Gives the slot back for good, where none of its words is looked at by others any more. Threads that are
    // in the middle of something go on with its number.
    void leave() noexcept;

    // Does a living process pin this life of a block? Frees the pins of dead ones on the way.
    [[nodiscard]] bool pinned(BlockLife life) noexcept;

    // Calls visit(BlockLife) for each pin of a living process; any life, whatever the words hold.
    template <class Visit>
    void for_each_pin(Visit visit) noexcept {
        for (std::uint32_t i = 0; i < count_; ++i) {
            if (!in_use(i)) continue;
            std::array<std::uint64_t, pins_per_process + views_per_process> held{};
            bool any = false;
            for (std::size_t p = 0; p < held.size(); ++p) {
                const Word& word =
                    p < pins_per_process ? slots_[i].pins[p] : slots_[i].views[p - pins_per_process];
                // Relaxed: a hint; pinned() is what counts.
                held[p] = word.load(std::memory_order_relaxed);
                any |= held[p] != 0;
            }
            if (!any || !alive(i)) continue;
            for (const std::uint64_t word : held) {
                if (word != 0) visit(BlockLife::unpack(word));
            }
        }
    }

    // This process, as the owner of a block in reclamation. Only after claim_slot().
    [[nodiscard]] Owner self() noexcept;
    // Is it this process, and not the parent that forked it?
    [[nodiscard]] bool is_self(const Owner& owner) noexcept;
    // Proven dead; it will never touch the block again.
    [[nodiscard]] bool dead(const Owner& owner) noexcept;

 private:
    ProcessTable(std::byte* memory, const Geometry& geometry,
                 std::unique_ptr<Membership> membership) noexcept;
    [[nodiscard]] ProcessSlot* own_slot() noexcept;
    [[nodiscard]] ProcessSlot* rejoin() noexcept;
    [[nodiscard]] bool alive(std::uint32_t slot) noexcept;
    [[nodiscard]] bool in_use(std::uint32_t slot) const noexcept;
    void bury(std::uint32_t slot) noexcept;
    std::uint64_t count_without_slot(Counter counter, std::uint64_t n) noexcept;

    ProcessSlot* slots_ = nullptr;
    std::uint32_t count_ = 0;
    std::uint32_t views_max_ = 0;
    Statistics statistics_;
    std::unique_ptr<Membership> membership_;
};

// Which slot this process has. Shared by its threads; a forked child gets one of its own at its first use.
class Membership {
 public:
    static constexpr std::int32_t none = -1;  // after fork: claim one
    static constexpr std::int32_t refused =
        -2;  // found none; claim_slot(), and now and then a count, tries again

    Membership(std::shared_ptr<LockFile> lock_file, std::uint64_t life, std::int32_t slot) noexcept;
    ~Membership();
    Membership(const Membership&) = delete;
    Membership& operator=(const Membership&) = delete;

    // Takes the first slot whose lock can be had, and resets it; `none` when there is none.
    std::int32_t claim(ProcessSlot* slots, std::uint32_t count) noexcept;

    std::atomic<std::int32_t> slot;
    std::shared_ptr<LockFile> lock_file;  // none: caller-owned memory
    std::uint64_t life;                   // of the segment
    std::atomic<bool> left = false;       // for good
    Word next_try_ns = 0;                 // when a count may look for a free slot again
    Membership* next = nullptr;           // in the list of all, for the fork handlers

    [[nodiscard]] std::uint64_t lock_of(std::uint32_t number) const noexcept {
        return LockFile::slot_lock(life, number);
    }
};

inline ProcessSlot* ProcessTable::own_slot() noexcept {
    // Acquire: pairs with claim(), which reset the slot.
    const std::int32_t slot = membership_->slot.load(std::memory_order_acquire);
    return slot >= 0 ? &slots_[slot] : rejoin();
}

inline std::uint64_t ProcessTable::count(Counter counter, std::uint64_t n) noexcept {
    // Acquire: as in own_slot().
    const std::int32_t slot = membership_->slot.load(std::memory_order_acquire);
    if (slot < 0) [[unlikely]]
        return count_without_slot(counter, n);
    return statistics_.add(static_cast<std::uint32_t>(slot), counter, n);
}

inline bool ProcessTable::count_hit() noexcept {
    // Acquire: as in own_slot().
    const std::int32_t slot = membership_->slot.load(std::memory_order_acquire);
    if (slot < 0) [[unlikely]] {
        count_without_slot(Counter::hits, 1);
        return !statistics_.closed();
    }
    return statistics_.add_hit(static_cast<std::uint32_t>(slot));
}

inline BusyCounters* ProcessTable::own_counters() const noexcept {
    // Acquire: as in own_slot().
    const std::int32_t slot = membership_->slot.load(std::memory_order_acquire);
    return slot >= 0 ? statistics_.own_counters(static_cast<std::uint32_t>(slot)) : nullptr;
}

inline bool ProcessTable::has_slot() const noexcept {
    // Relaxed: to tell, not to use it.
    return membership_->slot.load(std::memory_order_relaxed) >= 0;
}

}  // namespace tiercache
