// Keeps the clock from going back across restarts, even when the wall clock does.
//
// The clock is `base` plus PostgreSQL's count of completed transactions, which restarts at 1. Before a base
// is used, a ceiling above everything it can reach is written to the data directory; the next base is above
// that ceiling.
#pragma once

#include "pg_extension/pg.hpp"

namespace tiercache::clock_ceiling {

struct Start {
    std::uint64_t base;
    std::uint64_t ceiling;
    int former_lease_ms;  // how long readers may go on trusting a former life; 0: there was none
};

// For the postmaster at start: a base above each clock value ever used, with its ceiling already on disk.
// A damaged file is made anew, with a warning; one that can't be read or written ends the start-up.
[[nodiscard]] Start choose_base();

// For the worker: moves the ceiling up while the clock is still far below it, and writes down a longer lease
// before it is granted. Returns the ceiling in force.
[[nodiscard]] std::uint64_t extend(std::uint64_t ceiling, std::uint64_t clock_now);

}  // namespace tiercache::clock_ceiling
