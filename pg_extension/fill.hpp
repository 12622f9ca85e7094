// A fill: analyzes, plans and runs one query, and says whether its result may be kept.
//
// The stamp is the clock of a snapshot that is taken before anything else, so whatever is computed, at
// planning time or by the executor under its own later snapshot, is at least that new. A change in between
// has a higher clock than the stamp, and the freshness rule finds it.
//
// Nothing here has a destructor: errors may jump over it.
#pragma once

#include <optional>
#include <span>

#include "pg_extension/dependencies.hpp"
#include "pg_extension/pg.hpp"
#include "pg_extension/query_check.hpp"
#include "pg_extension/snapshot_clock.hpp"
#include "shm_cache/entry.hpp"

extern "C" {
#include <nodes/params.h>
#include <tcop/dest.h>
}

namespace tiercache {

// The query, and the form its result is wanted in.
struct FillRequest {
    const char* sql;
    PayloadFormat format;
    std::span<const char* const> parameters;  // text; nullptr is NULL
};

struct Fill {
    FillRequest request{};
    const char* bypassed = nullptr;      // why nothing may be kept, known before the query ran
    std::optional<std::uint64_t> stamp;  // nothing: it could not be told
    std::uint64_t started_ns = 0;        // on the monotonic clock
    std::uint32_t cost_us = 0;           // of planning and running
    PlanAge plan_age{};
    bool is_ordered = false;  // an ORDER BY says in which order the rows come
    Reasons reasons;
    Dependencies dependencies;
    PlannedStmt* plan = nullptr;  // nullptr while there are reasons
    ParamListInfo parameters = nullptr;
};

namespace fill {

// Parses, analyzes, checks and plans. Raises the query's own errors; refusals are in `reasons`.
void prepare(Fill& fill);

// Prepares, raises refusals as an error, and runs the query to its end into `receiver`.
void run(Fill& fill, DestReceiver* receiver);

// After run(): may the result be kept, here or by clients, under fill.stamp and fill.dependencies?
[[nodiscard]] bool may_keep(const Fill& fill);

}  // namespace fill
}  // namespace tiercache
