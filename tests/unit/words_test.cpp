// Copies into and out of shared memory: every length at every place within a word, and not one byte beside.
#include "shm_cache/words.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdint>
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

// Pages between two that nobody may touch: what reads or writes one byte too many dies.
class GuardedPages {
 public:
    static constexpr std::size_t page = 4096;
    static constexpr std::size_t size = 2 * page;

    GuardedPages() : base_(::mmap(nullptr, size + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
        EXPECT_NE(base_, MAP_FAILED);
        EXPECT_EQ(::mprotect(begin(), size, PROT_READ | PROT_WRITE), 0);
    }
    ~GuardedPages() { ::munmap(base_, size + 2 * page); }
    GuardedPages(const GuardedPages&) = delete;
    GuardedPages& operator=(const GuardedPages&) = delete;

    [[nodiscard]] std::byte* begin() const { return static_cast<std::byte*>(base_) + page; }
    [[nodiscard]] std::byte* end() const { return begin() + size; }
    // The place of `bytes` bytes at the first of them, or at the last.
    [[nodiscard]] std::byte* place(std::size_t bytes, bool last) const {
        return last ? end() - bytes : begin();
    }

 private:
    void* base_;
};

const Word* words_at(const std::byte* at) {
    return reinterpret_cast<const Word*>(at - reinterpret_cast<std::uintptr_t>(at) % word_bytes);
}
std::size_t within_word(const std::byte* at) { return reinterpret_cast<std::uintptr_t>(at) % word_bytes; }

TEST(WordsAtPageEnds, CopiesTouchNoByteBeside) {
    const GuardedPages shared;
    const GuardedPages mine;
    for (std::size_t i = 0; i < GuardedPages::size; ++i)
        shared.begin()[i] = static_cast<std::byte>(i * 131 + i / 251);
    const auto is_untouched = [](std::byte b) { return b == untouched; };
    for (std::size_t size = 0; size < 2600; ++size) {
        for (const bool last : {false, true}) {
            const std::byte* from = shared.place(size, last);
            std::byte* to = mine.place(size, last);
            std::fill(mine.begin(), mine.end(), untouched);
            read_bytes(words_at(from), within_word(from), to, size);
            ASSERT_TRUE(std::equal(to, to + size, from)) << size;
            ASSERT_TRUE(std::all_of(mine.begin(), to, is_untouched)) << size;
            ASSERT_TRUE(std::all_of(to + size, mine.end(), is_untouched)) << size;
        }
    }
}

TEST(WordsAtPageEnds, EqualityReadsNoByteBeside) {
    const GuardedPages shared;
    const GuardedPages mine;
    for (std::size_t size = 0; size <= 300; ++size) {
        for (const bool last : {false, true}) {
            const std::size_t whole_words = (size + word_bytes - 1) / word_bytes * word_bytes;
            const std::byte* theirs = shared.place(whole_words, last);
            std::byte* own = mine.place(size, last);
            std::copy_n(theirs, size, own);
            ASSERT_TRUE(equals_words(words_at(theirs), {own, size})) << size;
            for (std::size_t bit = 0; bit < size * 8; ++bit) {
                own[bit / 8] ^= std::byte{1} << bit % 8;
                ASSERT_FALSE(equals_words(words_at(theirs), {own, size})) << size << " " << bit;
                own[bit / 8] ^= std::byte{1} << bit % 8;
            }
        }
    }
}

}  // namespace
}  // namespace tiercache
