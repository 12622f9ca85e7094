// The clock table's shared-memory object, and shared-memory objects in general.
#include "shm_cache/clock_file.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/unit/child_process.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;

TEST(ClockFile, ReadersSeeWhatTheAuthorityWrites) {
    const SegmentName name;
    EXPECT_EQ(ClockFile::open(name).status().code(), StatusCode::not_found);
    const ClockFile authority = ClockFile::create(name, 1024, 0644).value();
    const ClockFile reader = ClockFile::open(name).value();
    EXPECT_EQ(reader.table().slot_count(), 1024U);
    authority.table().restart(7, 70);
    EXPECT_EQ(reader.table().epoch(), 7U);
    EXPECT_EQ(reader.table().floor(), 70U);
    EXPECT_TRUE(reader.still_current());
    EXPECT_EQ(reader.name(), name.text());
}

TEST(ClockFile, AReadersMappingIsReadOnly) {
    const SegmentName name;
    const ClockFile authority = ClockFile::create(name, 64, 0644).value();
    ChildProcess child([&] {
        signal(SIGSEGV, SIG_DFL);  // expected: no sanitizer need report it
        const ClockFile reader = ClockFile::open(name).value();
        reader.table().begin_write(1);
        return 0;
    });
    EXPECT_EQ(child.wait(), 128 + SIGSEGV);
    EXPECT_EQ(authority.table().writers_of(1), 0U);
}

TEST(ClockFile, OneAuthorityAtATime) {
    const SegmentName name;
    auto authority = std::make_unique<ClockFile>(ClockFile::create(name, 64, 0644).value());
    EXPECT_EQ(ClockFile::create(name, 64, 0644).status().code(), StatusCode::busy);
    EXPECT_EQ(ClockFile::create(name, 128, 0644).status().code(), StatusCode::busy);
    EXPECT_TRUE(authority->still_current());
    authority.reset();
    EXPECT_TRUE(ClockFile::create(name, 64, 0644).ok());
}

TEST(ClockFile, TheNextAuthorityTakesOverTheSameObject) {
    const SegmentName name;
    ChildProcess first([&] {
        const ClockFile authority = ClockFile::create(name, 64, 0644).value();
        authority.table().restart(1, 10);
        authority.table().begin_write(3);
        authority.table().end_write(3, 55);
        kill(getpid(), SIGKILL);
        return 0;
    });
    ASSERT_EQ(first.wait(), 128 + SIGKILL);
    const ClockFile reader = ClockFile::open(name).value();
    const ClockFile second = ClockFile::create(name, 64, 0644).value();
    EXPECT_TRUE(reader.still_current());
    EXPECT_EQ(second.table().version_of(3), 55U);
    second.table().restart(2, 100);
    EXPECT_EQ(reader.table().epoch(), 2U);
}

TEST(ClockFile, AnotherSizeOrModeMakesAnotherObject) {
    const SegmentName name;
    { (void)ClockFile::create(name, 64, 0600).value(); }
    const ClockFile reader = ClockFile::open(name).value();
    const ClockFile larger = ClockFile::create(name, 128, 0644).value();
    EXPECT_FALSE(reader.still_current());
    EXPECT_EQ(ClockFile::open(name).value().table().slot_count(), 128U);
    struct stat info {};
    ASSERT_EQ(stat(("/dev/shm" + name.text()).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777U, 0644U);
}

TEST(ClockFile, WhatIsNoClockTableIsLeftAlone) {
    const SegmentName name;
    { (void)ClockFile::create(name, 64, 0600).value(); }
    SharedMemory::open(name, true).value().bytes()[0] = std::byte{0};
    EXPECT_EQ(ClockFile::open(name).status().code(), StatusCode::corrupt);
    EXPECT_EQ(ClockFile::create(name, 64, 0600).status().code(), StatusCode::corrupt);
    EXPECT_TRUE(SharedMemory::open(name, false).ok());
}

TEST(ClockFile, AnUnfinishedTableIsFinished) {
    const SegmentName name;
    { (void)SharedMemory::create(name, ClockTable::size_bytes(64), {0600}).value(); }
    EXPECT_EQ(ClockFile::open(name).status().code(), StatusCode::corrupt);
    EXPECT_TRUE(ClockFile::create(name, 64, 0600).ok());
    EXPECT_TRUE(ClockFile::open(name).ok());
}

TEST(ClockFile, OtherPermissionsDoNotMakeItAnotherObject) {
    const SegmentName name;
    { (void)ClockFile::create(name, 64, 0600).value(); }
    const ClockFile mapped = ClockFile::open(name).value();
    const ClockFile again = ClockFile::create(name, 64, 0644).value();
    EXPECT_TRUE(again.reused());
    EXPECT_TRUE(mapped.still_current());
}

TEST(ClockFile, AReplacedTableIsNoLongerVouchedFor) {
    const SegmentName name;
    { ClockFile::create(name, 64, 0600).value().table().renew_lease(UINT64_MAX); }
    const ClockFile mapped = ClockFile::open(name).value();
    EXPECT_FALSE(ClockFile::create(name, 128, 0600).value().reused());
    EXPECT_FALSE(mapped.still_current());
    EXPECT_EQ(mapped.table().valid_until_ns(), 0U);
}

TEST(ClockFile, NoFifoIsWaitedFor) {
    const SegmentName name;
    ASSERT_EQ(mkfifo(("/dev/shm" + name.text()).c_str(), 0600), 0);
    EXPECT_EQ(ClockFile::open(name).status().code(), StatusCode::invalid_argument);
    EXPECT_EQ(ClockFile::create(name, 64, 0600).status().code(), StatusCode::invalid_argument);
    EXPECT_TRUE(SharedMemory::remove(name).ok());
}

TEST(ClockFile, AnEmptyObjectIsReplaced) {
    const SegmentName name;
    const int fd = shm_open(name.text().c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
    ASSERT_GE(fd, 0);
    close(fd);
    EXPECT_EQ(ClockFile::open(name).status().code(), StatusCode::corrupt);
    EXPECT_TRUE(ClockFile::create(name, 64, 0600).ok());
}

TEST(ClockFile, BadSlotCountsMakeNothing) {
    const SegmentName name;
    EXPECT_EQ(ClockFile::create(name, 100, 0600).status().code(), StatusCode::invalid_argument);
    EXPECT_EQ(ClockFile::open(name).status().code(), StatusCode::not_found);
}

// ---- shared-memory objects -----------------------------------------------------------------------

TEST(SharedMemoryObject, NamesAreChecked) {
    for (const char* good : {"/a", "/tiercache.app-1_B"}) EXPECT_TRUE(SharedMemory::check_name(good).ok());
    EXPECT_TRUE(SharedMemory::check_name("/" + std::string(200, 'a')).ok());
    for (const char* bad : {"", "/", "a", "a/", "/a/b", "/a b", "/..%", "/\n"}) {
        EXPECT_EQ(SharedMemory::check_name(bad).code(), StatusCode::invalid_argument) << bad;
    }
    EXPECT_FALSE(SharedMemory::check_name("/" + std::string(201, 'a')).ok());
    EXPECT_FALSE(SharedMemory::check_name(std::string("/a\0b", 4)).ok());
}

TEST(SharedMemoryObject, CreateOpenRemove) {
    const SegmentName name;
    EXPECT_EQ(SharedMemory::open(name, true).status().code(), StatusCode::not_found);
    EXPECT_EQ(SharedMemory::remove(name).code(), StatusCode::not_found);
    const SharedMemory memory = SharedMemory::create(name, 10'000, {0640}).value();
    EXPECT_EQ(memory.bytes().size(), 10'000U);
    EXPECT_EQ(memory.access().mode, 0640U);
    EXPECT_EQ(memory.access().owner, geteuid());
    EXPECT_TRUE(std::ranges::all_of(memory.bytes(), [](std::byte b) { return b == std::byte{0}; }));
    EXPECT_EQ(SharedMemory::create(name, 10'000, {0600}).status().code(), StatusCode::already_exists);
    const SharedMemory again = SharedMemory::open(name, false).value();
    memory.bytes()[9'999] = std::byte{5};
    EXPECT_EQ(again.bytes()[9'999], std::byte{5});
    EXPECT_TRUE(SharedMemory::remove(name).ok());
    EXPECT_FALSE(again.still_named(name));
    const SharedMemory other = SharedMemory::create(name, 10'000, {0600}).value();
    EXPECT_FALSE(again.still_named(name));
    EXPECT_TRUE(other.still_named(name));
}

// More than there is: an error at once, and nothing left behind.
TEST(SharedMemoryObject, TooLargeAnObjectIsAnErrorAndNoObject) {
    const SegmentName name;
    EXPECT_FALSE(SharedMemory::create(name, std::size_t{1} << 60, {0600}).ok());
    EXPECT_EQ(SharedMemory::open(name, false).status().code(), StatusCode::not_found);
}

TEST(SharedMemoryObject, LocksExcludeAndEnd) {
    const SegmentName name;
    auto first = std::make_unique<SharedMemory>(SharedMemory::create(name, 4096, {0600}).value());
    SharedMemory second = SharedMemory::open(name, true).value();
    EXPECT_TRUE(first->lock_exclusive().ok());
    EXPECT_EQ(second.lock_exclusive().code(), StatusCode::busy);
    first.reset();
    EXPECT_TRUE(second.lock_exclusive().ok());
}

}  // namespace
}  // namespace tiercache
