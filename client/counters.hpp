// The counters of one Cache, spread over cache lines so that threads do not fight for one.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "tiercache/cache.hpp"

namespace tiercache {

class Counters {
 public:
    void add(Counter c) noexcept {
        // Relaxed: counts order nothing.
        stripes_[stripe()].counts[static_cast<std::size_t>(c)].fetch_add(1, std::memory_order_relaxed);
    }

    [[nodiscard]] CacheStats sum() const noexcept {
        CacheStats stats;
        for (const Stripe& s : stripes_) {
            for (std::size_t i = 0; i < s.counts.size(); ++i) {
                stats.counts[i] += s.counts[i].load(std::memory_order_relaxed);
            }
        }
        return stats;
    }

 private:
    static constexpr std::size_t stripe_count = 16;
    struct alignas(64) Stripe {
        std::array<std::atomic<std::uint64_t>, CacheStats::counter_count> counts{};
    };

    [[nodiscard]] static std::size_t stripe() noexcept {
        static std::atomic<std::size_t> next{0};
        thread_local const std::size_t mine = next.fetch_add(1, std::memory_order_relaxed) % stripe_count;
        return mine;
    }

    std::array<Stripe, stripe_count> stripes_;
};

}  // namespace tiercache
