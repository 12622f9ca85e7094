// Segments in huge pages that were set aside: made, found, refused, and cleared away whatever died half-way.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <optional>

#include "shm_cache/huge_page_file.hpp"
#include "shm_cache/layout.hpp"
#include "shm_cache/lock_file.hpp"
#include "shm_cache/shared_memory.hpp"
#include "tests/unit/child_process.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;

constexpr std::size_t page_bytes = std::size_t{2} << 20;
const std::string pages_folder = "/sys/kernel/mm/hugepages/hugepages-2048kB/";

std::uint64_t read_number(const std::string& path) {
    std::uint64_t number = 0;
    std::ifstream(path) >> number;
    return number;
}
void write_number(const std::string& path, std::uint64_t number) { std::ofstream(path) << number; }

// A mount of one's own, and some pages in the pool, which are put back.
class HugePagesTest : public ::testing::Test {
 public:
    static constexpr std::uint64_t pages_needed = 16;

    void SetUp() override {
        if (geteuid() != 0) GTEST_SKIP() << "needs root, to mount a hugetlbfs";
        const std::uint64_t free = read_number(pages_folder + "free_hugepages");
        if (free < pages_needed) {
            pages_before_ = read_number(pages_folder + "nr_hugepages");
            write_number(pages_folder + "nr_hugepages", pages_before_ + pages_needed - free);
            raised_ = true;
        }
        if (read_number(pages_folder + "free_hugepages") < pages_needed) {
            GTEST_SKIP() << "the system has no 16 huge pages of 2 MiB to set aside";
        }
        char path[] = "/tmp/tiercache.huge.XXXXXX";
        ASSERT_NE(mkdtemp(path), nullptr);
        folder_ = path;
        if (mount("none", path, "hugetlbfs", 0, "pagesize=2M") != 0) {
            GTEST_SKIP() << "this root may not mount a hugetlbfs";
        }
        mounted_ = true;
    }
    void TearDown() override {
        if (mounted_) unmount();
        if (!folder_.empty()) rmdir(folder_.c_str());
        if (raised_) write_number(pages_folder + "nr_hugepages", pages_before_);
    }
    void unmount() {
        EXPECT_EQ(umount2(folder_.c_str(), MNT_DETACH), 0);
        mounted_ = false;
    }

    [[nodiscard]] SegmentOptions options(HugePages huge_pages = HugePages::on) const {
        SegmentOptions options = tiny_segment();
        options.huge_pages = huge_pages;
        options.huge_page_mount = folder_;
        return options;
    }
    [[nodiscard]] std::vector<std::string> files() const {
        std::vector<std::string> files;
        for (const auto& entry : std::filesystem::directory_iterator(folder_)) files.push_back(entry.path());
        return files;
    }
    static bool named(const std::string& name) {
        return std::filesystem::exists("/dev/shm" + name) ||
               std::filesystem::exists("/dev/shm" + name + ".lock");
    }
    // Replaces the object under a name by such a note of that owner.
    static void write_note(const std::string& name, const HugePageNote& note, uid_t owner) {
        (void)shm_unlink(name.c_str());
        const Descriptor object(shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600));
        ASSERT_TRUE(object.valid());
        ASSERT_TRUE(write_huge_page_note(object.get(), note).ok());
        ASSERT_EQ(fchown(object.get(), owner, owner), 0);
    }
    static HugePageNote note_of(const std::string& name) {
        const Descriptor object(shm_open(name.c_str(), O_RDONLY, 0));
        return read_huge_page_note(object.get()).value();
    }
    HugePageMount mount_here() const { return {folder_, page_bytes}; }

    std::string folder_;
    std::uint64_t pages_before_ = 0;
    bool raised_ = false;
    bool mounted_ = false;
};

TEST_F(HugePagesTest, CreateOpenRemove) {
    const SegmentName name;
    SegmentOptions two_pages_and_more = options();
    two_pages_and_more.size_bytes = 2 * page_bytes + 1;
    two_pages_and_more.block_bytes = 0;
    Segment created = Segment::create(name, two_pages_and_more).value();
    EXPECT_EQ(created.stats().huge_page_bytes, page_bytes);
    EXPECT_EQ(created.stats().size_bytes, 3 * page_bytes);
    ASSERT_EQ(files().size(), 1U);
    struct stat info {};
    ASSERT_EQ(stat(files()[0].c_str(), &info), 0);
    // No page is left to be had later.
    EXPECT_EQ(static_cast<std::size_t>(info.st_blocks) * 512, 3 * page_bytes);
    EXPECT_EQ(info.st_mode & 07777U, 0600U);
    EXPECT_EQ(Segment::create(name, options()).status().code(), StatusCode::already_exists);
    ChildProcess child([&] {
        Segment opened = Segment::open(name).value();
        return opened.stats().huge_page_bytes == page_bytes && opened.put(oracle_entry(1, 1, 50)).ok() ? 0
                                                                                                       : 1;
    });
    EXPECT_EQ(child.wait(), 0);
    EXPECT_TRUE(look_up(created, 1).hit);
    EXPECT_EQ(Segment::inspect(name)->huge_page_bytes, page_bytes);
    ASSERT_TRUE(created.clear().ok());
    EXPECT_FALSE(look_up(created, 1).hit);
    EXPECT_TRUE(created.still_current());
    ASSERT_TRUE(Segment::remove(name).ok());
    EXPECT_TRUE(files().empty());
    EXPECT_FALSE(named(name));
    EXPECT_FALSE(created.still_current());
    EXPECT_TRUE(created.put(oracle_entry(2, 1, 50)).ok());
}

TEST_F(HugePagesTest, TooFewPagesAreAnErrorOrOrdinaryPages) {
    SegmentOptions large = options();
    large.size_bytes = (read_number(pages_folder + "free_hugepages") + 100) * page_bytes;
    large.block_bytes = 0;
    const SegmentName name;
    const Status refused = Segment::create(name, large).status();
    EXPECT_EQ(refused.code(), StatusCode::no_space);
    EXPECT_NE(refused.message().find("nr_hugepages"), std::string::npos);
    EXPECT_TRUE(files().empty());
    EXPECT_FALSE(named(name));
    large.huge_pages = HugePages::attempt;
    const Segment ordinary = Segment::create(name, large).value();
    EXPECT_EQ(ordinary.stats().huge_page_bytes, 0U);
    EXPECT_TRUE(files().empty());
}

TEST_F(HugePagesTest, AFolderOfAnotherFileSystemIsNone) {
    const SegmentName name;
    SegmentOptions elsewhere = options();
    elsewhere.huge_page_mount = "/tmp";
    EXPECT_EQ(Segment::create(name, elsewhere).status().code(), StatusCode::invalid_argument);
    EXPECT_FALSE(named(name));
    elsewhere.huge_pages = HugePages::attempt;
    EXPECT_EQ(Segment::create(name, elsewhere).value().stats().huge_page_bytes, 0U);
}

TEST_F(HugePagesTest, AMountIsFoundByItself) {
    const HugePageMount found = find_huge_page_mount("").value();
    EXPECT_LE(found.page_bytes, page_bytes);
    struct stat info {};
    EXPECT_EQ(stat(found.path.c_str(), &info), 0);
}

enum class DiedWithPages { noted, made, noted_again, formatted };

TEST_F(HugePagesTest, WhatAMakerLeftHalfWayIsClearedAway) {
    for (const DiedWithPages where :
         {DiedWithPages::noted, DiedWithPages::made, DiedWithPages::noted_again, DiedWithPages::formatted}) {
        for (const bool replace : {true, false}) {
            const SegmentName name;
            ChildProcess maker([&] {
                const LockFile lock = LockFile::open_or_create(name, {0600}).value();
                HugePageNote note = plan_huge_page_file(name, mount_here()).value();
                write_note(name, note, 0);
                if (where == DiedWithPages::noted) return 0;
                if (!create_huge_page_file(note, page_bytes, {0600}).ok()) return 1;
                if (where == DiedWithPages::made) return 0;
                write_note(name, note, 0);
                if (where == DiedWithPages::noted_again) return 0;
                SegmentOptions page = tiny_segment();
                page.size_bytes = page_bytes;
                const SharedMemory memory = SharedMemory::open(name, true).value();
                format_segment(memory.bytes().data(), plan_geometry(page, Fit::fewer_process_slots).value(),
                               lock.inode());
                return 0;
            });
            ASSERT_EQ(maker.wait(), 0);
            EXPECT_EQ(files().size(), where == DiedWithPages::noted ? 0U : 1U);
            EXPECT_EQ(Segment::open(name).status().code(), StatusCode::busy);
            if (replace) {
                Segment segment = Segment::open_or_create(name, options()).value();
                EXPECT_TRUE(segment.put(oracle_entry(1, 1, 50)).ok());
                EXPECT_EQ(segment.stats().huge_page_bytes, page_bytes);
                EXPECT_EQ(files().size(), 1U);
            }
            EXPECT_TRUE(Segment::remove(name).ok());
            EXPECT_TRUE(files().empty()) << static_cast<int>(where);
            EXPECT_FALSE(named(name));
        }
    }
}

// A remover that died between the file and its note.
TEST_F(HugePagesTest, ANoteWithoutItsFileIsReplaced) {
    const SegmentName name;
    { ASSERT_TRUE(Segment::create(name, options()).ok()); }
    ASSERT_EQ(unlink(files()[0].c_str()), 0);
    EXPECT_EQ(Segment::open(name).status().code(), StatusCode::busy);
    EXPECT_TRUE(Segment::open_or_create(name, options()).ok());
    EXPECT_EQ(files().size(), 1U);
}

// Who may write to the mount may put something else there.
TEST_F(HugePagesTest, AnotherFileInItsPlaceIsNotBelieved) {
    const SegmentName name;
    const SegmentName other;
    { ASSERT_TRUE(Segment::create(name, options()).ok()); }
    { ASSERT_TRUE(Segment::create(other, options()).ok()); }
    // A segment, and of the same owner.
    const std::string path = note_of(name).path;
    ASSERT_EQ(rename(note_of(other).path, path.c_str()), 0);
    EXPECT_EQ(Segment::open(name).status().code(), StatusCode::busy);
    // Neither is it ours to remove.
    EXPECT_TRUE(Segment::remove(name).ok());
    EXPECT_EQ(files(), std::vector<std::string>{path});
    EXPECT_FALSE(named(name));
}

TEST_F(HugePagesTest, AFileOfAnotherUserIsNotBelieved) {
    const SegmentName name;
    { ASSERT_TRUE(Segment::create(name, options()).ok()); }
    ASSERT_EQ(chown(files()[0].c_str(), 54321, 54321), 0);
    EXPECT_EQ(Segment::open(name).status().code(), StatusCode::busy);
}

// Root removes a segment whose note a stranger wrote: never a file that is not that stranger's, or no file of
// such a segment.
TEST_F(HugePagesTest, AStrangersNoteRemovesNothingOfOthers) {
    constexpr uid_t stranger = 54321;
    const SegmentName name;
    const SegmentName victim;
    const Segment segment = Segment::create(victim, options()).value();
    const std::string own = folder_ + name.text() + ".own";
    const std::string others = folder_ + "/others";
    const std::string of_root = folder_ + name.text() + ".of_root";
    const std::string ordinary = "/tmp" + name.text() + ".file";
    for (const std::string& path : {own, others, of_root}) {
        const Descriptor file(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600));
        const uid_t owner = path == of_root ? 0 : stranger;
        ASSERT_EQ(fchown(file.get(), owner, owner), 0);
    }
    const Descriptor plain(open(ordinary.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600));
    ASSERT_EQ(fchown(plain.get(), stranger, stranger), 0);
    for (const std::string& path : {note_of(victim).path + std::string(), others, of_root, ordinary, own}) {
        HugePageNote note = plan_huge_page_file(name, mount_here()).value();
        ASSERT_LT(path.size(), sizeof(note.path));
        std::fill(std::begin(note.path), std::end(note.path), '\0');
        path.copy(note.path, path.size());
        (void)LockFile::open_or_create(name, {0600}).value();
        ASSERT_EQ(chown(("/dev/shm" + name.text() + ".lock").c_str(), stranger, stranger), 0);
        write_note(name, note, stranger);
        EXPECT_TRUE(Segment::remove(name).ok()) << path;
        EXPECT_EQ(std::filesystem::exists(path), path != own) << path;
    }
    EXPECT_TRUE(segment.still_current());
    unlink(ordinary.c_str());
}

TEST_F(HugePagesTest, WhereItsMountIsNotItSaysSo) {
    const SegmentName name;
    { ASSERT_TRUE(Segment::create(name, options()).ok()); }
    unmount();
    const Status status = Segment::open_or_create(name, options(HugePages::off)).status();
    EXPECT_EQ(status.code(), StatusCode::corrupt);
    EXPECT_NE(status.message().find(folder_), std::string::npos);
    ASSERT_EQ(mount("none", folder_.c_str(), "hugetlbfs", 0, "pagesize=2M"), 0);
    mounted_ = true;
}

// ---- another size --------------------------------------------------------------------------------

class HugePagesResizeTest : public HugePagesTest {
 public:
    static constexpr std::uint64_t items = 50;

    void SetUp() override {
        HugePagesTest::SetUp();
        if (IsSkipped() || HasFatalFailure()) return;
        SegmentOptions any_size = options();
        any_size.block_bytes = 0;
        segment_.emplace(Segment::create(name_, any_size).value());
        for (std::uint64_t i = 0; i < items; ++i) ASSERT_TRUE(segment_->put(oracle_entry(i, 1, 50)).ok());
    }
    void TearDown() override {
        segment_.reset();
        (void)Segment::remove(name_);
        HugePagesTest::TearDown();
    }
    [[nodiscard]] bool has_all(Segment& segment) const {
        for (std::uint64_t i = 0; i < items; ++i) {
            if (!look_up(segment, i).hit) return false;
        }
        return true;
    }
    [[nodiscard]] std::size_t objects() const {
        std::size_t count = SharedMemory::list(name_.text() + ".")->size();
        return std::filesystem::exists("/dev/shm" + name_.text()) ? count + 1 : count;
    }
    // Of this process, of files that are gone.
    [[nodiscard]] bool maps_what_is_gone() const {
        std::ifstream maps("/proc/self/maps");
        for (std::string line; std::getline(maps, line);) {
            if (line.find(folder_) != std::string::npos && line.ends_with("(deleted)")) return true;
        }
        return false;
    }

    // The old note and its file, which a resizer that dies does not remove.
    struct Kept {
        std::string note;
        std::string path;
    };
    [[nodiscard]] Kept keep() const {
        Kept kept{"/dev/shm" + name_.text(), note_of(name_).path};
        EXPECT_EQ(link(kept.note.c_str(), (kept.note + "-kept").c_str()), 0);
        EXPECT_EQ(link(kept.path.c_str(), (kept.path + "-kept").c_str()), 0);
        return kept;
    }
    static void put_back(const Kept& kept, const std::string& note) {
        EXPECT_EQ(rename((kept.path + "-kept").c_str(), kept.path.c_str()), 0);
        EXPECT_EQ(rename((kept.note + "-kept").c_str(), note.c_str()), 0);
    }

    SegmentName name_;
    std::optional<Segment> segment_;
};

TEST_F(HugePagesResizeTest, WhatTakesItsPlaceLiesInHugePagesToo) {
    Signal opened;
    Signal resized;
    ChildProcess other([&] {
        Segment segment = Segment::open(name_).value();
        opened.send();
        resized.wait();
        return has_all(segment) && segment.stats().huge_page_bytes == page_bytes ? 0 : 1;
    });
    opened.wait();
    for (const std::size_t pages : {3U, 1U}) {
        const std::string before = files().at(0);
        ASSERT_TRUE(Segment::resize(name_, pages * page_bytes - 1000).ok());
        EXPECT_TRUE(has_all(*segment_));
        EXPECT_EQ(segment_->stats().huge_page_bytes, page_bytes);
        EXPECT_EQ(segment_->stats().size_bytes, pages * page_bytes);
        EXPECT_TRUE(segment_->still_current());
        // The old one's file is gone, and its pages are nobody's.
        ASSERT_EQ(files().size(), 1U);
        EXPECT_NE(files()[0], before);
        EXPECT_FALSE(maps_what_is_gone());
        EXPECT_EQ(objects(), 2U);
    }
    resized.send();
    EXPECT_EQ(other.wait(), 0);
    ASSERT_TRUE(Segment::remove(name_).ok());
    EXPECT_TRUE(files().empty());
    EXPECT_EQ(objects(), 0U);
}

TEST_F(HugePagesResizeTest, TooFewPagesAreAnErrorOrOrdinaryPages) {
    const std::size_t bytes = (read_number(pages_folder + "free_hugepages") + 50) * page_bytes;
    const std::vector<std::string> before = files();
    const Status refused = Segment::resize(name_, bytes, nullptr, nullptr, HugePages::on).status();
    EXPECT_EQ(refused.code(), StatusCode::no_space);
    EXPECT_NE(refused.message().find("nr_hugepages"), std::string::npos);
    EXPECT_EQ(files(), before);
    EXPECT_EQ(objects(), 2U);
    EXPECT_EQ(segment_->stats().huge_page_bytes, page_bytes);
    ASSERT_TRUE(Segment::resize(name_, bytes).ok());
    EXPECT_TRUE(has_all(*segment_));
    EXPECT_EQ(segment_->stats().huge_page_bytes, 0U);
    EXPECT_EQ(segment_->stats().size_bytes, bytes);
    EXPECT_TRUE(files().empty());
    EXPECT_EQ(objects(), 2U);
    // From there it does not come back by itself.
    ASSERT_TRUE(Segment::resize(name_, page_bytes).ok());
    EXPECT_EQ(segment_->stats().huge_page_bytes, 0U);
}

TEST_F(HugePagesResizeTest, WhatAKilledResizerMadeIsClearedAway) {
    ChildProcess killed([&] {
        (void)Segment::resize(name_, 2 * page_bytes, [](void*, const auto&) { return raise(SIGKILL) == 0; });
        return 0;
    });
    EXPECT_EQ(killed.wait(), 128 + SIGKILL);
    EXPECT_EQ(files().size(), 2U);
    EXPECT_EQ(objects(), 3U);
    EXPECT_TRUE(has_all(*segment_));
    ASSERT_TRUE(Segment::resize(name_, 2 * page_bytes).ok());
    EXPECT_EQ(files().size(), 1U);
    EXPECT_EQ(objects(), 2U);
    EXPECT_TRUE(has_all(*segment_));
}

// Before the new one's file was noted, or was there at all.
TEST_F(HugePagesResizeTest, WhatAResizerLeftHalfMadeIsClearedAway) {
    for (const DiedWithPages where :
         {DiedWithPages::noted, DiedWithPages::made, DiedWithPages::noted_again}) {
        const std::string successor = name_.text() + ".0123456789abcdef";
        HugePageNote note = plan_huge_page_file(successor, mount_here()).value();
        write_note(successor, note, 0);
        if (where != DiedWithPages::noted) {
            ASSERT_TRUE(create_huge_page_file(note, page_bytes, {0600}).ok());
        }
        if (where == DiedWithPages::noted_again) write_note(successor, note, 0);
        ASSERT_TRUE(Segment::resize(name_, 2 * page_bytes).ok());
        EXPECT_EQ(files().size(), 1U) << static_cast<int>(where);
        EXPECT_EQ(objects(), 2U);
        EXPECT_TRUE(has_all(*segment_));
    }
}

// It died when the new one had the name, and the old one was not removed yet.
TEST_F(HugePagesResizeTest, AnOldOneThatWasNotRemovedIsClearedAway) {
    const Kept kept = keep();
    ASSERT_TRUE(Segment::resize(name_, 2 * page_bytes).ok());
    put_back(kept, kept.note + ".0123456789abcdef");
    EXPECT_EQ(files().size(), 2U);
    EXPECT_EQ(objects(), 3U);
    EXPECT_TRUE(has_all(*segment_));
    ASSERT_TRUE(Segment::resize(name_, page_bytes).ok());
    EXPECT_EQ(files().size(), 1U);
    EXPECT_EQ(objects(), 2U);
    EXPECT_TRUE(has_all(*segment_));
}

// It died after the old one was closed, and before the new one had the name.
TEST_F(HugePagesResizeTest, WhoOpensAHalfResizedOneFinishesIt) {
    const auto closed = SharedMemory::open(name_, true).value();
    const Kept kept = keep();
    ASSERT_TRUE(Segment::resize(name_, 2 * page_bytes).ok());
    char mark[32];
    std::snprintf(mark, sizeof(mark), ".%016lx",
                  reinterpret_cast<SegmentHeader*>(closed.bytes().data())->successor.load());
    ASSERT_EQ(rename(kept.note.c_str(), (kept.note + mark).c_str()), 0);
    put_back(kept, kept.note);
    ASSERT_EQ(files().size(), 2U);
    EXPECT_EQ(Segment::inspect(name_)->size_bytes, 2 * page_bytes);
    Segment later = Segment::open(name_).value();
    EXPECT_EQ(later.stats().size_bytes, 2 * page_bytes);
    EXPECT_TRUE(has_all(later) && has_all(*segment_));
    EXPECT_EQ(files().size(), 1U);
    EXPECT_EQ(objects(), 2U);
    EXPECT_TRUE(later.still_current() && segment_->still_current());
}

// As MakingAndRemovingRace of segment_file_test.cpp.
TEST_F(HugePagesTest, MakingAndRemovingRace) {
    const SegmentName name;
    std::vector<ChildProcess> children;
    for (std::uint64_t c = 0; c < 3; ++c) {
        children.emplace_back([&, c] {
            std::mt19937_64 random(c);
            for (int i = 0; i < 50; ++i) {
                if (random() % 3 == 0) {
                    const Status removed = Segment::remove(name);
                    if (!removed.ok() && removed.code() != StatusCode::not_found) return 1;
                    continue;
                }
                Result<Segment> segment = Segment::open_or_create(name, options());
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
    (void)Segment::remove(name);
    EXPECT_TRUE(files().empty());
}

}  // namespace
}  // namespace tiercache
