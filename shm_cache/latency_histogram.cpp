#include "shm_cache/latency_histogram.hpp"

#include <atomic>

#include "shm_cache/monotonic_time.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>
#endif

namespace tiercache {

namespace {

// Moments by the clock have the top bit, those by the counter have not: calibration ends between two of them.
constexpr std::uint64_t by_clock = std::uint64_t{1} << 63;

#if defined(__x86_64__)

constexpr std::uint64_t calibration_ns = 20'000'000;

struct Calibration {
    std::uint64_t counter = __rdtsc();
    std::uint64_t clock_ns = monotonic_ns();
    bool usable = false;

    Calibration() noexcept {
        unsigned a = 0;
        unsigned b = 0;
        unsigned c = 0;
        unsigned d = 0;
        // "Invariant TSC": one speed, whatever the processor does.
        usable = __get_cpuid(0x80000007, &a, &b, &c, &d) != 0 && (d >> 8 & 1) != 0;
    }
};

// Nanoseconds in 2^32 counts; 0 until it is known.
std::atomic<std::uint64_t> ns_per_4g_counts{0};

// Called until the counter was watched for long enough.
void calibrate() noexcept {
    static const Calibration start;
    if (!start.usable) return;
    const std::uint64_t passed_ns = monotonic_ns() - start.clock_ns;
    const std::uint64_t counts = __rdtsc() - start.counter;
    if (passed_ns < calibration_ns || counts == 0) return;
    __extension__ using Wide = unsigned __int128;
    // Relaxed: one number, the same whoever writes it but for the noise.
    ns_per_4g_counts.store(static_cast<std::uint64_t>((Wide{passed_ns} << 32) / counts),
                           std::memory_order_relaxed);
}

#endif

}  // namespace

std::uint64_t latency_now() noexcept {
#if defined(__x86_64__)
    if (ns_per_4g_counts.load(std::memory_order_relaxed) != 0) return (__rdtsc() & ~by_clock) | 1;
    calibrate();
#endif
    return monotonic_ns() | by_clock;
}

std::uint64_t latency_since_ns(std::uint64_t moment) noexcept {
#if defined(__x86_64__)
    if ((moment & by_clock) == 0) {
        const std::uint64_t now = __rdtsc() & ~by_clock;
        if (now <= moment) return 0;
        __extension__ using Wide = unsigned __int128;
        return static_cast<std::uint64_t>(
            Wide{now - moment} * ns_per_4g_counts.load(std::memory_order_relaxed) >> 32);
    }
#endif
    return monotonic_ns() - (moment & ~by_clock);
}

std::uint64_t LatencyHistogram::quantile_ns(double share) const noexcept {
    const std::uint64_t all = samples();
    if (all == 0) return 0;
    const double wanted = share * static_cast<double>(all);
    std::uint64_t below = 0;
    for (std::size_t b = 0; b < counts.size(); ++b) {
        below += counts[b];
        if (static_cast<double>(below) >= wanted && below > 0) return latency_bucket_end_ns(b);
    }
    return latency_bucket_end_ns(counts.size() - 1);
}

}  // namespace tiercache
