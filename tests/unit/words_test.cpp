// Copies into and out of shared memory: every length at every place within a word, and not one byte beside.
#include "shm_cache/words.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

namespace tiercache {
namespace {

constexpr std::size_t shared_words = 400;
constexpr std::byte untouched{0xee};

class WordsTest : public ::testing::Test {
 public:
    WordsTest() {
        for (std::size_t i = 0; i < shared_words * word_bytes; ++i) bytes()[i] = pattern(i);
    }
    static std::byte pattern(std::size_t i) { return static_cast<std::byte>(i * 7 + i / 256); }
    std::byte* bytes() { return reinterpret_cast<std::byte*>(shared_.data()); }

    using Read = void (*)(const Word*, std::size_t, std::byte*, std::size_t) noexcept;
    void check_read(Read read) {
        for (std::size_t skip = 0; skip < 20; ++skip) {
            for (std::size_t size = 0; size < 2500; size += 1 + size / 150) {
                std::vector<std::byte> to(size + 2, untouched);
                read(shared_.data(), skip, to.data() + 1, size);
                ASSERT_EQ(to.front(), untouched);
                ASSERT_EQ(to.back(), untouched);
                for (std::size_t i = 0; i < size; ++i)
                    ASSERT_EQ(to[i + 1], pattern(skip + i)) << skip << size;
            }
        }
    }
    using Write = void (*)(std::span<const std::byte>, Word*, std::size_t) noexcept;
    void check_write(Write write) {
        for (std::size_t skip = 0; skip < 20; ++skip) {
            for (std::size_t size = 0; size < 2500; size += 1 + size / 150) {
                std::fill_n(bytes(), shared_words * word_bytes, untouched);
                std::vector<std::byte> from(size);
                for (std::size_t i = 0; i < size; ++i) from[i] = pattern(i);
                write(from, shared_.data(), skip);
                ASSERT_TRUE(std::equal(from.begin(), from.end(), bytes() + skip));
                ASSERT_EQ(std::count(bytes(), bytes() + skip, untouched), static_cast<long>(skip));
                ASSERT_TRUE(std::all_of(bytes() + skip + size, bytes() + shared_words * word_bytes,
                                        [](std::byte b) { return b == untouched; }));
            }
        }
    }

    std::array<Word, shared_words> shared_{};
};

TEST_F(WordsTest, BytesAreReadWhole) {
    check_read(read_bytes);
    check_read(read_by_words);
}

TEST_F(WordsTest, BytesAreWrittenWhole) {
    check_write(write_bytes);
    check_write(write_by_words);
}

TEST_F(WordsTest, EqualityIsOfAllBytesAndOfNoOther) {
    for (std::size_t size = 0; size < 70; ++size) {
        std::vector<std::byte> mine(bytes(), bytes() + size);
        ASSERT_TRUE(equals_words(shared_.data(), mine));
        for (std::size_t i = 0; i < size; ++i) {
            mine[i] ^= std::byte{0x80};
            ASSERT_FALSE(equals_words(shared_.data(), mine)) << size << " " << i;
            mine[i] ^= std::byte{0x80};
        }
        bytes()[size] ^= std::byte{1};
        ASSERT_TRUE(equals_words(shared_.data(), mine)) << size;
        bytes()[size] ^= std::byte{1};
    }
}

}  // namespace
}  // namespace tiercache
