// What a SharedCache promises to several processes: one loader at a time, whatever becomes of it, and no
// invalidated value anywhere.
#include <gtest/gtest.h>

#include <functional>
#include <stdexcept>
#include <thread>

#include "shm_cache/monotonic_time.hpp"
#include "shm_cache/shared_cache.hpp"
#include "tests/unit/child_process.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace std::chrono_literals;
using namespace test;

struct Shared {
    std::atomic<std::uint64_t> loads;
    std::atomic<std::uint64_t> version;
    std::atomic<std::uint64_t> reads;
    std::atomic<bool> over;
};

class SharedCacheProcessTest : public ::testing::Test {
 public:
    SharedCacheProcessTest(const SharedCacheProcessTest&) = delete;
    SharedCacheProcessTest& operator=(const SharedCacheProcessTest&) = delete;

 protected:
    SharedCacheProcessTest()
        : cache_(SharedCache::create(name_, small_cache()).value()),
          shared_(new (mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                            0)) Shared{}) {}
    ~SharedCacheProcessTest() override { munmap(shared_, sizeof(Shared)); }

    // A process that begins to load "a", says so, and never ends.
    [[nodiscard]] ChildProcess endless_loader(const Signal& loading, std::chrono::milliseconds cost) const {
        return ChildProcess([this, &loading, cost] {
            Result<SharedCache> cache = SharedCache::open(name_);
            const auto load = [&] {
                loading.send();
                while (true) pause();
                return std::string();
            };
            (void)cache->get_or_load("a", {.expected_cost = cost}, load);
            return 0;
        });
    }
    double ms_to_load(std::chrono::milliseconds cost) {
        const std::uint64_t start = monotonic_ns();
        const auto load = [] { return std::string("new"); };
        EXPECT_EQ(cache_.get_or_load("a", {.expected_cost = cost}, load).value(), "new");
        return static_cast<double>(monotonic_ns() - start) / 1e6;
    }

    SegmentName name_;
    SharedCache cache_;
    Shared* shared_;
};

TEST_F(SharedCacheProcessTest, EightProcessesThatMissLoadOnce) {
    for (int round = 0; round < 10; ++round) {
        const std::string key = "k" + std::to_string(round);
        shared_->loads = 0;
        const Signal ready;
        const Signal go;
        const auto body = [&, forked = round % 2 == 1] {
            // Half of the rounds with the parent's cache, as a forked child may.
            Result<SharedCache> own = SharedCache::open(name_);
            SharedCache& cache = forked ? cache_ : *own;
            ready.send();
            go.wait();
            const auto load = [&] {
                ++shared_->loads;
                usleep(50'000);
                return std::string("value");
            };
            const Result<std::string> value = cache.get_or_load(key, {}, load);
            return value.ok() && *value == "value" ? 0 : 1;
        };
        std::vector<ChildProcess> children;
        children.reserve(8);
        for (int i = 0; i < 8; ++i) children.emplace_back(body);
        for (int i = 0; i < 8; ++i) ready.wait();
        go.send(8);
        for (ChildProcess& child : children) EXPECT_EQ(child.wait(), 0);
        EXPECT_EQ(shared_->loads, 1U) << round;
    }
}

TEST_F(SharedCacheProcessTest, AKilledLoaderIsReplacedLongBeforeItsBound) {
    const Signal loading;
    ChildProcess child = endless_loader(loading, 1h);
    loading.wait();
    std::thread killer([&] {
        std::this_thread::sleep_for(50ms);
        child.kill_and_wait();
    });
    const double waited = ms_to_load(1h);
    killer.join();
    EXPECT_GT(waited, 40);
    EXPECT_LT(waited, 5000);
}

TEST_F(SharedCacheProcessTest, AStoppedLoaderHoldsTheOthersUpToItsBound) {
    const Signal loading;
    const ChildProcess child = endless_loader(loading, 100ms);
    loading.wait();
    child.stop();
    const double waited = ms_to_load(100ms);
    EXPECT_GT(waited, 50);
    EXPECT_LT(waited, 3000);
}

TEST_F(SharedCacheProcessTest, ALoaderThatThrowsLetsTheNextOneLoadAtOnce) {
    const Signal loading;
    const Signal fail;
    ChildProcess child([&] {
        Result<SharedCache> cache = SharedCache::open(name_);
        const auto load = [&]() -> std::string {
            loading.send();
            fail.wait();
            throw std::runtime_error("no");
        };
        try {
            (void)cache->get_or_load("a", {.expected_cost = 1h}, load);
        } catch (const std::runtime_error&) {
            pause();  // alive and well
        }
        return 1;
    });
    loading.wait();
    std::thread later([&] {
        std::this_thread::sleep_for(50ms);
        fail.send();
    });
    EXPECT_LT(ms_to_load(1h), 5000);
    later.join();
}

TEST_F(SharedCacheProcessTest, WhileOneRefreshesTheOthersGetTheOldValueAtOnce) {
    ASSERT_TRUE(cache_.put("a", "old", {.ttl = 1h, .soft_ttl = 1ms}).ok());
    std::this_thread::sleep_for(50ms);
    const Signal loading;
    const ChildProcess child = endless_loader(loading, 1h);
    loading.wait();
    std::string value;
    Hit hit;
    const auto load = [] { return std::string("new"); };
    ASSERT_TRUE(cache_.get_or_load("a", value, {.expected_cost = 1h}, load, &hit).ok());
    EXPECT_EQ(value, "old");
    EXPECT_EQ(hit.found, Found::stale);
}

TEST_F(SharedCacheProcessTest, WithoutAFreeLeaseEverybodyLoads) {
    // 16 leases, all held by loaders within loaders.
    int depth = 0;
    std::function<std::string()> load = [&]() -> std::string {
        if (depth < 200) {
            const std::string key = "deep" + std::to_string(depth++);
            EXPECT_TRUE(cache_.get_or_load(key, {.expected_cost = 1ms}, load).ok());
        }
        return "v";
    };
    EXPECT_EQ(cache_.get_or_load("top", {.expected_cost = 1ms}, load).value(), "v");
    EXPECT_EQ(cache_.get("top"), "v");
}

// The version of the thing is in `shared_`, as in a database. A reader that saw version v reported as
// invalidated must never again get a value older than v.
TEST_F(SharedCacheProcessTest, NoReadThatStartsAfterAnInvalidationGetsTheOldValue) {
    std::atomic<std::uint64_t>& current = shared_->version;
    const auto body = [&] {
        Result<SharedCache> cache = SharedCache::open(name_);
        std::atomic<std::uint64_t> const* invalidated = &shared_->reads;
        const auto load = [&] {
            std::string value = std::to_string(current.load());
            for (int i = 0; i < 50; ++i) sched_yield();
            return value;
        };
        std::string value;
        while (!shared_->over) {
            const std::uint64_t before = invalidated->load();
            if (!cache->get_or_load("thing", value, {.tags = {"thing"}}, load).ok()) return 2;
            if (std::stoull(value) < before) return 3;
            const std::uint64_t again = invalidated->load();
            if (cache->get("thing", value) && std::stoull(value) < again) return 4;
            ++shared_->loads;
        }
        return 0;
    };
    std::vector<ChildProcess> children;
    children.reserve(4);
    for (int i = 0; i < 4; ++i) children.emplace_back(body);
    // Longer on a machine that has other things to do.
    const std::uint64_t begin = monotonic_ns();
    const auto seconds = [begin] { return static_cast<double>(monotonic_ns() - begin) / 1e9; };
    std::uint64_t version = 0;
    while (seconds() < 1.5 || (shared_->loads <= 100 && seconds() < 60)) {
        current.store(++version);
        (void)cache_.invalidate("thing");
        shared_->reads.store(version);
        if (version % 8 == 0) sched_yield();
    }
    shared_->over = true;
    for (ChildProcess& child : children) EXPECT_EQ(child.wait(), 0);
    EXPECT_GT(shared_->loads, 100U);
}

}  // namespace
}  // namespace tiercache
