// The plan node of transparent mode, on top of a SELECT's plan: returns the rows of a fresh entry, or runs
// the plan and keeps a copy of what passes through.
//
// The look-up is made when the executor starts, for the executor's own snapshot: a hit returns what the plan
// would return under that snapshot, or it is none. An entry is stored when the plan was run to its end, and
// never when that is not certain: rows that nobody asked for are read only where they were computed already.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "pg_extension/l4_cache.hpp"
#include "pg_extension/pg.hpp"
#include "pg_extension/snapshot_clock.hpp"
#include "pg_extension/tuple_payload.hpp"
#include "shm_cache/hash.hpp"

extern "C" {
#include <nodes/execnodes.h>
#include <nodes/plannodes.h>
}

namespace tiercache::cache_scan {

// What planning found out; kept in the node, and copied with it. What it points to lives as long as the plan.
struct Facts {
    PlanAge plan_age;
    std::uint32_t plan_us;      // what planning cost
    bool calls_user_functions;  // which may run queries of their own
    bool reads_ahead;           // all rows are computed by the time of the first
    tuple_payload::DependsOn rows_depend_on;
    bool is_ordered;  // an ORDER BY says in which order the rows come
    std::uint32_t tag_count;
    const Tag* tags;
    const char* refusal;  // why nothing is looked up or kept, or nullptr
    const char* text;     // of the statement
    const char* digest;   // of the statement, see statement_digest.hpp
    List* parameters;     // the numbers of those it refers to
    List* settings;       // String nodes: the names of those it reads
    // Of the node, among all that this backend made: copies have it, too. Set by put_on_top() and
    // make_childless().
    std::uint64_t number;
};

// Puts the node on top of the plan.
void put_on_top(PlannedStmt* plan, Facts facts);

// The node without a plan below it, of a query whose entry is there: planning is left out. When the entry is
// gone by the time the executor starts, the query is planned then, and nothing is stored. nullptr where this
// is not built for the server's version. The entry is kept for the executor, which has to judge it only.
[[nodiscard]] PlannedStmt* make_childless(Query* query, Facts facts, const l4_cache::Key& key,
                                          const EntryView& entry);

// What make_childless() was given, when `scan` is the very node that it made last.
struct Ready {
    l4_cache::Key key;
    EntryView entry;
};
[[nodiscard]] const Ready* ready_of(const CustomScan* scan, const Facts& facts) noexcept;

// The query of a node without a plan below it.
[[nodiscard]] Query* query_of(const CustomScan* scan);

// What put_on_top() or make_childless() was given.
[[nodiscard]] Facts facts_of(const CustomScan* scan);

// Is it the state of a node that serves an entry's rows?
[[nodiscard]] bool is_hit(const PlanState* state) noexcept;

// Is it a node of ours?
[[nodiscard]] bool is_own(const Plan* plan) noexcept;

// Once a process.
void register_methods();
// For hits that need no more of the executor than to hand out rows; before other hooks of the same kind.
void install_hook();
// For those whose portal is open while other statements run.
void install_portal_hook();

}  // namespace tiercache::cache_scan
