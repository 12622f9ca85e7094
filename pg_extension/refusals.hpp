// Texts that could not be cached a moment ago: for a second they are not examined again. A hint, never an
// answer: what is in here runs uncached.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace tiercache::refusals {

// All of this process. Is there any? Else no hash is needed to look one up.
[[nodiscard]] bool any() noexcept;
// Of a text in the session as its key says it is.
[[nodiscard]] std::uint64_t hash_of(std::string_view source, int location,
                                    std::span<const std::byte> session_key) noexcept;
[[nodiscard]] bool contains(std::uint64_t hash) noexcept;
void add(std::uint64_t hash) noexcept;

}  // namespace tiercache::refusals
