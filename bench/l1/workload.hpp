// What is read and written: keys, values, and the order in which keys are asked for. The same for all stores.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace bench {

struct Key {
    static constexpr std::size_t length = 21;
    std::array<char, 24> bytes;
    [[nodiscard]] std::string_view text() const { return {bytes.data(), length}; }
};

// "user:00000042:profile"
Key key_of(std::uint64_t number);

// A place below `count` for a number: numbers that are near each other get places far apart.
inline std::uint64_t spread(std::uint64_t number, std::uint64_t count) {
    __extension__ using Wide = unsigned __int128;
    const std::uint64_t scattered = number * 0x9e3779b97f4a7c15U;  // wraps around
    return static_cast<std::uint64_t>(Wide{scattered} * count >> 64);
}

// A place in Zipf's law over `count` ranks, by rejection-inversion (W. Hoermann, G. Derflinger, "Rejection-
// inversion to generate variates from monotone discrete distributions", 1996): no table, any count.
class Zipf {
 public:
    Zipf(std::uint64_t count, double exponent);
    // `uniform` gives numbers of [0, 1).
    template <class Uniform>
    std::uint64_t operator()(Uniform&& uniform) const {
        for (;;) {
            const double u = h_end_ + uniform() * (h_begin_ - h_end_);
            const std::uint64_t rank = rank_at(u);
            if (accepts(rank, u)) return rank - 1;
        }
    }

 private:
    [[nodiscard]] double h(double x) const;
    [[nodiscard]] double h_inverse(double x) const;
    [[nodiscard]] std::uint64_t rank_at(double u) const;
    [[nodiscard]] bool accepts(std::uint64_t rank, double u) const;

    double count_;
    double exponent_;
    double h_begin_;
    double h_end_;
    double shortcut_;
};

// What a process of its own does with its keys.
struct Mix {
    const char* name;
    std::uint32_t writes_per_1000;
    bool hot_key;  // always the same key
};

inline constexpr std::size_t workers_max = 2;

struct Operation {
    Key key;  // at hand, as a key is that a program has just made
    std::uint32_t number;
    bool write;
};

class Workload {
 public:
    static constexpr double zipf_exponent = 0.99;
    static constexpr std::size_t sequence_length = std::size_t{1} << 20;

    Workload(std::uint32_t key_count, std::size_t value_bytes);

    [[nodiscard]] std::uint32_t key_count() const { return static_cast<std::uint32_t>(keys_.size()); }
    [[nodiscard]] std::size_t value_bytes() const { return value_bytes_; }
    // Keys and values of all items.
    [[nodiscard]] std::size_t data_bytes() const { return keys_.size() * (Key::length + value_bytes_); }
    [[nodiscard]] const Key& key(std::uint32_t number) const { return keys_[number]; }
    // Depends on the key only, so that a write changes nothing that a check would miss. Does not compress.
    [[nodiscard]] std::span<const std::byte> value(std::uint32_t number) const {
        return std::span(pool_).subspan(number * std::size_t{7919} % pool_shifts, value_bytes_);
    }

    // Operations `begin` and on of a worker, around the sequence.
    void fill(std::span<Operation> operations, std::size_t worker, std::size_t begin, const Mix& mix) const;

 private:
    static constexpr std::size_t pool_shifts = 4096;

    std::size_t value_bytes_;
    std::vector<Key> keys_;
    std::vector<std::byte> pool_;
    std::array<std::vector<std::uint32_t>, workers_max> sequences_;
};

}  // namespace bench
