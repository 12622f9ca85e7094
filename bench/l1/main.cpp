// bench_l1: the segment beside what a user could pick instead, in turns over the same keys and values.
//
// Every store has processes of its own (threads where it is of one process only). An operation is what a
// program needs to have the value in a private buffer, or to have it stored.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "bench/l1/crew.hpp"
#include "bench/l1/measure.hpp"
#include "bench/l1/sizes.hpp"
#include "bench/l1/table.hpp"

namespace {

using namespace bench;

struct Options {
    bool full = false;
    bool sizes = false;
    int rounds = 8;
    std::vector<std::string> workloads{"100k", "1m", "16k", "overhead"};
    std::vector<std::string> mixes;
    std::vector<std::string> only;
};

struct Entrant {
    const char* name;
    StoreMaker make;
    bool only_where_named = false;
};

const std::vector<Entrant>& entrants() {
    // Ourselves first: the others are compared with it.
    static const std::vector<Entrant> all = {
        {"tiercache", make_tiercache},
        {"tags", make_tiercache_tags},
        {"floor", make_two_loads},
        {"copies", make_two_loads_and_copies},
        {"lmdb", make_lmdb},
        {"boost", make_boost_ipc},
        {"tbb", make_tbb},
        {"cuckoo", make_cuckoo},
        {"memcached", make_memcached},
        {"redis", make_redis},
        // Pages must have been set aside.
        {"huge", make_tiercache_huge, true},
    };
    return all;
}

// Of `mixes` those that are wanted.
std::vector<Mix> chosen_of(const std::vector<Mix>& mixes, const Options& options) {
    std::vector<Mix> wanted;
    for (const Mix& mix : mixes) {
        if (options.mixes.empty() || std::ranges::find(options.mixes, mix.name) != options.mixes.end()) {
            wanted.push_back(mix);
        }
    }
    return wanted;
}

std::vector<StoreMaker> chosen(const Options& options) {
    std::vector<StoreMaker> stores;
    for (const Entrant& entrant : entrants()) {
        const bool named = std::ranges::find(options.only, entrant.name) != options.only.end();
        const bool by_itself = options.only.empty() && !entrant.only_where_named;
        if (named || by_itself || &entrant == &entrants().front()) stores.push_back(entrant.make);
    }
    return stores;
}

const Figures* find(const std::vector<StoreFigures>& figures, std::string_view store, const Mix& mix) {
    for (const StoreFigures& f : figures) {
        if (!f.store.starts_with(store)) continue;
        const auto found = f.mixes.find(mix.name);
        return found == f.mixes.end() ? nullptr : &found->second;
    }
    return nullptr;
}

void print_ratio(const char* name, const Figures* theirs, const Figures* ours) {
    if (theirs != nullptr && ours != nullptr) print_result(name, theirs->ns_alone / ours->ns_alone, "x");
}

void print_scaling(const char* name, const Figures* ours) {
    if (ours != nullptr) print_result(name, ours->scaling(), "x");
}

void print_ratios(const std::vector<StoreFigures>& figures) {
    constexpr std::pair<const char*, const char*> names[] = {
        {"l1_vs_lmdb", "LMDB"},        {"l1_vs_boost_ipc", "Boost"}, {"l1_vs_tbb", "TBB"},
        {"l1_vs_cuckoo", "libcuckoo"}, {"l1_vs_redis", "Redis"},     {"l1_vs_memcached", "memcached"},
    };
    const char* ours = "tiercache";
    for (const auto& [name, store] : names) {
        print_ratio(name, find(figures, store, read_only), find(figures, ours, read_only));
    }
    print_scaling("l1_scaling_reads_2p", find(figures, ours, read_only));
    print_scaling("l1_scaling_95_5_2p", find(figures, ours, some_writes));
    print_scaling("l1_scaling_hot_key_2p", find(figures, ours, hot_key));
    print_scaling("l1_scaling_95_5_2p_floor", find(figures, "two loads and copies", some_writes));
    if (const Figures* f = find(figures, ours, some_writes)) print_result("l1_line_95_5", f->line_ns, "ns");
}

std::vector<StoreFigures> measure_and_print(const Plan& plan) {
    std::vector<StoreFigures> figures = measure(plan);
    print_tables(plan, figures);
    return figures;
}

// Values of 16 KiB: each peer by itself beside ourselves, so that memory for two copies is enough.
void compare_large_values(const Options& options, const std::vector<StoreMaker>& stores,
                          const std::vector<Mix>& mixes) {
    Plan plan{100'000, 16'384, mixes, {}, (options.rounds + 1) / 2};
    for (std::size_t i = 1; i < stores.size(); ++i) {
        plan.stores = {stores[0], stores[i]};
        std::vector<StoreFigures> pair = measure(plan);
        print_tables(plan, pair);
    }
}

void compare_million(const Options& options, const std::vector<StoreMaker>& stores,
                     const std::vector<Mix>& mixes) {
    const std::vector<StoreFigures> figures =
        measure_and_print({1'000'000, 200, mixes, stores, options.rounds});
    print_ratio("l1_vs_two_loads", find(figures, "tiercache", read_only),
                find(figures, "two dependent loads", read_only));
    print_ratio("l1_huge_pages", find(figures, "tiercache", read_only),
                find(figures, "tiercache, huge pages", read_only));
}

void compare(const Options& options) {
    const std::vector<StoreMaker> stores = chosen(options);
    const std::vector<Mix> all_mixes = chosen_of({read_only, hot_key, some_writes, many_writes}, options);
    const auto wanted = [&](const char* workload) {
        return std::ranges::find(options.workloads, workload) != options.workloads.end();
    };
    if (wanted("100k")) print_ratios(measure_and_print({100'000, 200, all_mixes, stores, options.rounds}));
    if (wanted("1m")) {
        compare_million(options, stores,
                        options.full ? all_mixes : chosen_of({read_only, some_writes}, options));
    }
    if (wanted("16k")) {
        compare_large_values(options, stores, options.full ? all_mixes : chosen_of({read_only}, options));
    }
    if (wanted("overhead")) print_overhead();
}

}  // namespace

int main(int argc, char** argv) {
    Options options;
    CLI::App app{
        "The segment beside its peers: latency and throughput of one and two processes, in turns over the "
        "same\n"
        "keys and values. A table for each workload, and lines RESULT <name> <value> <unit>, go to stdout,\n"
        "progress to stderr. Peers' servers are private and stopped at the end."};
    app.add_flag("--full", options.full, "all mixes of all workloads")->envname("BENCH_FULL");
    app.add_flag("--sizes", options.sizes, "instead: hits and evicting puts at 1 GiB and 8 GiB")
        ->envname("BENCH_SIZES");
    app.add_option("--rounds", options.rounds, "turns of each store")->check(CLI::Range(1, 1000));
    app.add_option("--workloads", options.workloads, "of 100k, 1m, 16k, overhead")->delimiter(',');
    app.add_option("--mixes", options.mixes, "only these of 100/0, hot key, 95/5, 50/50")->delimiter(',');
    app.add_option(
           "--only", options.only,
           "these beside ourselves: tags floor copies lmdb boost tbb cuckoo memcached redis, and huge, a "
           "segment in pages\n"
           "of hugetlbfs that were set aside")
        ->delimiter(',');
    CLI11_PARSE(app, argc, argv);
    try {
        throw_on_signals();
        if (options.sizes) {
            print_size(1);
            print_size(8);
        } else {
            compare(options);
        }
    } catch (const std::exception& e) {
        std::fprintf(stderr, "bench_l1: %s\n", e.what());
        return 1;
    }
    return 0;
}
