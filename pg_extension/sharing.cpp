#include "pg_extension/sharing.hpp"

#include <algorithm>

#include "pg_extension/pause_point.hpp"
#include "pg_extension/settings.hpp"
#include "pg_extension/shared_state.hpp"
#include "shm_cache/monotonic_time.hpp"

extern "C" {
#include <pgstat.h>
#include <storage/condition_variable.h>
#include <storage/spin.h>
#if PG_VERSION_NUM >= 140000
#include <utils/wait_event.h>
#endif
}

namespace tiercache::sharing {

namespace {

// A key has one place; while another key has it, its queries are not shared.
constexpr std::size_t places = 1024;

struct Place {
    slock_t mutex;
    bool is_led;
    int leader;             // its number among the processes
    std::uint32_t flights;  // that began here; tells one from the next
    KeyHash key;            // of the last flight
    bool was_stored;        // what the last flight that ended computed
    ConditionVariable ended;
};

Place* all = nullptr;
// Flights that this backend leads.
int led = 0;

[[nodiscard]] Place& place_of(const KeyHash& key) noexcept { return all[key.high % places]; }

// A look at a place.
struct Sight {
    bool is_led;  // with the key that was asked for
    bool is_worth_waiting;
    int leader;
    std::uint32_t flight;
};

[[nodiscard]] Sight look_at(Place& place, const KeyHash& key) noexcept {
    SpinLockAcquire(&place.mutex);
    const bool same = place.key == key;
    const Sight seen{place.is_led && same, place.was_stored, place.leader, place.flights};
    SpinLockRelease(&place.mutex);
    return seen;
}

// Racy and harmless: a stale answer costs a slice of waiting, or a query that is run twice.
[[nodiscard]] bool leader_is_held_up(int leader) noexcept {
    constexpr uint32 class_mask = 0xFF000000U;
    const volatile PGPROC* process = &ProcGlobal->allProcs[leader];
    const uint32 wait_class = process->wait_event_info & class_mask;
    return wait_class == PG_WAIT_LOCK || wait_class == PG_WAIT_CLIENT;
}

[[nodiscard]] bool is_over(Place& place, const KeyHash& key, std::uint32_t flight) noexcept {
    const Sight now = look_at(place, key);
    return !now.is_led || now.flight != flight;
}

// Until it is over, or the bound is reached, or the leader is held up.
[[nodiscard]] bool wait_until_over(Place& place, const KeyHash& key, const Sight& flight) {
    constexpr std::uint64_t slice_ms_max = 20;
    const std::uint64_t until =
        monotonic_ns() + static_cast<std::uint64_t>(settings::share_wait_ms) * 1'000'000U;
    bool over = false;
    ConditionVariablePrepareToSleep(&place.ended);
    while (true) {
        over = is_over(place, key, flight.flight);
        const std::uint64_t now = monotonic_ns();
        if (over || now >= until || leader_is_held_up(flight.leader)) break;
        const auto slice = static_cast<long>(std::min((until - now) / 1'000'000U + 1, slice_ms_max));
        (void)ConditionVariableTimedSleep(&place.ended, slice, PG_WAIT_EXTENSION);
    }
    ConditionVariableCancelSleep();
    return over;
}

}  // namespace

struct Flight {
    Place* place;
    bool is_led;
    MemoryContextCallback on_reset;
};

namespace {

void end_with_context(void* argument) { end(static_cast<Flight*>(argument), false); }

// The place becomes this backend's, unless somebody has it.
[[nodiscard]] bool take(Place& place, const KeyHash& key) noexcept {
    SpinLockAcquire(&place.mutex);
    const bool is_free = !place.is_led;
    if (is_free) {
        if (!(place.key == key)) place.was_stored = true;
        place.is_led = true;
        place.leader = static_cast<int>(MyProc - ProcGlobal->allProcs);
        place.key = key;
        ++place.flights;
    }
    SpinLockRelease(&place.mutex);
    return is_free;
}

}  // namespace

bool wait_for_leader(const KeyHash& key) {
    if (settings::share_wait_ms == 0 || led > 0) return false;
    Place& place = place_of(key);
    const Sight seen = look_at(place, key);
    if (!seen.is_led || !seen.is_worth_waiting || leader_is_held_up(seen.leader)) return false;
    pg_atomic_fetch_add_u64(&shared::state().counters.shared_waits, 1);
    return wait_until_over(place, key, seen);
}

Flight* lead(const KeyHash& key) {
    if (settings::share_wait_ms == 0) return nullptr;
    // Memory first: nothing may fail once the place is taken.
    auto* flight = static_cast<Flight*>(palloc0(sizeof(Flight)));
    flight->place = &place_of(key);
    flight->on_reset.func = end_with_context;
    flight->on_reset.arg = flight;
    MemoryContextRegisterResetCallback(CurrentMemoryContext, &flight->on_reset);
    if (!take(*flight->place, key)) return nullptr;
    flight->is_led = true;
    ++led;
    pause_point(PausePoint::fill_led);
    return flight;
}

void end(Flight* flight, bool stored) noexcept {
    if (flight == nullptr || !flight->is_led) return;
    flight->is_led = false;
    --led;
    Place& place = *flight->place;
    SpinLockAcquire(&place.mutex);
    place.is_led = false;
    place.was_stored = stored;
    SpinLockRelease(&place.mutex);
    ConditionVariableBroadcast(&place.ended);
}

Size shared_bytes() noexcept { return places * sizeof(Place); }

void init(void* memory, bool found) noexcept {
    all = static_cast<Place*>(memory);
    led = 0;
    if (found) return;
    for (std::size_t i = 0; i < places; ++i) {
        all[i] = {};
        SpinLockInit(&all[i].mutex);
        ConditionVariableInit(&all[i].ended);
        all[i].was_stored = true;
    }
}

}  // namespace tiercache::sharing
