// The session key's cell: what is read is one whole key, whoever writes meanwhile.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "client/session_key_cell.hpp"

namespace tiercache {
namespace {

std::vector<std::byte> key_of(unsigned value, std::size_t size) {
    return std::vector<std::byte>(size, static_cast<std::byte>(value));
}

TEST(ClientSessionKey, IsTheLastOneStored) {
    SessionKeyCell cell;
    SessionKey key;
    EXPECT_FALSE(cell.read(key)) << "none yet";
    for (unsigned i = 0; i < 1000; ++i) {
        const std::vector<std::byte> stored = key_of(i, 1 + i % SessionKey::bytes_max);
        cell.store(stored);
        ASSERT_TRUE(cell.read(key));
        ASSERT_TRUE(std::ranges::equal(key.bytes(), stored)) << i;
    }
    cell.store(key_of(1, SessionKey::bytes_max + 1));
    EXPECT_FALSE(cell.read(key)) << "too long: none, and not the one before";
}

TEST(ClientSessionKey, IsNeverAMixture) {
    SessionKeyCell cell;
    cell.store(key_of(47, 48));
    std::atomic<bool> stop{false};
    std::array<std::thread, 2> writers;
    for (unsigned w = 0; w < writers.size(); ++w) {
        writers[w] = std::thread([&, w] {
            // The length tells the value.
            for (unsigned i = w; !stop; i += 2) cell.store(key_of(i % 64, 1 + i % 64));
        });
    }
    std::size_t reads = 0;
    std::size_t mixed = 0;
    // A writer that loses the processor in the middle of a store makes reads fail for as long.
    constexpr std::size_t enough = 200'000;
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (reads < enough && std::chrono::steady_clock::now() < give_up) {
        SessionKey key;
        if (!cell.read(key)) continue;
        ++reads;
        const auto value = static_cast<std::byte>(key.size - 1);
        mixed += std::ranges::all_of(key.bytes(), [value](std::byte b) { return b == value; }) ? 0U : 1U;
    }
    stop = true;
    for (std::thread& t : writers) t.join();
    EXPECT_EQ(mixed, 0U);
    EXPECT_EQ(reads, enough);
}

}  // namespace
}  // namespace tiercache
