// What the short way of get() to a plain value (segment_find_plain.hpp) has to look at, each where nothing
// else would notice that it did not.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <string>

#include "shm_cache/item.hpp"
#include "shm_cache/layout.hpp"
#include "shm_cache/shared_cache.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;
using namespace std::chrono_literals;

class SharedCachePlainTest : public ::testing::Test {
 public:
    SharedCachePlainTest() : cache_(Segment::format(memory_.span(), {.size_bytes = bytes}).value()) {
        std::uint64_t lock_file = 0;
        geometry_ = read_geometry(memory_.span().data(), bytes, lock_file).value();
    }

    // Where the key lies in its item.
    std::span<std::byte> key_in_memory(const std::string& key) {
        const auto wanted = std::as_bytes(std::span(key));
        const std::span<std::byte> data = memory_.span().subspan(geometry_.blocks_at);
        const auto at = std::search(data.begin(), data.end(), wanted.begin(), wanted.end());
        EXPECT_NE(at, data.end());
        return data.subspan(static_cast<std::size_t>(at - data.begin()), key.size());
    }
    // Of the block that lies there.
    std::atomic<std::uint64_t>& state_at(std::uint64_t offset) {
        const std::uint64_t block = (offset - geometry_.blocks_at) / geometry_.block_bytes;
        return *reinterpret_cast<std::atomic<std::uint64_t>*>(
            memory_.span().data() + geometry_.block_states_at + block * sizeof(std::uint64_t));
    }
    bool finds(const std::string& key) {
        std::string value;
        return cache_.get(key, value) && value == "value";
    }

    static constexpr std::size_t bytes = std::size_t{1} << 20;
    OwnMemory memory_{bytes};
    SharedCache cache_;
    Geometry geometry_;
};

// Two keys of one hash are as rare as anything; a bit of the key in the item is the next best.
TEST_F(SharedCachePlainTest, EveryBitOfTheKeyIsCompared) {
    for (const std::size_t length : {8U, 15U, 16U, 17U, 31U, 32U, 40U}) {
        const std::string key = std::string("!a key that is like no other in this memory").substr(0, length);
        ASSERT_TRUE(cache_.put(key, "value", {.ttl = 1h}).ok());
        ASSERT_TRUE(finds(key));
        for (std::byte& byte : key_in_memory(key)) {
            for (int bit = 0; bit < 8; ++bit) {
                byte ^= std::byte(1 << bit);
                EXPECT_FALSE(finds(key)) << length;
                byte ^= std::byte(1 << bit);
            }
        }
        EXPECT_TRUE(finds(key));
        ASSERT_TRUE(cache_.erase(key).ok());
        std::ranges::fill(key_in_memory(key), std::byte(0));
    }
}

// A length that leads out of the block, into the next one; the longest that does not is served.
TEST_F(SharedCachePlainTest, TheValueEndsInItsBlock) {
    const std::string key = "a key that is like no other in this memory";
    ASSERT_TRUE(cache_.put(key, "value", {.ttl = 1h}).ok());
    std::byte* const item = key_in_memory(key).data() - item_header_bytes;
    const auto in_block = static_cast<std::uint64_t>(item - memory_.span().data() - geometry_.blocks_at) %
                          geometry_.block_bytes;
    const std::uint64_t room = geometry_.block_bytes - in_block - item_header_bytes - key.size();
    auto& third = reinterpret_cast<std::atomic<std::uint64_t>*>(item)[2];
    const std::uint64_t others = third.load() & ~(std::uint64_t{item_stored_bytes_max} << 22);
    std::string value;
    third.store(others | room << 22);
    EXPECT_TRUE(cache_.get(key, value));
    EXPECT_EQ(value.size(), room);
    for (std::uint64_t over = 1; over <= 16; ++over) {
        third.store(others | (room + over) << 22);
        EXPECT_FALSE(cache_.get(key, value)) << over;
    }
}

// A block that was recycled, whatever lies in it still.
TEST_F(SharedCachePlainTest, TheBlocksGenerationIsLookedAt) {
    const std::string key = "a key that is like no other in this memory";
    ASSERT_TRUE(cache_.put(key, "value", {.ttl = 1h}).ok());
    const auto offset = static_cast<std::uint64_t>(key_in_memory(key).data() - memory_.span().data());
    std::atomic<std::uint64_t>& state = state_at(offset);
    const std::uint64_t before = state.load();
    ASSERT_TRUE(finds(key));
    // The next; and the one that has all bits that a slot keeps of it.
    for (const std::uint64_t lives : {std::uint64_t{2}, std::uint64_t{1} << 16, std::uint64_t{1} << 24}) {
        state.store(before + (lives << 32));
        EXPECT_FALSE(finds(key)) << lives;
        state.store(before);
        EXPECT_TRUE(finds(key)) << lives;
    }
}

// A page that the copy has still to come to is not there: meanwhile the block is recycled, and written to.
struct Recycler {
    std::byte* page = nullptr;
    std::atomic<std::uint64_t>* state = nullptr;
    int times = 0;
};
constinit Recycler recycler;
constexpr std::size_t ordinary_page_bytes = 4096;

void recycle(int /*signal*/) {
    ++recycler.times;
    (void)mprotect(recycler.page, ordinary_page_bytes, PROT_READ | PROT_WRITE);
    recycler.state->fetch_add(std::uint64_t{2} << 32);
    std::memset(recycler.page, 'b', ordinary_page_bytes);
}

TEST_F(SharedCachePlainTest, TheBlocksGenerationIsLookedAtAgainAfterTheCopy) {
    const std::string key = "a key that is like no other in this memory";
    ASSERT_TRUE(cache_.put(key, std::string(40'000, 'a'), {.ttl = 1h}).ok());
    std::byte* const at = key_in_memory(key).data();
    const std::uint64_t page =
        (reinterpret_cast<std::uintptr_t>(at) / ordinary_page_bytes + 3) * ordinary_page_bytes;
    recycler = {reinterpret_cast<std::byte*>(page),
                &state_at(static_cast<std::uint64_t>(at - memory_.span().data())), 0};
    ASSERT_EQ(mprotect(recycler.page, ordinary_page_bytes, PROT_NONE), 0);
    struct sigaction action {};
    struct sigaction before {};
    action.sa_handler = recycle;
    ASSERT_EQ(sigaction(SIGSEGV, &action, &before), 0);
    std::string value;
    EXPECT_FALSE(cache_.get(key, value));
    EXPECT_EQ(recycler.times, 1);
    ASSERT_EQ(sigaction(SIGSEGV, &before, nullptr), 0);
}

// Hits teach the sampler, too: without them each key was asked for once, and no memory would help.
TEST_F(SharedCachePlainTest, HitsAreSampled) {
    std::string value;
    for (int round = 0; round < 50; ++round) {
        for (int key = 0; key < 1000; ++key) {
            const std::string name = "key " + std::to_string(key);
            if (round % 10 == 0) {
                ASSERT_TRUE(cache_.put(name, "value", {.ttl = 1h}).ok());
            }
            ASSERT_TRUE(cache_.get(name, value));
        }
    }
    EXPECT_GT(cache_.stats().hit_ratio_fourfold, 0.9);
}

}  // namespace
}  // namespace tiercache
