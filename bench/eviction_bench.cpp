// Miss ratios of the segment's eviction on traces of real accesses, beside LRU and the best of nine policies.
//
//   eviction_bench [folder]
//
// The folder has traces, xz-compressed, one key a line, and peers.tsv: the miss ratios of known policies on
// them by the number of entries that the cache holds. Each is replayed through a segment whose blocks have
// room for just that many items, all of one size; what the index and the headers take comes on top. Free and
// half-filled blocks are not made up for. A put() follows each miss. Sizes from 500 entries up count; below,
// a cache of blocks has too few of them.
//
// Without a folder: generated Zipf, scan and loop mixes, beside an LRU cache of the same number of entries.
//
//   RESULT eviction_mean_distance_to_best_points <v> points   (with traces)
//   RESULT eviction_worst_distance_to_lru_points <v> points
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <list>
#include <map>
#include <memory>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "shm_cache/item.hpp"
#include "shm_cache/layout.hpp"
#include "shm_cache/segment.hpp"

namespace {

using namespace tiercache;

using Trace = std::vector<std::uint32_t>;

constexpr std::size_t entries_min = 500;
constexpr std::size_t items_per_block_min = 8;
constexpr std::size_t blocks_max = 512;  // as many as a segment of 1 GiB has
constexpr std::size_t block_bytes_min_here = std::size_t{32} << 10;

struct FreeMemory {
    void operator()(std::byte* memory) const { std::free(memory); }
};

// ---- a segment of so many items ------------------------------------------------------------------

struct Sizes {
    std::size_t item_bytes = 0;
    SegmentOptions options;
};

Sizes sizes_for(std::size_t entries) {
    const std::size_t items = std::max(items_per_block_min, entries / blocks_max);
    Sizes sizes;
    sizes.options.block_bytes = std::max(block_bytes_min_here, std::bit_ceil(items * 1024));
    sizes.item_bytes = sizes.options.block_bytes / items / unit_bytes * unit_bytes;
    sizes.options.item_bytes_mean = sizes.item_bytes;
    sizes.options.process_slots = 8;
    const std::size_t blocks = entries / items;
    sizes.options.size_bytes = blocks * sizes.options.block_bytes;
    for (;; sizes.options.size_bytes += 4096) {
        const Result<Geometry> geometry = plan_geometry(sizes.options, Fit::exact);
        if (geometry.ok() && geometry->block_count >= blocks) return sizes;
    }
}

double segment_miss_ratio(const Trace& trace, std::size_t entries) {
    const Sizes sizes = sizes_for(entries);
    const std::size_t bytes = (sizes.options.size_bytes + 63) / 64 * 64;
    const std::unique_ptr<std::byte, FreeMemory> memory(
        static_cast<std::byte*>(std::aligned_alloc(64, bytes)));
    Result<Segment> segment = Segment::format({memory.get(), bytes}, sizes.options);
    if (!segment.ok()) throw std::runtime_error(segment.status().to_string());
    constexpr std::size_t key_bytes = 8;
    const std::vector<std::byte> value(sizes.item_bytes - item_header_bytes - key_bytes);
    std::vector<std::byte> buffer(sizes.options.block_bytes);
    std::array<Tag, max_entry_tags> tags{};
    std::size_t misses = 0;
    for (const std::uint64_t number : trace) {
        const auto key = std::as_bytes(std::span(&number, 1));
        const KeyHash hash = hash_key(key);
        ValueRead read;
        if (segment->get_value(hash, key, tags, std::span(buffer), read) == StatusCode::ok) continue;
        ++misses;
        const Status put =
            segment->put_value(hash, key, {}, {}, value, static_cast<std::uint32_t>(value.size()));
        if (!put.ok()) throw std::runtime_error(put.to_string());
    }
    const SegmentStats stats = segment->stats();
    if (stats.items == 0 || stats.item_bytes != stats.items * sizes.item_bytes) {
        throw std::runtime_error("the items are not of the size that was meant");
    }
    return static_cast<double>(misses) / static_cast<double>(trace.size());
}

double lru_miss_ratio(const Trace& trace, std::size_t entries) {
    std::list<std::uint32_t> order;
    std::unordered_map<std::uint32_t, std::list<std::uint32_t>::iterator> where;
    std::size_t misses = 0;
    for (const std::uint32_t key : trace) {
        if (const auto found = where.find(key); found != where.end()) {
            order.splice(order.begin(), order, found->second);
            continue;
        }
        ++misses;
        order.push_front(key);
        where[key] = order.begin();
        if (order.size() <= entries) continue;
        where.erase(order.back());
        order.pop_back();
    }
    return static_cast<double>(misses) / static_cast<double>(trace.size());
}

// ---- traces --------------------------------------------------------------------------------------

Trace read_trace(const std::string& path) {
    if (path.find('\'') != std::string::npos) throw std::runtime_error("a quote in the path " + path);
    FILE* pipe = popen(("xzcat '" + path + "'").c_str(), "r");
    if (pipe == nullptr) throw std::runtime_error("could not run xzcat");
    Trace trace;
    char line[64];
    while (std::fgets(line, sizeof(line), pipe) != nullptr) {
        trace.push_back(static_cast<std::uint32_t>(std::strtoul(line, nullptr, 10)));
    }
    if (pclose(pipe) != 0 || trace.empty()) throw std::runtime_error("could not read " + path);
    return trace;
}

struct Row {
    std::string trace;
    std::size_t entries = 0;
    double lru = 0;
    double best = 0;
};

std::vector<Row> read_rows(const std::string& path) {
    std::ifstream file(path);
    if (!file) throw std::runtime_error("could not read " + path);
    std::vector<Row> rows;
    for (std::string line; std::getline(file, line);) {
        std::istringstream fields(line);
        Row row;
        if (!(fields >> row.trace >> row.entries >> row.lru)) continue;
        while (fields >> row.best) {
        }
        if (row.entries >= entries_min) rows.push_back(row);
    }
    return rows;
}

std::map<std::string, Trace> generated_traces() {
    constexpr std::size_t length = 400'000;
    constexpr std::uint32_t keys = 20'000;
    std::vector<double> weights(keys);
    for (std::size_t i = 0; i < keys; ++i) weights[i] = std::pow(static_cast<double>(i + 1), -0.9);
    std::discrete_distribution<std::uint32_t> zipf(weights.begin(), weights.end());
    std::mt19937_64 random(1);
    std::map<std::string, Trace> traces;
    std::uint32_t scanned = keys;
    for (std::uint32_t i = 0; i < length; ++i) {
        traces["zipf"].push_back(zipf(random));
        traces["zipf+scan"].push_back(i % 20'000 < 5'000 ? scanned++ : zipf(random));
        traces["zipf+loop"].push_back(i % 2 == 0 ? zipf(random) : keys + i / 2 % 3'000);
    }
    return traces;
}

// ---- output --------------------------------------------------------------------------------------

void print_row(const std::string& trace, std::size_t entries, double ours, double lru) {
    std::printf("%-10s %8zu   %.4f   %.4f %+6.2f", trace.c_str(), entries, ours, lru, 100 * (ours - lru));
}

void run_traces(const std::string& folder) {
    std::printf("%-10s %8s   %6s   %6s %6s   %6s %6s\n", "trace", "entries", "ours", "LRU", "diff", "best",
                "diff");
    double distance = 0;
    double worst = -100;
    const std::vector<Row> rows = read_rows(folder + "/peers.tsv");
    std::string name;
    Trace trace;
    for (const Row& row : rows) {
        if (row.trace != name) trace = read_trace(folder + "/" + row.trace + ".txt.xz");
        name = row.trace;
        const double ours = segment_miss_ratio(trace, row.entries);
        print_row(row.trace, row.entries, ours, row.lru);
        std::printf("   %.4f %+6.2f\n", row.best, 100 * (ours - row.best));
        std::fflush(stdout);
        distance += 100 * (ours - row.best) / static_cast<double>(rows.size());
        worst = std::max(worst, 100 * (ours - row.lru));
    }
    std::printf("RESULT eviction_mean_distance_to_best_points %.3f points\n", distance);
    std::printf("RESULT eviction_worst_distance_to_lru_points %.3f points\n", worst);
}

void run_generated() {
    std::printf("%-10s %8s   %6s   %6s %6s\n", "trace", "entries", "ours", "LRU", "diff");
    double worst = -100;
    for (const auto& [name, trace] : generated_traces()) {
        for (const std::size_t entries : {1'000, 2'000, 8'000}) {
            const double ours = segment_miss_ratio(trace, entries);
            const double lru = lru_miss_ratio(trace, entries);
            print_row(name, entries, ours, lru);
            std::puts("");
            worst = std::max(worst, 100 * (ours - lru));
        }
    }
    std::printf("RESULT eviction_worst_distance_to_lru_points %.3f points\n", worst);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        if (argc > 1) {
            run_traces(argv[1]);
        } else {
            run_generated();
        }
    } catch (const std::exception& error) {
        std::fprintf(stderr, "eviction_bench: %s\n", error.what());
        return 1;
    }
    return 0;
}
