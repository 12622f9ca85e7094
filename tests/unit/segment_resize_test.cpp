// A segment gets another size while it is used: nothing that was changed is lost or comes back, and nobody
// waits.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>
#include <vector>

#include "shm_cache/index.hpp"
#include "shm_cache/shared_cache.hpp"
#include "shm_cache/shared_memory.hpp"
#include "tests/unit/child_process.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;
using namespace std::chrono_literals;

constexpr std::size_t small_bytes = std::size_t{4} << 20;
constexpr std::size_t large_bytes = std::size_t{12} << 20;

std::string key_name(int i) { return "key:" + std::to_string(i); }
std::string value_of(int i) { return std::string(200 + i % 100, static_cast<char>('a' + i % 26)); }

Result<Segment::ResizeProgress> resize(const std::string& name, std::size_t size_bytes) {
    return Segment::resize(name, size_bytes, nullptr, nullptr);
}

int files_of(const std::string& name) {
    int count = 0;
    for (const auto& file : std::filesystem::directory_iterator("/dev/shm")) {
        if (file.path().filename().string().starts_with(name.substr(1))) ++count;
    }
    return count;
}

class ResizeTest : public ::testing::Test {
 public:
    ResizeTest() : cache_(SharedCache::create(name_, {.size_bytes = small_bytes}).value()) {}

    // How many of the first `count` values are there; all that are must be right.
    int found(SharedCache& cache, int count) {
        int there = 0;
        std::string value;
        for (int i = 0; i < count; ++i) {
            if (!cache.get(key_name(i), value)) continue;
            EXPECT_EQ(value, value_of(i));
            ++there;
        }
        return there;
    }
    void fill(int count) {
        for (int i = 0; i < count; ++i) ASSERT_TRUE(cache_.put(key_name(i), value_of(i)).ok());
    }

    SegmentName name_;
    SharedCache cache_;
};

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
    ASSERT_TRUE(resize(name_, std::size_t{1} << 20).ok());
    EXPECT_EQ(found(cache_, wanted), wanted);
    EXPECT_LT(found(cache_, count), count);
    EXPECT_GT(found(cache_, count), 2 * wanted);
}

TEST_F(ResizeTest, TagsTtlsAndNegativesStayWhatTheyWere) {
    ASSERT_TRUE(cache_.put("tagged", "1", {.tags = {"x"}}).ok());
    ASSERT_TRUE(cache_.put("stale", "1", {.tags = {"y"}}).ok());
    ASSERT_TRUE(cache_.put("short", "1", {.ttl = 300ms}).ok());
    ASSERT_TRUE(cache_.put_negative("nothing").ok());
    cache_.invalidate("y");
    ASSERT_TRUE(resize(name_, large_bytes).ok());
    std::string value;
    EXPECT_EQ(cache_.get("tagged", value).found, Found::fresh);
    EXPECT_EQ(cache_.get("stale", value).found, Found::nothing);
    EXPECT_EQ(cache_.get("nothing", value).found, Found::negative);
    EXPECT_EQ(cache_.get("short", value).found, Found::fresh);
    std::this_thread::sleep_for(350ms);
    EXPECT_EQ(cache_.get("short", value).found, Found::nothing);
    cache_.invalidate("x");
    EXPECT_EQ(cache_.get("tagged", value).found, Found::nothing);
}

TEST_F(ResizeTest, AStampFromBeforeIsWorthNothingAfter) {
    const LocalStamp stamp = cache_.stamp();
    cache_.invalidate("x");
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

TEST_F(ResizeTest, TheOldMemoryIsGivenBack) {
    fill(8000);
    const auto free_blocks = [] { return std::filesystem::space("/dev/shm").free; };
    const std::uintmax_t before = free_blocks();
    ASSERT_TRUE(resize(name_, std::size_t{1} << 20).ok());
    EXPECT_EQ(cache_.stats().size_bytes, std::size_t{1} << 20);
    // Though cache_ has the old one mapped. Half of it will do: others use /dev/shm as well.
    EXPECT_GT(free_blocks(), before + small_bytes / 2);
}

// Reports are where a test can do something in the middle of the copying.
struct Middle {
    std::function<void()> act;
    static bool report(void* context, const Segment::ResizeProgress& progress) {
        auto& middle = *static_cast<Middle*>(context);
        if (progress.items_seen > 0 && middle.act) std::exchange(middle.act, nullptr)();
        return true;
    }
};

TEST_F(ResizeTest, WhatChangesInTheMiddleDoesNotComeBack) {
    constexpr int count = 3000;
    for (int i = 0; i < count; ++i) {
        ASSERT_TRUE(cache_.put(key_name(i), value_of(i), {.tags = {i % 4 == 0 ? "x" : "y"}}).ok());
    }
    Middle middle{[this] {
        for (int i = 1; i < count; i += 4) cache_.erase(key_name(i));
        for (int i = 2; i < count; i += 4) ASSERT_TRUE(cache_.put(key_name(i), "new").ok());
        cache_.invalidate("x");
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
    Middle middle{[this] { cache_.clear(); }};
    ASSERT_TRUE(Segment::resize(name_, large_bytes, Middle::report, &middle).ok());
    EXPECT_EQ(found(cache_, 3000), 0);
}

TEST_F(ResizeTest, InterruptedItIsResizedAndLessWarm) {
    fill(1000);
    const auto at_once = [](void*, const Segment::ResizeProgress&) { return false; };
    const auto progress = Segment::resize(name_, large_bytes, at_once, nullptr);
    ASSERT_TRUE(progress.ok());
    EXPECT_LT(progress->items_copied, 1000U);
    EXPECT_EQ(cache_.stats().size_bytes, large_bytes);
    ASSERT_TRUE(resize(name_, small_bytes).ok());
    EXPECT_EQ(cache_.stats().size_bytes, small_bytes);
}

TEST_F(ResizeTest, KilledWhileCopyingItIsResizedAndWorks) {
    fill(3000);
    ChildProcess child([this] {
        Middle middle{[] { raise(SIGKILL); }};
        (void)Segment::resize(name_, large_bytes, Middle::report, &middle);
        return 0;
    });
    EXPECT_EQ(child.wait(), 128 + SIGKILL);
    EXPECT_EQ(cache_.stats().size_bytes, large_bytes);
    fill(3000);
    EXPECT_EQ(found(cache_, 3000), 3000);
    ASSERT_TRUE(resize(name_, small_bytes).ok());
    EXPECT_GT(found(cache_, 3000), 2900);
    EXPECT_EQ(files_of(name_), 2);
}

// As a resizer leaves it that dies after it closed the old segment and before it renamed the new one.
TEST_F(ResizeTest, KilledBeforeTheRenamingItsFollowersFinishIt) {
    namespace fs = std::filesystem;
    fill(1000);
    const std::string path = "/dev/shm" + static_cast<const std::string&>(name_);
    const auto closed = SharedMemory::open(name_, false).value();
    fs::create_hard_link(path, path + ".kept");
    ASSERT_TRUE(resize(name_, large_bytes).ok());
    const auto* header = reinterpret_cast<const SegmentHeader*>(closed.bytes().data());
    std::array<char, 32> mark{};
    std::snprintf(mark.data(), mark.size(), ".resize-%016lx", header->successor.load());
    fs::rename(path, path + mark.data());
    fs::rename(path + ".kept", path);
    SharedCache other = SharedCache::open(name_).value();
    EXPECT_EQ(other.stats().size_bytes, large_bytes);
    EXPECT_EQ(found(other, 1000), 1000);
    EXPECT_EQ(found(cache_, 1000), 1000);
    EXPECT_EQ(files_of(name_), 2);
}

TEST_F(ResizeTest, AStoppedResizerHoldsUpNobody) {
    fill(3000);
    ChildProcess child([this] {
        Middle middle{[] { raise(SIGSTOP); }};
        return Segment::resize(name_, large_bytes, Middle::report, &middle).ok() ? 0 : 1;
    });
    int status = 0;
    ASSERT_EQ(waitpid(child.pid(), &status, WUNTRACED), child.pid());
    ASSERT_TRUE(WIFSTOPPED(status));
    ASSERT_TRUE(cache_.put(key_name(1), "new").ok());
    std::string value;
    EXPECT_TRUE(cache_.get(key_name(1), value) && value == "new");
    EXPECT_EQ(resize(name_, small_bytes).status().code(), StatusCode::busy);
    child.go_on();
    EXPECT_EQ(child.wait(), 0);
    EXPECT_TRUE(cache_.get(key_name(1), value) && value == "new");
}

TEST_F(ResizeTest, BadRequestsAreRefused) {
    EXPECT_EQ(resize(std::string(name_) + "x", large_bytes).status().code(), StatusCode::not_found);
    EXPECT_EQ(resize(name_, 100).status().code(), StatusCode::invalid_argument);
    EXPECT_EQ(files_of(name_), 2);
    fill(10);
    EXPECT_EQ(found(cache_, 10), 10);
}

// A mark that nobody made: memory that was overwritten must not make anybody wait or crash.
TEST_F(ResizeTest, AForgedSuccessorIsAMissAndNoHarm) {
    fill(10);
    const auto memory = SharedMemory::open(name_, true).value();
    reinterpret_cast<SegmentHeader*>(memory.bytes().data())->successor.store(12345);
    EXPECT_EQ(found(cache_, 10), 0);
    (void)cache_.put("key", "value");
    cache_.invalidate("x");
    EXPECT_EQ(SharedCache::open(name_).status().code(), StatusCode::corrupt);
}

// The steps of publishing a copy, with a change in the middle.
class PublishCopyTest : public ::testing::Test {
 public:
    PublishCopyTest()
        : memory_(std::size_t{1} << 20),
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
        reinterpret_cast<SegmentHeader*>(memory_.span().data())->warming.store(1);
    }
    // With `change` at the moment after the look and before the item becomes visible.
    bool publish(const std::function<void()>& change) {
        const Bytes key = key_of(1);
        return index_.publish_copy(hash_key(key), key, slot_, [&] {
            change();
            return true;
        });
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
    EXPECT_FALSE(publish([&] { segment_.clear(); }));
    EXPECT_FALSE(look_up(segment_, 1).hit);
}

TEST_F(PublishCopyTest, IsRefusedOnceItsKeyWasTouched) {
    EXPECT_FALSE(erase_key(segment_, 1));
    const Bytes key = key_of(1);
    EXPECT_FALSE(index_.publish_copy(hash_key(key), key, slot_));
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
    auto memory = SharedMemory::create(std::string(name_) + ".oracle", sizeof(Shared), 0600).value();
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
                if (n % 7 == 0) cache.erase(key);
                if (!cache.put(key, std::to_string(n)).ok()) cache.erase(key);
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
    int resized = 0;
    for (const auto end = std::chrono::steady_clock::now() + long_enough;
         std::chrono::steady_clock::now() < end; ++resized) {
        const auto done = resize(name_, resized % 2 == 0 ? large_bytes : small_bytes);
        EXPECT_TRUE(done.ok()) << done.status().to_string();
    }
    shared.stop = true;
    writer.join();
    reader.join();
    EXPECT_EQ(other.wait(), 0);
    EXPECT_GT(resized, 5);
    EXPECT_GT(shared.hits.load(), 1000U);
    EXPECT_EQ(shared.too_old.load(), 0U);
}

}  // namespace
}  // namespace tiercache
