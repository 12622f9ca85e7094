// How long hits take: a histogram of sampled times, logarithmic with four steps to each doubling, so that any
// percentile read from it is at most a quarter too high.
//
// One hit in latency_sampling of each thread is timed, by the processor's time stamp counter where that runs
// at one speed on all cores (calibrated against the monotonic clock), else by the clock itself.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace tiercache {

inline constexpr std::uint32_t latency_sampling = 64;
inline constexpr std::size_t latency_bucket_count = 96;

// Bucket of a time: 0 to 3 ns have one each, then four for each power of two; the last one takes the rest.
[[nodiscard]] constexpr std::size_t latency_bucket(std::uint64_t ns) noexcept {
    if (ns < 4) return ns;
    const auto power = static_cast<std::size_t>(std::bit_width(ns)) - 1;
    const std::size_t bucket = 4 * (power - 1) + (ns >> (power - 2) & 3);
    return bucket < latency_bucket_count ? bucket : latency_bucket_count - 1;
}

// The first time that is above the bucket; of the last one, where it begins.
[[nodiscard]] constexpr std::uint64_t latency_bucket_end_ns(std::size_t bucket) noexcept {
    const std::size_t next = bucket + 1 < latency_bucket_count ? bucket + 1 : bucket;
    if (next < 4) return next;
    return (4 + next % 4) << (next / 4 - 1);
}

struct LatencyHistogram {
    std::array<std::uint64_t, latency_bucket_count> counts{};  // samples, not hits

    [[nodiscard]] std::uint64_t samples() const noexcept {
        std::uint64_t sum = 0;
        for (const std::uint64_t count : counts) sum += count;
        return sum;
    }
    // The time that this share of the samples stays below; 0 without samples.
    [[nodiscard]] std::uint64_t quantile_ns(double share) const noexcept;
};

// A moment on the clock that samples are timed by. Never 0.
[[nodiscard]] std::uint64_t latency_now() noexcept;
// Nanoseconds since such a moment.
[[nodiscard]] std::uint64_t latency_since_ns(std::uint64_t moment) noexcept;

}  // namespace tiercache
