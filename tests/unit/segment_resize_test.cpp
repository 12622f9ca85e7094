// A segment gets another size while it is used: nothing that was changed is lost or comes back, and nobody
// waits.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "shm_cache/index.hpp"
#include "shm_cache/shared_cache.hpp"
#include "shm_cache/shared_memory.hpp"
#include "tests/unit/child_process.hpp"
#include "tests/unit/segment_oracle.hpp"
#include "tests/unit/segment_resizing.hpp"

namespace tiercache {
namespace {

using namespace test;
using namespace std::chrono_literals;

TEST_F(ResizeTest, ValuesComeAlongAndAllWhoHaveItOpenFollow) {
    fill(1000);
    SharedCache other = SharedCache::open(name_).value();
    const std::uint64_t instance = cache_.stats().instance;
    const auto progress = resize(name_, large_bytes);
    ASSERT_TRUE(progress.ok()) << progress.status().to_string();
    EXPECT_EQ(progress->items_copied, 1000U);
    EXPECT_EQ(progress->items_total, 1000U);
    SharedCache later = SharedCache::open(name_).value();
    for (SharedCache* cache : {&cache_, &other, &later}) {
        EXPECT_EQ(found(*cache, 1000), 1000);
        EXPECT_TRUE(cache->still_current());
        EXPECT_EQ(cache->stats().size_bytes, large_bytes);
        EXPECT_NE(cache->stats().instance, instance);
    }
    // They share it: what one puts the others get.
    std::string value;
    ASSERT_TRUE(other.put("new", "1").ok());
    EXPECT_TRUE(cache_.get("new", value) && later.get("new", value));
    EXPECT_EQ(files_of(name_), 2);  // the segment and its lock file
}

TEST_F(ResizeTest, TheMostUsedComeAlongIntoASmallerOne) {
    constexpr int count = 6000;
    fill(count);
    constexpr int wanted = 500;
    std::string value;
    for (int round = 0; round < 40; ++round) {
        for (int i = 0; i < wanted; ++i) (void)cache_.get(key_name(i), value);
    }
    // One in a hundred may have found its buckets full when it was put (layout.cpp).
    std::vector<int> used;
    for (int i = 0; i < wanted; ++i) {
        if (cache_.get(key_name(i), value)) used.push_back(i);
    }
    ASSERT_GE(static_cast<int>(used.size()), wanted - wanted / 100);
    ASSERT_TRUE(resize(name_, tiny_bytes).ok());
    for (const int i : used) EXPECT_TRUE(cache_.get(key_name(i), value)) << i;
    EXPECT_LT(found(cache_, count), count);
    EXPECT_GT(found(cache_, count), 2 * wanted);
}

TEST_F(ResizeTest, TagsTtlsAndNegativesStayWhatTheyWere) {
    ASSERT_TRUE(cache_.put("tagged", "1", {.tags = {"x"}}).ok());
    ASSERT_TRUE(cache_.put("stale", "1", {.tags = {"y"}}).ok());
    const auto put_at = std::chrono::steady_clock::now();
    ASSERT_TRUE(cache_.put("short", "1", {.ttl = 2s}).ok());
    ASSERT_TRUE(cache_.put_negative("nothing").ok());
    (void)cache_.invalidate("y");
    ASSERT_TRUE(resize(name_, large_bytes).ok());
    std::string value;
    EXPECT_EQ(cache_.get("tagged", value).found, Found::fresh);
    EXPECT_EQ(cache_.get("stale", value).found, Found::nothing);
    EXPECT_EQ(cache_.get("nothing", value).found, Found::negative);
    const Found is_short = cache_.get("short", value).found;
    // A machine that was busy for so long tells nothing.
    if (std::chrono::steady_clock::now() < put_at + 2s) {
        EXPECT_EQ(is_short, Found::fresh);
    }
    std::this_thread::sleep_until(put_at + 2100ms);
    EXPECT_EQ(cache_.get("short", value).found, Found::nothing);
    (void)cache_.invalidate("x");
    EXPECT_EQ(cache_.get("tagged", value).found, Found::nothing);
}

TEST_F(ResizeTest, WhatHasExpiredIsNotCopied) {
    for (int i = 0; i < 100; ++i) {
        ASSERT_TRUE(cache_.put(key_name(i), "value", {.ttl = i % 10 == 0 ? 1h : 1ms}).ok());
    }
    std::this_thread::sleep_for(50ms);
    const auto progress = resize(name_, large_bytes);
    ASSERT_TRUE(progress.ok()) << progress.status().to_string();
    EXPECT_EQ(progress->items_copied, 10U);
}

TEST_F(ResizeTest, AStampFromBeforeIsWorthNothingAfter) {
    const LocalStamp stamp = cache_.stamp();
    (void)cache_.invalidate("x");
    ASSERT_TRUE(resize(name_, large_bytes).ok());
    ASSERT_TRUE(cache_.put("key", "old", {.tags = {"x"}, .stamp = stamp}).ok());
    std::string value;
    EXPECT_EQ(cache_.get("key", value).found, Found::nothing);
}

TEST_F(ResizeTest, AViewOutlivesIt) {
    fill(3000);
    ValueView view;
    ASSERT_TRUE(cache_.get_view(key_name(7), view));
    ASSERT_TRUE(resize(name_, large_bytes).ok());
    EXPECT_EQ(view.text(), value_of(7));
    ASSERT_TRUE(cache_.put(key_name(7), "new").ok());
    EXPECT_EQ(view.text(), value_of(7));
}

// Of this process, of segments that are gone by name.
int old_mappings() {
    std::ifstream maps("/proc/self/maps");
    int count = 0;
    for (std::string line; std::getline(maps, line);) {
        count += line.find("tiercache.test") != std::string::npos && line.ends_with("(deleted)") ? 1 : 0;
    }
    return count;
}
int open_files() {
    int count = 0;
    for ([[maybe_unused]] const auto& file : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
    return count;
}

TEST_F(ResizeTest, NothingOfTheOldOneIsKept) {
    fill(1000);
    const int files = open_files();
    for (int i = 0; i < 20; ++i) {
        ASSERT_TRUE(resize(name_, i % 2 == 0 ? large_bytes : small_bytes).ok());
        EXPECT_EQ(found(cache_, 1000), 1000);
        ASSERT_TRUE(cache_.put("key", "value").ok());
        EXPECT_EQ(old_mappings(), 0);
        EXPECT_EQ(open_files(), files);
        EXPECT_EQ(cache_.stats().processes, 1U);
    }
}

TEST_F(ResizeTest, TheOldOneIsKeptAsLongAsAViewIsHeld) {
    fill(1000);
    ValueView view;
    ASSERT_TRUE(cache_.get_view(key_name(7), view));
    ASSERT_TRUE(resize(name_, large_bytes).ok());
    ASSERT_TRUE(resize(name_, small_bytes).ok());
    ASSERT_TRUE(cache_.put(key_name(7), "new").ok());
    EXPECT_EQ(view.text(), value_of(7));
    EXPECT_EQ(old_mappings(), 1);
    view.release();
    ASSERT_TRUE(cache_.put(key_name(8), "new").ok());
    EXPECT_EQ(old_mappings(), 0);
}

TEST_F(ResizeTest, WhatChangesInTheMiddleDoesNotComeBack) {
    constexpr int count = 3000;
    for (int i = 0; i < count; ++i) {
        ASSERT_TRUE(cache_.put(key_name(i), value_of(i), {.tags = {i % 4 == 0 ? "x" : "y"}}).ok());
    }
    Middle middle{[this] {
        for (int i = 1; i < count; i += 4)
            EXPECT_TRUE(cache_.erase(key_name(i)).code() != StatusCode::unavailable);
        for (int i = 2; i < count; i += 4) ASSERT_TRUE(cache_.put(key_name(i), "new").ok());
        (void)cache_.invalidate("x");
    }};
    ASSERT_TRUE(Segment::resize(name_, large_bytes, Middle::report, &middle).ok());
    std::string value;
    for (int i = 0; i < count; ++i) {
        const Hit hit = cache_.get(key_name(i), value);
        switch (i % 4) {
            case 2:
                EXPECT_TRUE(hit && value == "new") << i;
                break;
            case 3:
                EXPECT_TRUE(!hit || value == value_of(i)) << i;
                break;
            default:
                EXPECT_FALSE(hit) << i;
        }
    }
}

TEST_F(ResizeTest, ClearingInTheMiddleClears) {
    fill(3000);
    Middle middle{[this] { (void)cache_.clear(); }};
    ASSERT_TRUE(Segment::resize(name_, large_bytes, Middle::report, &middle).ok());
    EXPECT_EQ(found(cache_, 3000), 0);
}

TEST_F(ResizeTest, InterruptedItIsResizedAndLessWarm) {
    fill(1000);
    Middle middle;
    const auto in_the_middle = [](void*, const Segment::ResizeProgress& p) { return p.items_seen == 0; };
    const auto progress = Segment::resize(name_, large_bytes, in_the_middle, nullptr);
    ASSERT_TRUE(progress.ok());
    EXPECT_LT(progress->items_copied, 1000U);
    EXPECT_EQ(cache_.stats().size_bytes, large_bytes);
    ASSERT_TRUE(resize(name_, small_bytes).ok());
    EXPECT_EQ(cache_.stats().size_bytes, small_bytes);
}

TEST_F(ResizeTest, GivenUpBeforeItNothingHasChanged) {
    fill(1000);
    const auto at_once = [](void*, const Segment::ResizeProgress&) { return false; };
    EXPECT_EQ(Segment::resize(name_, large_bytes, at_once, nullptr).status().code(), StatusCode::busy);
    EXPECT_EQ(cache_.stats().size_bytes, small_bytes);
    EXPECT_EQ(found(cache_, 1000), 1000);
    EXPECT_EQ(files_of(name_), 2);
}

TEST_F(ResizeTest, BadRequestsAreRefused) {
    EXPECT_EQ(resize(std::string(name_) + "x", large_bytes).status().code(), StatusCode::not_found);
    EXPECT_EQ(resize(name_, 100).status().code(), StatusCode::invalid_argument);
    EXPECT_EQ(files_of(name_), 2);
    fill(10);
    EXPECT_EQ(found(cache_, 10), 10);
}

// ---- who can't go over ---------------------------------------------------------------------------

// Without descriptors, in a child: nothing old is read, nothing is lost without a word, and it recovers.
TEST_F(ResizeTest, WhoCantOpenTheNewOneFindsNothingAndIsToldThatNothingChanges) {
    fill(100);
    ASSERT_TRUE(cache_.put("tagged", "old", {.tags = {"x"}}).ok());
    Signal resized;
    Signal done;
    ChildProcess child([&] {
        SharedCache cache = SharedCache::open(name_).value();
        std::string value;
        if (!cache.get(key_name(1), value)) return 1;
        resized.send();
        done.wait();
        rlimit limit{};
        getrlimit(RLIMIT_NOFILE, &limit);
        const rlimit none{0, limit.rlim_max};
        setrlimit(RLIMIT_NOFILE, &none);
        for (int i = 0; i < 100; ++i) {
            if (cache.get(key_name(i), value)) return 2;
        }
        ValueView view;
        if (cache.get_view(key_name(1), view)) return 3;
        if (cache.put(key_name(1), "x").code() != StatusCode::unavailable) return 4;
        if (cache.put(key_name(1), "x").message().empty()) return 5;
        if (cache.erase(key_name(2)).code() != StatusCode::unavailable) return 6;
        if (cache.invalidate("x").code() != StatusCode::unavailable) return 7;
        if (cache.clear().code() != StatusCode::unavailable) return 8;
        setrlimit(RLIMIT_NOFILE, &limit);
        if (!cache.invalidate("x").ok()) return 9;
        if (!cache.erase(key_name(2)).ok()) return 10;
        if (!cache.get(key_name(3), value)) return 11;
        return cache.get(key_name(1), value) && value == "new" ? 0 : 12;
    });
    resized.wait();
    ASSERT_TRUE(resize(name_, large_bytes).ok());
    ASSERT_TRUE(cache_.put(key_name(1), "new").ok());
    done.send();
    EXPECT_EQ(child.wait(), 0);
    std::string value;
    EXPECT_FALSE(cache_.get("tagged", value));
    EXPECT_FALSE(cache_.get(key_name(2), value));
    EXPECT_TRUE(cache_.get(key_name(3), value));
}

TEST_F(ResizeTest, WhoComesAfterItWasRemovedDoesNotTakeAnotherOneForIt) {
    fill(10);
    SharedCache late = SharedCache::open(name_).value();
    const std::uint64_t stamp = late.stamp().clock;
    ASSERT_TRUE(resize(name_, large_bytes).ok());
    EXPECT_EQ(found(cache_, 10), 10);
    ASSERT_TRUE(SharedCache::remove(name_).ok());
    SharedCache other = SharedCache::create(name_, {.size_bytes = small_bytes}).value();
    // A later life than the one that `late` has, and not of its line.
    ASSERT_TRUE(resize(name_, large_bytes).ok());
    ASSERT_TRUE(other.put(key_name(1), "another's").ok());
    EXPECT_EQ(found(late, 10), 0);
    EXPECT_EQ(late.put("key", "value", {.tags = {"x"}}).code(), StatusCode::unavailable);
    EXPECT_FALSE(late.still_current());
    EXPECT_EQ(late.stamp().clock, stamp);
    // Who went over before keeps what was removed.
    EXPECT_EQ(found(cache_, 10), 10);
    EXPECT_TRUE(cache_.put("key", "value").ok());
    EXPECT_FALSE(cache_.still_current());
}

// ---- stamps and loaders --------------------------------------------------------------------------

TEST_F(ResizeTest, WhatIsBeingLoadedMeanwhileIsReturnedAndNotKept) {
    ASSERT_TRUE(cache_.put("key", "older", {.soft_ttl = 0ms}).ok());
    std::string value;
    int loads = 0;
    const auto loader = [&] {
        ++loads;
        if (loads == 1 && !resize(name_, large_bytes).ok()) return std::string("not resized");
        return std::to_string(loads);
    };
    ASSERT_TRUE(cache_.get_or_load("key", value, {.tags = {"x"}}, loader).ok());
    EXPECT_EQ(value, "1");
    EXPECT_FALSE(cache_.get("key", value));
    EXPECT_EQ(cache_.stats().items, 0U);
    ASSERT_TRUE(cache_.get_or_load("key", value, {.tags = {"x"}}, loader).ok());
    EXPECT_TRUE(cache_.get("key", value));
    EXPECT_EQ(value, "2");
}

// ---- what comes along ----------------------------------------------------------------------------

TEST_F(ResizeTest, CopiesPushNothingOutOfASmallerOne) {
    fill(12000);
    const SegmentStats before = cache_.stats();
    const auto progress = resize(name_, tiny_bytes);
    ASSERT_TRUE(progress.ok());
    const SegmentStats stats = cache_.stats();
    EXPECT_EQ(stats.evicted_items, before.evicted_items);
    EXPECT_EQ(stats.reclaimed_blocks, before.reclaimed_blocks);
    EXPECT_EQ(stats.items, progress->items_copied);
    EXPECT_GT(stats.item_bytes, stats.block_count * stats.block_bytes * 3 / 4);
    EXPECT_GT(stats.free_blocks, 0U);
}

TEST_F(ResizeTest, LargeValuesComeAlongInTheirParts) {
    std::string large(std::size_t{700} << 10, 'x');
    large += "end";
    ASSERT_TRUE(cache_.put("large", large, {.tags = {"x"}}).ok());
    ASSERT_TRUE(resize(name_, large_bytes).ok());
    std::string value;
    ASSERT_TRUE(cache_.get("large", value));
    EXPECT_TRUE(value == large);
    ASSERT_TRUE(cache_.invalidate("x").ok());
    EXPECT_FALSE(cache_.get("large", value));
}

// Parts are found by keys of their own; what they leave in the index keeps no other value away.
TEST_F(ResizeTest, ManyLargeValuesAllComeAlong) {
    constexpr std::size_t mib = std::size_t{1} << 20;
    const SegmentName name;
    SharedCache cache = SharedCache::create(name, {.size_bytes = 64 * mib, .item_bytes_mean = 4096}).value();
    std::string value(mib, 'x');
    constexpr int count = 38;
    for (int i = 0; i < count; ++i) ASSERT_TRUE(cache.put(key_name(i), value).ok());
    ASSERT_EQ(count_of(cache, count), count);
    const auto progress = resize(name, 128 * mib);
    ASSERT_TRUE(progress.ok());
    EXPECT_EQ(progress->items_copied, static_cast<std::uint64_t>(count));
    EXPECT_EQ(count_of(cache, count), count);
}

// Shorter items than was expected fill the index before the memory; a resize makes one that suits them.
TEST_F(ResizeTest, AFullIndexIsMadeForTheItemsThatAreThere) {
    const SegmentName name;
    SharedCache cache =
        SharedCache::create(name, {.size_bytes = small_bytes, .item_bytes_mean = 4096}).value();
    const auto fill_it = [&] {
        for (int i = 0; i < 20'000; ++i) ASSERT_TRUE(cache.put(key_name(i), "short").ok());
    };
    fill_it();
    const SegmentStats before = cache.stats();
    EXPECT_GT(before.items * 10, before.index_slots * 9);
    ASSERT_TRUE(resize(name, small_bytes).ok());
    fill_it();
    EXPECT_EQ(count_of(cache, 20'000), 20'000);
    // And it is no larger than they need.
    ASSERT_TRUE(resize(name, small_bytes).ok());
    const SegmentStats after = cache.stats();
    EXPECT_LT(after.index_slots, 3 * small_bytes / 64);
}

// And for longer ones, when the memory is full of them.
TEST_F(ResizeTest, AnIndexThatIsNearlyEmptyTakesNoRoomFromTheItems) {
    const SegmentName name;
    SharedCache cache = SharedCache::create(name, {.size_bytes = large_bytes, .item_bytes_mean = 64}).value();
    const std::string value(4000, 'x');
    // What is half full may be filled with short ones yet.
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(cache.put(key_name(i), value).ok());
    const std::uint64_t slots = cache.stats().index_slots;
    ASSERT_TRUE(resize(name, large_bytes).ok());
    EXPECT_GE(cache.stats().index_slots * 10, slots * 9);
    for (std::size_t i = 0; i < 2 * large_bytes / value.size(); ++i) {
        ASSERT_TRUE(cache.put(key_name(static_cast<int>(i)), value).ok());
    }
    ASSERT_TRUE(resize(name, large_bytes).ok());
    EXPECT_LT(cache.stats().index_slots, slots / 10);
}

// What happens to be there after a clear() says nothing of what comes.
TEST_F(ResizeTest, AFewLongValuesAfterAClearLeaveTheIndexAsItIs) {
    constexpr std::size_t mib = std::size_t{1} << 20;
    const SegmentName name;
    SharedCache cache = SharedCache::create(name, {.size_bytes = 16 * mib}).value();
    const auto fill_it = [&] {
        for (int i = 0; i < 80'000; ++i) ASSERT_TRUE(cache.put(key_name(i), value_of(i)).ok());
    };
    fill_it();
    const std::uint64_t slots = cache.stats().index_slots;
    ASSERT_TRUE(cache.clear().ok());
    ASSERT_TRUE(cache.put("long", std::string(100'000, 'l')).ok());
    ASSERT_TRUE(resize(name, 32 * mib).ok());
    EXPECT_GT(cache.stats().index_slots, slots);
    fill_it();
    EXPECT_GT(count_of(cache, 80'000), 79'000);
}

// Where four blocks leave no room for the index that its items need, it keeps the one it has.
TEST_F(ResizeTest, ASegmentOfFourBlocksCanBeResized) {
    constexpr std::size_t mib = std::size_t{1} << 20;
    const SegmentName name;
    SegmentOptions options{.size_bytes = 5 * mib, .block_bytes = mib, .item_bytes_mean = 4096};
    SharedCache cache = SharedCache::create(name, options).value();
    ASSERT_EQ(cache.stats().block_count, 4U);
    for (int i = 0; i < 20'000; ++i) ASSERT_TRUE(cache.put(key_name(i), "short").ok());
    EXPECT_TRUE(resize(name, 5 * mib).ok());
    EXPECT_EQ(cache.stats().block_count, 4U);
}

// A value that takes many blocks is not begun when it would push out what was copied before.
TEST_F(ResizeTest, CopiesOfLargeValuesPushNothingOutOfASmallerOne) {
    constexpr std::size_t mib = std::size_t{1} << 20;
    const SegmentName name;
    SharedCache cache = SharedCache::create(name, {.size_bytes = 128 * mib}).value();
    constexpr int count = 6;
    for (int i = 0; i < count; ++i) ASSERT_TRUE(cache.put(key_name(i), std::string(12 * mib, 'x')).ok());
    const auto progress = resize(name, 64 * mib);
    ASSERT_TRUE(progress.ok());
    EXPECT_GE(progress->items_copied, 3U);
    EXPECT_EQ(static_cast<std::uint64_t>(count_of(cache, count)), progress->items_copied);
}

// A stamp of memory that was given back would be of before everything, or, in the C ABI, of now.
TEST_F(ResizeTest, AStampIsNeverOfMemoryThatWasGivenBack) {
    std::atomic<bool> stop = false;
    std::atomic<std::uint64_t> bad = 0;
    std::vector<std::thread> threads;
    threads.reserve(4);
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&] {
            while (!stop) {
                const LocalStamp stamp = cache_.stamp();
                if (stamp.clock == 0 || stamp.epoch == 0) ++bad;
            }
        });
    }
    for (std::size_t i = 0; i < 400; ++i) {
        EXPECT_TRUE(resize(name_, tiny_bytes + i % 2 * (std::size_t{64} << 10)).ok());
    }
    stop = true;
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(bad, 0U);
}

TEST_F(ResizeTest, EntriesOfAnotherAuthorityKeepTheirStamps) {
    EntryFields fields;
    fields.epoch = 42;
    fields.stamp = 4711;
    fields.format = PayloadFormat::pg_wire;
    const Tag tag = 5;
    const Bytes key = key_of(1);
    const Bytes entry = entry_of(key, payload_of(1, 1, 100), fields, {&tag, 1});
    Segment segment = Segment::open(name_).value();
    ASSERT_TRUE(segment.put(entry).ok());
    ASSERT_TRUE(resize(name_, large_bytes).ok());
    Bytes found;
    EXPECT_TRUE(std::ranges::equal(segment.get(hash_key(key), key, copy_to(found)), entry));
}

TEST_F(ResizeTest, CountersGoOn) {
    fill(100);
    EXPECT_EQ(found(cache_, 200), 100);
    const SegmentStats before = cache_.stats();
    ASSERT_TRUE(resize(name_, large_bytes).ok());
    const SegmentStats after = cache_.stats();
    EXPECT_EQ(after.puts, before.puts);
    EXPECT_EQ(after.hits, before.hits);
    EXPECT_EQ(after.misses_absent, before.misses_absent);
}

// ---- whose it is ---------------------------------------------------------------------------------

TEST_F(ResizeTest, TheNewOneHasTheOldOnesOwnerGroupAndMode) {
    if (geteuid() != 0) GTEST_SKIP() << "only root can give files away";
    const std::string path = "/dev/shm" + name_.text();
    for (const std::string& file : {path, path + ".lock"}) {
        ASSERT_EQ(chown(file.c_str(), 4242, 4343), 0);
        ASSERT_EQ(chmod(file.c_str(), 0640), 0);
    }
    ASSERT_TRUE(resize(name_, large_bytes).ok());
    struct stat info {};
    ASSERT_EQ(stat(path.c_str(), &info), 0);
    EXPECT_EQ(info.st_uid, 4242U);
    EXPECT_EQ(info.st_gid, 4343U);
    EXPECT_EQ(info.st_mode & 07777, 0640U);
    EXPECT_EQ(static_cast<std::size_t>(info.st_size), large_bytes);
}

TEST_F(ResizeTest, NobodyElseMayResizeIt) {
    if (geteuid() != 0) GTEST_SKIP() << "only root can become somebody else";
    const std::string path = "/dev/shm" + name_.text();
    for (const std::string& file : {path, path + ".lock"}) ASSERT_EQ(chmod(file.c_str(), 0666), 0);
    fill(10);
    ChildProcess child([this] {
        if (setuid(4242) != 0) return 1;
        const Status refused = resize(name_, large_bytes).status();
        if (refused.code() != StatusCode::permission_denied) return 2;
        return refused.message().find("only its owner or root") != std::string::npos ? 0 : 3;
    });
    EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(cache_.stats().size_bytes, small_bytes);
    EXPECT_EQ(found(cache_, 10), 10);
    EXPECT_EQ(files_of(name_), 2);
}

// ---- forks ---------------------------------------------------------------------------------------

TEST_F(ResizeTest, AForkedChildGoesOverByItself) {
    fill(1000);
    ASSERT_TRUE(resize(name_, large_bytes).ok());
    ASSERT_TRUE(cache_.put("key", "1").ok());
    ChildProcess child([&] {
        std::string value;
        if (!cache_.get("key", value) || !cache_.put("key", "2").ok()) return 1;
        if (!resize(name_, small_bytes).ok()) return 2;
        return cache_.get("key", value) && value == "2" && old_mappings() == 0 ? 0 : 3;
    });
    EXPECT_EQ(child.wait(), 0);
    std::string value;
    EXPECT_TRUE(cache_.get("key", value) && value == "2");
    EXPECT_EQ(cache_.stats().size_bytes, small_bytes);
}

// The steps of publishing a copy, with a change in the middle.
class PublishCopyTest : public ::testing::Test {
 public:
    PublishCopyTest()
        : memory_(tiny_bytes),
          segment_(Segment::format(memory_.span(), {.size_bytes = memory_.span().size()}).value()) {
        std::uint64_t lock = 0;
        geometry_ = read_geometry(memory_.span().data(), memory_.span().size(), lock).value();
        blocks_ = BlockTable(memory_.span().data(), geometry_);
        index_ = Index(memory_.span().data(), geometry_, blocks_);
        // An item that no slot names.
        EXPECT_TRUE(segment_.put(oracle_entry(1, 1, 100)).ok());
        index_.for_each([this](const Slot& slot) {
            slot_ = slot;
            return false;
        });
        EXPECT_TRUE(erase_key(segment_, 1));
        // Only from here on changes leave their bits.
        reinterpret_cast<SegmentHeader*>(memory_.span().data())->warming.store(1);
    }
    // With `change` at the moment after the look and before the item becomes visible.
    bool publish(const std::function<void()>& change) {
        const Bytes key = key_of(1);
        return index_.publish_copy(hash_key(key), key, slot_, change);
    }

    OwnMemory memory_;
    Segment segment_;
    Geometry geometry_;
    BlockTable blocks_;
    Index index_;
    Slot slot_;
};

TEST_F(PublishCopyTest, IsFoundWhenNobodyCameBefore) {
    bool seen_early = false;
    EXPECT_TRUE(publish([&] { seen_early = look_up(segment_, 1).hit; }));
    EXPECT_FALSE(seen_early);
    EXPECT_TRUE(look_up(segment_, 1).hit);
}

TEST_F(PublishCopyTest, DoesNotComeBackAfterAnErase) {
    EXPECT_FALSE(publish([&] { (void)erase_key(segment_, 1); }));
    EXPECT_FALSE(look_up(segment_, 1).hit);
}

TEST_F(PublishCopyTest, DoesNotComeBackAfterAPut) {
    EXPECT_FALSE(publish([&] { ASSERT_TRUE(segment_.put(oracle_entry(1, 2, 100)).ok()); }));
    EXPECT_EQ(look_up(segment_, 1).sequence, 2U);
    EXPECT_TRUE(erase_key(segment_, 1));
    EXPECT_FALSE(look_up(segment_, 1).hit);
}

TEST_F(PublishCopyTest, DoesNotComeBackAfterAClear) {
    EXPECT_FALSE(publish([&] { (void)segment_.clear(); }));
    EXPECT_FALSE(look_up(segment_, 1).hit);
}

TEST_F(PublishCopyTest, IsRefusedOnceItsKeyWasTouched) {
    EXPECT_FALSE(erase_key(segment_, 1));
    const Bytes key = key_of(1);
    EXPECT_FALSE(index_.publish_copy(hash_key(key), key, slot_, [] {}));
    EXPECT_FALSE(look_up(segment_, 1).hit);
}

TEST_F(PublishCopyTest, IsRefusedOnceItsKeyWasPut) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 2, 100)).ok());
    EXPECT_FALSE(publish([] {}));
    EXPECT_EQ(look_up(segment_, 1).sequence, 2U);
}

// Values only grow. A reader must never see less than what a put() that had returned before left, nor an
// erased value; while the segment is resized again and again.
TEST_F(ResizeTest, NothingOldIsReadWhileItIsResizedAgainAndAgain) {
    constexpr int keys = 64;
    constexpr auto long_enough = 3s;
    struct Shared {
        std::array<std::atomic<std::uint64_t>, keys> put;  // what is there, or more
        std::atomic<bool> stop;
        std::atomic<std::uint64_t> too_old, hits;
    };
    auto memory = SharedMemory::create(std::string(name_) + ".oracle", sizeof(Shared), {0600}).value();
    ASSERT_TRUE(SharedMemory::remove(std::string(name_) + ".oracle").ok());
    auto& shared = *new (memory.bytes().data()) Shared{};
    // Room for what the copies are of.
    fill(2000);
    // Each writer has keys of its own; a value is put, or erased by putting the next one somewhere else.
    const auto write = [&](SharedCache& cache, int first) {
        std::uint64_t n = 0;
        while (!shared.stop) {
            ++n;
            for (int k = first; k < keys; k += 2) {
                const std::string key = "n:" + std::to_string(k);
                if (n % 7 == 0) (void)cache.erase(key);
                if (!cache.put(key, std::to_string(n)).ok()) (void)cache.erase(key);
                shared.put[k].store(n);
            }
        }
    };
    const auto read = [&](SharedCache& cache) {
        std::string value;
        while (!shared.stop) {
            for (int k = 0; k < keys; ++k) {
                const std::uint64_t least = shared.put[k].load();
                if (!cache.get("n:" + std::to_string(k), value)) continue;
                shared.hits.fetch_add(1);
                if (std::stoull(value) < least) shared.too_old.fetch_add(1);
            }
        }
    };
    ChildProcess other([&] {
        SharedCache cache = SharedCache::open(name_).value();
        std::thread reader([&] { read(cache); });
        write(cache, 1);
        reader.join();
        return 0;
    });
    std::thread writer([&] { write(cache_, 0); });
    std::thread reader([&] { read(cache_); });
    // As often as it takes, however slow the machine is: a minute at most.
    constexpr int resizes_min = 6;
    const auto passed = [begin = std::chrono::steady_clock::now()](auto time) {
        return std::chrono::steady_clock::now() - begin >= time;
    };
    int resized = 0;
    for (; !passed(long_enough) || (resized < resizes_min && !passed(std::chrono::minutes(1))); ++resized) {
        const auto done = resize(name_, resized % 2 == 0 ? large_bytes : small_bytes);
        EXPECT_TRUE(done.ok()) << done.status().to_string();
    }
    shared.stop = true;
    writer.join();
    reader.join();
    EXPECT_EQ(other.wait(), 0);
    EXPECT_GE(resized, resizes_min);
    EXPECT_GT(shared.hits.load(), 1000U);
    EXPECT_EQ(shared.too_old.load(), 0U);
}

}  // namespace
}  // namespace tiercache
