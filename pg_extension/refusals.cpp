#include "pg_extension/refusals.hpp"

#include <xxhash.h>

#include <array>

#include "shm_cache/monotonic_time.hpp"

namespace tiercache::refusals {

namespace {

struct Refusal {
    std::uint64_t hash = 0;
    std::uint64_t until_ns = 0;
};
constexpr std::size_t slots = 256;
constexpr std::uint64_t valid_ns = 1'000'000'000;
std::array<Refusal, slots> refusals;
std::uint64_t last_until_ns = 0;  // of the youngest

}  // namespace

std::uint64_t hash_of(std::string_view source, int location,
                      std::span<const std::byte> session_key) noexcept {
    const std::uint64_t session =
        XXH3_64bits_withSeed(session_key.data(), session_key.size(), static_cast<std::uint64_t>(location));
    return XXH3_64bits_withSeed(source.data(), source.size(), session);
}

bool any() noexcept { return monotonic_coarse_ns() < last_until_ns; }

bool contains(std::uint64_t hash) noexcept {
    const Refusal& refusal = refusals[hash % slots];
    return refusal.hash == hash && monotonic_coarse_ns() < refusal.until_ns;
}

void add(std::uint64_t hash) noexcept {
    last_until_ns = monotonic_coarse_ns() + valid_ns;
    refusals[hash % slots] = {hash, last_until_ns};
}

}  // namespace tiercache::refusals
