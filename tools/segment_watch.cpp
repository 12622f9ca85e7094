#include "tools/segment_watch.hpp"

#include <fmt/format.h>
#include <signal.h>

#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>

#include "shm_cache/monotonic_time.hpp"
#include "tools/common.hpp"

namespace tiercache::tools {

namespace {

constexpr std::uint64_t lines_per_header = 20;

// What happened between two looks, a second.
struct Rates {
    double hits = 0;
    double stale_hits = 0;
    double misses = 0;
    double absent = 0;
    double not_fresh = 0;  // changed, being written, outdated, unvouched
    double expired = 0;
    double puts = 0;
    double put_failures = 0;
    double evicted = 0;
    std::uint64_t p50_ns = 0;
    std::uint64_t p99_ns = 0;
};

std::uint64_t not_fresh(const SegmentStats& s) {
    return s.misses_changed + s.misses_being_written + s.misses_outdated + s.misses_unvouched;
}

// `before` is all 0 for a segment that was made meanwhile: its counts began at 0.
Rates rates_between(const SegmentStats& before, const SegmentStats& now, double seconds) {
    const auto rate = [seconds](std::uint64_t from, std::uint64_t to) {
        return to > from ? static_cast<double>(to - from) / seconds : 0.0;
    };
    Rates r;
    r.hits = rate(before.hits, now.hits);
    r.stale_hits = rate(before.stale_hits, now.stale_hits);
    r.misses = rate(before.misses, now.misses);
    r.absent = rate(before.misses_absent, now.misses_absent);
    r.not_fresh = rate(not_fresh(before), not_fresh(now));
    r.expired = rate(before.misses_expired, now.misses_expired);
    r.puts = rate(before.puts, now.puts);
    r.put_failures = rate(before.put_failures, now.put_failures);
    r.evicted = rate(before.evicted_items, now.evicted_items);
    LatencyHistogram latency;
    for (std::size_t b = 0; b < latency.counts.size(); ++b) {
        const std::uint64_t from = before.hit_latency.counts[b];
        latency.counts[b] = now.hit_latency.counts[b] > from ? now.hit_latency.counts[b] - from : 0;
    }
    r.p50_ns = latency.quantile_ns(0.5);
    r.p99_ns = latency.quantile_ns(0.99);
    return r;
}

double hit_percent(const Rates& r) { return r.hits + r.misses > 0 ? 100 * r.hits / (r.hits + r.misses) : 0; }

std::string line_of(const SegmentStats& s, const Rates& r) {
    return fmt::format(
        "{:>9.0f} {:>6.2f} {:>7.0f} {:>8.0f} {:>8.0f} {:>7.0f} {:>8.0f} {:>7.0f} {:>8.0f} {:>9} {:>10} "
        "{:>10} "
        "{:>6} {:>6} {:>6}\n",
        r.hits, hit_percent(r), r.stale_hits, r.absent, r.not_fresh, r.expired, r.puts, r.put_failures,
        r.evicted, s.items, human_bytes(s.item_bytes), human_bytes(s.dead_bytes), s.free_blocks, r.p50_ns,
        r.p99_ns);
}

std::string header() {
    return fmt::format(
        "{:>9} {:>6} {:>7} {:>8} {:>8} {:>7} {:>8} {:>7} {:>8} {:>9} {:>10} {:>10} {:>6} {:>6} {:>6}\n",
        "hits/s", "hit%", "stale/s", "absent/s", "unfresh", "expired", "puts/s", "failed", "evict/s", "items",
        "live", "dead", "free", "p50ns", "p99ns");
}

nlohmann::ordered_json json_of(const SegmentStats& s, const Rates& r) {
    return {{"hits_per_s", r.hits},
            {"hit_percent", hit_percent(r)},
            {"stale_hits_per_s", r.stale_hits},
            {"misses_per_s", r.misses},
            {"misses_absent_per_s", r.absent},
            {"misses_not_fresh_per_s", r.not_fresh},
            {"misses_expired_per_s", r.expired},
            {"puts_per_s", r.puts},
            {"put_failures_per_s", r.put_failures},
            {"evicted_items_per_s", r.evicted},
            {"items", s.items},
            {"item_bytes", s.item_bytes},
            {"dead_bytes", s.dead_bytes},
            {"free_blocks", s.free_blocks},
            {"hit_latency_p50_ns", r.p50_ns},
            {"hit_latency_p99_ns", r.p99_ns}};
}

// SIGINT and SIGTERM are asked for instead of interrupting a line.
class Interrupts {
 public:
    Interrupts() {
        sigemptyset(&signals_);
        sigaddset(&signals_, SIGINT);
        sigaddset(&signals_, SIGTERM);
        sigprocmask(SIG_BLOCK, &signals_, nullptr);
    }
    // True when one came before the time was over.
    [[nodiscard]] bool wait_ns(std::uint64_t ns) const {
        const timespec time{static_cast<time_t>(ns / 1'000'000'000), static_cast<long>(ns % 1'000'000'000)};
        return sigtimedwait(&signals_, nullptr, &time) > 0;
    }

 private:
    sigset_t signals_{};
};

}  // namespace

Status watch_segment(const std::string& name, const std::string& group, double interval_s,
                     std::uint64_t count, bool json) {
    Result<SegmentStats> before = inspect_segment(name, group);
    if (!before.ok()) return before.status();
    const Interrupts interrupts;
    const auto interval_ns = static_cast<std::uint64_t>(std::llround(interval_s * 1e9));
    std::uint64_t then = monotonic_ns();
    for (std::uint64_t line = 0; count == 0 || line < count; ++line) {
        const std::uint64_t due = then + interval_ns;
        const std::uint64_t began = monotonic_ns();
        if (interrupts.wait_ns(due > began ? due - began : 0)) return Status();
        Result<SegmentStats> stats = inspect_segment(name, group);
        if (!stats.ok()) return stats.status();
        const std::uint64_t now = monotonic_ns();
        const SegmentStats& from = stats->instance == before->instance ? *before : SegmentStats();
        const Rates rates = rates_between(from, *stats, static_cast<double>(now - then) / 1e9);
        std::string text = json ? json_of(*stats, rates).dump() + "\n" : line_of(*stats, rates);
        if (!json && line % lines_per_header == 0) text.insert(0, header());
        if (Status s = print(text); !s.ok()) return s;
        then = now;
        before = std::move(stats);
    }
    return Status();
}

}  // namespace tiercache::tools
