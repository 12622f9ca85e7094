// Miss ratios of the segment's eviction on traces of real accesses, beside LRU and the best of nine policies.
//
//   eviction_bench [folder [overestimate]]
//
// The folder has traces, xz-compressed, one key a line, and peers.tsv: the miss ratios of known policies on
// them by the number of entries that the cache holds. Each is replayed through a segment whose blocks have
// room for just that many items, all of one size; what the index and the headers take comes on top. Free and
// half-filled blocks are not made up for. A put() follows each miss. Sizes from 500 entries up count; below,
// a cache of blocks has too few of them.
//
// The index is made for as many items as there are, or for `overestimate` times as many, as in a segment that
// was made with defaults.
//
// Without a folder: generated mixes of Zipf, scans, loops and a drifting working set, beside an LRU cache of
// the same number of entries.
//
//   RESULT eviction_mean_distance_to_best_points <v> points   (with traces)
//   RESULT eviction_worst_distance_to_lru_points <v> points
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/unit/access_pattern.hpp"
#include "tests/unit/trace_replay.hpp"

namespace {

using namespace tiercache::test;

constexpr std::size_t entries_min = 500;

// ---- traces --------------------------------------------------------------------------------------

Trace read_trace(const std::string& path) {
    if (path.find('\'') != std::string::npos) throw std::runtime_error("a quote in the path " + path);
    FILE* pipe = popen(("xzcat '" + path + "'").c_str(), "r");
    if (pipe == nullptr) throw std::runtime_error("could not run xzcat");
    Trace trace;
    char line[64];
    while (std::fgets(line, sizeof(line), pipe) != nullptr) {
        trace.push_back(std::strtoull(line, nullptr, 10));
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

// Patterns that nothing was tuned on.
std::vector<std::pair<std::string, Trace>> generated_traces() {
    constexpr std::size_t length = 300'000;
    constexpr std::size_t keys = 20'000;
    Trace scanned = zipf_trace(keys, 0.9, length, 2);
    for (std::size_t i = 0; i < length; ++i) {
        if (i % 20'000 < 5'000) scanned[i] = keys + i;
    }
    Trace changing = loop_trace(3'000, length / 3);
    const Trace drift = drift_trace(4'000, length / 3, 3);
    const Trace zipf = zipf_trace(keys, 0.9, length / 3, 4);
    changing.insert(changing.end(), drift.begin(), drift.end());
    changing.insert(changing.end(), zipf.begin(), zipf.end());
    return {{"zipf", zipf_trace(keys, 0.9, length, 1)},
            {"zipf+scan", std::move(scanned)},
            {"zipf+loop", mixed_trace(zipf_trace(keys, 0.9, length / 2, 5), loop_trace(3'000, length / 2))},
            {"drift", drift_trace(8'000, length, 6)},
            {"changing", std::move(changing)}};
}

// ---- output --------------------------------------------------------------------------------------

void print_row(const std::string& trace, std::size_t entries, double ours, double lru) {
    std::printf("%-10s %8zu   %.4f   %.4f %+6.2f", trace.c_str(), entries, ours, lru, 100 * (ours - lru));
}

void run_traces(const std::string& folder, std::size_t overestimate) {
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
        const double ours = segment_miss_ratio(trace, row.entries, overestimate);
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
        for (const std::size_t entries : {500, 1'000, 2'000, 8'000}) {
            const double ours = segment_miss_ratio(trace, entries);
            const double lru = 1 - lru_hit_ratio(trace, entries);
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
            const std::size_t overestimate = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
            if (overestimate == 0) throw std::runtime_error("overestimate is a number from 1 up");
            run_traces(argv[1], overestimate);
        } else {
            run_generated();
        }
    } catch (const std::exception& error) {
        std::fprintf(stderr, "eviction_bench: %s\n", error.what());
        return 1;
    }
    return 0;
}
