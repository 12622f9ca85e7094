// The counters of a segment: what happened since it was made, whoever did it.
//
// Each process slot has a record of its own (a few share one in a small segment), in which the busy counters
// are there twice for its threads to spread over, so that nobody fights for a cache line; what processes
// without a slot do goes to the first one. Nothing is ever reset or taken away: a record stays when its
// process leaves or dies, and the next holder of the slot counts on. The segment's total is the sum of all
// records, and anybody who can read the memory can make it. A segment that is removed and made again begins
// at 0.
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

// The first eight are the busy ones, which share a cache line.
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
};

[[nodiscard]] constexpr Counter evicted_items(DataClass data_class) noexcept {
    return static_cast<Counter>(static_cast<std::uint8_t>(Counter::evicted_items_hot) +
                                static_cast<std::uint8_t>(data_class));
}

inline constexpr std::size_t busy_counters = 8;
inline constexpr std::size_t other_counters_max = 24;
inline constexpr std::size_t counter_stripes = 2;
inline constexpr std::size_t latency_stripes = 2;

struct alignas(cache_line_bytes) CounterRecord {
    std::array<std::array<Word, busy_counters>, counter_stripes> busy;
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

    // Adds to a counter, and returns what this stripe of it was before.
    std::uint64_t add(std::uint32_t process_slot, Counter counter, std::uint64_t n) noexcept {
        const auto c = static_cast<std::size_t>(counter);
        CounterRecord& to = records_[process_slot & record_mask_];
        Word& word = c < busy_counters ? to.busy[thread_stripe()][c] : to.others[c - busy_counters];
        // Relaxed: numbers for people.
        return word.fetch_add(n, std::memory_order_relaxed);
    }
    [[nodiscard]] std::uint64_t sum(Counter counter) const noexcept;

    void add_latency(std::uint64_t ns) noexcept;
    [[nodiscard]] LatencyHistogram latencies() const noexcept;

    // Is this thread's next hit one to be timed?
    [[nodiscard]] static bool sample_due() noexcept {
        return (++thread_.lookups & (latency_sampling - 1)) == 0;
    }

 private:
    struct Thread {
        std::uint32_t number;  // 0: not given yet
        std::uint32_t lookups;
    };
    [[nodiscard]] static std::uint32_t thread_number() noexcept {
        return thread_.number != 0 ? thread_.number : number_thread();
    }
    [[nodiscard]] static std::size_t thread_stripe() noexcept { return thread_number() % counter_stripes; }
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
