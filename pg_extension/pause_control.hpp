// The shared memory of the pause points, and the SQL functions that arm them (only in test builds):
//   tiercache_test.pause(point text), tiercache_test.resume(point text), tiercache_test.is_paused(pid int)
#pragma once

#ifdef TIERCACHE_PAUSE_POINTS

#include "pg_extension/pause_point.hpp"
#include "pg_extension/pg.hpp"

namespace tiercache::pause_control {

struct State {
    pg_atomic_uint32 armed[static_cast<int>(PausePoint::count)];
    pg_atomic_uint32 paused[FLEXIBLE_ARRAY_MEMBER];  // by process number
};

[[nodiscard]] Size shared_bytes();
void init(void* memory, bool found);
[[nodiscard]] State& state();

}  // namespace tiercache::pause_control

#endif
