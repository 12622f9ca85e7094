// A segment that the users of a group share: what each of them may do, and what nobody believes.
#include <fcntl.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

#include "shm_cache/layout.hpp"
#include "shm_cache/lock_file.hpp"
#include "shm_cache/segment.hpp"
#include "shm_cache/shared_cache.hpp"
#include "shm_cache/shared_memory.hpp"
#include "tests/unit/child_process.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;

constexpr uid_t ada = 54321;
constexpr uid_t ben = 54322;
constexpr uid_t stranger = 54323;
constexpr gid_t shared = 64321;
constexpr gid_t other_group = 64322;

class SegmentOfAGroup : public ::testing::Test {
 public:
    void SetUp() override {
        if (geteuid() != 0) GTEST_SKIP() << "needs root, to be several users";
    }

    // Runs `body` as that user: of the group, or of one of his own alone.
    static int as(uid_t user, bool member, const std::function<int()>& body) {
        return ChildProcess([&] { return become(user, member) ? body() : 90; }).wait();
    }
    static bool become(uid_t user, bool member) {
        const gid_t groups[] = {shared};
        return setgroups(member ? 1 : 0, groups) == 0 && setgid(user) == 0 && setuid(user) == 0;
    }

    static SegmentOptions options(gid_t group = shared, mode_t mode = 0660) {
        SegmentOptions options = tiny_segment();
        options.group = group;
        options.mode = mode;
        return options;
    }
    // Ada's segment with one entry.
    static void make(const std::string& name) {
        ASSERT_EQ(as(ada, true,
                     [&] {
                         umask(077);
                         Result<Segment> made = Segment::create(name, options());
                         return made.ok() && made->put(oracle_entry(1, 1, 50)).ok() ? 0 : 1;
                     }),
                  0);
    }
    static std::string path_of(const std::string& name) { return "/dev/shm" + name; }
    static struct stat info_of(const std::string& name) {
        struct stat info {};
        EXPECT_EQ(stat(path_of(name).c_str(), &info), 0) << name;
        return info;
    }
    // For the owner and root.
    static bool has(const std::string& name, std::uint64_t key) {
        Result<Segment> segment = Segment::open(name);
        return segment.ok() && look_up(*segment, key).hit;
    }
    static bool exists(const std::string& name) { return access(path_of(name).c_str(), F_OK) == 0; }
};

TEST_F(SegmentOfAGroup, BothFilesAreTheGroups) {
    const SegmentName name;
    make(name);
    for (const std::string& file : {name.text(), name.text() + ".lock"}) {
        const struct stat info = info_of(file);
        EXPECT_EQ(info.st_uid, ada);
        EXPECT_EQ(info.st_gid, shared);
        EXPECT_EQ(info.st_mode & 07777U, 0660U);
    }
}

TEST_F(SegmentOfAGroup, AMemberWhoSaysSoReadsAndWrites) {
    const SegmentName name;
    make(name);
    EXPECT_EQ(as(ben, true,
                 [&] {
                     Result<Segment> opened = Segment::open(name, shared);
                     if (!opened.ok()) return 1;
                     if (!look_up(*opened, 1).hit) return 2;
                     if (!opened->put(oracle_entry(2, 1, 50)).ok()) return 3;
                     if (Segment::open_or_create(name, options()).status().code() != StatusCode::ok) return 4;
                     if (Segment::create(name, options()).status().code() != StatusCode::already_exists) {
                         return 5;
                     }
                     return Segment::inspect(name, shared).ok() ? 0 : 6;
                 }),
              0);
    EXPECT_EQ(as(ada, true, [&] { return has(name, 2) ? 0 : 1; }), 0);
}

// The same user without the opt-in, or with another group: the permissions alone mean nothing.
TEST_F(SegmentOfAGroup, WithoutTheOptInNothingIsTrusted) {
    const SegmentName name;
    make(name);
    EXPECT_EQ(as(ben, true,
                 [&] {
                     const auto refused = [](const Status& status) {
                         return status.code() == StatusCode::permission_denied;
                     };
                     const Status status = Segment::open(name).status();
                     if (!refused(status)) return 1;
                     if (status.message().find("gid " + std::to_string(shared)) == std::string::npos)
                         return 2;
                     if (!refused(Segment::open(name, other_group).status())) return 3;
                     if (!refused(Segment::open_or_create(name, tiny_segment()).status())) return 4;
                     if (!refused(Segment::inspect(name).status())) return 5;
                     return refused(SharedCache::open(name).status()) ? 0 : 6;
                 }),
              0);
}

TEST_F(SegmentOfAGroup, AStrangerStaysOutside) {
    const SegmentName name;
    make(name);
    EXPECT_EQ(as(stranger, false,
                 [&] {
                     // He may say what he likes.
                     if (Segment::open(name, shared).status().code() != StatusCode::permission_denied)
                         return 1;
                     const SegmentOptions asked = options();
                     return Segment::open_or_create(name, asked).status().code() ==
                                    StatusCode::permission_denied
                                ? 0
                                : 2;
                 }),
              0);
}

// Who is no member can't make what members would trust, and leaves nothing behind in trying.
TEST_F(SegmentOfAGroup, OnlyAMemberMakesOne) {
    const SegmentName name;
    EXPECT_EQ(as(stranger, false,
                 [&] {
                     const Status status = Segment::create(name, options()).status();
                     if (status.code() != StatusCode::permission_denied) return 1;
                     return status.message().find("only its members") != std::string::npos ? 0 : 2;
                 }),
              0);
    EXPECT_FALSE(exists(name));
    EXPECT_FALSE(exists(name.text() + ".lock"));
}

TEST_F(SegmentOfAGroup, AModeThatMembersWouldRefuseIsNotMade) {
    const SegmentName name;
    for (const mode_t mode : {0600U, 0640U, 0662U, 0666U}) {
        EXPECT_EQ(Segment::create(name, options(shared, mode)).status().code(), StatusCode::invalid_argument)
            << mode;
    }
    EXPECT_FALSE(exists(name));
    EXPECT_TRUE(Segment::create(name, options(shared, 0664)).ok());
}

// What lies there has the right group, and others may write to it: anybody can have been in there.
TEST_F(SegmentOfAGroup, WhatOthersMayWriteToIsRefused) {
    for (const mode_t mode : {0666U, 0662U, 0602U}) {
        const SegmentName name;
        make(name);
        ASSERT_EQ(chmod(path_of(name).c_str(), mode), 0);
        EXPECT_EQ(as(ben, true,
                     [&] {
                         return Segment::open(name, shared).status().code() ==
                                            StatusCode::permission_denied &&
                                        Segment::inspect(name, shared).status().code() ==
                                            StatusCode::permission_denied
                                    ? 0
                                    : 1;
                     }),
                  0)
            << mode;
    }
}

// A stranger's object of that name, of his own group and with the rights that a member would want.
TEST_F(SegmentOfAGroup, ASquattersObjectIsRefused) {
    for (const mode_t mode : {0660U, 0666U, 0664U}) {
        const SegmentName name;
        ASSERT_EQ(as(stranger, false,
                     [&] {
                         SegmentOptions mine = tiny_segment();
                         mine.mode = mode;
                         return Segment::create(name, mine).ok() ? 0 : 1;
                     }),
                  0);
        EXPECT_EQ(as(ben, true,
                     [&] {
                         const Status opened = Segment::open(name, shared).status();
                         const Status made = Segment::open_or_create(name, options()).status();
                         return opened.code() == StatusCode::permission_denied &&
                                        made.code() == StatusCode::permission_denied
                                    ? 0
                                    : 1;
                     }),
                  0)
            << mode;
        EXPECT_EQ(info_of(name).st_uid, stranger);
    }
}

// Nor does a member wait for a stranger who holds a lock file of that name.
TEST_F(SegmentOfAGroup, ASquattersLockFileIsNotWaitedFor) {
    const SegmentName name;
    Signal locked;
    ChildProcess squatter([&] {
        if (!become(stranger, false)) return 1;
        LockFile lock = LockFile::open_or_create(name, {0666}).value();
        if (!lock.lock_making().ok()) return 2;
        locked.send();
        for (;;) pause();
        return 0;
    });
    locked.wait();
    EXPECT_EQ(as(ben, true,
                 [&] {
                     return Segment::open_or_create(name, options()).status().code() ==
                                    StatusCode::permission_denied
                                ? 0
                                : 1;
                 }),
              0);
}

// Another of the group is making it: waited for, and then used.
TEST_F(SegmentOfAGroup, AMemberWhoMakesItIsWaitedFor) {
    const SegmentName name;
    Signal locked;
    Signal go_on;
    ChildProcess maker([&] {
        if (!become(ada, true)) return 1;
        {
            LockFile lock = LockFile::open_or_create(name, {.mode = 0660, .group = shared}).value();
            if (!lock.lock_making().ok()) return 2;
            locked.send();
            go_on.wait();
            LockFile::remove(name);
        }
        return Segment::create(name, options()).ok() ? 0 : 3;
    });
    locked.wait();
    ChildProcess waiter([&] {
        if (!become(ben, true)) return 1;
        SegmentOptions at_once = options();
        at_once.making_wait_ms = 0;
        if (Segment::open_or_create(name, at_once).status().code() != StatusCode::busy) return 2;
        go_on.send();
        return Segment::open_or_create(name, options()).ok() ? 0 : 3;
    });
    EXPECT_EQ(waiter.wait(), 0);
    go_on.send();  // should the waiter not have come so far
    // Either of them may have been first.
    const int made = maker.wait();
    EXPECT_TRUE(made == 0 || made == 3) << made;
}

// Between two steps of its maker a file is not the group's yet.
TEST_F(SegmentOfAGroup, WhatIsNotTheGroupsYetIsWaitedForAMoment) {
    const SegmentName name;
    Signal made;
    Signal tried;
    ChildProcess maker([&] {
        if (!become(ada, true)) return 1;
        const int fd = shm_open((name.text() + ".lock").c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
        if (fd < 0) return 2;
        made.send();
        tried.wait();
        usleep(10'000);
        LockFile::remove(name);
        return 0;
    });
    made.wait();
    ChildProcess other([&] {
        if (!become(ben, true)) return 1;
        SegmentOptions at_once = options();
        at_once.making_wait_ms = 0;
        if (Segment::open_or_create(name, at_once).status().code() != StatusCode::permission_denied) return 2;
        const auto began = std::chrono::steady_clock::now();
        tried.send();
        if (Segment::open_or_create(name, options()).ok()) return 0;
        // Not for long: it may be somebody's who never will.
        return std::chrono::steady_clock::now() - began >= std::chrono::milliseconds(100) ? 0 : 3;
    });
    EXPECT_EQ(other.wait(), 0);
    tried.send();
    EXPECT_EQ(maker.wait(), 0);
}

TEST_F(SegmentOfAGroup, ThoseWhoTryAtOnceGetTheSame) {
    for (int round = 0; round < 20; ++round) {
        const SegmentName name;
        Signal go;
        std::vector<ChildProcess> users;
        for (const uid_t user : {ada, ben}) {
            users.emplace_back([&, user] {
                if (!become(user, true)) return 1;
                go.wait();
                Result<Segment> segment = Segment::open_or_create(name, options());
                if (!segment.ok()) {
                    fprintf(stderr, "%s\n", segment.status().to_string().c_str());
                    return 2;
                }
                return segment->put(oracle_entry(user, 1, 50)).ok() ? 0 : 3;
            });
        }
        go.send(2);
        for (ChildProcess& user : users) EXPECT_EQ(user.wait(), 0);
        Segment segment = Segment::open(name).value();
        EXPECT_TRUE(look_up(segment, ada).hit);
        EXPECT_TRUE(look_up(segment, ben).hit);
    }
}

// The names in /dev/shm are their owner's.
TEST_F(SegmentOfAGroup, OnlyItsOwnerRemovesAndResizesIt) {
    const SegmentName name;
    make(name);
    EXPECT_EQ(
        as(ben, true,
           [&] {
               if (Segment::remove(name).code() != StatusCode::permission_denied) return 1;
               return Segment::resize(name, 1 << 20).status().code() == StatusCode::permission_denied ? 0 : 2;
           }),
        0);
    EXPECT_TRUE(exists(name));
    EXPECT_EQ(as(ada, true, [&] { return Segment::remove(name).ok() ? 0 : 1; }), 0);
    EXPECT_FALSE(exists(name));
    EXPECT_FALSE(exists(name.text() + ".lock"));
}

// What takes its place is the group's as well, whoever resizes it, and a member follows.
TEST_F(SegmentOfAGroup, AMemberFollowsAResize) {
    for (const uid_t resizer : {ada, uid_t{0}}) {
        const SegmentName name;
        make(name);
        Signal opened;
        Signal resized;
        ChildProcess member([&] {
            if (!become(ben, true)) return 1;
            Segment segment = Segment::open(name, shared).value();
            opened.send();
            resized.wait();
            if (!look_up(segment, 1).hit) return 2;
            if (segment.stats().size_bytes != 1 << 20) return 3;
            return segment.put(oracle_entry(2, 1, 50)).ok() ? 0 : 4;
        });
        opened.wait();
        EXPECT_EQ(as(resizer, true, [&] { return Segment::resize(name, 1 << 20).ok() ? 0 : 1; }), 0);
        resized.send();
        EXPECT_EQ(member.wait(), 0) << resizer;
        const struct stat info = info_of(name);
        EXPECT_EQ(info.st_uid, ada);
        EXPECT_EQ(info.st_gid, shared);
        EXPECT_EQ(info.st_mode & 07777U, 0660U);
        EXPECT_TRUE(has(name, 2));
    }
}

// A member holds what the group has. What is no longer the group's is not followed.
TEST_F(SegmentOfAGroup, WhatOthersMayWriteToIsNotFollowed) {
    const SegmentName name;
    make(name);
    Signal opened;
    Signal resized;
    ChildProcess member([&] {
        if (!become(ben, true)) return 1;
        Segment segment = Segment::open(name, shared).value();
        opened.send();
        resized.wait();
        if (look_up(segment, 1).hit) return 2;
        return segment.put(oracle_entry(2, 1, 50)).code() == StatusCode::unavailable ? 0 : 3;
    });
    opened.wait();
    ASSERT_EQ(chmod(path_of(name).c_str(), 0666), 0);
    ASSERT_TRUE(Segment::resize(name, 1 << 20).ok());
    resized.send();
    EXPECT_EQ(member.wait(), 0);
}

// A resizer died before it gave the new segment the name: members use what they can't rename.
TEST_F(SegmentOfAGroup, AMemberUsesWhatADeadResizerLeft) {
    const SegmentName name;
    make(name);
    ASSERT_EQ(as(ada, true,
                 [&] {
                     (void)Segment::resize(name, 1 << 20, [](void*, const Segment::ResizeProgress&) {
                         _exit(0);
                         return true;
                     });
                     return 1;
                 }),
              0);
    std::string mark;
    for (const auto& file : std::filesystem::directory_iterator("/dev/shm")) {
        const std::string path = file.path().string();
        if (path.starts_with(path_of(name) + ".") && !path.ends_with(".lock")) {
            mark = path.substr(path.rfind('.') + 1);
        }
    }
    ASSERT_EQ(mark.size(), 16U);
    {
        const SharedMemory memory = SharedMemory::open(name, true).value();
        auto* header = reinterpret_cast<SegmentHeader*>(memory.bytes().data());
        header->successor.store(std::stoull(mark, nullptr, 16));
    }
    EXPECT_EQ(as(ben, true,
                 [&] {
                     Result<Segment> segment = Segment::open(name, shared);
                     if (!segment.ok() || segment->stats().size_bytes != 1 << 20) return 1;
                     if (Segment::inspect(name, shared)->size_bytes != 1 << 20) return 2;
                     return segment->put(oracle_entry(2, 1, 50)).ok() && look_up(*segment, 2).hit ? 0 : 3;
                 }),
              0);
    EXPECT_TRUE(exists(name.text() + "." + mark));
    EXPECT_EQ(as(ada, true, [&] { return has(name, 2) ? 0 : 1; }), 0);
    EXPECT_FALSE(exists(name.text() + "." + mark));
}

}  // namespace
}  // namespace tiercache
