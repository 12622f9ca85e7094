// A circuit breaker: after a failure nobody tries for a while, then one does. The while doubles with each
// failure in a row, up to a limit. Safe from any thread; never blocks.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

#include "shm_cache/monotonic_time.hpp"

namespace tiercache {

class CircuitBreaker {
 public:
    static constexpr std::chrono::milliseconds pause_min{100};
    static constexpr std::chrono::milliseconds pause_max{30'000};

    // May the tier be tried? While it is failing: true for one caller when the pause is over. That trial
    // begins the next pause at once, so one that never reports back blocks nobody.
    [[nodiscard]] bool allow(std::uint64_t now_ns = monotonic_coarse_ns()) noexcept {
        // Relaxed throughout: the words decide who tries and publish nothing else.
        const std::uint32_t failures = failures_.load(std::memory_order_relaxed);
        if (failures == 0) return true;
        std::uint64_t retry_at = retry_at_ns_.load(std::memory_order_relaxed);
        if (now_ns < retry_at) return false;
        if (!retry_at_ns_.compare_exchange_strong(retry_at, now_ns + pause_ns(failures + 1),
                                                  std::memory_order_relaxed)) {
            return false;
        }
        failures_.store(std::min(failures + 1, failures_max), std::memory_order_relaxed);
        return true;
    }

    void succeeded() noexcept {
        if (!closed()) failures_.store(0, std::memory_order_relaxed);
    }

    // Calls that were under way together and fail together count as one failure.
    void failed(std::uint64_t now_ns = monotonic_coarse_ns()) noexcept {
        std::uint32_t none = 0;
        if (failures_.compare_exchange_strong(none, 1, std::memory_order_relaxed)) {
            retry_at_ns_.store(now_ns + pause_ns(1), std::memory_order_relaxed);
        }
    }

    [[nodiscard]] bool closed() const noexcept { return failures_.load(std::memory_order_relaxed) == 0; }

    [[nodiscard]] static std::uint64_t pause_ns(std::uint32_t failures) noexcept {
        const std::uint32_t doublings = std::min(failures, failures_max) - 1;
        const auto pause = std::min(pause_min * (std::int64_t{1} << doublings), pause_max);
        return static_cast<std::uint64_t>(std::chrono::nanoseconds(pause).count());
    }

 private:
    static constexpr std::uint32_t failures_max = 16;  // more change nothing

    std::atomic<std::uint32_t> failures_{0};
    std::atomic<std::uint64_t> retry_at_ns_{0};
};

}  // namespace tiercache
