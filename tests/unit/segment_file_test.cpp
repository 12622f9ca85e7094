// How named segments come into being, are found, and go: names, races, half-made and foreign objects.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "shm_cache/layout.hpp"
#include "shm_cache/lock_file.hpp"
#include "shm_cache/monotonic_time.hpp"
#include "shm_cache/shared_memory.hpp"
#include "tests/unit/child_process.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;

bool object_exists(const std::string& name) {
    const int fd = shm_open(name.c_str(), O_RDONLY, 0);
    if (fd >= 0) close(fd);
    return fd >= 0;
}

// Whatever somebody else may have left under the name.
void make_object(const std::string& name, std::span<const std::byte> bytes, mode_t mode = 0600) {
    const int fd = shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, mode);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(fchmod(fd, mode), 0);
    ASSERT_EQ(write(fd, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    close(fd);
}

Bytes read_object(const std::string& name) {
    const SharedMemory memory = SharedMemory::open(name, false).value();
    return {memory.bytes().begin(), memory.bytes().end()};
}

TEST(SegmentFile, CreateOpenRemove) {
    const SegmentName name;
    EXPECT_EQ(Segment::open(name).status().code(), StatusCode::not_found);
    EXPECT_EQ(Segment::remove(name).code(), StatusCode::not_found);
    Result<Segment> created = Segment::create(name, tiny_segment());
    ASSERT_TRUE(created.ok()) << created.status().to_string();
    EXPECT_EQ(Segment::create(name, tiny_segment()).status().code(), StatusCode::already_exists);
    Segment opened = Segment::open(name).value();
    ASSERT_TRUE(created->put(oracle_entry(1, 1, 50)).ok());
    EXPECT_TRUE(look_up(opened, 1).hit);
    EXPECT_TRUE(opened.still_current());
    ASSERT_TRUE(Segment::remove(name).ok());
    EXPECT_FALSE(opened.still_current());
    EXPECT_FALSE(object_exists(name));
    EXPECT_FALSE(object_exists(name.text() + ".lock"));
    // Those who have it go on.
    EXPECT_TRUE(look_up(opened, 1).hit);
    EXPECT_TRUE(opened.put(oracle_entry(2, 1, 50)).ok());
    Segment next = Segment::open_or_create(name, tiny_segment()).value();
    EXPECT_FALSE(look_up(next, 1).hit);
    EXPECT_FALSE(opened.still_current());
    EXPECT_TRUE(next.still_current());
}

TEST(SegmentFile, OpenOrCreateKeepsWhatIsThere) {
    const SegmentName name;
    Segment first = Segment::open_or_create(name, tiny_segment()).value();
    ASSERT_TRUE(first.put(oracle_entry(1, 1, 50)).ok());
    SegmentOptions larger = tiny_segment();
    larger.size_bytes *= 4;
    Segment second = Segment::open_or_create(name, larger).value();
    EXPECT_TRUE(look_up(second, 1).hit);
    EXPECT_EQ(second.stats().size_bytes, tiny_segment().size_bytes);
}

TEST(SegmentFile, ASegmentOutlivesItsProcesses) {
    const SegmentName name;
    { ASSERT_TRUE(Segment::create(name, tiny_segment()).value().put(oracle_entry(1, 1, 50)).ok()); }
    Segment later = Segment::open(name).value();
    EXPECT_TRUE(look_up(later, 1).hit);
}

TEST(SegmentFile, BadNamesAndOptionsMakeNothing) {
    for (const char* name : {"", "/", "x", "/a/b", "/a b", "//", "/tiercache.test.lock"}) {
        EXPECT_EQ(Segment::create(name, tiny_segment()).status().code(), StatusCode::invalid_argument)
            << name;
        EXPECT_EQ(Segment::open(name).status().code(), StatusCode::invalid_argument) << name;
        EXPECT_EQ(Segment::remove(name).code(), StatusCode::invalid_argument) << name;
    }
    const SegmentName name;
    SegmentOptions options = tiny_segment();
    options.block_bytes = 5000;
    EXPECT_EQ(Segment::open_or_create(name, options).status().code(), StatusCode::invalid_argument);
    EXPECT_FALSE(object_exists(name));
    EXPECT_FALSE(object_exists(name.text() + ".lock"));
}

TEST(SegmentFile, ModeIsAsAskedWhateverTheUmask) {
    const SegmentName name;
    const mode_t umask_before = umask(077);
    SegmentOptions options = tiny_segment();
    options.mode = 0660;
    const Segment segment = Segment::create(name, options).value();
    umask(umask_before);
    for (const std::string& path : {"/dev/shm" + name.text(), "/dev/shm" + name.text() + ".lock"}) {
        struct stat info {};
        ASSERT_EQ(stat(path.c_str(), &info), 0);
        EXPECT_EQ(info.st_mode & 07777U, 0660U) << path;
    }
}

TEST(SegmentFile, AForeignObjectIsRefusedAndLeftAsItWas) {
    const SegmentName name;
    const Bytes foreign(100'000, std::byte{'f'});
    make_object(name, foreign);
    EXPECT_EQ(Segment::open(name).status().code(), StatusCode::corrupt);
    EXPECT_EQ(Segment::create(name, tiny_segment()).status().code(), StatusCode::corrupt);
    EXPECT_EQ(Segment::open_or_create(name, tiny_segment()).status().code(), StatusCode::corrupt);
    EXPECT_EQ(Segment::remove(name).code(), StatusCode::corrupt);
    EXPECT_EQ(read_object(name), foreign);
    EXPECT_FALSE(object_exists(name.text() + ".lock"));
}

// Zeros, or nothing yet: a half-made segment has a lock file.
TEST(SegmentFile, WithoutALockFileNothingIsHalfMade) {
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{8}, std::size_t{192}, std::size_t{100'000}}) {
        const SegmentName name;
        Bytes foreign(bytes);
        if (bytes > 8) foreign.back() = std::byte{'f'};
        make_object(name, foreign);
        struct stat before {};
        ASSERT_EQ(stat(("/dev/shm" + name.text()).c_str(), &before), 0);
        EXPECT_EQ(Segment::open(name).status().code(), StatusCode::corrupt) << bytes;
        EXPECT_EQ(Segment::create(name, tiny_segment()).status().code(), StatusCode::corrupt) << bytes;
        EXPECT_EQ(Segment::open_or_create(name, tiny_segment()).status().code(), StatusCode::corrupt)
            << bytes;
        EXPECT_EQ(Segment::remove(name).code(), StatusCode::corrupt) << bytes;
        struct stat after {};
        ASSERT_EQ(stat(("/dev/shm" + name.text()).c_str(), &after), 0) << bytes;
        EXPECT_EQ(after.st_ino, before.st_ino) << bytes;
        if (bytes > 0) {
            EXPECT_EQ(read_object(name), foreign) << bytes;
        }
        EXPECT_FALSE(object_exists(name.text() + ".lock")) << bytes;
    }
}

TEST(SegmentFile, AnObjectThatIsNoFileIsRefused) {
    const SegmentName name;
    const std::string path = "/dev/shm" + name.text();
    ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
    EXPECT_EQ(Segment::open(name).status().code(), StatusCode::corrupt);
    EXPECT_EQ(Segment::open_or_create(name, tiny_segment()).status().code(), StatusCode::corrupt);
    EXPECT_EQ(Segment::remove(name).code(), StatusCode::corrupt);
    struct stat info {};
    ASSERT_EQ(stat(path.c_str(), &info), 0);
    EXPECT_TRUE(S_ISFIFO(info.st_mode));
}

// What a refused creation made it takes back.
TEST(SegmentFile, ACreationThatFailsLeavesNothing) {
    const SegmentName name;
    SegmentOptions options = tiny_segment();
    options.size_bytes = std::size_t{1} << 34;
    options.block_bytes = std::size_t{2} << 20;
    ChildProcess child([&] {
        signal(SIGXFSZ, SIG_IGN);
        const rlimit small{1 << 20, 1 << 20};
        if (setrlimit(RLIMIT_FSIZE, &small) != 0) return 1;
        return Segment::create(name, options).ok() ? 2 : 0;
    });
    EXPECT_EQ(child.wait(), 0);
    EXPECT_FALSE(object_exists(name));
    EXPECT_FALSE(object_exists(name.text() + ".lock"));
}

TEST(SegmentFile, AnotherLayoutVersionIsRefusedAndCanBeRemoved) {
    const SegmentName name;
    { ASSERT_TRUE(Segment::create(name, tiny_segment()).ok()); }
    SharedMemory::open(name, true).value().bytes()[8] = std::byte{42};
    const Bytes before = read_object(name);
    EXPECT_EQ(Segment::open(name).status().code(), StatusCode::version_mismatch);
    const Status status = Segment::open_or_create(name, tiny_segment()).status();
    EXPECT_EQ(status.code(), StatusCode::version_mismatch);
    EXPECT_NE(status.message().find("version 42"), std::string::npos);
    EXPECT_EQ(read_object(name), before);
    EXPECT_TRUE(Segment::remove(name).ok());
    EXPECT_TRUE(Segment::open_or_create(name, tiny_segment()).ok());
}

TEST(SegmentFile, ATruncatedObjectIsRefused) {
    for (const off_t bytes : {off_t{1}, off_t{100}, off_t{4096}, off_t{65535}}) {
        const SegmentName name;
        { ASSERT_TRUE(Segment::create(name, tiny_segment()).ok()); }
        ASSERT_EQ(truncate(("/dev/shm" + name.text()).c_str(), bytes), 0);
        EXPECT_EQ(Segment::open(name).status().code(), StatusCode::corrupt) << bytes;
        EXPECT_EQ(Segment::open_or_create(name, tiny_segment()).status().code(), StatusCode::corrupt)
            << bytes;
    }
}

TEST(SegmentFile, WithoutItsLockFileASegmentIsNotUsed) {
    const SegmentName name;
    { ASSERT_TRUE(Segment::create(name, tiny_segment()).ok()); }
    LockFile::remove(name);
    EXPECT_EQ(Segment::open(name).status().code(), StatusCode::corrupt);
    // Another lock file is not the lock file: processes that hold the old one would look dead.
    ASSERT_TRUE(LockFile::open_or_create(name, {0600}).ok());
    EXPECT_EQ(Segment::open(name).status().code(), StatusCode::corrupt);
    EXPECT_TRUE(Segment::remove(name).ok());
    EXPECT_TRUE(Segment::open_or_create(name, tiny_segment()).ok());
}

// ---- makers that die, and makers at once ---------------------------------------------------------

enum class DiedAt { lock_file, empty_object, zeroed_object, formatted, published };

void die_while_making(const std::string& name, DiedAt where) {
    ChildProcess maker([&] {
        LockFile lock = LockFile::open_or_create(name, {0600}).value();
        if (!lock.lock_making().ok()) return 1;
        if (where == DiedAt::lock_file) kill(getpid(), SIGKILL);
        if (where == DiedAt::empty_object) {
            if (shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600) < 0) return 1;
            kill(getpid(), SIGKILL);
        }
        const Geometry geometry = plan_geometry(tiny_segment(), Fit::fewer_process_slots).value();
        const SharedMemory memory = SharedMemory::create(name, geometry.size_bytes, {0600}).value();
        if (where == DiedAt::zeroed_object) kill(getpid(), SIGKILL);
        format_segment(memory.bytes().data(), geometry, lock.inode());
        if (where == DiedAt::formatted) kill(getpid(), SIGKILL);
        publish_segment(memory.bytes().data());
        kill(getpid(), SIGKILL);
        return 2;
    });
    ASSERT_EQ(maker.wait(), 128 + SIGKILL);
}

TEST(SegmentFile, AMakerThatDiedHalfWayIsReplaced) {
    for (const DiedAt where : {DiedAt::lock_file, DiedAt::empty_object, DiedAt::zeroed_object,
                               DiedAt::formatted, DiedAt::published}) {
        const SegmentName name;
        die_while_making(name, where);
        if (where == DiedAt::empty_object || where == DiedAt::zeroed_object || where == DiedAt::formatted) {
            EXPECT_EQ(Segment::open(name).status().code(), StatusCode::busy);
        }
        Result<Segment> segment = Segment::open_or_create(name, tiny_segment());
        ASSERT_TRUE(segment.ok()) << static_cast<int>(where) << segment.status().to_string();
        ASSERT_TRUE(segment->put(oracle_entry(1, 1, 50)).ok());
        EXPECT_TRUE(look_up(*segment, 1).hit);
    }
    for (const DiedAt where : {DiedAt::empty_object, DiedAt::zeroed_object, DiedAt::formatted}) {
        const SegmentName name;
        die_while_making(name, where);
        EXPECT_TRUE(Segment::remove(name).ok());
        EXPECT_FALSE(object_exists(name));
    }
}

TEST(SegmentFile, ASecondMakerWaitsForTheFirst) {
    const SegmentName name;
    Signal locked;
    ChildProcess maker([&] {
        LockFile lock = LockFile::open_or_create(name, {0600}).value();
        if (!lock.lock_making().ok()) return 1;
        const Geometry geometry = plan_geometry(tiny_segment(), Fit::fewer_process_slots).value();
        const SharedMemory memory = SharedMemory::create(name, geometry.size_bytes, {0600}).value();
        locked.send();
        usleep(100'000);
        format_segment(memory.bytes().data(), geometry, lock.inode());
        publish_segment(memory.bytes().data());
        return 0;
    });
    locked.wait();
    SegmentOptions other = tiny_segment();
    other.size_bytes *= 2;
    const Segment segment = Segment::open_or_create(name, other).value();
    EXPECT_EQ(segment.stats().size_bytes, tiny_segment().size_bytes);
    EXPECT_EQ(maker.wait(), 0);
}

// A maker that was stopped: who can't wait says so, and is told at once.
TEST(SegmentFile, HowLongToWaitForAMakerIsTheCallersChoice) {
    const SegmentName name;
    Signal locked;
    ChildProcess maker([&] {
        LockFile lock = LockFile::open_or_create(name, {0600}).value();
        if (!lock.lock_making().ok()) return 1;
        const SharedMemory memory = SharedMemory::create(name, tiny_segment().size_bytes, {0600}).value();
        locked.send();
        for (;;) pause();
        return 0;
    });
    locked.wait();
    maker.stop();
    SegmentOptions options = tiny_segment();
    for (const std::uint32_t wait_ms : {0U, 50U}) {
        options.making_wait_ms = wait_ms;
        const std::uint64_t before = monotonic_ns();
        EXPECT_EQ(Segment::open_or_create(name, options).status().code(), StatusCode::busy);
        const std::uint64_t waited_ms = (monotonic_ns() - before) / 1'000'000;
        EXPECT_GE(waited_ms, wait_ms);
        // Not the default; generous to a slow machine.
        EXPECT_LT(waited_ms, 10'000U);
    }
    maker.kill_and_wait();
    options.making_wait_ms = 0;
    EXPECT_TRUE(Segment::open_or_create(name, options).ok());
}

TEST(SegmentFile, ManyThatOpenOrCreateAtOnceGetTheSameOne) {
    for (int round = 0; round < 20; ++round) {
        const SegmentName name;
        Signal start;
        Signal done;
        constexpr int count = 6;
        std::vector<ChildProcess> children;
        for (std::uint64_t c = 0; c < count; ++c) {
            children.emplace_back([&, c] {
                start.wait();
                Result<Segment> segment = Segment::open_or_create(name, tiny_segment());
                if (!segment.ok()) {
                    fprintf(stderr, "%s\n", segment.status().to_string().c_str());
                    return 1;
                }
                return segment->put(oracle_entry(c, c, 50)).ok() ? 0 : 2;
            });
        }
        start.send(count);
        for (ChildProcess& child : children) EXPECT_EQ(child.wait(), 0);
        Segment segment = Segment::open(name).value();
        for (std::uint64_t c = 0; c < count; ++c) EXPECT_TRUE(look_up(segment, c).hit) << round << " " << c;
    }
}

// Made and removed by many at once: nobody gets anything but a working segment or a clear answer.
TEST(SegmentFile, MakingAndRemovingRace) {
    const SegmentName name;
    std::vector<ChildProcess> children;
    for (std::uint64_t c = 0; c < 4; ++c) {
        children.emplace_back([&, c] {
            std::mt19937_64 random(c);
            for (int i = 0; i < 100; ++i) {
                if (random() % 3 == 0) {
                    const Status removed = Segment::remove(name);
                    if (!removed.ok() && removed.code() != StatusCode::not_found) {
                        fprintf(stderr, "%s\n", removed.to_string().c_str());
                        return 1;
                    }
                    continue;
                }
                Result<Segment> segment = Segment::open_or_create(name, tiny_segment());
                if (!segment.ok()) {
                    fprintf(stderr, "%s\n", segment.status().to_string().c_str());
                    return 2;
                }
                if (!segment->put(oracle_entry(c, 1, 50)).ok() || !look_up(*segment, c).ok) return 3;
            }
            return 0;
        });
    }
    for (ChildProcess& child : children) EXPECT_EQ(child.wait(), 0);
}

// ---- other users ---------------------------------------------------------------------------------

class SegmentOfAnotherUser : public ::testing::Test {
 public:
    static constexpr uid_t other = 54321;
    void SetUp() override {
        if (geteuid() != 0) GTEST_SKIP() << "needs root, to be two users";
    }
};

TEST_F(SegmentOfAnotherUser, WithoutPermissionItSaysSo) {
    const SegmentName name;
    const Segment segment = Segment::create(name, tiny_segment()).value();
    ChildProcess child([&] {
        if (setuid(other) != 0) return 1;
        if (Segment::open(name).status().code() != StatusCode::permission_denied) return 2;
        if (Segment::remove(name).code() != StatusCode::permission_denied) return 3;
        return Segment::open_or_create(name, tiny_segment()).status().code() == StatusCode::permission_denied
                   ? 0
                   : 4;
    });
    EXPECT_EQ(child.wait(), 0);
    EXPECT_TRUE(segment.still_current());
}

// Anybody can leave an object of any name in /dev/shm: what a stranger made is not believed.
TEST_F(SegmentOfAnotherUser, AStrangersSegmentIsNotTrusted) {
    const SegmentName name;
    ChildProcess stranger([&] {
        if (setuid(other) != 0) return 1;
        SegmentOptions options = tiny_segment();
        options.mode = 0666;
        return Segment::create(name, options).ok() ? 0 : 2;
    });
    ASSERT_EQ(stranger.wait(), 0);
    ChildProcess victim([&] {
        if (setuid(other + 1) != 0) return 1;
        return Segment::open(name).status().code() == StatusCode::permission_denied ? 0 : 2;
    });
    EXPECT_EQ(victim.wait(), 0);
}

// A lock file that a stranger made and holds: nobody waits for what is refused anyway.
TEST_F(SegmentOfAnotherUser, AStrangersLockFileIsNotWaitedFor) {
    const SegmentName name;
    Signal locked;
    ChildProcess stranger([&] {
        if (setuid(other) != 0) return 1;
        LockFile lock = LockFile::open_or_create(name, {0666}).value();
        if (!lock.lock_making().ok()) return 2;
        locked.send();
        for (;;) pause();
        return 0;
    });
    locked.wait();
    for (const uid_t me : {other + 1, uid_t{0}}) {
        ChildProcess victim([&] {
            if (setuid(me) != 0) return 1;
            // Who waits gets "busy" in the end.
            return Segment::open_or_create(name, tiny_segment()).status().code() ==
                           StatusCode::permission_denied
                       ? 0
                       : 2;
        });
        EXPECT_EQ(victim.wait(), 0) << me;
    }
    EXPECT_TRUE(object_exists(name.text() + ".lock"));
    EXPECT_FALSE(object_exists(name));
}

// An empty object of somebody else is theirs, also for root, with a lock file of one's own or without.
TEST_F(SegmentOfAnotherUser, AStrangersEmptyObjectIsLeftAlone) {
    for (const bool with_lock : {false, true}) {
        for (const std::size_t bytes : {std::size_t{0}, std::size_t{4096}}) {
            const SegmentName name;
            make_object(name, Bytes(bytes), 0666);
            ASSERT_EQ(chown(("/dev/shm" + name.text()).c_str(), other, other), 0);
            for (const uid_t me : {other + 1, uid_t{0}}) {
                if (with_lock) {
                    ASSERT_TRUE(LockFile::open_or_create(name, {0600}).ok());
                    ASSERT_EQ(chown(("/dev/shm" + name.text() + ".lock").c_str(), me, me), 0);
                }
                ChildProcess victim([&] {
                    if (setuid(me) != 0) return 1;
                    const StatusCode refused = me == 0 ? StatusCode::corrupt : StatusCode::permission_denied;
                    if (Segment::open(name).status().code() != refused) return 2;
                    if (Segment::open_or_create(name, tiny_segment()).status().code() != refused) return 3;
                    return Segment::remove(name).code() == refused ? 0 : 4;
                });
                EXPECT_EQ(victim.wait(), 0) << me << " " << with_lock << " " << bytes;
                struct stat info {};
                ASSERT_EQ(stat(("/dev/shm" + name.text()).c_str(), &info), 0);
                EXPECT_EQ(info.st_uid, other);
                EXPECT_EQ(info.st_size, static_cast<off_t>(bytes));
                EXPECT_EQ(object_exists(name.text() + ".lock"), with_lock);
            }
        }
    }
}

// Root may clear away what another user's maker left.
TEST_F(SegmentOfAnotherUser, RootRemovesAStrangersHalfMadeSegment) {
    const SegmentName name;
    make_object(name, Bytes(4096), 0600);
    ASSERT_TRUE(LockFile::open_or_create(name, {0600}).ok());
    for (const char* suffix : {"", ".lock"}) {
        ASSERT_EQ(chown(("/dev/shm" + name.text() + suffix).c_str(), other, other), 0);
    }
    EXPECT_EQ(Segment::create(name, tiny_segment()).status().code(), StatusCode::permission_denied);
    EXPECT_TRUE(Segment::remove(name).ok());
    EXPECT_FALSE(object_exists(name));
    EXPECT_FALSE(object_exists(name.text() + ".lock"));
    EXPECT_TRUE(Segment::create(name, tiny_segment()).ok());
}

}  // namespace
}  // namespace tiercache
