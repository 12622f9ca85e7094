// What a SharedCache promises to one process: get, put, tags, expiry, loading.
#include "shm_cache/shared_cache.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cmath>
#include <map>
#include <stdexcept>
#include <thread>

#include "shm_cache/layout.hpp"
#include "shm_cache/monotonic_time.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace std::chrono_literals;
using test::SegmentName;
using test::small_cache;

void sleep_for(std::chrono::milliseconds time) { std::this_thread::sleep_for(time); }

class SharedCacheTest : public ::testing::Test {
 protected:
    SharedCacheTest() : cache_(SharedCache::create(name_, small_cache()).value()) {}
    [[nodiscard]] Found found(std::string_view key) {
        std::string value;
        return cache_.get(key, value).found;
    }

    SegmentName name_;
    SharedCache cache_;
};

TEST_F(SharedCacheTest, WhatWasPutIsGotInEveryForm) {
    ASSERT_TRUE(cache_.put("key", "value").ok());
    EXPECT_EQ(cache_.get("key"), "value");
    EXPECT_EQ(cache_.get("other"), std::nullopt);
    std::string value;
    const Hit hit = cache_.get("key", value);
    EXPECT_EQ(hit.found, Found::fresh);
    EXPECT_EQ(hit.size, 5U);
    EXPECT_LT(hit.age(), 5s);
    std::array<std::byte, 5> buffer{};
    EXPECT_TRUE(cache_.get("key", buffer));
    EXPECT_EQ(buffer[4], std::byte{'e'});
    std::array<std::byte, 4> smaller{};
    const Hit no_room = cache_.get("key", smaller);
    EXPECT_EQ(no_room.found, Found::too_small);
    EXPECT_EQ(no_room.size, 5U);
    EXPECT_TRUE(cache_.erase("key").ok());
    EXPECT_FALSE(cache_.erase("key").ok());
    EXPECT_EQ(cache_.get("key"), std::nullopt);
}

// However often it takes a look to get there.
TEST_F(SharedCacheTest, EachGetIsCountedOnce) {
    const std::string text(5000, 'x');
    ASSERT_TRUE(cache_.put("plain", text).ok());
    ASSERT_TRUE(cache_.put("compressed", text, {.compress = true}).ok());
    ASSERT_TRUE(cache_.put("tagged", text, {.tags = {"t"}}).ok());
    ASSERT_TRUE(cache_.put("empty", "").ok());
    ASSERT_TRUE(cache_.put("empty and tagged", "", {.tags = {"t"}}).ok());
    std::string value;
    std::vector<std::byte> buffer(text.size());
    std::uint64_t hits = 0;
    std::uint64_t too_small = 0;
    const auto as_counted = [&] {
        const SegmentStats stats = cache_.stats();
        return stats.hits == hits && stats.misses == too_small && stats.misses_no_room == too_small;
    };
    for (const char* key : {"plain", "compressed", "tagged"}) {
        ASSERT_EQ(cache_.get(key, value).found, Found::fresh) << key;
        ASSERT_EQ(cache_.get(key, buffer).found, Found::fresh) << key;
        EXPECT_TRUE(std::ranges::equal(buffer, std::as_bytes(std::span(text)))) << key;
        hits += 2;
        for (const std::size_t room : {std::size_t{0}, std::size_t{1}, text.size() - 1}) {
            const Hit hit = cache_.get(key, std::span(buffer).first(room));
            EXPECT_EQ(hit.found, Found::too_small) << key;
            EXPECT_EQ(hit.size, text.size()) << key;
            ++too_small;
            EXPECT_TRUE(as_counted()) << key << ' ' << room;
        }
    }
    // The soft ttl has passed: stale, if it had room.
    ASSERT_TRUE(cache_.put("stale", text, {.ttl = 1h, .soft_ttl = 1ms}).ok());
    std::this_thread::sleep_for(20ms);
    EXPECT_EQ(cache_.get("stale", std::span(buffer).first(10)).found, Found::too_small);
    ++too_small;
    EXPECT_TRUE(as_counted());
    EXPECT_EQ(cache_.stats().stale_hits, 0U);
    EXPECT_EQ(cache_.get("stale", buffer).found, Found::stale);
    ++hits;
    EXPECT_TRUE(as_counted());
    EXPECT_EQ(cache_.stats().stale_hits, 1U);
    for (const char* key : {"empty", "empty and tagged"}) {
        for (const std::span<std::byte> room : {std::span<std::byte>(), std::span(buffer)}) {
            EXPECT_EQ(cache_.get(key, room).found, Found::fresh) << key;
            ++hits;
            EXPECT_TRUE(as_counted()) << key;
        }
    }
}

TEST_F(SharedCacheTest, AHitIntoAStringThatIsLargeEnoughDoesNotAllocate) {
    ASSERT_TRUE(cache_.put("key", std::string(500, 'x')).ok());
    std::string value;
    value.reserve(1000);
    const char* before = value.data();
    ASSERT_TRUE(cache_.get("key", value));
    EXPECT_EQ(value.data(), before);
    EXPECT_EQ(value, std::string(500, 'x'));
}

TEST_F(SharedCacheTest, ValuesOfAllSizesAndBytes) {
    for (std::size_t size = 0; size < 60'000; size += 1 + size / 3) {
        const std::string value(size, '\0');
        ASSERT_TRUE(cache_.put("key", value).ok()) << size;
        ASSERT_EQ(cache_.get("key"), value);
        ASSERT_TRUE(cache_.put("key", value, {.compress = true}).ok()) << size;
        ASSERT_EQ(cache_.get("key"), value);
        std::vector<std::byte> buffer(size);
        ASSERT_TRUE(cache_.get("key", buffer));
    }
    const std::string hard = [] {
        std::mt19937 random(1);
        std::string bytes(20'000, ' ');
        for (char& c : bytes) c = static_cast<char>(random());
        return bytes;
    }();
    ASSERT_TRUE(cache_.put("key", hard, {.compress = true}).ok());
    EXPECT_EQ(cache_.get("key"), hard);
    EXPECT_EQ(cache_.put("key", std::string(2 << 20, 'x')).code(), StatusCode::too_large);
}

// Else it would be served in place of the one that is known by now.
TEST_F(SharedCacheTest, APutThatFailsTakesTheOldValueOut) {
    PutOptions options;
    const auto leaves_nothing = [&](std::string_view value, bool negative) {
        EXPECT_TRUE(cache_.put("key", "old").ok());
        const Status status =
            negative ? cache_.put_negative("key", options) : cache_.put("key", value, options);
        EXPECT_EQ(status.code(), StatusCode::too_large);
        EXPECT_EQ(found("key"), Found::nothing);
    };
    leaves_nothing(std::string(2 << 20, 'n'), false);
    const std::size_t huge = max_entry_payload_bytes + 1;
    void* pages = mmap(nullptr, huge, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    ASSERT_NE(pages, MAP_FAILED);
    leaves_nothing({static_cast<const char*>(pages), huge}, false);
    munmap(pages, huge);
    options.compress = true;
    std::string hard(2 << 20, ' ');
    std::mt19937 random(1);
    for (char& c : hard) c = static_cast<char>(random());
    leaves_nothing(hard, false);
    for (int i = 0; i < 17; ++i) options.tags.add("tag");
    leaves_nothing("new", false);
    leaves_nothing("", true);
}

// Nothing is known of a key that is none.
TEST_F(SharedCacheTest, APutUnderAKeyThatIsTooLongTouchesNothing) {
    ASSERT_TRUE(cache_.put("key", "value").ok());
    EXPECT_EQ(cache_.put("key" + std::string(1 << 20, '.'), "new").code(), StatusCode::too_large);
    EXPECT_EQ(cache_.get("key"), "value");
    EXPECT_EQ(cache_.stats().erased_items, 0U);
}

TEST_F(SharedCacheTest, AValueIsServedUntilItsTtlAndIsStaleAfterItsSoftTtl) {
    ASSERT_TRUE(cache_.put("key", "value", {.ttl = 400ms, .soft_ttl = 150ms}).ok());
    EXPECT_EQ(found("key"), Found::fresh);
    sleep_for(200ms);
    EXPECT_EQ(found("key"), Found::stale);
    sleep_for(300ms);
    EXPECT_EQ(found("key"), Found::nothing);
    ASSERT_TRUE(cache_.put("key", "value", {.ttl = 0ms}).ok());
    EXPECT_EQ(found("key"), Found::nothing);
}

TEST_F(SharedCacheTest, InvalidateEndsAllValuesOfATagAndNoOthers) {
    ASSERT_TRUE(cache_.put("a", "1", {.tags = {"x"}}).ok());
    ASSERT_TRUE(cache_.put("b", "2", {.tags = {"y", "x"}}).ok());
    ASSERT_TRUE(cache_.put("c", "3", {.tags = {"y"}}).ok());
    ASSERT_TRUE(cache_.put("d", "4").ok());
    (void)cache_.invalidate("x");
    EXPECT_EQ(found("a"), Found::nothing);
    EXPECT_EQ(found("b"), Found::nothing);
    EXPECT_EQ(found("c"), Found::fresh);
    EXPECT_EQ(found("d"), Found::fresh);
    ASSERT_TRUE(cache_.put("a", "1", {.tags = {"x"}}).ok());
    EXPECT_EQ(found("a"), Found::fresh);
}

// The segment's statistics say of each get() whether it was served, and if not, why.
TEST_F(SharedCacheTest, WhatWasFoundAndNotServedIsAMissWithItsReason) {
    ASSERT_TRUE(cache_.put("short", "v", {.ttl = 1ms}).ok());
    ASSERT_TRUE(cache_.put("soft", "v", {.ttl = 1h, .soft_ttl = 1ms}).ok());
    ASSERT_TRUE(cache_.put("tagged", "v", {.tags = {"tag"}}).ok());
    ASSERT_TRUE(cache_.put("cleared", "v", {.tags = {"other"}}).ok());
    (void)cache_.invalidate("tag");
    sleep_for(20ms);
    EXPECT_EQ(found("short"), Found::nothing);
    EXPECT_EQ(found("soft"), Found::stale);
    EXPECT_EQ(found("tagged"), Found::nothing);
    EXPECT_EQ(found("cleared"), Found::fresh);
    std::array<std::byte, 8> buffer{};
    EXPECT_FALSE(cache_.get("short", buffer));
    const SegmentStats stats = cache_.stats();
    EXPECT_EQ(stats.misses_expired, 2U);
    EXPECT_EQ(stats.misses_changed, 1U);
    EXPECT_EQ(stats.stale_hits, 1U);
    EXPECT_EQ(stats.hits, 2U);
}

// Keys and values of the lengths at which they are compared and copied in other ways, by both ways of get().
TEST_F(SharedCacheTest, PlainValuesOfEveryLengthUnderKeysOfEveryLength) {
    std::mt19937 random(3);
    const auto bytes_of_length = [&random](std::size_t size) {
        std::string bytes(size, ' ');
        for (char& c : bytes) c = static_cast<char>(random());
        return bytes;
    };
    for (std::size_t key_length = 0; key_length < 70; ++key_length) {
        const std::string key = bytes_of_length(key_length);
        for (std::size_t size = key_length % 7; size < 1200; size += 1 + size / 6) {
            const std::string value = bytes_of_length(size);
            PutOptions options;
            if (size % 2 == 0) options.ttl = 1h;
            ASSERT_TRUE(cache_.put(key, value, options).ok());
            for (int times = 0; times < 3; ++times) {
                std::string text;
                ASSERT_EQ(cache_.get(key, text).found, Found::fresh) << key_length << ' ' << size;
                ASSERT_EQ(text, value);
                std::vector<char> buffer(size + 1, 'x');
                const auto room = std::as_writable_bytes(std::span(buffer)).first(size);
                const Hit hit = cache_.get(key, room);
                ASSERT_EQ(hit.found, Found::fresh);
                ASSERT_TRUE(std::equal(value.begin(), value.end(), buffer.begin()));
                ASSERT_EQ(buffer[size], 'x');
            }
            if (size == 0) continue;
            std::vector<std::byte> small(size - 1);
            EXPECT_EQ(cache_.get(key, small).found, Found::too_small);
        }
        // Of the same length, and equal but for one byte.
        if (key_length == 0) continue;
        std::string other = key;
        other[key_length / 2] ^= 1;
        EXPECT_EQ(found(other), Found::nothing);
    }
}

TEST_F(SharedCacheTest, OneHitInSixtyFourIsTimedWhateverItsKind) {
    ASSERT_TRUE(cache_.put("plain", "v", {.ttl = 1h}).ok());
    ASSERT_TRUE(cache_.put("tagged", "v", {.tags = {"tag"}}).ok());
    std::uint64_t before = cache_.stats().hit_latency.samples();
    for (const std::string_view key : {"plain", "tagged"}) {
        for (std::uint64_t i = 0; i < std::uint64_t{100} * latency_sampling; ++i)
            ASSERT_EQ(found(key), Found::fresh);
        const std::uint64_t now = cache_.stats().hit_latency.samples();
        EXPECT_EQ(now - before, 100U) << key;
        before = now;
    }
}

// The first threads of a process count in places of their own, all others together.
TEST_F(SharedCacheTest, EveryThreadsHitsAndMissesAreCountedOnce) {
    ASSERT_TRUE(cache_.put("plain", "v", {.ttl = 1h}).ok());
    ASSERT_TRUE(cache_.put("tagged", "v", {.tags = {"tag"}}).ok());
    constexpr int threads_max = 9;
    constexpr int times = 500;
    std::vector<std::thread> threads;
    threads.reserve(threads_max);
    for (int t = 0; t < threads_max; ++t) {
        threads.emplace_back([this] {
            for (int i = 0; i < times; ++i) {
                EXPECT_EQ(found("plain"), Found::fresh);
                EXPECT_EQ(found("tagged"), Found::fresh);
                EXPECT_EQ(found("absent"), Found::nothing);
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    const SegmentStats stats = cache_.stats();
    EXPECT_EQ(stats.hits, 2U * threads_max * times);
    EXPECT_EQ(stats.misses_absent, 1U * threads_max * times);
}

TEST_F(SharedCacheTest, AStampFromBeforeTheComputingCatchesAnInvalidationMeanwhile) {
    const LocalStamp before = cache_.stamp();
    (void)cache_.invalidate("x");
    ASSERT_TRUE(cache_.put("a", "old", {.tags = {"x"}, .stamp = before}).ok());
    EXPECT_EQ(found("a"), Found::nothing);
}

TEST_F(SharedCacheTest, AValueOfAnotherSegmentIsNotFreshHere) {
    const SegmentName other_name;
    SharedCache other = SharedCache::create(other_name, small_cache()).value();
    EXPECT_NE(cache_.stamp().epoch, other.stamp().epoch);
    ASSERT_TRUE(cache_.put("a", "1", {.tags = {"x"}}).ok());
    cache_.segment().for_each(
        [](void* to, std::span<const std::byte> entry) {
            return static_cast<SharedCache*>(to)->segment().put(entry).ok();
        },
        &other);
    EXPECT_EQ(other.stats().items, 1U);
    EXPECT_EQ(other.get("a"), std::nullopt);
}

TEST_F(SharedCacheTest, ASegmentWithoutAClockHasNoTags) {
    const SegmentName plain_name;
    SharedCache plain(Segment::create(plain_name, small_cache()).value());
    EXPECT_TRUE(plain.put("a", "1").ok());
    EXPECT_EQ(plain.get("a"), "1");
    EXPECT_EQ(plain.put("a", "2", {.tags = {"x"}}).code(), StatusCode::invalid_argument);
    EXPECT_EQ(plain.get("a"), "1");  // untouched
    const auto load = [] { return std::string("2"); };
    EXPECT_EQ(plain.get_or_load("b", {.tags = {"x"}}, load).status().code(), StatusCode::invalid_argument);
    EXPECT_EQ(plain.get_or_load("b", {}, load).value(), "2");
    EXPECT_EQ(plain.get("b"), "2");
    (void)plain.clear();
    EXPECT_EQ(plain.get("b"), std::nullopt);
}

TEST_F(SharedCacheTest, MoreTagsThanFitAreRefused) {
    PutOptions options;
    for (int i = 0; i < 16; ++i) options.tags.add(std::to_string(i));
    EXPECT_TRUE(cache_.put("a", "1", options).ok());
    (void)cache_.invalidate("15");
    EXPECT_EQ(found("a"), Found::nothing);
    options.tags.add("16");
    EXPECT_EQ(cache_.put("a", "1", options).code(), StatusCode::too_large);
}

TEST_F(SharedCacheTest, QueryResultsInTheSameSegmentAreNotValues) {
    EntryFields fields;
    fields.format = PayloadFormat::json;
    ASSERT_TRUE(cache_.segment().put(test::entry_of(test::bytes_of("a"), test::bytes_of("{}"), fields)).ok());
    EXPECT_EQ(found("a"), Found::nothing);
}

// It would never grow old.
TEST_F(SharedCacheTest, AValueFromTheFutureIsNotServed) {
    const auto key = test::bytes_of("a");
    EntryFields fields;
    fields.format = PayloadFormat::opaque;
    fields.lifetime.hard_ttl_ms = 1000;
    for (const auto& [ahead, found_then] : {std::pair(0s, Found::fresh), {3600s, Found::nothing}}) {
        fields.lifetime.received_at_ns = monotonic_ns() + std::chrono::nanoseconds(ahead).count();
        ASSERT_TRUE(cache_.segment().put_value(hash_key(key), key, {}, fields, key, 1).ok());
        EXPECT_EQ(found("a"), found_then);
    }
}

TEST_F(SharedCacheTest, NegativeValuesAreRemembered) {
    ASSERT_TRUE(cache_.put_negative("a", {.ttl = 200ms}).ok());
    EXPECT_EQ(found("a"), Found::negative);
    std::string value;
    EXPECT_FALSE(cache_.get("a", value));
    sleep_for(250ms);
    EXPECT_EQ(found("a"), Found::nothing);
}

TEST_F(SharedCacheTest, ClearAndForEach) {
    ASSERT_TRUE(cache_.put("a", "1", {.tags = {"x"}}).ok());
    ASSERT_TRUE(cache_.put("b", std::string(5000, 'b'), {.compress = true}).ok());
    ASSERT_TRUE(cache_.put("gone", "3", {.ttl = 0ms}).ok());
    std::map<std::string, std::size_t, std::less<>> seen;
    const auto visit = [&](std::string_view key, std::string_view value, const EntryFields&) {
        seen.emplace(key, value.size());
        return true;
    };
    cache_.for_each(visit);
    EXPECT_EQ(seen, (std::map<std::string, std::size_t, std::less<>>{{"a", 1}, {"b", 5000}}));
    const LocalStamp before = cache_.stamp();
    (void)cache_.clear();
    seen.clear();
    cache_.for_each(visit);
    EXPECT_TRUE(seen.empty());
    // What was being loaded then stays out too.
    ASSERT_TRUE(cache_.put("a", "1", {.stamp = before}).ok());
    EXPECT_EQ(found("a"), Found::nothing);
}

// O(1): an invalidation reads and writes nothing but the local clock, however much the segment holds.
TEST(SharedCacheLocal, AnInvalidationTouchesNothingButTheClock) {
    SegmentOptions options = small_cache();
    options.size_bytes = std::size_t{4} << 20;
    options.clock_slots = 64;
    const test::OwnMemory memory(options.size_bytes);
    SharedCache cache(Segment::format(memory.span(), options).value());
    for (int i = 0; i < 1000; ++i) {
        ASSERT_TRUE(cache.put("k" + std::to_string(i), "v", {.tags = {"x"}}).ok());
    }
    std::uint64_t lock_file = 0;
    const Geometry geometry = read_geometry(memory.span().data(), memory.span().size(), lock_file).value();
    // All pages behind the clock's: block states, index, items.
    const std::uint64_t clock_end = geometry.local_clock_at + geometry.local_clock_bytes;
    std::byte* const from = memory.span().data() + (clock_end + 4095) / 4096 * 4096;
    const std::size_t rest = static_cast<std::size_t>(memory.span().data() + memory.span().size() - from);
    ASSERT_GT(rest, options.size_bytes / 2);
    ASSERT_EQ(mprotect(from, rest, PROT_NONE), 0);
    (void)cache.invalidate("x");  // a crash if it looks at one of them
    ASSERT_EQ(mprotect(from, rest, PROT_READ | PROT_WRITE), 0);
    for (int i = 0; i < 1000; ++i) EXPECT_EQ(cache.get("k" + std::to_string(i)), std::nullopt);
}

TEST_F(SharedCacheTest, LargeValuesAreValuesLikeAnyOther) {
    const SegmentName name;
    SegmentOptions options = small_cache();
    options.size_bytes = std::size_t{32} << 20;
    SharedCache cache = SharedCache::create(name, options).value();
    std::string large(5'000'000, ' ');
    std::mt19937_64 random(1);
    for (char& c : large) c = static_cast<char>(random());
    std::string value;
    for (const bool compress : {false, true}) {
        // The second half can be compressed.
        if (compress) std::ranges::fill(std::span(large).last(3'500'000), 'x');
        ASSERT_TRUE(cache.put("a", large, {.ttl = 1h, .tags = {"x"}, .compress = compress}).ok());
        const Hit hit = cache.get("a", value);
        EXPECT_EQ(hit.found, Found::fresh);
        EXPECT_EQ(hit.size, large.size());
        EXPECT_EQ(value, large);
        std::vector<std::byte> buffer(large.size());
        EXPECT_TRUE(cache.get("a", buffer));
        EXPECT_TRUE(std::ranges::equal(buffer, std::as_bytes(std::span(large))));
        const Hit no_room = cache.get("a", std::span(buffer).first(100));
        EXPECT_EQ(no_room.found, Found::too_small);
        EXPECT_EQ(no_room.size, large.size());
        ValueView view;
        EXPECT_EQ(cache.get_view("a", view).found, Found::copy_only);
        std::size_t seen = 0;
        cache.for_each([&](std::string_view, std::string_view one, const EntryFields&) {
            seen += one.size();
            return true;
        });
        EXPECT_EQ(seen, large.size());
        (void)cache.invalidate("x");
        EXPECT_FALSE(cache.get("a", value));
    }
    int loads = 0;
    const auto load = [&] {
        ++loads;
        return large;
    };
    EXPECT_EQ(cache.get_or_load("b", {}, load).value(), large);
    EXPECT_EQ(cache.get_or_load("b", {}, load).value(), large);
    EXPECT_EQ(loads, 1);
    EXPECT_EQ(cache.put("c", std::string(cache.stats().largest_value_bytes + 1, 'c')).code(),
              StatusCode::too_large);
    EXPECT_TRUE(cache.put("c", std::string(cache.stats().largest_value_bytes, 'c')).ok());
    EXPECT_TRUE(cache.get("c", value));
}

TEST_F(SharedCacheTest, AViewIsJudgedAsACopyIs) {
    ASSERT_TRUE(cache_.put("a", "value", {.ttl = 1h, .tags = {"x"}}).ok());
    ASSERT_TRUE(cache_.put("short", "v", {.ttl = 1ms}).ok());
    ASSERT_TRUE(cache_.put("soft", "v", {.ttl = 1h, .soft_ttl = 1ms}).ok());
    ASSERT_TRUE(cache_.put_negative("none").ok());
    sleep_for(20ms);
    ValueView view;
    const Hit hit = cache_.get_view("a", view);
    EXPECT_EQ(hit.found, Found::fresh);
    EXPECT_EQ(hit.size, 5U);
    EXPECT_EQ(view.text(), "value");
    ValueView other;
    EXPECT_EQ(cache_.get_view("soft", other).found, Found::stale);
    EXPECT_EQ(other.text(), "v");
    for (const auto& [key, found] : {std::pair("short", Found::nothing), {"none", Found::negative}}) {
        EXPECT_EQ(cache_.get_view(key, other).found, found);
        EXPECT_FALSE(other.held());
    }
    (void)cache_.invalidate("x");
    EXPECT_EQ(cache_.get_view("a", other).found, Found::nothing);
    EXPECT_FALSE(other.held());
    // What was there when it was looked at stays in view.
    (void)cache_.clear();
    EXPECT_EQ(view.text(), "value");
    EXPECT_EQ(cache_.stats().pins, 1U);
    view.release();
    EXPECT_EQ(cache_.stats().pins, 0U);
    EXPECT_EQ(view.text(), "");
}

TEST_F(SharedCacheTest, WhatCannotBeViewedIsSaidSo) {
    ASSERT_TRUE(cache_.put("packed", std::string(5000, 'p'), {.compress = true}).ok());
    ASSERT_TRUE(cache_.put("a", "value").ok());
    ValueView packed;
    EXPECT_EQ(cache_.get_view("packed", packed).found, Found::copy_only);
    EXPECT_FALSE(packed.held());
    std::vector<ValueView> views(cache_.stats().views_per_process);
    for (ValueView& view : views) ASSERT_TRUE(cache_.get_view("a", view));
    ValueView more;
    EXPECT_EQ(cache_.get_view("a", more).found, Found::all_views_held);
    EXPECT_EQ(cache_.get("a"), "value");
    // A view that is used again gives back what it held.
    EXPECT_TRUE(cache_.get_view("a", views[0]));
    EXPECT_EQ(cache_.stats().misses, 0U);
    EXPECT_EQ(cache_.stats().hits, views.size() + 2);
}

// ---- loading -------------------------------------------------------------------------------------

class SharedCacheLoadTest : public SharedCacheTest {
 protected:
    auto loader(std::string value = "loaded") {
        return [this, value] {
            ++loads_;
            return value;
        };
    }
    static std::string failing() { throw std::runtime_error("no"); }

    int loads_ = 0;
};

TEST_F(SharedCacheLoadTest, AMissLoadsAndAHitDoesNot) {
    std::string value;
    Hit hit;
    ASSERT_TRUE(cache_.get_or_load("a", value, {}, loader(), &hit).ok());
    EXPECT_EQ(value, "loaded");
    EXPECT_TRUE(hit.loaded);
    ASSERT_TRUE(cache_.get_or_load("a", value, {}, loader(), &hit).ok());
    EXPECT_EQ(value, "loaded");
    EXPECT_FALSE(hit.loaded);
    EXPECT_EQ(hit.found, Found::fresh);
    EXPECT_EQ(loads_, 1);
    EXPECT_EQ(cache_.get("a"), "loaded");
}

TEST_F(SharedCacheLoadTest, TheLoaderMayChangeTheOptions) {
    const auto load = [](PutOptions& put) {
        put.tags.add("x");
        put.ttl = 1h;
        return std::string("v");
    };
    ASSERT_TRUE(cache_.get_or_load("a", {.ttl = 0ms}, load).ok());
    EXPECT_EQ(found("a"), Found::fresh);
    (void)cache_.invalidate("x");
    EXPECT_EQ(found("a"), Found::nothing);
}

// And there it would be refreshed in vain again and again.
TEST_F(SharedCacheLoadTest, AValueThatHasOutgrownTheSegmentLeavesNoOldOneBehind) {
    const LoadOptions options{.soft_ttl = 1ms};
    std::string value;
    ASSERT_TRUE(cache_.get_or_load("key", value, options, loader("old")).ok());
    sleep_for(30ms);
    ASSERT_TRUE(cache_.get_or_load("key", value, options, loader(std::string(2 << 20, 'n'))).ok());
    EXPECT_EQ(loads_, 2);
    EXPECT_EQ(value.size(), std::size_t{2} << 20);
    EXPECT_EQ(found("key"), Found::nothing);
}

// Without a negative_ttl nothing is remembered, the old value least of all.
TEST_F(SharedCacheLoadTest, WhatIsNoMoreLeavesNoOldValueBehind) {
    const LoadOptions options{.soft_ttl = 1ms};
    std::string value;
    ASSERT_TRUE(cache_.get_or_load("key", value, options, loader("old")).ok());
    sleep_for(30ms);
    const auto gone = [] { return std::optional<std::string>(); };
    EXPECT_EQ(cache_.get_or_load("key", value, options, gone).code(), StatusCode::not_found);
    EXPECT_EQ(found("key"), Found::nothing);
}

TEST_F(SharedCacheLoadTest, NoSuchThing) {
    const auto load = [this]() -> std::optional<std::string> {
        ++loads_;
        return std::nullopt;
    };
    const auto code = [&](const LoadOptions& options) {
        return cache_.get_or_load("a", options, load).status().code();
    };
    EXPECT_EQ(code({}), StatusCode::not_found);
    EXPECT_EQ(code({}), StatusCode::not_found);
    EXPECT_EQ(loads_, 2);
    EXPECT_EQ(code({.negative_ttl = 150ms}), StatusCode::not_found);
    EXPECT_EQ(code({}), StatusCode::not_found);
    EXPECT_EQ(loads_, 3);
    sleep_for(200ms);
    EXPECT_EQ(code({}), StatusCode::not_found);
    EXPECT_EQ(loads_, 4);
}

TEST_F(SharedCacheLoadTest, WhatALoaderThrowsPassesThroughAndTheNextOneLoads) {
    EXPECT_THROW((void)cache_.get_or_load("a", {}, failing), std::runtime_error);
    EXPECT_EQ(cache_.get_or_load("a", {}, loader()).value(), "loaded");
}

TEST_F(SharedCacheLoadTest, AFailedLoadersStatusPassesThrough) {
    const auto load = [] { return Result<std::string>(Status(StatusCode::unavailable, "down")); };
    std::string value;
    Hit hit;
    EXPECT_EQ(cache_.get_or_load("a", value, {}, load, &hit).message(), "down");
    EXPECT_EQ(hit.found, Found::nothing);
    EXPECT_EQ(cache_.get_or_load("a", {}, loader()).value(), "loaded");
}

TEST_F(SharedCacheLoadTest, AfterSoftTtlOneLoadsAndAFailureServesTheOldValue) {
    ASSERT_TRUE(cache_.put("a", "old", {.ttl = 1h, .soft_ttl = 20ms}).ok());
    sleep_for(60ms);
    std::string value;
    Hit hit;
    ASSERT_TRUE(cache_.get_or_load("a", value, {}, failing, &hit).ok());
    EXPECT_EQ(value, "old");
    EXPECT_EQ(hit.found, Found::stale);
    EXPECT_EQ(cache_.get_or_load("a", {}, loader("new")).value(), "new");
}

TEST_F(SharedCacheLoadTest, StaleIfErrorServesTheExpiredButNeverTheInvalidated) {
    ASSERT_TRUE(cache_.put("a", "old", {.ttl = 20ms, .tags = {"x"}}).ok());
    sleep_for(60ms);
    EXPECT_THROW((void)cache_.get_or_load("a", {}, failing), std::runtime_error);
    EXPECT_THROW((void)cache_.get_or_load("a", {.stale_if_error = 10ms}, failing), std::runtime_error);
    std::string value;
    Hit hit;
    ASSERT_TRUE(cache_.get_or_load("a", value, {.stale_if_error = 1h}, failing, &hit).ok());
    EXPECT_EQ(value, "old");
    EXPECT_EQ(hit.found, Found::stale);
    (void)cache_.invalidate("x");
    EXPECT_THROW((void)cache_.get_or_load("a", {.stale_if_error = 1h}, failing), std::runtime_error);
}

TEST_F(SharedCacheLoadTest, AnInvalidationDuringTheLoadIsNotMissed) {
    const auto load = [this] {
        (void)cache_.invalidate("x");
        return std::string("of before");
    };
    EXPECT_EQ(cache_.get_or_load("a", {.tags = {"x"}}, load).value(), "of before");
    EXPECT_EQ(found("a"), Found::nothing);
    const auto load_and_clear = [this] {
        (void)cache_.clear();
        return std::string("of before");
    };
    EXPECT_EQ(cache_.get_or_load("b", {}, load_and_clear).value(), "of before");
    EXPECT_EQ(found("b"), Found::nothing);
}

TEST_F(SharedCacheLoadTest, ALateLoaderDoesNotReplaceWhatItsSuccessorPut) {
    const auto late = [this] {
        std::thread([this] {
            const auto successor = [] { return std::string("new"); };
            EXPECT_EQ(cache_.get_or_load("a", {.expected_cost = 1ms}, successor).value(), "new");
        }).join();
        return std::string("old");
    };
    EXPECT_EQ(cache_.get_or_load("a", {.expected_cost = 1ms}, late).value(), "old");
    EXPECT_EQ(cache_.get("a"), "new");
}

TEST_F(SharedCacheLoadTest, ACallGivesUpAtItsDeadline) {
    Status waited;
    const auto slow = [&] {
        std::thread([&] {
            const auto deadline = std::chrono::steady_clock::now() + 50ms;
            waited = cache_.get_or_load("a", {.expected_cost = 1h, .deadline = deadline}, loader()).status();
        }).join();
        return std::string("slow");
    };
    EXPECT_EQ(cache_.get_or_load("a", {.expected_cost = 1h}, slow).value(), "slow");
    EXPECT_EQ(waited.code(), StatusCode::timeout);
    EXPECT_EQ(loads_, 0);
}

TEST_F(SharedCacheLoadTest, ThreadsOfOneProcessLoadOnce) {
    std::atomic<int> loads = 0;
    const auto load = [&] {
        ++loads;
        sleep_for(50ms);
        return std::string("v");
    };
    std::vector<std::thread> threads;
    threads.reserve(8);
    for (int i = 0; i < 8; ++i) {
        threads.emplace_back([&] { EXPECT_EQ(cache_.get_or_load("a", {}, load).value(), "v"); });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(loads, 1);
}

// P(refresh at `left` before the end) = exp(-left / (beta * cost)).
TEST_F(SharedCacheLoadTest, EarlyRefreshesComeAsOftenAsXFetchSays) {
    const auto share = [&](std::chrono::milliseconds ttl, std::chrono::microseconds cost, double beta) {
        constexpr int rounds = 4000;
        int refreshed = 0;
        for (int i = 0; i < rounds; ++i) {
            const std::string key = "k" + std::to_string(i % 50);
            (void)cache_.put(key, "v", {.ttl = ttl, .cost = cost});
            loads_ = 0;
            (void)cache_.get_or_load(key, {.ttl = ttl, .beta = beta}, loader());
            refreshed += loads_;
        }
        return static_cast<double>(refreshed) / rounds;
    };
    EXPECT_NEAR(share(10s, 10s, 1), std::exp(-1.0), 0.04);
    EXPECT_NEAR(share(10s, 5s, 1), std::exp(-2.0), 0.04);
    EXPECT_NEAR(share(10s, 5s, 2), std::exp(-1.0), 0.04);
    EXPECT_EQ(share(10s, 10ms, 1), 0);
    EXPECT_EQ(share(10s, 10s, 0), 0);
    EXPECT_EQ(share(never, 10s, 1), 0);
}

}  // namespace
}  // namespace tiercache
