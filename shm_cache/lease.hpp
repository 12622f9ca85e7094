// Leases: one process computes a missing value, the others on the host wait for it, a bounded time.
#pragma once

#include <cstdint>

#include "shm_cache/words.hpp"

namespace tiercache {

struct LeaseWords {
    Word words[8];
};
static_assert(sizeof(LeaseWords) == 64);

}  // namespace tiercache
