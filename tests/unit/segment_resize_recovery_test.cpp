// What resizers leave that die half-way, or are stopped: nothing is lost, nobody waits, and the next one
// tidies up.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>

#include "shm_cache/layout.hpp"
#include "shm_cache/lock_file.hpp"
#include "shm_cache/monotonic_time.hpp"
#include "shm_cache/shared_memory.hpp"
#include "shm_cache/statistics.hpp"
#include "tests/unit/child_process.hpp"
#include "tests/unit/segment_resizing.hpp"

namespace tiercache {
namespace {

using namespace test;

TEST_F(ResizeTest, KilledBeforeItNothingHasChangedAndTheNextOneTidiesUp) {
    fill(1000);
    ChildProcess child([this] {
        (void)Segment::resize(name_, large_bytes, [](void*, const auto&) { return raise(SIGKILL) == 0; });
        return 0;
    });
    EXPECT_EQ(child.wait(), 128 + SIGKILL);
    EXPECT_EQ(files_of(name_), 3);
    EXPECT_EQ(found(cache_, 1000), 1000);
    EXPECT_EQ(cache_.stats().size_bytes, small_bytes);
    ASSERT_TRUE(resize(name_, large_bytes).ok());
    EXPECT_EQ(files_of(name_), 2);
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
class HalfResizedTest : public ResizeTest {
 public:
    explicit HalfResizedTest(std::size_t size_bytes = large_bytes) {
        namespace fs = std::filesystem;
        fill(1000);
        path_ = "/dev/shm" + name_.text();
        closed_ = SharedMemory::open(name_, true).value();
        other_.emplace(SharedCache::open(name_).value());
        fs::create_hard_link(path_, path_ + ".kept");
        EXPECT_TRUE(resize(name_, size_bytes).ok());
        auto* header = reinterpret_cast<SegmentHeader*>(closed_.bytes().data());
        std::array<char, 32> mark{};
        std::snprintf(mark.data(), mark.size(), ".%016lx", header->successor.load());
        fs::rename(path_, path_ + mark.data());
        fs::rename(path_ + ".kept", path_);
        // Z3 not done either.
        std::uint64_t lock = 0;
        geometry_ = read_geometry(closed_.bytes().data(), closed_.bytes().size(), lock).value();
        for (std::size_t r = 0; r < geometry_.statistics_records; ++r) {
            auto* record = reinterpret_cast<CounterRecord*>(closed_.bytes().data() + geometry_.statistics_at +
                                                            statistics_shared_bytes) +
                           r;
            for (BusyCounters& busy : record->busy) busy.closed.store(0);
        }
    }

    std::string path_;
    std::optional<SharedCache> other_;  // went over no more than cache_ did
    SharedMemory closed_;
    Geometry geometry_;
};

TEST_F(HalfResizedTest, WhoOpensItFinishesIt) {
    SharedCache other = SharedCache::open(name_).value();
    EXPECT_EQ(other.stats().size_bytes, large_bytes);
    EXPECT_EQ(found(other, 1000), 1000);
    EXPECT_EQ(found(cache_, 1000), 1000);
    EXPECT_EQ(files_of(name_), 2);
    EXPECT_TRUE(other.still_current() && cache_.still_current());
}

class HalfShrunkTest : public HalfResizedTest {
 public:
    HalfShrunkTest() : HalfResizedTest(tiny_bytes) {}
};

// Who has no room to look at the old one takes nothing away that others need.
TEST_F(HalfShrunkTest, WhoCantMapItRemovesNothing) {
    ChildProcess child([&] {
        std::uint64_t pages = 0;
        std::ifstream("/proc/self/statm") >> pages;
        // For the old one once, not twice; for the new one in any case.
        const rlim_t room = pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + small_bytes * 3 / 2;
        const rlimit limit{room, RLIM_INFINITY};
        if (setrlimit(RLIMIT_AS, &limit) != 0) return 1;
        (void)SharedCache::open(name_);
        return 0;
    });
    EXPECT_EQ(child.wait(), 0);
    ASSERT_EQ(files_of(name_), 3);
    SharedCache other = SharedCache::open(name_).value();
    EXPECT_EQ(other.stats().size_bytes, tiny_bytes);
    EXPECT_GT(found(other, 1000), 100);
    EXPECT_EQ(files_of(name_), 2);
}

TEST_F(HalfResizedTest, WhoHasItOpenGoesOverAndTellsTheOthers) {
    ASSERT_TRUE(cache_.put(key_name(1), "new").ok());
    EXPECT_TRUE(Statistics(closed_.bytes().data(), geometry_).closed());
    EXPECT_TRUE(cache_.still_current());
    std::string value;
    EXPECT_TRUE(other_->get(key_name(1), value) && value == "new");
}

TEST_F(HalfResizedTest, ItIsFinishedUnderTheLockOnly) {
    LockFile lock = LockFile::open(name_).value();
    ASSERT_TRUE(lock.lock_making(0).ok());
    SharedCache other = SharedCache::open(name_).value();
    EXPECT_EQ(other.stats().size_bytes, large_bytes);
    EXPECT_EQ(files_of(name_), 3);
    EXPECT_TRUE(other.still_current());
    EXPECT_EQ(Segment::inspect(name_)->size_bytes, large_bytes);
    lock.unlock_making();
    ASSERT_TRUE(resize(name_, small_bytes).ok());
    EXPECT_EQ(files_of(name_), 2);
    EXPECT_EQ(found(other, 1000), 1000);
}

TEST_F(HalfResizedTest, ItCanBeRemoved) {
    ASSERT_TRUE(SharedCache::remove(name_).ok());
    EXPECT_EQ(files_of(name_), 0);
    EXPECT_EQ(cache_.put("key", "value").code(), StatusCode::unavailable);
    EXPECT_EQ(cache_.stats().hits, 0U);
    EXPECT_FALSE(cache_.still_current());
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

// A mark that nobody made: memory that was overwritten must not make anybody wait or crash.
TEST_F(ResizeTest, AForgedSuccessorIsAMissAndNoHarm) {
    fill(10);
    const auto memory = SharedMemory::open(name_, true).value();
    reinterpret_cast<SegmentHeader*>(memory.bytes().data())->successor.store(12345);
    std::string value;
    EXPECT_FALSE(cache_.get("absent", value));
    EXPECT_EQ(cache_.put("key", "value").code(), StatusCode::unavailable);
    EXPECT_EQ(cache_.invalidate("x").code(), StatusCode::unavailable);
    EXPECT_EQ(SharedCache::open(name_).status().code(), StatusCode::unavailable);
    EXPECT_TRUE(SharedCache::remove(name_).ok());
}

// A file under the successor's name that is another user's is not gone over to.
TEST_F(HalfResizedTest, AnotherUsersFileIsNotItsSuccessor) {
    if (geteuid() != 0) GTEST_SKIP() << "only root can give files away";
    for (const auto& file : std::filesystem::directory_iterator("/dev/shm")) {
        const std::string path = file.path().string();
        if (path.starts_with(path_ + ".") && !path.ends_with(".lock")) {
            ASSERT_EQ(chown(path.c_str(), 4242, 4242), 0);
        }
    }
    EXPECT_EQ(cache_.put("key", "value").code(), StatusCode::unavailable);
    // As long as nothing can have changed in the new one the old one's values are right.
    EXPECT_EQ(found(cache_, 1000), 1000);
    Statistics(closed_.bytes().data(), geometry_).close();
    EXPECT_EQ(found(cache_, 1000), 0);
}

TEST_F(ResizeTest, OnlyAResizersLeftoversAreRemoved) {
    const std::string mine = name_.text() + ".0123456789abcdef";  // a segment that somebody has
    const std::string similar = name_.text() + ".0123456789abcde";
    const std::string longer = name_.text() + ".0123456789abcdef0";
    const std::string empty = name_.text() + ".00000000000000aa";
    SharedCache user = SharedCache::create(mine, {.size_bytes = tiny_bytes}).value();
    for (const std::string& file : {similar, longer, empty}) {
        close(shm_open(file.c_str(), O_RDWR | O_CREAT, 0600));
    }
    ASSERT_TRUE(resize(name_, large_bytes).ok());
    EXPECT_TRUE(user.still_current());
    const auto there = [](const std::string& file) { return std::filesystem::exists("/dev/shm" + file); };
    EXPECT_TRUE(there(mine) && there(similar) && there(longer));
    EXPECT_FALSE(there(empty));
    for (const std::string& file : {mine, mine + ".lock", similar, longer}) shm_unlink(file.c_str());
}

// A child that was forked in the middle of it must not go on holding the lock when the resizer is dead.
TEST_F(ResizeTest, AChildForkedMeanwhileHoldsNothingUp) {
    fill(1000);
    Signal killed;
    ChildProcess child([&] {
        Middle middle{[&] {
            if (fork() == 0) {
                killed.wait();
                _exit(0);
            }
            raise(SIGKILL);
        }};
        (void)Segment::resize(name_, large_bytes, Middle::report, &middle);
        return 0;
    });
    EXPECT_EQ(child.wait(), 128 + SIGKILL);
    // The one that was forked lets go as soon as it runs, which it need not have done when its parent is
    // dead.
    const std::uint64_t deadline = monotonic_ns() + std::uint64_t{60} * 1'000'000'000;
    auto again = resize(name_, small_bytes);
    while (!again.ok() && monotonic_ns() < deadline) again = resize(name_, small_bytes);
    EXPECT_TRUE(again.ok()) << again.status().to_string();
    killed.send(4);
}

}  // namespace
}  // namespace tiercache
