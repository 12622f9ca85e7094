// Measuring: stores over the same workload take turns, a round each, many rounds; medians of short batches.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "bench/l1/peers/peers.hpp"

namespace bench {

inline constexpr Mix read_only{"100/0", 0, false};
inline constexpr Mix some_writes{"95/5", 50, false};
inline constexpr Mix many_writes{"50/50", 500, false};
inline constexpr Mix hot_key{"hot key", 0, true};

using StoreMaker = std::function<StorePointer(const Workload&)>;

struct Plan {
    std::uint32_t key_count;
    std::size_t value_bytes;
    std::vector<Mix> mixes;
    std::vector<StoreMaker> stores;
    int rounds;
};

// Of one store and one mix.
struct Figures {
    double ns_alone = 0;       // an operation, one worker
    double ns_together = 0;    // an operation, two workers at once
    double rate_alone = 0;     // operations a second, one worker
    double rate_together = 0;  // of both, while both run
    double hit_ratio = 1;
    double line_ns = 0;  // a cache line from one processor to the other, in the same rounds; 0: there is one
    [[nodiscard]] double scaling() const { return rate_together / rate_alone; }
};

struct StoreFigures {
    std::string store;
    std::map<std::string, Figures> mixes;
};

// Runs the plan; the stores are gone when it returns. A line of progress for each step goes to stderr.
std::vector<StoreFigures> measure(const Plan& plan);

// The value below which `share` of the values lie; they are sorted for it.
double quantile(std::vector<double>& values, double share);

}  // namespace bench
