// The current session key: replaced when the server tells another one, read by every call without a lock.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <span>

namespace tiercache {

// A copy of a session key. The server's have 48 bytes; empty: there is none.
struct SessionKey {
    static constexpr std::size_t bytes_max = 64;

    std::array<std::byte, bytes_max> room;  // NOLINT: what is beyond `size` is nothing
    std::size_t size = 0;

    [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return std::span(room).first(size); }
};

// A sequence lock: a reader copies the words and then proves that no writer was at them meanwhile. Writers
// take turns. (Boehm, "Can seqlocks get along with programming language memory models?", 2012; here with
// the words' own acquire and release in place of fences.)
class SessionKeyCell {
 public:
    // Wait-free. False when there is no key, or writers came again and again: go on without one.
    [[nodiscard]] bool read(SessionKey& out) const noexcept {
        constexpr int tries = 8;
        for (int i = 0; i < tries; ++i) {
            // Acquire: pairs with the release at the end of a store(), so that its words are seen.
            const std::uint64_t before = sequence_.load(std::memory_order_acquire);
            if (before % 2 != 0) continue;
            std::array<std::uint64_t, word_count> words;  // NOLINT: filled below
            // Acquire: pairs with the release of a word by a later store(), whose odd number is then seen.
            for (std::size_t w = 0; w < word_count; ++w) words[w] = words_[w].load(std::memory_order_acquire);
            const std::size_t size = size_.load(std::memory_order_acquire);
            // Relaxed: ordered by the loads above.
            if (sequence_.load(std::memory_order_relaxed) != before) continue;
            std::memcpy(out.room.data(), words.data(), sizeof(words));
            out.size = size;
            return size > 0;
        }
        return false;
    }

    // A key that is too long to be one leaves none.
    void store(std::span<const std::byte> key) noexcept {
        std::array<std::uint64_t, word_count> words{};
        const std::size_t size = key.size() <= SessionKey::bytes_max ? key.size() : 0;
        if (size > 0) std::memcpy(words.data(), key.data(), size);
        const std::scoped_lock lock(mutex_);
        const std::uint64_t sequence = sequence_.load(std::memory_order_relaxed);
        sequence_.store(sequence + 1, std::memory_order_relaxed);
        // Release: whoever sees a new word sees the odd number.
        for (std::size_t w = 0; w < word_count; ++w) words_[w].store(words[w], std::memory_order_release);
        size_.store(size, std::memory_order_release);
        // Release: whoever sees the even number sees all words.
        sequence_.store(sequence + 2, std::memory_order_release);
    }

 private:
    static constexpr std::size_t word_count = SessionKey::bytes_max / sizeof(std::uint64_t);

    std::atomic<std::uint64_t> sequence_{0};  // odd while a writer is at it
    std::array<std::atomic<std::uint64_t>, word_count> words_{};
    std::atomic<std::size_t> size_{0};
    std::mutex mutex_;
};

}  // namespace tiercache
