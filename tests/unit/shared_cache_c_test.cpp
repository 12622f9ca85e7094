// The C ABI: views, options, and stamps over a resize.
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <tiercache/shared_cache.h>
#include <unistd.h>

#include <cstddef>
#include <functional>
#include <string_view>
#include <vector>

#include "tests/unit/child_process.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

class SharedCacheCTest : public ::testing::Test {
 public:
    SharedCacheCTest() {
        EXPECT_EQ(tc_shared_open_or_create(name_.text().c_str(), 1 << 20, &cache_), nullptr);
        EXPECT_EQ(tc_shared_put(cache_, "key", 3, "value", 5, nullptr), nullptr);
    }
    ~SharedCacheCTest() override { tc_shared_close(cache_); }
    SharedCacheCTest(const SharedCacheCTest&) = delete;
    SharedCacheCTest& operator=(const SharedCacheCTest&) = delete;

    static std::string_view text(const tc_view& view) {
        return {static_cast<const char*>(view.data), view.size};
    }

    test::SegmentName name_;
    tc_shared_cache* cache_ = nullptr;
};

TEST_F(SharedCacheCTest, AViewHoldsUntilItIsReleased) {
    tc_view view = TC_VIEW_INIT;
    tc_hit hit;
    EXPECT_EQ(tc_view_held(&view), 0);
    ASSERT_EQ(tc_shared_get_view(cache_, "key", 3, &view, &hit), TC_OK);
    EXPECT_EQ(hit.size, 5U);
    EXPECT_EQ(tc_view_held(&view), 1);
    EXPECT_EQ(text(view), "value");
    EXPECT_EQ(tc_shared_erase(cache_, "key", 3), 1);
    EXPECT_EQ(text(view), "value");
    test::ChildProcess child([&] {
        if (tc_view_held(&view) != 0) return 1;
        tc_view_release(&view);
        return 0;
    });
    EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(tc_view_held(&view), 1);
    EXPECT_EQ(tc_shared_get_view(cache_, "key", 3, &view, &hit), TC_NOT_FOUND);
    EXPECT_EQ(tc_view_held(&view), 0);
    EXPECT_EQ(view.data, nullptr);
    tc_view_release(&view);
    tc_view_release(nullptr);
    EXPECT_EQ(tc_view_held(nullptr), 0);
    EXPECT_EQ(tc_shared_get_view(cache_, "key", 3, nullptr, nullptr), TC_INVALID_ARGUMENT);
    EXPECT_EQ(tc_shared_get_view(nullptr, "key", 3, &view, nullptr), TC_INVALID_ARGUMENT);
}

// The empty key is one like any other, and not what a NULL means.
TEST_F(SharedCacheCTest, ANullInPlaceOfAKeyIsAnErrorAndTouchesNothing) {
    ASSERT_EQ(tc_shared_put(cache_, nullptr, 0, "value", 5, nullptr), nullptr);
    EXPECT_EQ(tc_shared_erase(cache_, nullptr, 5), -1);
    EXPECT_EQ(tc_shared_erase(nullptr, "key", 3), -1);
    const auto code = [](tc_status* status) {
        const tc_code result = tc_status_code(status);
        tc_status_free(status);
        return result;
    };
    EXPECT_EQ(code(tc_shared_put(cache_, nullptr, 5, "other", 5, nullptr)), TC_INVALID_ARGUMENT);
    EXPECT_EQ(code(tc_shared_put(cache_, "", 0, nullptr, 5, nullptr)), TC_INVALID_ARGUMENT);
    const tc_loader loader = [](void*, tc_value* value, tc_put_options*) -> tc_code {
        return tc_value_set(value, "other", 5) != 0 ? TC_OK : TC_NO_SPACE;
    };
    tc_value* value = nullptr;
    EXPECT_EQ(code(tc_shared_get_or_load(cache_, nullptr, 5, nullptr, loader, nullptr, &value, nullptr)),
              TC_INVALID_ARGUMENT);
    EXPECT_EQ(tc_shared_get_value(cache_, nullptr, 5, &value, nullptr), TC_INVALID_ARGUMENT);
    char buffer[5];
    EXPECT_EQ(tc_shared_get(cache_, nullptr, 5, buffer, sizeof(buffer), nullptr), TC_INVALID_ARGUMENT);
    tc_view view = TC_VIEW_INIT;
    EXPECT_EQ(tc_shared_get_view(cache_, nullptr, 5, &view, nullptr), TC_INVALID_ARGUMENT);
    ASSERT_EQ(tc_shared_get(cache_, nullptr, 0, buffer, sizeof(buffer), nullptr), TC_OK);
    EXPECT_EQ(std::string_view(buffer, sizeof(buffer)), "value");
    EXPECT_EQ(tc_shared_erase(cache_, nullptr, 0), 1);
    tc_value_free(value);
}

// Stamps are numbers alone here, without an epoch.
TEST_F(SharedCacheCTest, AStampFromBeforeAResizeIsWorthNothingAfter) {
    const char* tags[] = {"x"};
    tc_put_options options = TC_PUT_OPTIONS_INIT;
    options.tags = tags;
    options.tag_count = 1;
    options.stamp = tc_shared_stamp(cache_);
    ASSERT_NE(options.stamp, 0U);
    ASSERT_EQ(tc_shared_put(cache_, "key", 3, "before", 6, &options), nullptr);
    EXPECT_EQ(tc_shared_invalidate(cache_, "x"), TC_OK);
    ASSERT_EQ(tc_shared_put(cache_, "key", 3, "older", 5, nullptr), nullptr);
    ASSERT_TRUE(Segment::resize(name_, std::size_t{8} << 20, nullptr, nullptr).ok());
    // What was computed before the invalidate().
    ASSERT_EQ(tc_shared_put(cache_, "key", 3, "old", 3, &options), nullptr);
    char buffer[10];
    EXPECT_EQ(tc_shared_get(cache_, "key", 3, buffer, sizeof(buffer), nullptr), TC_NOT_FOUND);
    options.stamp = tc_shared_stamp(cache_);
    ASSERT_EQ(tc_shared_put(cache_, "key", 3, "new", 3, &options), nullptr);
    EXPECT_EQ(tc_shared_get(cache_, "key", 3, buffer, sizeof(buffer), nullptr), TC_OK);
}

TEST_F(SharedCacheCTest, ASegmentIsMadeAsAsked) {
    const test::SegmentName name;
    const char* text = name.text().c_str();
    tc_shared_cache* cache = nullptr;
    const auto code = [&](const tc_segment_options* options) {
        tc_status* status = tc_shared_open_or_create_with(text, options, &cache);
        const tc_code result = status == nullptr ? TC_OK : tc_status_code(status);
        tc_status_free(status);
        return result;
    };
    tc_segment_options options = TC_SEGMENT_OPTIONS_INIT;
    options.huge_page_mount = "/proc";
    for (const int32_t wrong : {-1, 3}) {
        options.huge_pages = wrong;
        EXPECT_EQ(code(&options), TC_INVALID_ARGUMENT);
    }
    options.huge_pages = TC_HUGE_PAGES_ON;
    EXPECT_EQ(code(&options), TC_INVALID_ARGUMENT);
    EXPECT_EQ(code(nullptr), TC_INVALID_ARGUMENT);
    options.huge_pages = TC_HUGE_PAGES_TRY;
    options.struct_size = 8;
    EXPECT_EQ(code(&options), TC_INVALID_ARGUMENT);
    options.struct_size = sizeof(options);
    options.size = 3 << 20;
    options.mode = 0640;
    ASSERT_EQ(code(&options), TC_OK);
    const SegmentStats stats = Segment::inspect(name).value();
    EXPECT_EQ(stats.size_bytes, std::size_t{3} << 20);
    EXPECT_EQ(stats.huge_page_bytes, 0U);
    struct stat info {};
    ASSERT_EQ(stat(("/dev/shm" + name.text()).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777U, 0640U);
    tc_shared_close(cache);
}

// Programs that were compiled before there was `group` in it.
TEST_F(SharedCacheCTest, OptionsOfTheFirstVersionAreTaken) {
    const test::SegmentName name;
    tc_segment_options options = TC_SEGMENT_OPTIONS_INIT;
    options.struct_size = offsetof(tc_segment_options, group);
    options.size = 1 << 20;
    options.group = 12345;  // not there, as they see it
    tc_shared_cache* cache = nullptr;
    ASSERT_EQ(tc_shared_open_or_create_with(name.text().c_str(), &options, &cache), nullptr);
    struct stat info {};
    ASSERT_EQ(stat(("/dev/shm" + name.text()).c_str(), &info), 0);
    EXPECT_EQ(info.st_gid, getegid());
    tc_shared_close(cache);
}

TEST_F(SharedCacheCTest, AGroupSharesASegment) {
    if (geteuid() != 0) GTEST_SKIP() << "needs root, to be two users";
    constexpr gid_t group = 64321;
    const test::SegmentName name;
    const char* text = name.text().c_str();
    const auto as = [&](uid_t user, const std::function<tc_status*(tc_shared_cache**)>& open) {
        return test::ChildProcess([&] {
                   if (setgroups(1, &group) != 0 || setgid(user) != 0 || setuid(user) != 0) return 90;
                   tc_shared_cache* cache = nullptr;
                   tc_status* status = open(&cache);
                   const int code = status == nullptr ? TC_OK : tc_status_code(status);
                   tc_status_free(status);
                   tc_shared_close(cache);
                   return code;
               })
            .wait();
    };
    const auto make = [&](tc_shared_cache** cache) {
        tc_segment_options options = TC_SEGMENT_OPTIONS_INIT;
        options.size = 1 << 20;
        options.mode = 0660;
        options.group = group;
        return tc_shared_open_or_create_with(text, &options, cache);
    };
    EXPECT_EQ(as(54321, make), TC_OK);
    EXPECT_EQ(as(54322, make), TC_OK);
    EXPECT_EQ(as(54322, [&](auto** c) { return tc_shared_open_of_group(text, group, c); }), TC_OK);
    EXPECT_EQ(as(54322, [&](auto** c) { return tc_shared_open_of_group(text, TC_NO_GROUP, c); }),
              TC_PERMISSION_DENIED);
    EXPECT_EQ(as(54322, [&](auto** c) { return tc_shared_open(text, c); }), TC_PERMISSION_DENIED);
}

TEST_F(SharedCacheCTest, ViewsAreBounded) {
    tc_view view = TC_VIEW_INIT;
    std::vector<tc_view> views;
    tc_code code = TC_OK;
    while ((code = tc_shared_get_view(cache_, "key", 3, &view, nullptr)) == TC_OK) {
        views.push_back(view);
        view = TC_VIEW_INIT;
        ASSERT_LE(views.size(), 16U);
    }
    EXPECT_EQ(code, TC_BUSY);
    for (tc_view& held : views) tc_view_release(&held);
    EXPECT_EQ(tc_shared_get_view(cache_, "key", 3, &view, nullptr), TC_OK);
    tc_view_release(&view);
}

}  // namespace
}  // namespace tiercache
