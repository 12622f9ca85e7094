#include "pg_extension/statement_count.hpp"

#include "pg_extension/pg.hpp"

extern "C" {
#include <catalog/objectaccess.h>
#include <executor/executor.h>
#include <tcop/utility.h>
}

namespace tiercache::statement_count {

namespace {

std::uint64_t count = 0;
int running_now = 0;
Limit last_limit = Limit::none;

// Not a destructor: errors jump over these.
template <class F>
void run_counted(F run) {
    ++running_now;
    PG_TRY();
    { run(); }
    PG_FINALLY();
    { --running_now; }
    PG_END_TRY();
}

void note_run(const QueryDesc* query, std::uint64_t rows) noexcept {
    ++count;
    last_limit = rows == 0 ? Limit::none : query->dest->mydest == DestSPI ? Limit::of_spi : Limit::of_client;
}

ExecutorRun_hook_type previous_run = nullptr;
ExecutorFinish_hook_type previous_finish = nullptr;
ProcessUtility_hook_type previous_utility = nullptr;
object_access_hook_type previous_access = nullptr;

#if PG_VERSION_NUM >= 180000
void run(QueryDesc* query, ScanDirection direction, uint64 rows) {
    note_run(query, rows);
    run_counted(
        [=] { (previous_run != nullptr ? previous_run : standard_ExecutorRun)(query, direction, rows); });
}
#else
void run(QueryDesc* query, ScanDirection direction, uint64 rows, bool once) {
    note_run(query, rows);
    run_counted([=] {
        (previous_run != nullptr ? previous_run : standard_ExecutorRun)(query, direction, rows, once);
    });
}
#endif

void finish(QueryDesc* query) {
    run_counted([=] { (previous_finish != nullptr ? previous_finish : standard_ExecutorFinish)(query); });
}

void run_utility(PlannedStmt* plan, const char* source, bool read_only_tree, ProcessUtilityContext context,
                 ParamListInfo parameters, QueryEnvironment* environment, DestReceiver* receiver,
                 QueryCompletion* completion) {
    ++count;
    const auto run = [=] {
        (previous_utility != nullptr ? previous_utility : standard_ProcessUtility)(
            plan, source, read_only_tree, context, parameters, environment, receiver, completion);
    };
    // These stand for the statement that they run.
    if (IsA(plan->utilityStmt, ExecuteStmt) || IsA(plan->utilityStmt, ExplainStmt)) {
        run();
    } else {
        run_counted(run);
    }
}

// A client may call a function without any statement, by the protocol's function call message: no other hook
// sees that. It is called for the functions of a plan that starts, too.
void note_access(ObjectAccessType access, Oid catalog, Oid object, int column, void* details) {
    if (access == OAT_FUNCTION_EXECUTE) ++count;
    if (previous_access != nullptr) previous_access(access, catalog, object, column, details);
}

}  // namespace

std::uint64_t now() noexcept { return count; }
Limit limit() noexcept { return last_limit; }
int running() noexcept { return running_now; }

void install_hooks() {
    previous_run = ExecutorRun_hook;
    ExecutorRun_hook = run;
    previous_finish = ExecutorFinish_hook;
    ExecutorFinish_hook = finish;
    previous_utility = ProcessUtility_hook;
    ProcessUtility_hook = run_utility;
    previous_access = object_access_hook;
    object_access_hook = note_access;
}

}  // namespace tiercache::statement_count
