// The plan node of transparent mode: run.
#include <algorithm>
#include <array>
#include <new>

#include "pg_extension/boundary.hpp"
#include "pg_extension/cache_scan_recent.hpp"
#include "pg_extension/cache_scan_state.hpp"
#include "pg_extension/query_compat.hpp"
#include "pg_extension/read_locks.hpp"
#include "pg_extension/settings.hpp"
#include "pg_extension/shared_state.hpp"
#include "pg_extension/statement_count.hpp"
#include "shm_cache/monotonic_time.hpp"

extern "C" {
#include <executor/executor.h>
#include <nodes/extensible.h>
}

namespace tiercache::cache_scan {

namespace {

// Rows that are read before they are asked for, where that cannot be noticed.
constexpr std::uint64_t rows_ahead_max = 64;

[[nodiscard]] EState* executor_of(const State& state) noexcept { return state.node.ss.ps.state; }

// Is its plan, or what came of it, going to be shown?
[[nodiscard]] bool is_explained(const State& state, int eflags) noexcept {
    return (eflags & EXEC_FLAG_EXPLAIN_ONLY) != 0 || executor_of(state)->es_instrument != 0;
}

// Whether what it was read from changed matters where its rows may have to be computed after all.
void keep_tags(State& state, const EntryView& entry) {
    if (!state.stays_open && outerPlan(state.node.ss.ps.plan) != nullptr) return;
    std::array<Tag, max_entry_tags> room;
    const std::span<const Tag> tags = entry.tags.copy_to(room);
    auto* kept = static_cast<Tag*>(palloc(sizeof(Tag) * (tags.size() + 1)));
    std::copy(tags.begin(), tags.end(), kept);
    state.hit_tags = {kept, tags.size()};
}

// Since the portal was started.
[[nodiscard]] bool is_same_session(const State& state) {
    return l4_cache::is_current(state.key) && equal(settings_now(state.facts), state.settings);
}

// Nothing has begun to compute an answer yet that is asked for later than its portal was opened: PostgreSQL
// would take settings, role and functions of that moment.
[[nodiscard]] bool still_answers(const State& state) {
    return is_same_session(state) && bypass_reason() == nullptr &&
           plan_is_current({state.stamp, false}, state.hit_tags);
}

void leave_answer(State& state) noexcept {
    state.serves_rows = state.rows_are_whole = state.must_verify = false;
    state.rows.count = 0;
}

void bypass(State& state, const char* reason) {
    state.outcome = Outcome::bypassed;
    state.reason = reason;
}

[[nodiscard]] bool take_rows(State& state, const EntryView& entry) {
    if (!read_rows(entry, ExecGetResultType(&state.node.ss.ps), state.rows)) return false;
    state.serves_rows = state.rows_are_whole = true;
    return true;
}

// The other server's rows may have changed since, within the time to live that somebody chose.
[[nodiscard]] bool can_be_verified(const EntryView& entry) noexcept {
    std::array<Tag, max_entry_tags> tags;
    return settings::verify != static_cast<int>(settings::Verify::off) &&
           !reads_foreign_tables(entry.tags.copy_to(tags));
}

// Why the entry, if there is one, was not served; for EXPLAIN.
[[nodiscard]] const char* miss_reason(const State& state) {
    EntryView entry;
    if (!l4_cache::peek(state.key, entry)) return "there is no entry";
    if (entry.fields.lifetime.expired_at(monotonic_ns())) return "the entry expired";
    std::array<Tag, max_entry_tags> room;
    const std::span<const Tag> tags = entry.tags.copy_to(room);
    return IsolationUsesXactSnapshot() && reads_foreign_tables(tags)
               ? "the entry has rows of another server, at another moment than this transaction's"
               : "what the entry was computed from has changed";
}

// Nothing is counted of an EXPLAIN that runs nothing.
[[nodiscard]] bool find(State& state, int eflags, EntryView& entry) {
    if ((eflags & EXEC_FLAG_EXPLAIN_ONLY) == 0) return l4_cache::find(state.key, entry, state.stamp);
    std::array<Tag, max_entry_tags> tags;
    return l4_cache::peek(state.key, entry) && !entry.fields.lifetime.expired_at(monotonic_ns()) &&
           check_for_snapshot(entry.tags.copy_to(tags), entry.fields.stamp, entry.fields.epoch,
                              state.stamp) == Verdict::fresh;
}

[[nodiscard]] bool finds_rows(State& state, int eflags) {
    EntryView entry;
    if (!find(state, eflags, entry) || !take_rows(state, entry)) return false;
    state.outcome = Outcome::hit;
    state.must_verify = can_be_verified(entry);
    state.stamp = entry.fields.stamp;
    keep_tags(state, entry);
    if ((eflags & EXEC_FLAG_EXPLAIN_ONLY) == 0) recent::keep(state, entry);
    return true;
}

// The entry that planning found is still at hand, and good.
[[nodiscard]] bool has_ready_rows(State& state) {
    const Ready* ready = ready_of(reinterpret_cast<CustomScan*>(state.node.ss.ps.plan), state.facts);
    // Settings that the query reads may have changed since: they are looked at again by a look-up.
    if (ready == nullptr || state.facts.settings != NIL) return false;
    if (!l4_cache::still_serves(ready->key, ready->entry, state.stamp)) return false;
    if (!take_rows(state, ready->entry)) return false;
    state.key = ready->key;
    state.outcome = Outcome::hit;
    state.stamp = ready->entry.fields.stamp;
    keep_tags(state, ready->entry);
    return true;
}

[[nodiscard]] const char* know_key(State& state) {
    const char* reason = nullptr;
    (void)make_key(state.facts, executor_of(state)->es_param_list_info, state.key, reason);
    return reason;
}

// For a node without a plan below it, that runs: a hit is counted here, all else by the plan that is then
// made.
void look_up_answer(State& state, int eflags) {
    const char* reason = know_clock(executor_of(state)->es_snapshot, state.stamp);
    if (reason == nullptr && has_ready_rows(state)) return;
    if (reason == nullptr) reason = know_key(state);
    if (reason != nullptr) {
        bypass(state, reason);
        return;
    }
    state.outcome = Outcome::miss;
    EntryView entry;
    if (l4_cache::peek(state.key, entry) && l4_cache::serves(entry, state.stamp) && take_rows(state, entry)) {
        state.outcome = Outcome::hit;
        state.must_verify = can_be_verified(entry);
        state.stamp = entry.fields.stamp;
        keep_tags(state, entry);
        recent::keep(state, entry);
    } else if (is_explained(state, eflags)) {
        state.reason = miss_reason(state);
    }
}

void look_up(State& state, int eflags) {
    const bool runs = (eflags & EXEC_FLAG_EXPLAIN_ONLY) == 0;
    if (state.facts.refusal != nullptr) {
        state.outcome = Outcome::refused;
        state.reason = state.facts.refusal;
        return;
    }
    const char* reason = know_clock(executor_of(state)->es_snapshot, state.stamp);
    if (reason == nullptr && state.stays_open && !state.facts.reads_ahead) {
        if (state.facts.settings != NIL) {
            reason = "other statements may change a setting that it reads between two rows";
        } else if (state.facts.calls_user_functions) {
            reason = "other statements may change, between two rows, what its functions are or read";
        }
    }
    if (reason == nullptr) reason = know_key(state);
    if (reason != nullptr) {
        bypass(state, reason);
        if (runs) pg_atomic_fetch_add_u64(&shared::state().counters.bypasses, 1);
        return;
    }
    if (finds_rows(state, eflags)) return;
    if (l4_cache::is_out_of_reach(state.key, state.stamp)) {
        bypass(state, "its entry was read from more partitions than a hit here locks");
        if (runs) pg_atomic_fetch_add_u64(&shared::state().counters.bypasses, 1);
        return;
    }
    // Before any wait: the rows are as old as the snapshot.
    state.started_ns = monotonic_ns();
    if (runs && sharing::wait_for_leader(state.key.hash) && finds_rows(state, eflags)) {
        pg_atomic_fetch_add_u64(&shared::state().counters.shared_hits, 1);
        return;
    }
    state.outcome = Outcome::miss;
    if (is_explained(state, eflags)) state.reason = miss_reason(state);
}

void start_filling(State& state) {
    const Size limit =
        std::min(static_cast<Size>(settings::max_entry_size_kb) * 1024, static_cast<Size>(MaxAllocSize) / 2);
    tuple_payload::begin_copy(state.copy, limit, ExecGetResultType(&state.node.ss.ps),
                              state.facts.rows_depend_on);
    state.row_context = AllocSetContextCreate(CurrentMemoryContext, "tiercache row", ALLOCSET_DEFAULT_SIZES);
    state.nested = new (palloc(sizeof(Dependencies))) Dependencies();
    state.nested->allow_settings(state.facts.settings);
    state.is_filling = state.copy.complete;
    // Nobody waits for somebody's next FETCH.
    if (state.is_filling && !state.stays_open) state.flight = sharing::lead(state.key.hash);
    if (!state.is_filling) pg_atomic_fetch_add_u64(&shared::state().counters.fills_unpublished, 1);
}

// Partitions are left out here already, by what functions of the query say.
[[nodiscard]] PlanState* start_child(State& state, int eflags) {
    Plan* child = outerPlan(state.node.ss.ps.plan);
    if (!state.is_filling || !state.facts.calls_user_functions) {
        return ExecInitNode(child, executor_of(state), eflags);
    }
    PlanState* started = nullptr;
    state.nested->begin();
    PG_TRY();
    { started = ExecInitNode(child, executor_of(state), eflags); }
    PG_CATCH();
    {
        state.nested->end();
        PG_RE_THROW();
    }
    PG_END_TRY();
    state.nested->end();
    return started;
}

void begin(CustomScanState* node, int eflags) {
    State& state = state_of(node);
    auto* plan = reinterpret_cast<CustomScan*>(node->ss.ps.plan);
    state.facts = facts_of(plan);
    const bool is_childless = outerPlan(plan) == nullptr;
    const bool runs = (eflags & EXEC_FLAG_EXPLAIN_ONLY) == 0;
    state.stays_open = runs && !is_childless && can_stay_open();
    if (state.facts.settings != NIL) state.settings = settings_now(state.facts);
    state.erasures = recent::erasures_now();
    if (is_childless && runs) {
        look_up_answer(state, eflags);
    } else {
        look_up(state, eflags);
    }
    const bool is_hit = state.outcome == Outcome::hit;
    if (runs && !is_childless && state.outcome == Outcome::miss) start_filling(state);
    // That an open portal uses tables is seen by TRUNCATE, for one.
    if (!is_childless && (!is_hit || state.must_verify || state.stays_open || is_explained(state, eflags))) {
        outerPlanState(node) = start_child(state, eflags);
    }
    if (!runs) return;
    state.slot =
        ExecInitExtraTupleSlot(executor_of(state), ExecGetResultType(&node->ss.ps), &TTSOpsMinimalTuple);
    if (is_childless && (!is_hit || state.must_verify || can_stay_open())) start_late(state, eflags);
    // Last: a plan that is started above counts for its functions.
    state.started = started_now();
}

#ifdef TIERCACHE_PAUSE_POINTS
void repeat(State& state);
#endif

// ---- rows ----

[[nodiscard]] bool goes_forward(const State& state) noexcept {
    return !ScanDirectionIsBackward(executor_of(state)->es_direction);
}

}  // namespace

TupleTableSlot* next_of_rows(State& state) {
    if (goes_forward(state)) {
        if (state.position <= state.rows.count) ++state.position;
    } else if (state.position > 0) {
        --state.position;
    }
    if (state.position == 0 || state.position > state.rows.count) return ExecClearTuple(state.slot);
    return ExecStoreMinimalTuple(state.rows.rows[state.position - 1], state.slot, false);
}

namespace {

void keep_row(State& state, TupleTableSlot* slot) {
    MemoryContext caller = MemoryContextSwitchTo(state.row_context);
    tuple_payload::add_to_copy(state.copy, tuple_payload::flatten(slot));
    MemoryContextSwitchTo(caller);
    MemoryContextReset(state.row_context);
    if (!state.copy.complete) {
        pg_atomic_fetch_add_u64(&shared::state().counters.fills_unpublished, 1);
        stop_filling(state);
    }
}

// The client of a portal may set one between two of its calls, and set it back before the last.
[[nodiscard]] bool settings_changed(State& state) {
    if (!state.is_filling) return false;
    const bool call_begins = executor_of(state)->es_processed == 0;
    if (call_begins && !l4_cache::is_current(state.key)) return true;
    if (state.facts.settings == NIL) return false;
    MemoryContext caller = MemoryContextSwitchTo(state.row_context);
    const bool changed = !equal(settings_now(state.facts), state.settings);
    MemoryContextSwitchTo(caller);
    return changed;
}

// The child's next row, which the copy gets too.
[[nodiscard]] TupleTableSlot* pass_row(State& state) {
    if (!goes_forward(state) || settings_changed(state)) stop_filling(state);
    TupleTableSlot* slot = next_of_child(state);
    if (!state.is_filling) return slot;
    if (!TupIsNull(slot)) {
        keep_row(state, slot);
        return slot;
    }
    tuple_payload::finish_copy(state.copy);
    state.is_filling = false;
    state.is_filled = true;
    publish(state);
    return slot;
}

// Who asks for one row only never learns that it was the last.
void read_ahead(State& state) {
    state.rows.rows = static_cast<MinimalTuple*>(palloc(sizeof(MinimalTuple) * rows_ahead_max));
    while (state.is_filling && state.rows.count < rows_ahead_max) {
        TupleTableSlot* slot = pass_row(state);
        if (TupIsNull(slot)) {
            state.rows_are_whole = true;
            break;
        }
        state.rows.rows[state.rows.count++] = tuple_payload::flatten(slot);
    }
    state.serves_rows = true;
}

#ifdef TIERCACHE_PAUSE_POINTS
void repeat(State& state) {
    TupleTableSlot* slot = nullptr;
    do {
        CHECK_FOR_INTERRUPTS();
        slot = pass_row(state);
    } while (!TupIsNull(slot));
    publish(state);
    ExecReScan(outerPlanState(&state.node));
    EntryView entry;
    if (!state.is_stored || !find(state, 0, entry) || !take_rows(state, entry)) return;
    state.outcome = Outcome::hit;
    state.must_verify = can_be_verified(entry);
}
#endif

// May the portal be asked for more rows later? SPI comes back to cursors only.
[[nodiscard]] bool runs_in_parts(const State& state) noexcept {
    const statement_count::Limit limit = statement_count::limit();
    return state.stays_open || limit == statement_count::Limit::of_client ||
           (limit == statement_count::Limit::of_spi && can_stay_open());
}

// Would PostgreSQL, which computes rows when they are asked for, give those that are at hand?
[[nodiscard]] bool are_as_asked(const State& state) {
    using tuple_payload::DependsOn;
    if (state.rows.depends_on == DependsOn::nothing) return true;
    // Between two rows others may change what the next one depends on.
    if (runs_in_parts(state) && !state.facts.reads_ahead) return false;
    if (state.stays_open) return still_answers(state);
    // What this transaction itself did meanwhile may be a change of definitions.
    return is_alone(state.started) || (state.rows.depends_on == DependsOn::session &&
                                       is_same_session(state) && bypass_reason() == nullptr);
}

// A hit whose first row is asked for.
void look_again(State& state) {
    if (are_as_asked(state)) return;
    if (child_of(state) == nullptr) start_after_all(state);
    check_late_rows(state);
    leave_answer(state);
    bypass(state, "its rows are asked for later than its portal was started, or some at a time");
    pg_atomic_fetch_add_u64(&shared::state().counters.bypasses, 1);
}

TupleTableSlot* next(CustomScanState* node) {
    State& state = state_of(node);
    if (!state.has_started) {
        state.has_started = true;
        state.first_ns = monotonic_ns();
        if (state.outcome == Outcome::hit) look_again(state);
#ifdef TIERCACHE_PAUSE_POINTS
        if (settings::repeat && state.is_filling && goes_forward(state)) repeat(state);
#endif
        if (state.must_verify) verify(state);
        if (state.is_filling && state.facts.reads_ahead && goes_forward(state)) read_ahead(state);
    }
    if (state.serves_rows) {
        if (state.rows_are_whole || !goes_forward(state) || state.position < state.rows.count) {
            return next_of_rows(state);
        }
        // The child stands where the rows end.
        state.serves_rows = false;
    }
    return pass_row(state);
}

void rescan(CustomScanState* node) {
    State& state = state_of(node);
    state.position = 0;
    if (state.rows_are_whole) return;
    stop_filling(state);
    state.serves_rows = false;
    state.rows.count = 0;
    rescan_child(state);
}

void end(CustomScanState* node) {
    State& state = state_of(node);
    publish(state);
    sharing::end(state.flight, false);
    if (outerPlanState(node) != nullptr) ExecEndNode(outerPlanState(node));
    end_late(state);
}

}  // namespace

TupleTableSlot* next_of_hit(State& state) {
    const bool is_as_started =
        state.has_started ||
        (is_alone(state.started) && statement_count::limit() == statement_count::Limit::none);
    state.has_started = true;
    if (is_as_started && state.serves_rows) return next_of_rows(state);
    return pg::enter([&] {
        if (!is_as_started) look_again(state);
        return state.serves_rows ? next_of_rows(state) : pass_row(state);
    });
}

namespace {

// ---- what PostgreSQL calls ----

void begin_guarded(CustomScanState* node, EState* /*executor*/, int eflags) {
    pg::enter([=] { begin(node, eflags); });
}
TupleTableSlot* next_guarded(CustomScanState* node) {
    return pg::enter([=] { return next(node); });
}
void end_guarded(CustomScanState* node) {
    pg::enter([=] { end(node); });
}
void rescan_guarded(CustomScanState* node) {
    pg::enter([=] { rescan(node); });
}
void explain_guarded(CustomScanState* node, List* ancestors, ExplainState* es) {
    pg::enter([=] { explain(node, ancestors, es); });
}

[[nodiscard]] CustomExecMethods make_methods() noexcept {
    CustomExecMethods made{};
    made.CustomName = "Tiercache";
    made.BeginCustomScan = begin_guarded;
    made.ExecCustomScan = next_guarded;
    made.EndCustomScan = end_guarded;
    made.ReScanCustomScan = rescan_guarded;
    made.ExplainCustomScan = explain_guarded;
    return made;
}
const CustomExecMethods methods = make_methods();

}  // namespace

const char* know_clock(Snapshot snapshot, std::uint64_t& clock) {
    if (settings::mode == static_cast<int>(settings::Mode::off)) return "tiercache.mode is off";
    if (const char* reason = bypass_reason()) return reason;
    const std::optional<std::uint64_t> known = clock_of(snapshot);
    if (!known) return "the clock of the query's snapshot is not known";
    clock = *known;
    return nullptr;
}

bool read_rows(const EntryView& entry, TupleDesc columns, tuple_payload::Rows& rows) {
    const std::byte* payload = l4_cache::read_payload_at(entry, 0);
    return payload != nullptr && tuple_payload::read({payload, entry.raw_length}, columns, rows);
}

bool is_hit(const PlanState* state) noexcept {
    if (state == nullptr || !IsA(state, CustomScanState)) return false;
    const auto* own = reinterpret_cast<const State*>(state);
    return own->node.methods == &methods && own->outcome == Outcome::hit;
}

Node* create_state(CustomScan* /*scan*/) {
    auto* state = new (palloc(sizeof(State))) State();
    NodeSetTag(state, T_CustomScanState);
    state->node.methods = &methods;
    return reinterpret_cast<Node*>(state);
}

}  // namespace tiercache::cache_scan
