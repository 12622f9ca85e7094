// The copy that a cache scan makes: from the child's rows to the entry.
#include <algorithm>

#include "pg_extension/cache_scan_state.hpp"
#include "pg_extension/classes.hpp"
#include "pg_extension/pause_point.hpp"
#include "pg_extension/settings.hpp"
#include "pg_extension/shared_state.hpp"
#include "pg_extension/tags.hpp"
#include "shm_cache/monotonic_time.hpp"

extern "C" {
#include <access/parallel.h>
#include <executor/executor.h>
#include <utils/plancache.h>
}

namespace tiercache::cache_scan {

namespace {

[[nodiscard]] std::uint32_t cost_of(const State& state) noexcept {
    const std::uint64_t us = state.facts.plan_us + (monotonic_ns() - state.first_ns) / 1000;
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(us, UINT32_MAX));
}

// The plan has its names looked up: that roles changed, or that other functions came, makes no other plan of
// it. Names that functions look up do: PostgreSQL would keep a plan that has such a function inlined.
[[nodiscard]] bool is_plan_current(const PlanAge& age, std::span<const Tag> tags) {
    if (age.ddl_pending) return false;
    const bool is_current = std::all_of(tags.begin(), tags.end(), [&age](Tag tag) {
        return tag == roles_tag() || tag == definitions_tag() || plan_is_current(age, {&tag, 1});
    });
    // Else nothing would ever be stored by a session that keeps the plan.
    if (!is_current) ResetPlanCache();
    return is_current;
}

// Of an answer that is old already nobody gets anything, and it would take the place of a newer one.
[[nodiscard]] bool is_dead(const State& state) noexcept {
    const ClockTable clock = shared::clock();
    const Verdict verdict = clock.check_unleased(state.nested->tags(), state.stamp, clock.epoch());
    return verdict != Verdict::fresh && verdict != Verdict::being_written;
}

// Is it worth its room? The size is that before compression.
[[nodiscard]] bool is_worth_storing(const State& state) noexcept {
    constexpr std::uint64_t kb = 1024;
    const auto bytes = static_cast<std::uint64_t>(state.copy.payload.len);
    return cost_of(state) * kb >= bytes * static_cast<std::uint64_t>(settings::min_fill_us_per_kb);
}

[[nodiscard]] bool may_keep(State& state) {
    Dependencies& all = *state.nested;
    for (std::uint32_t i = 0; i < state.facts.tag_count; ++i) all.add(state.facts.tags[i]);
    all.add_foreign_tables(state.node.ss.ps.state->es_plannedstmt);
    return !all.overflow() && !all.untracked() && bypass_reason() == nullptr &&
           is_plan_current(state.facts.plan_age, all.tags()) && l4_cache::is_current(state.key);
}

[[nodiscard]] bool store(State& state) {
    if (!is_worth_storing(state) || !may_keep(state) || is_dead(state)) return false;
    const ClassSettings data_class = classes::of_session();
    EntryFields fields;
    l4_cache::date(fields, state.key, {state.stamp, state.started_ns}, data_class.ttl_ms, *state.nested);
    fields.epoch = shared::clock().epoch();
    fields.format = PayloadFormat::pg_tuples;
    fields.data_class = data_class.data_class;
    fields.fill_cost_us = cost_of(state);
    const std::span<const std::byte> payload =
        std::as_bytes(std::span(state.copy.payload.data, static_cast<std::size_t>(state.copy.payload.len)));
    const std::span<std::byte> entry = l4_cache::encode(fields, state.nested->tags(), state.key, payload, 0);
    if (entry.empty()) return false;
    const bool stored = l4_cache::put(entry);
    pfree(entry.data());
    return stored;
}

}  // namespace

TupleTableSlot* next_of_child(State& state) {
    PlanState* child = child_of(state);
    if (state.late_query != nullptr) return next_of_late(state);
    if (!state.is_filling || !state.facts.calls_user_functions) return ExecProcNode(child);
    TupleTableSlot* slot = nullptr;
    state.nested->begin();
    PG_TRY();
    { slot = ExecProcNode(child); }
    PG_CATCH();
    {
        state.nested->end();
        PG_RE_THROW();
    }
    PG_END_TRY();
    state.nested->end();
    return slot;
}

void publish(State& state) {
    // The scan may end while workers run for it; then its end does this.
    if (!state.is_filled || IsInParallelMode()) return;
    state.is_filled = false;
    l4_cache::note_cost(state.node.ss.ps.plan->total_cost, cost_of(state));
    pause_point(PausePoint::fill_computed);
    state.is_stored = store(state);
    sharing::end(state.flight, state.is_stored);
    L4Counters& counters = shared::state().counters;
    pg_atomic_fetch_add_u64(state.is_stored ? &counters.fills : &counters.fills_unpublished, 1);
    if (state.copy.payload.data != nullptr) pfree(state.copy.payload.data);
    state.copy = {};
}

void stop_filling(State& state) noexcept {
    sharing::end(state.flight, false);
    state.is_filling = false;
    if (state.copy.payload.data != nullptr) pfree(state.copy.payload.data);
    state.copy = {};
}

}  // namespace tiercache::cache_scan
