#include "pg_extension/pause_control.hpp"

#ifdef TIERCACHE_PAUSE_POINTS

#include "pg_extension/shared_state.hpp"

extern "C" {
#include <storage/procarray.h>
#include <utils/builtins.h>

PG_FUNCTION_INFO_V1(tiercache_pause);
PG_FUNCTION_INFO_V1(tiercache_resume);
PG_FUNCTION_INFO_V1(tiercache_is_paused);
}

namespace tiercache::pause_control {

namespace {

State* shared_points = nullptr;

constexpr const char* point_names[] = {"pre_commit_unmarked", "pre_commit_marked", "commit_visible",
                                       "commit_done",         "fill_planned",      "fill_computed",
                                       "hit_checked",         "fill_led",          "plan_left_out"};
static_assert(lengthof(point_names) == static_cast<int>(PausePoint::count));

int processes() { return MaxBackends + NUM_AUXILIARY_PROCS; }

pg_atomic_uint32& armed(const text* name) {
    shared::require();
    char* wanted = text_to_cstring(name);
    for (int i = 0; i < static_cast<int>(PausePoint::count); ++i) {
        if (strcmp(wanted, point_names[i]) == 0) return shared_points->armed[i];
    }
    ereport(ERROR,
            (errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("there is no pause point \"%s\"", wanted)));
    pg_unreachable();
}

}  // namespace

Size shared_bytes() {
    return offsetof(State, paused) + sizeof(pg_atomic_uint32) * static_cast<Size>(processes());
}

void init(void* memory, bool found) {
    shared_points = static_cast<State*>(memory);
    if (!found) memset(memory, 0, shared_bytes());
}

State& state() { return *shared_points; }

}  // namespace tiercache::pause_control

using namespace tiercache;

Datum tiercache_pause(PG_FUNCTION_ARGS) {
    pg_atomic_write_u32(&pause_control::armed(PG_GETARG_TEXT_PP(0)), 1);
    PG_RETURN_VOID();
}

Datum tiercache_resume(PG_FUNCTION_ARGS) {
    pg_atomic_write_u32(&pause_control::armed(PG_GETARG_TEXT_PP(0)), 0);
    PG_RETURN_VOID();
}

Datum tiercache_is_paused(PG_FUNCTION_ARGS) {
    shared::require();
    const PGPROC* process = BackendPidGetProc(PG_GETARG_INT32(0));
    if (process == nullptr) PG_RETURN_BOOL(false);
    PG_RETURN_BOOL(pg_atomic_read_u32(&pause_control::state().paused[process - ProcGlobal->allProcs]) != 0);
}

#endif
