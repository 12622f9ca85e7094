#include "shm_cache/statistics.hpp"

namespace tiercache {

thread_local constinit Statistics::Thread Statistics::thread_{0, 0};

Statistics::Statistics(std::byte* memory, const Geometry& geometry) noexcept
    : records_(reinterpret_cast<CounterRecord*>(memory + geometry.statistics_at + statistics_shared_bytes)),
      latencies_(reinterpret_cast<LatencyStripes*>(memory + geometry.statistics_at)),
      record_mask_(geometry.statistics_records - 1) {}

std::uint32_t Statistics::number_thread() noexcept {
    static std::atomic<std::uint32_t> threads{0};
    // Relaxed: any number will do. Never 0.
    thread_.number = threads.fetch_add(1, std::memory_order_relaxed) | std::uint32_t{1} << 31;
    return thread_.number;
}

std::uint64_t Statistics::sum(Counter counter) const noexcept {
    const auto c = static_cast<std::size_t>(counter);
    std::uint64_t total = 0;
    for (std::uint32_t r = 0; r <= record_mask_; ++r) {
        // Relaxed: as in add().
        if (c >= busy_counters) {
            total += records_[r].others[c - busy_counters].load(std::memory_order_relaxed);
            continue;
        }
        for (const auto& stripe : records_[r].busy) total += stripe[c].load(std::memory_order_relaxed);
    }
    return total;
}

void Statistics::add_latency(std::uint64_t ns) noexcept {
    // Relaxed: as in add(). Shared by processes: one hit in 64 comes here.
    latencies_->stripes[thread_number() % latency_stripes][latency_bucket(ns)].fetch_add(
        1, std::memory_order_relaxed);
}

LatencyHistogram Statistics::latencies() const noexcept {
    LatencyHistogram histogram;
    for (const auto& stripe : latencies_->stripes) {
        for (std::size_t b = 0; b < stripe.size(); ++b) {
            histogram.counts[b] += stripe[b].load(std::memory_order_relaxed);
        }
    }
    return histogram;
}

}  // namespace tiercache
