// Ourselves. A hit is all that a program needs to use the value: hash the key, copy the value, check its
// expiry; with the clock table, check its two tags, floor, epoch and lease as well.
#include <unistd.h>

#include <array>
#include <optional>
#include <vector>

#include "bench/l1/peers/peers.hpp"
#include "shm_cache/clock_file.hpp"
#include "shm_cache/entry.hpp"
#include "shm_cache/monotonic_time.hpp"

namespace bench {

namespace {

using namespace tiercache;

constexpr std::uint64_t epoch = 1;
constexpr std::uint64_t stamp = 1000;
constexpr std::uint64_t hour_ns = std::uint64_t{3600} * 1'000'000'000;
constexpr std::uint32_t hour_ms = 3'600'000;

class Peer {
 public:
    Peer(std::size_t value_bytes, Segment segment, std::optional<ClockFile> clock)
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
        if (clock_ && !fresh(std::span(tags).first(read.tag_count), read.fields)) return {};
        return read.stored;
    }

    void put(std::string_view text, std::span<const std::byte> value) {
        const auto key = std::as_bytes(std::span(text));
        EntryFields fields;
        fields.lifetime = {.received_at_ns = monotonic_coarse_ns(), .hard_ttl_ms = hour_ms};
        if (clock_) {
            fields.epoch = epoch;
            fields.stamp = stamp;
        }
        require(segment_.put_value(hash_key(key), key, std::span(tags_).first(clock_ ? tags_.size() : 0),
                                   fields, value, static_cast<std::uint32_t>(value.size())));
    }

 private:
    bool fresh(std::span<const Tag> tags, const EntryFields& fields) const {
        return clock_->table().check(tags, fields.stamp, fields.epoch) == Verdict::fresh;
    }

    Segment segment_;
    std::optional<ClockFile> clock_;
    std::array<Tag, 2> tags_;
    std::vector<std::byte> value_;
};

class TierCache : public Store {
 public:
    TierCache(const Workload& workload, bool clock_table)
        : Store(clock_table ? "tiercache, clock table" : "tiercache", workload),
          name_("/tiercache.bench." + std::to_string(getpid()) + (clock_table ? ".tags" : "")),
          clock_name_(name_ + ".clock"),
          clock_table_(clock_table) {}

    void start() override {
        Result<Segment> segment = Segment::create(name_, segment_options(workload()));
        require(segment.status());
        segment_.emplace(std::move(segment).value());
        if (!clock_table_) return;
        Result<ClockFile> clock = ClockFile::create(clock_name_, ClockTable::default_slot_count, 0600);
        require(clock.status());
        authority_.emplace(std::move(clock).value());
        authority_->table().restart(epoch, stamp);
        authority_->table().renew_lease(monotonic_ns() + hour_ns);
    }

    std::unique_ptr<Access> open() override {
        Result<Segment> segment = Segment::open(name_);
        require(segment.status());
        std::optional<ClockFile> clock;
        if (clock_table_) {
            Result<ClockFile> reader = ClockFile::open(clock_name_);
            require(reader.status());
            clock.emplace(std::move(reader).value());
        }
        return std::make_unique<AccessOf<Peer>>(workload().value_bytes(), std::move(segment).value(),
                                                std::move(clock));
    }

    void remove_names() noexcept override {
        (void)Segment::remove(name_);
        if (clock_table_) (void)SharedMemory::remove(clock_name_);
    }

 private:
    std::string name_;
    std::string clock_name_;
    bool clock_table_;
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

StorePointer make_tiercache(const Workload& workload, bool clock_table) {
    return std::make_unique<TierCache>(workload, clock_table);
}

}  // namespace bench
