#include "bench/l1/workload.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <random>

namespace bench {

Key key_of(std::uint64_t number) {
    Key key{};
    std::snprintf(key.bytes.data(), key.bytes.size(), "user:%08llu:profile",
                  static_cast<unsigned long long>(number % 100'000'000));
    return key;
}

Zipf::Zipf(std::uint64_t count, double exponent)
    : count_(static_cast<double>(count)),
      exponent_(exponent),
      h_begin_(h(1.5) - 1),
      h_end_(h(count_ + 0.5)),
      shortcut_(2 - h_inverse(h(2.5) - std::pow(2.0, -exponent))) {}

// The integral of x^-exponent, for an exponent other than 1.
double Zipf::h(double x) const { return std::pow(x, 1 - exponent_) / (1 - exponent_); }

double Zipf::h_inverse(double x) const { return std::pow((1 - exponent_) * x, 1 / (1 - exponent_)); }

std::uint64_t Zipf::rank_at(double u) const {
    return static_cast<std::uint64_t>(std::clamp(h_inverse(u) + 0.5, 1.0, count_));
}

bool Zipf::accepts(std::uint64_t rank, double u) const {
    const auto k = static_cast<double>(rank);
    return k - h_inverse(u) <= shortcut_ || u >= h(k + 0.5) - std::pow(k, -exponent_);
}

Workload::Workload(std::uint32_t key_count, std::size_t value_bytes)
    : value_bytes_(value_bytes), pool_(value_bytes + pool_shifts) {
    keys_.reserve(key_count);
    for (std::uint32_t i = 0; i < key_count; ++i) keys_.push_back(key_of(i));
    std::mt19937_64 random(1);
    for (std::byte& b : pool_) b = static_cast<std::byte>(random());
    // The ranks are spread over the keys: neighbours in popularity are no neighbours in memory.
    std::vector<std::uint32_t> key_at_rank(key_count);
    std::iota(key_at_rank.begin(), key_at_rank.end(), 0U);
    std::shuffle(key_at_rank.begin(), key_at_rank.end(), random);
    const Zipf zipf(key_count, zipf_exponent);
    std::uniform_real_distribution<double> uniform(0, 1);
    for (std::vector<std::uint32_t>& sequence : sequences_) {
        sequence.resize(sequence_length);
        for (std::uint32_t& number : sequence) number = key_at_rank[zipf([&] { return uniform(random); })];
    }
}

void Workload::fill(std::span<Operation> operations, std::size_t worker, std::size_t begin,
                    const Mix& mix) const {
    const std::vector<std::uint32_t>& sequence = sequences_[worker];
    for (std::size_t i = 0; i < operations.size(); ++i) {
        const std::uint64_t at = begin + i;
        const std::uint32_t number = mix.hot_key ? key_count() / 2 : sequence[at % sequence_length];
        // A multiplicative hash of the place tells reads from writes: no pattern that a processor learns.
        const std::uint64_t dice = (at + 1) * 0x9e3779b97f4a7c15U >> 40;
        operations[i] = {keys_[number], number, dice % 1000 < mix.writes_per_1000};
    }
}

}  // namespace bench
