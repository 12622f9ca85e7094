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
#if defined(__x86_64__)
#include <emmintrin.h>
#endif

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
// Between a change and a look at another word, by two who must not miss each other.
inline void full_fence() noexcept {
    if constexpr (!without_fences) std::atomic_thread_fence(std::memory_order_seq_cst);
}

// ---- bytes out of and into shared memory -------------------------------------------------------------
//
// By words, as the language wants it; or, where compiler and machine allow, by vector and string
// instructions, which the language knows nothing of: for them the argument above is made by the machine's
// memory order (x86: loads in order, stores in order), and the fences still hold the compiler. Both touch
// only the words that hold the bytes asked for.

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__)
inline constexpr bool copy_by_vectors = !without_fences;
#else
inline constexpr bool copy_by_vectors = false;
#endif

inline void read_by_words(const Word* from, std::size_t skip, std::byte* to, std::size_t size) noexcept {
    from += skip / word_bytes;
    if (const std::size_t into = skip % word_bytes; into > 0 && size > 0) {
        const std::uint64_t word = (from++)->load(word_load_order);
        const std::size_t first = size < word_bytes - into ? size : word_bytes - into;
        std::memcpy(to, reinterpret_cast<const std::byte*>(&word) + into, first);
        to += first;
        size -= first;
    }
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

// Bytes of a first or last word that are not written keep what they were: only for space of one's own.
inline void write_by_words(std::span<const std::byte> from, Word* to, std::size_t skip) noexcept {
    std::size_t done = 0;
    while (done < from.size()) {
        Word& word = to[(skip + done) / word_bytes];
        const std::size_t into = (skip + done) % word_bytes;
        const std::size_t left = from.size() - done;
        const std::size_t part = left < word_bytes - into ? left : word_bytes - into;
        std::uint64_t bytes = part == word_bytes ? 0 : word.load(std::memory_order_relaxed);
        std::memcpy(reinterpret_cast<std::byte*>(&bytes) + into, from.data() + done, part);
        word.store(bytes, word_store_order);
        done += part;
    }
}

#if defined(__x86_64__)
// From here on `rep movsb` is the faster.
inline constexpr std::size_t string_copy_bytes = 1024;

// 16 bytes at once; `from` is aligned to them.
inline __m128i load_vector(const Word* from) noexcept {
    __m128i value;
    asm volatile("movdqa %1, %0" : "=x"(value) : "m"(*reinterpret_cast<const __m128i*>(from)));
    return value;
}

template <class T>
[[gnu::always_inline]] inline void copy_one(const std::byte* from, std::byte* to) noexcept {
    struct __attribute__((packed, may_alias)) Bytes {
        T value;
    };
    T value;
    if constexpr (sizeof(T) == 16) {
        asm volatile("movdqu %1, %0" : "=x"(value) : "m"(*reinterpret_cast<const Bytes*>(from)));
        asm volatile("movdqu %1, %0" : "=m"(*reinterpret_cast<Bytes*>(to)) : "x"(value));
    } else if constexpr (sizeof(T) == 1) {
        asm volatile("movb %1, %0" : "=q"(value) : "m"(*reinterpret_cast<const Bytes*>(from)));
        asm volatile("movb %1, %0" : "=m"(*reinterpret_cast<Bytes*>(to)) : "q"(value));
    } else {
        asm volatile("mov %1, %0" : "=r"(value) : "m"(*reinterpret_cast<const Bytes*>(from)));
        asm volatile("mov %1, %0" : "=m"(*reinterpret_cast<Bytes*>(to)) : "r"(value));
    }
}

// The first and the last T of the bytes, which may overlap: all of them when size <= 2 * sizeof(T).
template <class T>
inline void copy_ends(const std::byte* from, std::byte* to, std::size_t size) noexcept {
    copy_one<T>(from, to);
    copy_one<T>(from + size - sizeof(T), to + size - sizeof(T));
}

[[gnu::always_inline]] inline void copy_64(const std::byte* from, std::byte* to) noexcept {
    using Vector = long long __attribute__((vector_size(16)));
    copy_one<Vector>(from, to);
    copy_one<Vector>(from + 16, to + 16);
    copy_one<Vector>(from + 32, to + 32);
    copy_one<Vector>(from + 48, to + 48);
}

// Of at least 64 bytes.
[[gnu::always_inline]] inline void copy_by_64(const std::byte* from, std::byte* to,
                                              std::size_t size) noexcept {
    const std::byte* const last = from + size - 64;
    std::byte* const last_to = to + size - 64;
    for (; from < last; from += 64, to += 64) copy_64(from, to);
    copy_64(last, last_to);
}

[[gnu::always_inline]] inline void copy_by_instructions(const std::byte* from, std::byte* to,
                                                        std::size_t size) noexcept {
    using Vector = long long __attribute__((vector_size(16)));
    if (size >= string_copy_bytes) {
        asm volatile("rep movsb" : "+S"(from), "+D"(to), "+c"(size) : : "memory");
    } else if (size >= 64) {
        copy_by_64(from, to, size);
    } else if (size >= 16) {
        copy_ends<Vector>(from, to, size);
        if (size > 32) copy_ends<Vector>(from + 16, to + 16, size - 32);
    } else if (size >= 8) {
        copy_ends<std::uint64_t>(from, to, size);
    } else if (size >= 4) {
        copy_ends<std::uint32_t>(from, to, size);
    } else {
        for (std::size_t i = 0; i < size; ++i) copy_one<std::uint8_t>(from + i, to + i);
    }
}
#endif

// The `size` bytes that begin `skip` bytes after `from`.
[[gnu::noinline]] inline void read_bytes(const Word* from, std::size_t skip, std::byte* to,
                                         std::size_t size) noexcept {
#if defined(__x86_64__)
    if constexpr (copy_by_vectors) {
        copy_by_instructions(reinterpret_cast<const std::byte*>(from) + skip, to, size);
        return;
    }
#endif
    read_by_words(from, skip, to, size);
}

// The same, with the code for the most common sizes where it is called.
[[gnu::always_inline]] inline void read_bytes_here(const Word* from, std::size_t skip, std::byte* to,
                                                   std::size_t size) noexcept {
#if defined(__x86_64__)
    if constexpr (copy_by_vectors) {
        if (size - 64 < string_copy_bytes - 64) [[likely]] {
            copy_by_64(reinterpret_cast<const std::byte*>(from) + skip, to, size);
            return;
        }
    }
#endif
    read_bytes(from, skip, to, size);
}

// To `skip` bytes after `to`. Only to space of one's own.
inline void write_bytes(std::span<const std::byte> from, Word* to, std::size_t skip) noexcept {
#if defined(__x86_64__)
    if constexpr (copy_by_vectors) {
        copy_by_instructions(from.data(), reinterpret_cast<std::byte*>(to) + skip, from.size());
        return;
    }
#endif
    write_by_words(from, to, skip);
}

#if defined(__x86_64__)
// Where the 16 bytes at `shared` and those at `mine` are equal, all bits are set.
[[gnu::always_inline]] inline __m128i equal_16(const std::byte* shared, const std::byte* mine) noexcept {
    __m128i theirs;
    __m128i ours = _mm_loadu_si128(reinterpret_cast<const __m128i*>(mine));
    asm volatile("movdqu %1, %0" : "=x"(theirs) : "m"(*reinterpret_cast<const __m128i_u*>(shared)));
    asm("" : "+x"(ours));  // else gcc 12 takes it through the stack
    return _mm_cmpeq_epi8(theirs, ours);
}
[[gnu::always_inline]] inline bool all_set(__m128i bits) noexcept {
    return _mm_movemask_epi8(bits) == 0xffff;
}

// Of two that are equal in their first and last 16 bytes: in those between, too?
[[gnu::noinline]] inline bool equal_in_the_middle(const std::byte* shared, const std::byte* mine,
                                                  std::size_t size) noexcept {
    for (std::size_t at = 16; at + 16 < size; at += 16) {
        if (!all_set(equal_16(shared + at, mine + at))) return false;
    }
    return true;
}

// Of at least 16 bytes.
[[gnu::always_inline]] inline bool equal_by_vectors(const std::byte* shared, const std::byte* mine,
                                                    std::size_t size) noexcept {
    const __m128i first = equal_16(shared, mine);
    const __m128i last = equal_16(shared + size - 16, mine + size - 16);
    return all_set(_mm_and_si128(first, last)) && (size <= 32 || equal_in_the_middle(shared, mine, size));
}
#endif

// Are the bytes at `shared`, at this moment, those of `mine`? Reads size rounded up to whole words.
[[gnu::noinline]] inline bool equal_by_words(const Word* shared, std::span<const std::byte> mine) noexcept {
    const std::size_t whole = mine.size() / word_bytes;
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < whole; ++i) {
        std::memcpy(&word, mine.data() + i * word_bytes, word_bytes);
        if (shared[i].load(word_load_order) != word) return false;
    }
    const std::size_t rest = mine.size() % word_bytes;
    if (rest == 0) return true;
    word = 0;
    if (whole > 0) {
        // The last eight bytes, without those that were compared: no call for a few bytes.
        std::memcpy(&word, mine.data() + mine.size() - word_bytes, word_bytes);
        word >>= (word_bytes - rest) * 8;
    } else {
        for (std::size_t i = 0; i < rest; ++i) word |= std::to_integer<std::uint64_t>(mine[i]) << i * 8;
    }
    return ((shared[whole].load(word_load_order) ^ word) << (word_bytes - rest) * 8) == 0;
}

[[gnu::always_inline]] inline bool equals_words(const Word* shared,
                                                std::span<const std::byte> mine) noexcept {
#if defined(__x86_64__)
    if constexpr (copy_by_vectors) {
        if (mine.size() >= 16) [[likely]] {
            return equal_by_vectors(reinterpret_cast<const std::byte*>(shared), mine.data(), mine.size());
        }
    }
#endif
    return equal_by_words(shared, mine);
}

}  // namespace tiercache
