#include "bench/l1/sizes.hpp"

#include <unistd.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <optional>
#include <random>
#include <string>

#include "bench/l1/crew.hpp"
#include "bench/l1/measure.hpp"
#include "bench/l1/table.hpp"
#include "shm_cache/entry.hpp"
#include "shm_cache/monotonic_time.hpp"
#include "shm_cache/segment.hpp"

namespace bench {

namespace {

using namespace tiercache;

constexpr std::size_t value_bytes = 200;
constexpr std::uint32_t hour_ms = 3'600'000;
constexpr std::size_t gibibyte = std::size_t{1} << 30;
constexpr std::size_t item_bytes = Key::length + value_bytes + 32;

// A segment without peers and processes; its name is gone as soon as it is there.
class Lone {
 public:
    explicit Lone(std::size_t bytes) : bytes_(bytes), value_(value_bytes) {
        const std::string name = "/tiercache.bench." + std::to_string(getpid()) + ".size";
        SegmentOptions options;
        options.size_bytes = bytes;
        options.item_bytes_mean = item_bytes;
        Result<Segment> segment = Segment::create(name, options);
        require(segment.status());
        segment_.emplace(std::move(segment).value());
        require(Segment::remove(name));
        buffer_.resize(value_bytes);
        std::mt19937_64 random(1);
        for (std::byte& b : value_) b = static_cast<std::byte>(random());
    }

    void put(std::uint64_t number) {
        const Key key = key_of(number);
        put(key.text());
    }
    void put(std::string_view text) {
        const auto key = std::as_bytes(std::span(text));
        EntryFields fields;
        fields.lifetime = {.received_at_ns = monotonic_coarse_ns(), .hard_ttl_ms = hour_ms};
        require(segment_->put_value(hash_key(key), key, {}, fields, value_, value_bytes));
    }
    bool get(std::string_view text) {
        const auto key = std::as_bytes(std::span(text));
        std::array<Tag, max_entry_tags> tags;
        ValueRead read;
        return segment_->get_value(hash_key(key), key, tags, buffer_, read) == StatusCode::ok &&
               !read.fields.lifetime.expired_at(monotonic_coarse_ns());
    }
    // New items until the first are evicted; returns how many were put. Nothing is read meanwhile: what was
    // read stays longer.
    std::uint64_t fill() {
        const std::uint64_t expected = bytes_ / item_bytes;
        const std::uint64_t step = expected / 50;
        std::uint64_t number = 0;
        while (number < expected / 2 || stats().reclaimed_blocks == 0) {
            check_signals();
            require(number < 3 * expected, "a full segment evicts nothing");
            for (std::uint64_t i = 0; i < step; ++i) put(number++);
        }
        return number;
    }
    [[nodiscard]] SegmentStats stats() const { return segment_->stats(); }

 private:
    std::size_t bytes_;
    std::optional<Segment> segment_;
    std::vector<std::byte> value_;
    std::vector<std::byte> buffer_;
};

std::string label(const char* name, std::size_t gibibytes) {
    return std::string(name) + "_" + std::to_string(gibibytes) + "gib";
}

void check_memory(std::size_t bytes) {
    std::ifstream file("/proc/meminfo");
    std::string word;
    while (file >> word && word != "MemAvailable:") {
    }
    std::size_t kilobytes = 0;
    file >> kilobytes;
    require(kilobytes * 1024 > bytes + bytes / 4 + gibibyte / 2, "not enough free memory");
}

// `number` tells the key of the next hit.
template <class Number>
double hit_ns(Lone& lone, Number number) {
    constexpr std::size_t batch = 1000;
    constexpr int batches = 2000;
    std::vector<Key> at_hand(batch);
    std::vector<double> ns;
    std::size_t hits = 0;
    for (int b = 0; b < batches; ++b) {
        check_signals();
        for (Key& key : at_hand) key = key_of(number());
        const std::uint64_t begin = monotonic_ns();
        for (const Key& key : at_hand) hits += lone.get(key.text()) ? 1 : 0;
        ns.push_back(static_cast<double>(monotonic_ns() - begin) / batch);
    }
    std::fprintf(stderr, "#   hits: %.2f%%\n", 100.0 * static_cast<double>(hits) / (batch * batches));
    return quantile(ns, 0.5);
}

void print_evicting_puts(Lone& lone, std::uint64_t next, std::size_t gibibytes) {
    constexpr std::size_t puts = 2'000'000;
    std::vector<double> ns;
    ns.reserve(puts);
    for (std::size_t i = 0; i < puts; ++i) {
        const Key key = key_of(next++);
        const std::uint64_t begin = monotonic_ns();
        lone.put(key.text());
        ns.push_back(static_cast<double>(monotonic_ns() - begin));
    }
    print_result(label("l1_put_evicting_median", gibibytes).c_str(), quantile(ns, 0.5), "ns");
    print_result(label("l1_put_evicting_p99", gibibytes).c_str(), quantile(ns, 0.99), "ns");
    print_result(label("l1_put_evicting_p999", gibibytes).c_str(), quantile(ns, 0.999), "ns");
    print_result(label("l1_put_evicting_max", gibibytes).c_str(), quantile(ns, 1), "ns");
}

}  // namespace

void print_overhead() {
    Lone lone(std::size_t{256} << 20);
    lone.fill();
    const SegmentStats stats = lone.stats();
    const double used = static_cast<double>(stats.size_bytes - stats.free_blocks * stats.block_bytes);
    const double data = static_cast<double>(stats.items) * (Key::length + value_bytes);
    std::printf(
        "A full segment of 256 MiB: %llu items of %zu bytes of key and value, %.2f of the index slots\n",
        static_cast<unsigned long long>(stats.items), Key::length + value_bytes,
        static_cast<double>(stats.items) / static_cast<double>(stats.index_slots));
    print_result("l1_overhead_bytes_per_item", (used - data) / static_cast<double>(stats.items), "bytes");
}

void print_size(std::size_t gibibytes) {
    check_memory(gibibytes * gibibyte);
    std::fprintf(stderr, "# filling %zu GiB\n", gibibytes);
    Lone lone(gibibytes * gibibyte);
    const std::uint64_t put = lone.fill();
    const SegmentStats stats = lone.stats();
    std::printf("%zu GiB: %llu items of %zu bytes\n", gibibytes, static_cast<unsigned long long>(stats.items),
                Key::length + value_bytes);
    std::mt19937_64 random(1);
    // The oldest items go while the rest is read from: leave them out.
    const std::uint64_t first = put / 50;
    std::uniform_int_distribution<std::uint64_t> any(first, put - 1);
    print_result(label("l1_hit_uniform", gibibytes).c_str(), hit_ns(lone, [&] { return any(random); }), "ns");
    const Zipf zipf(put - first, Workload::zipf_exponent);
    std::uniform_real_distribution<double> uniform(0, 1);
    print_result(
        label("l1_hit_zipf", gibibytes).c_str(),
        hit_ns(lone, [&] { return first + spread(zipf([&] { return uniform(random); }), put - first); }),
        "ns");
    print_evicting_puts(lone, put, gibibytes);
}

}  // namespace bench
