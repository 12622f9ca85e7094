#include "demo/latency.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace tiercache::demo {

namespace {

std::string three_digits(double value, std::string_view unit) {
    const int decimals = value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
    return fmt::format("{:.{}f} {}", value, decimals, unit);
}

}  // namespace

double quantile(std::vector<double> samples, double share) {
    if (samples.empty()) return 0;
    const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(samples.size())));
    const auto at =
        samples.begin() + static_cast<std::ptrdiff_t>(std::clamp<std::size_t>(rank, 1, samples.size()) - 1);
    std::nth_element(samples.begin(), at, samples.end());
    return *at;
}

Latency summarise(const std::vector<double>& samples_ns) {
    return {.median_ns = quantile(samples_ns, 0.5),
            .p99_ns = quantile(samples_ns, 0.99),
            .samples = samples_ns.size()};
}

double clock_cost_ns() {
    constexpr std::size_t rounds = 10'001;
    std::vector<double> samples(rounds);
    for (double& sample : samples) {
        const SteadyTime start = steady_now();
        sample = nanoseconds(start, steady_now());
    }
    return quantile(std::move(samples), 0.5);
}

std::string human_duration(double ns) {
    if (ns < 999.5) return fmt::format("{:.0f} ns", ns);
    if (ns < 999.5e3) return three_digits(ns / 1e3, "µs");
    if (ns < 999.5e6) return three_digits(ns / 1e6, "ms");
    return three_digits(ns / 1e9, "s");
}

std::string human_bytes(std::size_t bytes) {
    if (bytes < 1000) return fmt::format("{} B", bytes);
    return three_digits(static_cast<double>(bytes) / 1e3, "kB");
}

std::string human_count(std::size_t count) {
    std::string text = std::to_string(count);
    for (std::size_t at = text.size(); at > 3;) text.insert(at -= 3, ",");
    return text;
}

std::string human_factor(double factor) {
    if (factor < 9.95) return fmt::format("×{:.1f}", factor);
    // Three digits of it are worth telling.
    const double unit = std::pow(10, std::max(std::floor(std::log10(factor)) - 2, 0.0));
    return "×" + human_count(static_cast<std::size_t>(std::llround(std::round(factor / unit) * unit)));
}

}  // namespace tiercache::demo
