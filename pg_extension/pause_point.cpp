#include "pg_extension/pause_point.hpp"

#ifdef TIERCACHE_PAUSE_POINTS

#include <cstring>

#include "pg_extension/pause_control.hpp"
#include "pg_extension/shared_state.hpp"

namespace tiercache {

void pause_point(PausePoint point) {
    pause_control::State& state = pause_control::state();
    const auto index = static_cast<int>(point);
    if (pg_atomic_read_u32(&state.armed[index]) == 0) return;
    // Another backend's foreign table is asking: that one waits.
    if (application_name != nullptr && std::strcmp(application_name, "postgres_fdw") == 0) return;
    // Polls: some points lie where nothing may be waited for by PostgreSQL's means, nor an error raised.
    pg_atomic_write_u32(&state.paused[MyProc - ProcGlobal->allProcs], 1);
    while (pg_atomic_read_u32(&state.armed[index]) != 0) pg_usleep(1000);
    pg_atomic_write_u32(&state.paused[MyProc - ProcGlobal->allProcs], 0);
}

}  // namespace tiercache

#endif
