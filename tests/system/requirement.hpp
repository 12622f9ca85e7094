// What programs of the system tests say when something is wrong, and the time they say it by.
#pragma once

#include <time.h>

#include <cstdint>
#include <stdexcept>
#include <string>

namespace tiercache::test {

struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

inline void require(bool condition, const std::string& what) {
    if (!condition) throw Failure(what);
}

inline std::uint64_t clock_ns(clockid_t clock) {
    timespec now{};
    clock_gettime(clock, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace tiercache::test
