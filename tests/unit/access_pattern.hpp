// Access patterns, and the LRU cache that they are held against.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <list>
#include <random>
#include <unordered_map>
#include <vector>

namespace tiercache::test {

using Trace = std::vector<std::uint64_t>;

inline Trace zipf_trace(std::size_t keys, double exponent, std::size_t length, std::uint64_t seed) {
    std::vector<double> sums(keys);
    double sum = 0;
    for (std::size_t i = 0; i < keys; ++i)
        sums[i] = sum += 1 / std::pow(static_cast<double>(i + 1), exponent);
    std::mt19937_64 random(seed);
    std::uniform_real_distribution<double> uniform(0, sum);
    Trace trace(length);
    for (auto& key : trace) {
        key = static_cast<std::uint64_t>(std::ranges::lower_bound(sums, uniform(random)) - sums.begin());
    }
    return trace;
}

inline Trace loop_trace(std::size_t keys, std::size_t length, std::uint64_t first = 0) {
    Trace trace(length);
    for (std::size_t i = 0; i < length; ++i) trace[i] = first + i % keys;
    return trace;
}

// Keys of a window that moves on, most of them recent: what LRU is for.
inline Trace drift_trace(std::size_t window, std::size_t length, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::exponential_distribution<double> back(4.0 / static_cast<double>(window));
    Trace trace(length);
    for (std::size_t i = 0; i < length; ++i) {
        const auto newest = static_cast<std::uint64_t>(window + i / 8);
        trace[i] = newest - std::min(newest, static_cast<std::uint64_t>(back(random)));
    }
    return trace;
}

// Takes one of each in turn; the keys of `other` are made different from those of `one`.
inline Trace mixed_trace(const Trace& one, const Trace& other) {
    Trace trace;
    for (std::size_t i = 0; i < std::min(one.size(), other.size()); ++i) {
        trace.push_back(one[i]);
        trace.push_back(other[i] | std::uint64_t{1} << 40);
    }
    return trace;
}

class LruCache {
 public:
    explicit LruCache(std::size_t items) : items_(items) {}
    // Is it a hit?
    bool use(std::uint64_t key) {
        if (const auto found = where_.find(key); found != where_.end()) {
            order_.splice(order_.begin(), order_, found->second);
            return true;
        }
        order_.push_front(key);
        where_[key] = order_.begin();
        if (order_.size() > items_) {
            where_.erase(order_.back());
            order_.pop_back();
        }
        return false;
    }

 private:
    std::size_t items_;
    std::list<std::uint64_t> order_;
    std::unordered_map<std::uint64_t, std::list<std::uint64_t>::iterator> where_;
};

inline double lru_hit_ratio(const Trace& trace, std::size_t items) {
    LruCache cache(items);
    const auto hits = std::ranges::count_if(trace, [&](std::uint64_t key) { return cache.use(key); });
    return static_cast<double>(hits) / static_cast<double>(trace.size());
}

}  // namespace tiercache::test
