// Ourselves. A hit is all that a program needs to use the value: hash the key, copy the value, check its
// expiry; with the clock table, check its two tags, floor, epoch and lease as well.
#include <unistd.h>

#include <array>
#include <chrono>
#include <optional>
#include <vector>

#include "bench/l1/peers/peers.hpp"
#include "shm_cache/clock_file.hpp"
#include "shm_cache/entry.hpp"
#include "shm_cache/monotonic_time.hpp"
#include "shm_cache/shared_cache.hpp"

namespace bench {

namespace {

using namespace tiercache;

constexpr std::uint64_t epoch = 1;
constexpr std::uint64_t stamp = 1000;
constexpr std::uint64_t hour_ns = std::uint64_t{3600} * 1'000'000'000;
constexpr std::uint32_t hour_ms = 3'600'000;

// The public API: expiry, and the segment's own clock.
class CachePeer {
 public:
    CachePeer(std::size_t value_bytes, SharedCache cache) : cache_(std::move(cache)), value_(value_bytes) {}

    std::span<const std::byte> get(std::string_view key) {
        const Hit hit = cache_.get(key, value_);
        return hit ? std::span<const std::byte>(value_).first(hit.size) : std::span<const std::byte>();
    }
    void put(std::string_view key, std::span<const std::byte> value) {
        const std::string_view text(reinterpret_cast<const char*>(value.data()), value.size());
        require(cache_.put(key, text, {.ttl = std::chrono::hours(1)}));
    }

 private:
    SharedCache cache_;
    std::vector<std::byte> value_;
};

// What the client does for a query's result: expiry, and two tags against an authority's clock table.
class TagsPeer {
 public:
    TagsPeer(std::size_t value_bytes, Segment segment, ClockFile clock)
        : segment_(std::move(segment)),
          clock_(std::move(clock)),
          tags_{tag_of("users"), tag_of("profiles")},
          value_(value_bytes) {}

    std::span<const std::byte> get(std::string_view text) {
        const auto key = std::as_bytes(std::span(text));
        std::array<Tag, max_entry_tags> tags;
        ValueRead read;
        if (segment_.get_value(hash_key(key), key, tags, value_, read) != StatusCode::ok) return {};
        if (read.fields.lifetime.expired_at(monotonic_coarse_ns())) return {};
        const auto listed = std::span(tags).first(read.tag_count);
        const Verdict verdict = clock_.table().check(listed, read.fields.stamp, read.fields.epoch);
        return verdict == Verdict::fresh ? read.stored : std::span<std::byte>();
    }

    void put(std::string_view text, std::span<const std::byte> value) {
        const auto key = std::as_bytes(std::span(text));
        EntryFields fields;
        fields.epoch = epoch;
        fields.stamp = stamp;
        fields.lifetime = {.received_at_ns = monotonic_coarse_ns(), .hard_ttl_ms = hour_ms};
        require(segment_.put_value(hash_key(key), key, tags_, fields, value,
                                   static_cast<std::uint32_t>(value.size())));
    }

 private:
    Segment segment_;
    ClockFile clock_;
    std::array<Tag, 2> tags_;
    std::vector<std::byte> value_;
};

template <class T>
T value_of(Result<T> result) {
    require(result.status());
    return std::move(result).value();
}

class TierCache : public Store {
 public:
    explicit TierCache(const Workload& workload)
        : Store("tiercache", workload), name_("/tiercache.bench." + std::to_string(getpid())) {}
    TierCache(const Workload& workload, HugePages huge_pages)
        : Store("tiercache, huge pages", workload),
          name_("/tiercache.bench." + std::to_string(getpid()) + ".huge"),
          huge_pages_(huge_pages) {}

    void start() override {
        SegmentOptions options = segment_options(workload());
        options.huge_pages = huge_pages_;
        cache_.emplace(value_of(SharedCache::create(name_, options)));
    }
    std::unique_ptr<Access> open() override {
        return std::make_unique<AccessOf<CachePeer>>(workload().value_bytes(),
                                                     value_of(SharedCache::open(name_)));
    }
    void remove_names() noexcept override { (void)SharedCache::remove(name_); }

 private:
    std::string name_;
    HugePages huge_pages_ = HugePages::off;
    std::optional<SharedCache> cache_;
};

class TierCacheTags : public Store {
 public:
    explicit TierCacheTags(const Workload& workload)
        : Store("tiercache, clock table", workload),
          name_("/tiercache.bench." + std::to_string(getpid()) + ".tags"),
          clock_name_(name_ + ".clock") {}

    void start() override {
        segment_.emplace(value_of(Segment::create(name_, segment_options(workload()))));
        authority_.emplace(value_of(ClockFile::create(clock_name_, ClockTable::default_slot_count, 0600)));
        authority_->table().restart(epoch, stamp);
        authority_->table().renew_lease(monotonic_ns() + hour_ns);
    }
    std::unique_ptr<Access> open() override {
        return std::make_unique<AccessOf<TagsPeer>>(workload().value_bytes(), value_of(Segment::open(name_)),
                                                    value_of(ClockFile::open(clock_name_)));
    }
    void remove_names() noexcept override {
        (void)Segment::remove(name_);
        (void)SharedMemory::remove(clock_name_);
    }

 private:
    std::string name_;
    std::string clock_name_;
    std::optional<Segment> segment_;
    std::optional<ClockFile> authority_;
};

}  // namespace

SegmentOptions segment_options(const Workload& workload) {
    const std::size_t item_bytes = Key::length + workload.value_bytes() + 56;
    SegmentOptions options;
    options.item_bytes_mean = item_bytes;
    // Half as much again: a cache that holds its data and has room for what is overwritten.
    options.size_bytes = item_bytes * workload.key_count() * 3 / 2 + (std::size_t{16} << 20);
    return options;
}

StorePointer make_tiercache(const Workload& workload) { return std::make_unique<TierCache>(workload); }

StorePointer make_tiercache_huge(const Workload& workload) {
    return std::make_unique<TierCache>(workload, HugePages::on);
}

StorePointer make_tiercache_tags(const Workload& workload) {
    return std::make_unique<TierCacheTags>(workload);
}

}  // namespace bench
