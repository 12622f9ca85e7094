// Deadlines, and waiting for a socket no longer than they allow.
#pragma once

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

namespace tiercache {

using Deadline = std::chrono::steady_clock::time_point;

// Saturates: milliseconds::max() is never.
[[nodiscard]] inline Deadline deadline_in(std::chrono::milliseconds timeout) noexcept {
    const Deadline now = std::chrono::steady_clock::now();
    const auto longest = std::chrono::duration_cast<std::chrono::milliseconds>(Deadline::max() - now);
    return timeout < longest ? now + timeout : Deadline::max();
}

enum class WaitResult : unsigned char { ready, timeout, failed };

// Waits until `descriptor` has one of the poll(2) `events`, or is at an end.
[[nodiscard]] inline WaitResult wait_for(int descriptor, short events, Deadline deadline) noexcept {
    using std::chrono::milliseconds;
    while (true) {
        // Rounded up, so that poll never returns before the deadline and the loop never spins.
        const Deadline now = std::chrono::steady_clock::now();
        const auto left = deadline > now ? std::chrono::ceil<milliseconds>(deadline - now) : milliseconds(0);
        const auto wait_ms = std::clamp<milliseconds::rep>(left.count(), 0, 60'000);
        pollfd p{descriptor, events, 0};
        const int n = poll(&p, 1, static_cast<int>(wait_ms));
        if (n > 0) return WaitResult::ready;
        if (n < 0 && errno != EINTR) return WaitResult::failed;
        if (left <= milliseconds::zero()) return WaitResult::timeout;
    }
}

}  // namespace tiercache
