// Hashes of keys and tags: XXH3 (xxhash.com), never used as the only proof that two keys are equal.
#pragma once

// Compiled into the caller: a call costs as much as the hash of a short key.
#ifndef XXH_INLINE_ALL
#define XXH_INLINE_ALL
#endif
#include <xxhash.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace tiercache {

// `low` places a key in the index and is compared, all of it, before the key's bytes are; `high` is there for
// whoever needs bits that have nothing to do with the place. Both are made of the same 64 bits: the second
// half of a hash of 128 would cost every hit 30 instructions, and no two keys are ever equal by hash alone.
struct KeyHash {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
    bool operator==(const KeyHash&) const = default;
};

[[nodiscard]] inline KeyHash hash_key(std::span<const std::byte> key) noexcept {
    std::uint64_t low = XXH3_64bits(key.data(), key.size());
    // 2^64 divided by the golden ratio: each bit moves all above it, so the lowest ones know the tag alone
    // (index.hpp), and none of the place.
    std::uint64_t high = low * 0x9e3779b97f4a7c15U;
    // Two registers, also for who compiles without the library's flags (Makefile, CODE_FLAGS).
    asm("" : "+r"(low), "+r"(high));
    return {low, high};
}

[[nodiscard]] inline std::uint64_t hash_bytes(std::span<const std::byte> bytes) noexcept {
    return XXH3_64bits(bytes.data(), bytes.size());
}

// A tag: the 64-bit hash of the name of a thing that a result can depend on.
using Tag = std::uint64_t;

[[nodiscard]] inline Tag tag_of(std::string_view name) noexcept {
    return hash_bytes(std::as_bytes(std::span(name)));
}

}  // namespace tiercache
