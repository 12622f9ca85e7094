// A Cache without servers: what open() accepts and refuses, and what queries say then. And the C ABI.
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "shm_cache/clock_file.hpp"
#include "shm_cache/lock_file.hpp"
#include "shm_cache/segment.hpp"
#include "shm_cache/shared_memory.hpp"
#include "tests/unit/child_process.hpp"
#include "tiercache/cache.hpp"
#include "tiercache/tiercache.h"

namespace tiercache {
namespace {

using std::chrono::milliseconds;

std::string shm_name(const std::string& what) {
    return "/tiercache_unit_" + std::to_string(getpid()) + "_" + what;
}

// A shared-memory object that is gone at the end, with its lock file.
class Object {
 public:
    explicit Object(const std::string& what) : name(shm_name(what)) { (void)SharedMemory::remove(name); }
    Object(const Object&) = delete;
    Object& operator=(const Object&) = delete;
    Object(Object&&) = delete;
    Object& operator=(Object&&) = delete;
    ~Object() {
        (void)Segment::remove(name);
        (void)SharedMemory::remove(name);
        LockFile::remove(name);  // also where a test made nothing else
    }
    const std::string name;
};

Options unreachable() {
    Options options;
    options.l4.conninfo = "host=/nonexistent dbname=x";
    return options;
}

TEST(ClientCache, OpensWithoutADatabaseAndSaysSoAtEachQuery) {
    Result<Cache> cache = Cache::open(unreachable());
    ASSERT_TRUE(cache.ok()) << cache.status().message();
    EXPECT_EQ(cache->database_status().code(), StatusCode::unavailable);
    EXPECT_EQ(cache->clock_status().code(), StatusCode::unavailable);
    const Result<Answer> answer = cache->query("SELECT 1");
    EXPECT_EQ(answer.status().code(), StatusCode::unavailable);
    EXPECT_NE(answer.status().message().find("could not connect to PostgreSQL"), std::string::npos);
    EXPECT_EQ(answer.status().message().find('\n'), std::string::npos) << "one sentence on one line";
    EXPECT_EQ(cache->token().status().code(), StatusCode::unavailable);
    EXPECT_EQ(cache->stats()[Counter::l4_unavailable], 1U);
}

TEST(ClientCache, AServerThatNeverAnswersCostsTheDeadlineAndNoMore) {
    const std::string folder =
        (std::filesystem::temp_directory_path() / ("tc_mute_" + std::to_string(getpid()))).string();
    std::filesystem::create_directory(folder);
    const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    (folder + "/.s.PGSQL.5432").copy(address.sun_path, sizeof(address.sun_path) - 1);
    ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    ASSERT_EQ(listen(listener, 16), 0);

    Options options;
    options.l4.conninfo = "host=" + folder + " dbname=x";
    options.l4.connect_timeout = milliseconds(200);
    Result<Cache> cache = Cache::open(options);
    ASSERT_TRUE(cache.ok());
    EXPECT_EQ(cache->database_status().code(), StatusCode::timeout);
    const auto start = std::chrono::steady_clock::now();
    QueryOptions query;
    query.deadline = start + milliseconds(50);
    EXPECT_EQ(cache->query("SELECT 1", {}, query).status().code(), StatusCode::timeout);
    const auto took = std::chrono::steady_clock::now() - start;
    EXPECT_GE(took, milliseconds(50));
    EXPECT_LT(took, std::chrono::seconds(5));
    close(listener);
    std::filesystem::remove_all(folder);
}

TEST(ClientCache, RefusesAMissingSegmentUnlessItMayCreateOne) {
    const Object segment("seg");
    Options options = unreachable();
    options.l1.name = segment.name;
    options.l1.create = false;
    EXPECT_EQ(Cache::open(options).status().code(), StatusCode::not_found);
    options.l1.create = true;
    options.l1.size_bytes = std::size_t{1} << 20;
    EXPECT_TRUE(Cache::open(options).ok());
    EXPECT_TRUE(Segment::open(segment.name).ok());
    options.l1.create = false;
    EXPECT_TRUE(Cache::open(options).ok());
}

// Another process has taken every process slot.
TEST(ClientCache, OpensWhenAllProcessSlotsAreTaken) {
    const Object segment("full");
    SegmentOptions one_process;
    one_process.size_bytes = std::size_t{1} << 20;
    one_process.process_slots = 1;
    Result<Segment> first = Segment::create(segment.name, one_process);
    ASSERT_TRUE(first.ok());
    Options options = unreachable();
    options.l1.name = segment.name;
    for (const bool create : {false, true}) {
        options.l1.create = create;
        const Result<Cache> cache = Cache::open(options);
        EXPECT_TRUE(cache.ok()) << cache.status().message();
    }
}

// Whoever makes the segment may be stopped: queries do not wait for it.
TEST(ClientCache, AQueryDoesNotWaitForTheMakerOfASegment) {
    const Object segment("made");
    Options options = unreachable();
    options.l1.name = segment.name;
    options.l1.size_bytes = std::size_t{1} << 20;
    Result<Cache> cache = Cache::open(options);
    ASSERT_TRUE(cache.ok());
    ASSERT_TRUE(Segment::remove(segment.name).ok());
    Result<LockFile> maker = LockFile::open_or_create(segment.name, {0600});
    ASSERT_TRUE(maker.ok() && maker->lock_making().ok());
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(cache->query("SELECT 1").status().code(), StatusCode::unavailable);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(15));
    maker->unlock_making();
}

// What another of the group made is used by who says so, and what is made is for the group.
TEST(ClientCache, SharesItsSegmentWithAGroup) {
    if (geteuid() != 0) GTEST_SKIP() << "needs root, to be two users";
    constexpr gid_t group = 64321;
    const Object segment("group");
    Options options = unreachable();
    options.l1.name = segment.name;
    options.l1.size_bytes = std::size_t{1} << 20;
    const auto open_as = [&](uid_t user, const char* trusted) {
        return test::ChildProcess([&] {
                   if (setgroups(1, &group) != 0 || setgid(user) != 0 || setuid(user) != 0) return 90;
                   options.l1.group = trusted;
                   const Status status = Cache::open(options).status();
                   return status.code() == StatusCode::permission_denied ? 1 : status.ok() ? 0 : 2;
               })
            .wait();
    };
    EXPECT_EQ(open_as(54321, "64321"), 0);
    struct stat info {};
    ASSERT_EQ(stat(("/dev/shm" + segment.name).c_str(), &info), 0);
    EXPECT_EQ(info.st_gid, group);
    EXPECT_EQ(info.st_mode & 07777U, 0660U);
    EXPECT_EQ(open_as(54322, "64321"), 0);
    EXPECT_EQ(open_as(54322, ""), 1);
    options.l1.create = false;
    EXPECT_EQ(open_as(54322, "64321"), 0);
    EXPECT_EQ(open_as(54322, "64322"), 1);
}

TEST(ClientCache, MakesItsSegmentInHugePagesWhereItIsToldTo) {
    const Object segment("huge");
    Options options = unreachable();
    options.l1.name = segment.name;
    options.l1.size_bytes = std::size_t{1} << 20;
    options.l1.huge_page_mount = "/proc";
    options.l1.huge_pages = HugePages::on;
    const Status status = Cache::open(options).status();
    EXPECT_EQ(status.code(), StatusCode::invalid_argument);
    EXPECT_NE(status.message().find("\"/proc\" is no hugetlbfs"), std::string::npos);
    options.l1.huge_pages = HugePages::attempt;
    EXPECT_TRUE(Cache::open(options).ok());
    EXPECT_EQ(Segment::inspect(segment.name)->huge_page_bytes, 0U);
}

TEST(ClientCache, RefusesForeignBytesAsSegmentAndLeavesThem) {
    const Object object("foreign");
    Result<SharedMemory> memory = SharedMemory::create(object.name, 1 << 20, {0600});
    ASSERT_TRUE(memory.ok());
    std::memset(memory->bytes().data(), 0x5a, memory->bytes().size());
    Options options = unreachable();
    options.l1.name = object.name;
    const Status status = Cache::open(options).status();
    EXPECT_EQ(status.code(), StatusCode::corrupt) << status.message();
    EXPECT_FALSE(status.message().empty());
    for (const std::byte b : memory->bytes()) ASSERT_EQ(b, std::byte{0x5a}) << "left as it was";
}

TEST(ClientCache, RefusesAClockTableThatIsNotOne) {
    const Object object("clock");
    Options options = unreachable();
    options.clock_name = object.name;
    EXPECT_EQ(Cache::open(options).status().code(), StatusCode::not_found);
    Result<SharedMemory> memory = SharedMemory::create(object.name, 1 << 20, {0600});
    ASSERT_TRUE(memory.ok());
    const Status status = Cache::open(options).status();
    EXPECT_EQ(status.code(), StatusCode::corrupt);
    EXPECT_NE(status.message().find("not a tiercache clock table"), std::string::npos);
}

TEST(ClientCache, TakesAClockTableByName) {
    const Object object("clock");
    Result<ClockFile> clock = ClockFile::create(object.name, 64, 0600);
    ASSERT_TRUE(clock.ok());
    Options options = unreachable();
    options.clock_name = object.name;
    Result<Cache> cache = Cache::open(options);
    ASSERT_TRUE(cache.ok());
    EXPECT_TRUE(cache->clock_status().ok());
    options.clock_name = "none";
    cache = Cache::open(options);
    EXPECT_EQ(cache->clock_status().code(), StatusCode::unavailable);
}

TEST(ClientCache, RefusesWrongOptions) {
    Options options = unreachable();
    options.l1.name = "no slash";
    EXPECT_EQ(Cache::open(options).status().code(), StatusCode::invalid_argument);
    options = unreachable();
    options.l4.conninfo = "dbname";
    EXPECT_EQ(Cache::open(options).status().code(), StatusCode::invalid_argument);
}

TEST(ClientCache, CountersHaveNames) {
    for (std::size_t i = 0; i < CacheStats::counter_count; ++i) {
        EXPECT_FALSE(to_string(static_cast<Counter>(i)).empty()) << i;
    }
    EXPECT_EQ(to_string(Counter::l4_connects), "l4_connects");
    EXPECT_EQ(to_string(Counter::l2_malformed), "l2_malformed");
}

TEST(ClientCApi, SurvivesNullsAndSaysWhatIsWrong) {
    EXPECT_EQ(tc_status_code(nullptr), TC_OK);
    EXPECT_STREQ(tc_status_message(nullptr), "ok");
    tc_status_free(nullptr);
    tc_close(nullptr);
    tc_result_free(nullptr);
    tc_options_free(nullptr);

    const auto code_of = [](tc_status* status) {
        const tc_code code = tc_status_code(status);
        EXPECT_GT(std::strlen(tc_status_message(status)), 0U);
        tc_status_free(status);
        return code;
    };
    tc_cache* cache = nullptr;
    tc_options* options = nullptr;
    tc_result* result = nullptr;
    std::uint64_t token = 0;
    EXPECT_EQ(code_of(tc_open(nullptr, &cache)), TC_INVALID_ARGUMENT);
    EXPECT_EQ(code_of(tc_open("/nonexistent", &cache)), TC_NOT_FOUND);
    EXPECT_EQ(code_of(tc_open_with(nullptr, &cache)), TC_INVALID_ARGUMENT);
    EXPECT_EQ(code_of(tc_options_load("/nonexistent", &options)), TC_NOT_FOUND);
    EXPECT_EQ(code_of(tc_options_set(nullptr, "a", "b")), TC_INVALID_ARGUMENT);
    EXPECT_EQ(code_of(tc_query(nullptr, "SELECT 1", nullptr, 0, nullptr, &result)), TC_INVALID_ARGUMENT);
    EXPECT_EQ(code_of(tc_token(nullptr, &token)), TC_INVALID_ARGUMENT);
    EXPECT_EQ(code_of(tc_clock_status(nullptr)), TC_INVALID_ARGUMENT);
    EXPECT_EQ(tc_counter_value(nullptr, 0), 0U);
    EXPECT_EQ(tc_counter_name(tc_counter_count()), nullptr);
    EXPECT_EQ(tc_result_rows(nullptr), 0U);
    EXPECT_EQ(tc_result_columns(nullptr), 0U);
    EXPECT_EQ(tc_result_value(nullptr, 0, 0, nullptr), nullptr);
    EXPECT_EQ(tc_result_column_name(nullptr, 0), nullptr);
    EXPECT_EQ(tc_result_payload(nullptr, nullptr), nullptr);
}

TEST(ClientCApi, QueriesFailAsInCpp) {
    tc_options* options = tc_options_new();
    ASSERT_NE(options, nullptr);
    EXPECT_EQ(tc_options_set(options, "l4.conninfo", "host=/nonexistent"), nullptr);
    tc_status* status = tc_options_set(options, "l4.pool_size", "none");
    EXPECT_EQ(tc_status_code(status), TC_INVALID_ARGUMENT);
    tc_status_free(status);
    tc_cache* cache = nullptr;
    ASSERT_EQ(tc_open_with(options, &cache), nullptr);
    tc_options_free(options);
    tc_result* result = nullptr;
    status = tc_query(cache, "SELECT 1", nullptr, 0, nullptr, &result);
    EXPECT_EQ(tc_status_code(status), TC_UNAVAILABLE);
    tc_status_free(status);
    EXPECT_EQ(tc_result_rows(result), 0U);
    EXPECT_EQ(tc_result_tier(result), 0);
    EXPECT_EQ(tc_result_is_fresh(result), 0);
    tc_query_options wrong = TC_QUERY_OPTIONS_INIT;
    wrong.data_class = 4;
    status = tc_query(cache, "SELECT 1", nullptr, 0, &wrong, &result);
    EXPECT_EQ(tc_status_code(status), TC_INVALID_ARGUMENT);
    tc_status_free(status);
    wrong = tc_query_options{};
    status = tc_query(cache, "SELECT 1", nullptr, 0, &wrong, &result);
    EXPECT_EQ(tc_status_code(status), TC_INVALID_ARGUMENT) << "without TC_QUERY_OPTIONS_INIT";
    tc_status_free(status);
    tc_result_free(result);
    tc_close(cache);
}

}  // namespace
}  // namespace tiercache
