// This host's monotonic time, the only wall that leases and ages are measured against.
//
// Values of two hosts (or of two time namespaces) must never be compared.
#pragma once

#include <cstdint>
#include <ctime>

namespace tiercache {

// Nanoseconds since boot. Exact; about 50 ns.
[[nodiscard]] inline std::uint64_t monotonic_ns() noexcept {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(t.tv_nsec);
}

// The kernel's time of the last tick: never ahead of monotonic_ns(), behind it by at most
// coarse_error_ns (one tick at 100 Hz). About 10 ns.
[[nodiscard]] inline std::uint64_t monotonic_coarse_ns() noexcept {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000U + static_cast<std::uint64_t>(t.tv_nsec);
}

inline constexpr std::uint64_t ns_per_ms = 1'000'000;

inline constexpr std::uint64_t coarse_error_ns = 10'000'000;

}  // namespace tiercache
