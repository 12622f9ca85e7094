// Copies between shared memory that others may change at any moment and private memory, word by word.
//
// A racing copy must consist of atomic operations, or the race is undefined behaviour. What was copied may be
// a mixture; the reader proves afterwards, by the block's generation, that it was not (segment_read.cpp):
//
//   writer:  generation to odd ... release fence (before_write); relaxed stores
//   reader:  relaxed loads; acquire fence (after_read); generation once more
//
// If a load saw any byte of a later life of the block, the fences make the generation's change visible to the
// second look (C++20 [atomics.fences]; H.-J. Boehm, "Can seqlocks get along with programming language memory
// models?", MSPC 2012).
//
// ThreadSanitizer knows no fences: under it the loads acquire and the stores release instead.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace tiercache {

using Word = std::atomic<std::uint64_t>;
static_assert(sizeof(Word) == 8 && Word::is_always_lock_free);

inline constexpr std::size_t word_bytes = sizeof(Word);

#if defined(__SANITIZE_THREAD__)
inline constexpr bool without_fences = true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
inline constexpr bool without_fences = true;
#else
inline constexpr bool without_fences = false;
#endif
#else
inline constexpr bool without_fences = false;
#endif

inline constexpr std::memory_order word_load_order =
    without_fences ? std::memory_order_acquire : std::memory_order_relaxed;
inline constexpr std::memory_order word_store_order =
    without_fences ? std::memory_order_release : std::memory_order_relaxed;

inline void before_write() noexcept {
    if constexpr (!without_fences) std::atomic_thread_fence(std::memory_order_release);
}
inline void after_read() noexcept {
    if constexpr (!without_fences) std::atomic_thread_fence(std::memory_order_acquire);
}

// `from` has size rounded up to whole words.
inline void read_words(const Word* from, std::byte* to, std::size_t size) noexcept {
    const std::size_t whole = size / word_bytes;
    for (std::size_t i = 0; i < whole; ++i) {
        const std::uint64_t word = from[i].load(word_load_order);
        std::memcpy(to + i * word_bytes, &word, word_bytes);
    }
    if (const std::size_t rest = size % word_bytes; rest > 0) {
        const std::uint64_t word = from[whole].load(word_load_order);
        std::memcpy(to + whole * word_bytes, &word, rest);
    }
}

// As read_words(), from `skip` bytes after `from`.
inline void read_bytes(const Word* from, std::size_t skip, std::byte* to, std::size_t size) noexcept {
    from += skip / word_bytes;
    if (const std::size_t into = skip % word_bytes; into > 0 && size > 0) {
        const std::uint64_t word = (from++)->load(word_load_order);
        const std::size_t first = size < word_bytes - into ? size : word_bytes - into;
        std::memcpy(to, reinterpret_cast<const std::byte*>(&word) + into, first);
        to += first;
        size -= first;
    }
    read_words(from, to, size);
}

// `to` has room for size rounded up to whole words; the last one is filled with zeros.
inline void write_words(std::span<const std::byte> from, Word* to) noexcept {
    const std::size_t whole = from.size() / word_bytes;
    for (std::size_t i = 0; i < whole; ++i) {
        std::uint64_t word = 0;
        std::memcpy(&word, from.data() + i * word_bytes, word_bytes);
        to[i].store(word, word_store_order);
    }
    if (const std::size_t rest = from.size() % word_bytes; rest > 0) {
        std::uint64_t word = 0;
        std::memcpy(&word, from.data() + whole * word_bytes, rest);
        to[whole].store(word, word_store_order);
    }
}

// Are the bytes at `shared`, at this moment, those of `mine`? Reads size rounded up to whole words.
inline bool equals_words(const Word* shared, std::span<const std::byte> mine) noexcept {
    const std::size_t whole = mine.size() / word_bytes;
    for (std::size_t i = 0; i < whole; ++i) {
        const std::uint64_t word = shared[i].load(word_load_order);
        if (std::memcmp(&word, mine.data() + i * word_bytes, word_bytes) != 0) return false;
    }
    const std::size_t rest = mine.size() % word_bytes;
    if (rest == 0) return true;
    const std::uint64_t word = shared[whole].load(word_load_order);
    return std::memcmp(&word, mine.data() + whole * word_bytes, rest) == 0;
}

}  // namespace tiercache
