// Lets one caller through per interval.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "shm_cache/monotonic_time.hpp"

namespace tiercache {

class RateLimit {
 public:
    explicit RateLimit(std::chrono::milliseconds interval) noexcept
        : interval_ns_(static_cast<std::uint64_t>(interval.count()) * 1'000'000U) {}

    // True for one of all callers, once an interval; the first time at once. Wait-free.
    [[nodiscard]] bool pass() noexcept {
        const std::uint64_t now = monotonic_coarse_ns();
        // Relaxed: only who passes is decided here, nothing is published.
        std::uint64_t next = next_ns_.load(std::memory_order_relaxed);
        return now >= next &&
               next_ns_.compare_exchange_strong(next, now + interval_ns_, std::memory_order_relaxed);
    }

 private:
    std::uint64_t interval_ns_;
    std::atomic<std::uint64_t> next_ns_{0};
};

}  // namespace tiercache
