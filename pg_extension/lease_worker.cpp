// The background worker: opens the cache after start-up, vouches for the clock table by renewing its lease,
// settles prepared transactions, and keeps the clock's ceiling ahead of the clock.
#include <algorithm>

#include "pg_extension/boundary.hpp"
#include "pg_extension/clock_ceiling.hpp"
#include "pg_extension/in_doubt.hpp"
#include "pg_extension/lease_worker.hpp"
#include "pg_extension/session_key.hpp"
#include "pg_extension/settings.hpp"
#include "pg_extension/shared_state.hpp"
#include "shm_cache/monotonic_time.hpp"

extern "C" {
#include <pgstat.h>
#include <postmaster/bgworker.h>
#include <postmaster/interrupt.h>
#include <storage/ipc.h>
#include <storage/latch.h>
#if PG_VERSION_NUM >= 140000
#include <utils/wait_event.h>
#endif

PGDLLEXPORT void tiercache_worker_main(Datum argument);
}

namespace tiercache {

namespace {

// Renewals per lease: a worker that gets no CPU for a while does not cost hits at once.
constexpr int renewals_per_lease = 10;

void renew_lease() {
    const auto lease_ns = static_cast<std::uint64_t>(settings::lease_ms) * 1'000'000U;
    shared::clock().renew_lease(monotonic_ns() + lease_ns);
}

void give_lease_back(int /*code*/, Datum /*argument*/) { shared::clock().renew_lease(0); }

// Says once that the clock table's name is gone.
void watch_clock_name() {
    static bool said = false;
    if (said || shared::clock_can_be_found()) return;
    said = true;
    ereport(WARNING,
            (errmsg("tiercache: the clock table \"%s\" was removed from shared memory", settings::clock_name),
             errhint("Apps that start now do not find it; restart the server. If systemd removed it, set "
                     "RemoveIPC=no.")));
}

void work_once() {
    watch_clock_name();
    SharedState& state = shared::state();
    state.ceiling = clock_ceiling::extend(state.ceiling, shared::clock_now());
    // While some prepared transaction may change anything, apps must not trust the table.
    if (pg_atomic_read_u32(&state.blocked) == 0) renew_lease();
}

// A configuration file that was reloaded may have changed what queries return in sessions that go on. Their
// keys, which apps keep, would still find what was computed before.
void reload() {
    const std::uint64_t before = settings_hash();
    ProcessConfigFile(PGC_SIGHUP);
    if (settings_hash() != before) shared::clock().change_epoch(shared::random_epoch());
}

void work_until_shutdown() {
    in_doubt::adopt_survivors();
    pg_atomic_write_u32(&shared::state().open, 1);
    while (!ShutdownRequestPending) {
        work_once();
        const long nap_ms = std::max(settings::lease_ms / renewals_per_lease, 10);
        (void)WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, nap_ms, PG_WAIT_EXTENSION);
        ResetLatch(MyLatch);
        CHECK_FOR_INTERRUPTS();
        if (ConfigReloadPending) {
            ConfigReloadPending = false;
            reload();
        }
    }
}

}  // namespace

void register_lease_worker() {
    BackgroundWorker worker = {};
    worker.bgw_flags = BGWORKER_SHMEM_ACCESS;
    worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
    worker.bgw_restart_time = 1;
    strlcpy(worker.bgw_library_name, "tiercache", BGW_MAXLEN);
    strlcpy(worker.bgw_function_name, "tiercache_worker_main", BGW_MAXLEN);
    strlcpy(worker.bgw_name, "tiercache lease worker", BGW_MAXLEN);
    strlcpy(worker.bgw_type, "tiercache lease worker", BGW_MAXLEN);
    RegisterBackgroundWorker(&worker);
}

}  // namespace tiercache

void tiercache_worker_main(Datum /*argument*/) {
    pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
    pqsignal(SIGHUP, SignalHandlerForConfigReload);
    BackgroundWorkerUnblockSignals();
    before_shmem_exit(tiercache::give_lease_back, Datum{0});
    tiercache::pg::enter([] { tiercache::work_until_shutdown(); });
    proc_exit(0);
}
