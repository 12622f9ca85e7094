#include "tools/segment_output.hpp"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tools/common.hpp"

namespace tiercache::tools {

namespace {

struct Quantile {
    const char* name;
    double share;
};
constexpr Quantile quantiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}};

double share(std::uint64_t part, std::uint64_t whole) {
    return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

nlohmann::ordered_json latency_json(const LatencyHistogram& latency) {
    nlohmann::ordered_json out = {{"samples", latency.samples()}, {"sampled_one_in", latency_sampling}};
    for (const Quantile& q : quantiles) out[q.name] = latency.quantile_ns(q.share);
    // [end of the bucket in ns, samples], those that have any.
    out["buckets"] = nlohmann::ordered_json::array();
    for (std::size_t b = 0; b < latency.counts.size(); ++b) {
        if (latency.counts[b] > 0) out["buckets"].push_back({latency_bucket_end_ns(b), latency.counts[b]});
    }
    return out;
}

std::string human_ns(std::uint64_t ns) {
    return ns < 1000 ? fmt::format("{} ns", ns) : human_duration_us(static_cast<double>(ns) / 1000);
}

double rounded(double ratio) { return std::round(ratio * 10'000) / 10'000; }

}  // namespace

nlohmann::ordered_json segment_json(const SegmentStats& s) {
    return {{"size_bytes", s.size_bytes},
            {"block_bytes", s.block_bytes},
            {"block_count", s.block_count},
            {"index_slots", s.index_slots},
            {"process_slots", s.process_slots},
            {"largest_entry_bytes", s.largest_entry_bytes},
            {"largest_value_bytes", s.largest_value_bytes},
            {"views_per_process", s.views_per_process},
            {"huge_page_bytes", s.huge_page_bytes},
            {"items", s.items},
            {"index_slots_in_use", s.index_slots_in_use},
            {"item_bytes", s.item_bytes},
            {"dead_bytes", s.dead_bytes},
            {"free_blocks", s.free_blocks},
            {"open_blocks", s.open_blocks},
            {"sealed_blocks", s.sealed_blocks},
            {"reclaiming_blocks", s.reclaiming_blocks},
            {"processes", s.processes},
            {"pins", s.pins},
            {"hits", s.hits},
            {"stale_hits", s.stale_hits},
            {"misses", s.misses},
            {"misses_absent", s.misses_absent},
            {"misses_expired", s.misses_expired},
            {"misses_changed", s.misses_changed},
            {"misses_being_written", s.misses_being_written},
            {"misses_outdated", s.misses_outdated},
            {"misses_unvouched", s.misses_unvouched},
            {"misses_torn", s.misses_torn},
            {"misses_no_room", s.misses_no_room},
            {"misses_malformed", s.misses_malformed},
            {"puts", s.puts},
            {"put_failures", s.put_failures},
            {"put_failures_no_space", s.put_failures_no_space},
            {"put_failures_no_process_slot", s.put_failures_no_process_slot},
            {"put_failures_too_large", s.put_failures_too_large},
            {"put_failures_invalid", s.put_failures_invalid},
            {"erased_items", s.erased_items},
            {"evicted_items", s.evicted_items},
            {"evicted_items_hot", s.evicted_items_hot},
            {"evicted_items_warm", s.evicted_items_warm},
            {"evicted_items_cold", s.evicted_items_cold},
            {"evicted_items_reference", s.evicted_items_reference},
            {"expired_items", s.expired_items},
            {"expired_blocks", s.expired_blocks},
            {"reclaimed_blocks", s.reclaimed_blocks},
            {"examined_items", s.examined_items},
            {"moved_items", s.moved_items},
            {"hit_ratio_quarter", rounded(s.hit_ratio_quarter)},
            {"hit_ratio_half", rounded(s.hit_ratio_half)},
            {"hit_ratio_once", rounded(s.hit_ratio_once)},
            {"hit_ratio_twice", rounded(s.hit_ratio_twice)},
            {"hit_ratio_fourfold", rounded(s.hit_ratio_fourfold)},
            {"sampled_share", rounded(s.sampled_share)},
            {"hit_latency_ns", latency_json(s.hit_latency)}};
}

std::string segment_table(const SegmentStats& s) {
    Table table({{"segment"}, {"value", true}, {"", true}});
    const auto bytes_note = [](std::string_view name, std::uint64_t bytes) {
        return name.ends_with("_bytes") ? human_bytes(bytes) : std::string();
    };
    const std::uint64_t data_bytes = s.block_bytes * s.block_count;
    const std::uint64_t lookups = s.hits + s.misses;
    const nlohmann::ordered_json json = segment_json(s);
    for (const auto& [name, value] : json.items()) {
        if (!value.is_number()) continue;
        std::string note = bytes_note(name, value.get<std::uint64_t>());
        if (name == "huge_page_bytes" && s.huge_page_bytes == 0) note = "ordinary pages";
        if (name == "index_slots_in_use") {
            note = fmt::format("{:.1f}%", 100 * share(s.index_slots_in_use, s.index_slots));
        }
        if (name == "item_bytes" || name == "dead_bytes") {
            note += fmt::format(", {:.1f}%", 100 * share(value.get<std::uint64_t>(), data_bytes));
        }
        if (name == "hits") note = fmt::format("{:.2f}%", 100 * share(s.hits, lookups));
        table.add({name, value.dump(), note});
    }
    for (const Quantile& q : quantiles) {
        if (s.hit_latency.samples() == 0) break;
        table.add({fmt::format("hit_latency {}", q.name), human_ns(s.hit_latency.quantile_ns(q.share)), ""});
    }
    return table.to_string();
}

}  // namespace tiercache::tools
