// A segment that is to be resized, and what tests of that have in common.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>

#include "shm_cache/shared_cache.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache::test {

inline constexpr std::size_t tiny_bytes = std::size_t{1} << 20;
inline constexpr std::size_t small_bytes = std::size_t{4} << 20;
inline constexpr std::size_t large_bytes = std::size_t{12} << 20;

inline std::string key_name(int i) { return "key:" + std::to_string(i); }
inline std::string value_of(int i) { return std::string(200 + i % 100, static_cast<char>('a' + i % 26)); }

inline Result<Segment::ResizeProgress> resize(const std::string& name, std::size_t size_bytes) {
    return Segment::resize(name, size_bytes, nullptr, nullptr);
}

inline int count_of(SharedCache& cache, int count) {
    int there = 0;
    std::string value;
    for (int i = 0; i < count; ++i) there += cache.get(key_name(i), value) ? 1 : 0;
    return there;
}

inline int files_of(const std::string& name) {
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

// Reports are where a test can do something in the middle of the copying; the first one is before it.
struct Middle {
    std::function<void()> act;
    static bool report(void* context, const Segment::ResizeProgress& progress) {
        auto& middle = *static_cast<Middle*>(context);
        if (progress.items_seen > 0 && middle.act) std::exchange(middle.act, nullptr)();
        return true;
    }
};

}  // namespace tiercache::test
