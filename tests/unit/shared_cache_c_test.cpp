// The views of the C ABI.
#include <gtest/gtest.h>
#include <tiercache/shared_cache.h>

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
