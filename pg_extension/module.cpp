// The library's entry: what happens when PostgreSQL loads tiercache.so.
#include "pg_extension/boundary.hpp"
#include "pg_extension/cache_scan.hpp"
#include "pg_extension/classes.hpp"
#include "pg_extension/dependencies.hpp"
#include "pg_extension/foreign_tables.hpp"
#include "pg_extension/lease_worker.hpp"
#include "pg_extension/maintenance.hpp"
#include "pg_extension/patterns.hpp"
#include "pg_extension/settings.hpp"
#include "pg_extension/shared_state.hpp"
#include "pg_extension/snapshot_clock.hpp"
#include "pg_extension/statement_count.hpp"
#include "pg_extension/transparent.hpp"
#include "pg_extension/write_tracker.hpp"

extern "C" {
#include <optimizer/planner.h>

PG_MODULE_MAGIC;
PGDLLEXPORT void _PG_init(void);
}

namespace {

planner_hook_type previous_planner_hook = nullptr;

// A REPEATABLE READ transaction's snapshot can be told apart only at its first statements.
PlannedStmt* plan(Query* query, const char* text, int cursor_options, ParamListInfo parameters) {
    if (tiercache::shared::available()) {
        tiercache::note_transaction_snapshot();
        tiercache::foreign_tables::note_statement();
    }
    const auto planner = previous_planner_hook != nullptr ? previous_planner_hook : standard_planner;
    return tiercache::transparent::plan(planner, query, text, cursor_options, parameters);
}

void install() {
    tiercache::settings::define();
    tiercache::shared::install_hooks();
    tiercache::write_tracker::register_callbacks();
    tiercache::classes::register_callbacks();
    tiercache::register_lease_worker();
    tiercache::cache_scan::install_hook();
    tiercache::cache_scan::install_portal_hook();
    tiercache::dependencies::install_hook();
    tiercache::maintenance::install_hook();
    tiercache::statement_count::install_hooks();
    tiercache::transparent::install_hooks();
    tiercache::patterns::install_hooks();
    previous_planner_hook = planner_hook;
    planner_hook = plan;
}

}  // namespace

void _PG_init(void) {
    // Loaded later, by CREATE EXTENSION or a function call: every function says what to do.
    if (process_shared_preload_libraries_in_progress) install();
}
