#include "bench/l1/table.hpp"

#include <cstdio>

namespace bench {

namespace {

void print_table(const Mix& mix, const std::vector<StoreFigures>& figures) {
    std::printf("  %-26s %12s %12s %12s %12s %9s %10s %8s\n", mix.name, "1 proc ns/op", "2 proc ns/op",
                "1 proc op/s", "2 proc op/s", "scaling", "vs. ours", "hits");
    const auto ours = figures.front().mixes.find(mix.name);
    for (const StoreFigures& store : figures) {
        const auto found = store.mixes.find(mix.name);
        if (found == store.mixes.end()) continue;
        const Figures& f = found->second;
        std::printf("  %-26s %12.0f %12.0f %12.0f %12.0f %8.2fx %9.2fx %7.2f%%\n", store.store.c_str(),
                    f.ns_alone, f.ns_together, f.rate_alone, f.rate_together, f.scaling(),
                    f.ns_alone / ours->second.ns_alone, 100 * f.hit_ratio);
    }
    std::printf("\n");
}

}  // namespace

void print_tables(const Plan& plan, const std::vector<StoreFigures>& figures) {
    std::printf("%u keys, values of %zu bytes, Zipf %.2f, %d rounds; reads/writes:\n", plan.key_count,
                plan.value_bytes, Workload::zipf_exponent, plan.rounds);
    for (const Mix& mix : plan.mixes) print_table(mix, figures);
    std::fflush(stdout);
}

void print_result(const char* name, double value, const char* unit) {
    std::printf("RESULT %s %.2f %s\n", name, value, unit);
    std::fflush(stdout);
}

}  // namespace bench
