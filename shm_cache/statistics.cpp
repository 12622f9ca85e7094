#include "shm_cache/statistics.hpp"

#include <algorithm>

namespace tiercache {

thread_local constinit Statistics::Thread Statistics::thread_{0, 0};

Statistics::Statistics(std::byte* memory, const Geometry& geometry) noexcept
    : records_(reinterpret_cast<CounterRecord*>(memory + geometry.statistics_at + statistics_shared_bytes)),
      latencies_(reinterpret_cast<LatencyStripes*>(memory + geometry.statistics_at)),
      record_mask_(geometry.statistics_records - 1) {}

std::uint32_t Statistics::number_thread() noexcept {
    static std::atomic<std::uint64_t> threads{0};
    // Relaxed: only that no two of those that own a stripe are the same.
    const std::uint64_t number = threads.fetch_add(1, std::memory_order_relaxed) + 1;
    thread_.number = static_cast<std::uint32_t>(std::min<std::uint64_t>(number, UINT32_MAX));
    return thread_.number;
}

std::uint64_t Statistics::add_shared(std::uint32_t process_slot, Counter counter, std::uint64_t n) noexcept {
    const auto c = static_cast<std::size_t>(counter);
    CounterRecord& to = records_[process_slot & record_mask_];
    (void)thread_number();
    // Relaxed: numbers for people.
    return (c < busy_counters ? to.busy[own_stripes].counts[c] : to.others[c - busy_counters])
        .fetch_add(n, std::memory_order_relaxed);
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
        for (const BusyCounters& stripe : records_[r].busy) {
            total += stripe.counts[c].load(std::memory_order_relaxed);
        }
    }
    return total;
}

void Statistics::close() noexcept {
    // The shared one of the first record last: it stands for all in closed().
    for (std::uint32_t r = record_mask_ + 1; r-- > 0;) {
        for (BusyCounters& stripe : records_[r].busy) stripe.closed.store(1, std::memory_order_seq_cst);
    }
}

void Statistics::carry_on(const Statistics& other) noexcept {
    for (std::size_t c = 0; c < counter_count; ++c) {
        add_shared(0, static_cast<Counter>(c), other.sum(static_cast<Counter>(c)));
    }
    const LatencyHistogram before = other.latencies();
    for (std::size_t b = 0; b < before.counts.size(); ++b) {
        latencies_->stripes[0][b].fetch_add(before.counts[b], std::memory_order_relaxed);
    }
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
