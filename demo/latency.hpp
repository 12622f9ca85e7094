// Durations of repeated reads, and how they are shown to a person.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

namespace tiercache::demo {

struct Latency {
    double median_ns = 0;
    double p99_ns = 0;
    std::size_t samples = 0;
};

using SteadyTime = std::chrono::steady_clock::time_point;

[[nodiscard]] inline SteadyTime steady_now() { return std::chrono::steady_clock::now(); }
[[nodiscard]] inline double nanoseconds(SteadyTime from, SteadyTime to) {
    return std::chrono::duration<double, std::nano>(to - from).count();
}

// The smallest sample that is not below `share` (0 to 1) of all of them; 0 without samples.
[[nodiscard]] double quantile(std::vector<double> samples, double share);

[[nodiscard]] Latency summarise(const std::vector<double>& samples_ns);

// The median cost of reading the clock: what each singly timed call seems to take longer than it does.
[[nodiscard]] double clock_cost_ns();

// Three significant digits: "87 ns", "4.12 µs", "513 ms", "1.20 s".
[[nodiscard]] std::string human_duration(double ns);
// "412 B", "12.3 kB"
[[nodiscard]] std::string human_bytes(std::size_t bytes);
// "1,234,567"
[[nodiscard]] std::string human_count(std::size_t count);
// "×3.4", "×1,270"
[[nodiscard]] std::string human_factor(double factor);

}  // namespace tiercache::demo
