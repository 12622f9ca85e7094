// The counters of a segment: what happened since it was made, whoever did it.
//
// Each process slot has a record of its own (a few share one in a small segment). In it the busy counters are
// there four times: three stripes belong to one thread each, which adds with a plain load and store, because
// nobody else writes there; all other threads of the process, and whoever has no record of its own, add to
// the fourth by read-modify-write. What processes without a slot do goes there in the first record. Nothing
// is ever reset or taken away: a record stays when its process leaves or dies, and the next holder of the
// slot counts on. The segment's total is the sum of all records, and anybody who can read the memory can make
// it. A segment that is removed and made again begins at 0.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "shm_cache/entry.hpp"
#include "shm_cache/latency_histogram.hpp"
#include "shm_cache/layout.hpp"
#include "shm_cache/words.hpp"

namespace tiercache {

// The first seven are the busy ones, which share a cache line with the word by which the segment is closed.
enum class Counter : std::uint8_t {
    hits,  // what get() found; what was not served after all is taken off in the total
    misses_absent,
    stale_hits,
    misses_expired,
    misses_changed,
    misses_unvouched,
    puts,

    erased_items,
    misses_torn,
    misses_no_room,
    misses_being_written,
    misses_outdated,
    misses_malformed,
    misses_not_asked,
    put_failures_no_space,
    put_failures_no_process_slot,
    put_failures_too_large,
    put_failures_invalid,
    evicted_items,  // of a class that was not told
    evicted_items_hot,
    evicted_items_warm,
    evicted_items_cold,
    evicted_items_reference,
    expired_items,
    expired_blocks,
    reclaimed_blocks,
    examined_items,
    moved_items,
    misses_too_small,  // found, but the caller's buffer was smaller
};
inline constexpr std::size_t counter_count = static_cast<std::size_t>(Counter::misses_too_small) + 1;

[[nodiscard]] constexpr Counter evicted_items(DataClass data_class) noexcept {
    return static_cast<Counter>(static_cast<std::uint8_t>(Counter::evicted_items_hot) +
                                static_cast<std::uint8_t>(data_class));
}

inline constexpr std::size_t busy_counters = 7;
inline constexpr std::size_t other_counters_max = 24;
static_assert(counter_count <= busy_counters + other_counters_max);
// The first threads of a process that count have one each; the stripe after them is everybody's.
inline constexpr std::size_t own_stripes = 3;
inline constexpr std::size_t counter_stripes = own_stripes + 1;
inline constexpr std::size_t latency_stripes = 2;

struct BusyCounters {
    std::array<Word, busy_counters> counts;
    Word closed;
};
static_assert(sizeof(BusyCounters) == cache_line_bytes);

struct alignas(cache_line_bytes) CounterRecord {
    std::array<BusyCounters, counter_stripes> busy;
    std::array<Word, other_counters_max> others;
};
static_assert(sizeof(CounterRecord) == statistics_record_bytes);

struct LatencyStripes {
    std::array<std::array<Word, latency_bucket_count>, latency_stripes> stripes;
};
static_assert(sizeof(LatencyStripes) == statistics_shared_bytes);

class Statistics {
 public:
    Statistics() = default;
    Statistics(std::byte* memory, const Geometry& geometry) noexcept;

    // Adds to a counter for the process that has this slot, and returns what this stripe of it was before.
    std::uint64_t add(std::uint32_t process_slot, Counter counter, std::uint64_t n) noexcept {
        const auto c = static_cast<std::size_t>(counter);
        const std::uint32_t stripe = thread_.number - 1;  // huge before the thread has a number
        if (c >= busy_counters || stripe >= own_stripes || process_slot > record_mask_) [[unlikely]] {
            return add_shared(process_slot, counter, n);
        }
        Word& word = records_[process_slot].busy[stripe].counts[c];
        // Relaxed, both: numbers for people. Only this thread ever writes the word, as long as its process
        // has the slot.
        const std::uint64_t before = word.load(std::memory_order_relaxed);
        word.store(before + n, std::memory_order_relaxed);
        return before;
    }
    // Counts a hit; false when the segment is closed. That word lies beside the counter.
    [[nodiscard]] bool add_hit(std::uint32_t process_slot) noexcept {
        BusyCounters* own = own_counters(process_slot);
        if (own != nullptr) [[likely]]
            return add_hit(*own);
        add_shared(process_slot, Counter::hits, 1);
        return !closed();
    }
    // add_hit() in two steps, so that the first can be taken before it is known whether there will be a hit:
    // where this thread alone counts those of its process, and the count. nullptr: only add_hit() can.
    [[nodiscard]] BusyCounters* own_counters(std::uint32_t process_slot) const noexcept {
        const std::uint32_t stripe = thread_.number - 1;
        const bool own = stripe < own_stripes && process_slot <= record_mask_;
        return own ? &records_[process_slot].busy[stripe] : nullptr;
    }
    [[nodiscard, gnu::always_inline]] static bool add_hit(BusyCounters& own) noexcept {
        Word& word = own.counts[static_cast<std::size_t>(Counter::hits)];
        // Relaxed, both: as in add().
        word.store(word.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
        // Sequentially consistent: pairs with close(). After what was copied (after_read()), or pinned.
        return own.closed.load(std::memory_order_seq_cst) == 0;
    }

    // From its return on no count of a hit, and so no read, ends in this segment: another one has taken its
    // place (segment_resize.cpp). May be repeated.
    void close() noexcept;
    [[nodiscard]] bool closed() const noexcept {
        return records_[0].busy[own_stripes].closed.load(std::memory_order_seq_cst) != 0;
    }
    // Begins with what was counted in another segment. Nobody else counts here yet.
    void carry_on(const Statistics& other) noexcept;

    // The same for whoever may not be alone.
    std::uint64_t add_shared(std::uint32_t process_slot, Counter counter, std::uint64_t n) noexcept;
    [[nodiscard]] std::uint64_t sum(Counter counter) const noexcept;

    void add_latency(std::uint64_t ns) noexcept;
    [[nodiscard]] LatencyHistogram latencies() const noexcept;

    // Is this thread's next lookup one to be timed? Counts it.
    [[nodiscard]] static bool sample_due() noexcept {
        return (++thread_.lookups & (latency_sampling - 1)) == 0;
    }
    // The same, not counted; and the count.
    [[nodiscard]] static bool sample_is_next() noexcept {
        return ((thread_.lookups + 1) & (latency_sampling - 1)) == 0;
    }
    static void count_lookup() noexcept { ++thread_.lookups; }

 private:
    struct Thread {
        std::uint32_t number;  // from 1 on, no two of a process the same; 0: not given yet
        std::uint32_t lookups;
    };
    [[nodiscard]] static std::uint32_t thread_number() noexcept {
        return thread_.number != 0 ? thread_.number : number_thread();
    }
    static std::uint32_t number_thread() noexcept;

    // initial-exec: one load, also in a shared library; 8 bytes of the room that dlopen() has for these.
    static thread_local constinit Thread thread_ __attribute__((tls_model("initial-exec")));

    CounterRecord* records_ = nullptr;
    LatencyStripes* latencies_ = nullptr;
    std::uint32_t record_mask_ = 0;
};

// Times a get(), one in latency_sampling of them, if it turns out to be a hit.
class HitTimer {
 public:
    HitTimer() noexcept : begin_(Statistics::sample_due() ? latency_now() : 0) {}
    void hit(Statistics& statistics) const noexcept {
        if (begin_ != 0) [[unlikely]]
            statistics.add_latency(latency_since_ns(begin_));
    }

 private:
    std::uint64_t begin_;
};

}  // namespace tiercache
