#include "pg_extension/fill.hpp"

#include <algorithm>

#include "pg_extension/l4_cache.hpp"
#include "pg_extension/pause_point.hpp"
#include "pg_extension/query_compat.hpp"
#include "pg_extension/settings.hpp"
#include "pg_extension/shared_state.hpp"
#include "pg_extension/tags.hpp"
#include "pg_extension/transparent.hpp"
#include "shm_cache/monotonic_time.hpp"

extern "C" {
#include <catalog/pg_type.h>
#include <nodes/params.h>
#include <rewrite/rewriteHandler.h>
#include <tcop/tcopprot.h>
#include <utils/inval.h>
#include <utils/lsyscache.h>
}

namespace tiercache::fill {

namespace {

// Errors inside the query show its own text and the place in it.
void tell_where(void* argument) {
    auto* sql = static_cast<const char*>(argument);
    const int position = geterrposition();
    if (position > 0) {
        errposition(0);
        internalerrposition(position);
        internalerrquery(sql);
    } else {
        errcontext("SQL statement \"%s\"", sql);
    }
}

// Does `body` with errors inside it explained, and with the fill's dependencies being collected.
template <class F>
void in_query(Fill& fill, F body) {
    ErrorContextCallback place;
    place.callback = tell_where;
    place.arg = const_cast<char*>(fill.request.sql);
    place.previous = error_context_stack;
    error_context_stack = &place;
    fill.dependencies.begin();
    PG_TRY();
    { body(); }
    PG_CATCH();
    {
        fill.dependencies.end();
        PG_RE_THROW();
    }
    PG_END_TRY();
    fill.dependencies.end();
    error_context_stack = place.previous;
}

[[nodiscard]] const char* name_of_function(PayloadFormat format) noexcept {
    switch (format) {
        case PayloadFormat::pg_wire:
            return "fetch";
        case PayloadFormat::json:
            return "query_json";
        default:
            return "query";
    }
}

void check_parameter_count(const Fill& fill, int expected) {
    const auto given = static_cast<int>(fill.request.parameters.size());
    if (given == expected) return;
    ereport(ERROR,
            (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
             errmsg("wrong number of parameters: the query takes %d, but %d were given", expected, given),
             errhint("Give one value for each of $1, $2, ...: tiercache.%s(sql, ARRAY['value', ...]).",
                     name_of_function(fill.request.format))));
}

// As in the extended protocol: parameters arrive as text of the types that parse analysis found.
void bind_parameters(Fill& fill, const Oid* types, int count) {
    check_parameter_count(fill, count);
    if (count == 0) return;
    fill.parameters = makeParamList(count);
    for (int i = 0; i < count; ++i) {
        const char* text = fill.request.parameters[static_cast<std::size_t>(i)];
        const Oid type = types[i];
        if (!OidIsValid(type) || type == UNKNOWNOID) {
            ereport(
                ERROR,
                (errcode(ERRCODE_INDETERMINATE_DATATYPE),
                 errmsg("could not determine data type of parameter $%d", i + 1),
                 errhint("Name it in the query, with a type where that does not follow: $%d::text.", i + 1)));
        }
        query_check::check_parameter(i + 1, type, text, fill.reasons);
        Oid input = InvalidOid;
        Oid io_parameter = InvalidOid;
        getTypeInputInfo(type, &input, &io_parameter);
        ParamExternData& parameter = fill.parameters->params[i];
        parameter.value = OidInputFunctionCall(input, const_cast<char*>(text), io_parameter, -1);
        parameter.isnull = text == nullptr;
        parameter.pflags = PARAM_FLAG_CONST;
        parameter.ptype = type;
    }
}

[[nodiscard]] Query* rewrite(Query* analyzed) {
    List* queries = QueryRewrite(analyzed);
    if (list_length(queries) != 1) elog(ERROR, "a SELECT was rewritten to %d queries", list_length(queries));
    return linitial_node(Query, queries);
}

void analyze_and_plan(Fill& fill) {
    RawStmt* statement = query_check::check_statement(pg_parse_query(fill.request.sql), fill.reasons);
    if (statement == nullptr) return;
    Oid* types = nullptr;
    int type_count = 0;
    // Parse analysis scribbles on its input, and the checks look at the parse tree.
    Query* query =
        pg::analyze(static_cast<RawStmt*>(copyObject(statement)), fill.request.sql, &types, &type_count);
    bind_parameters(fill, types, type_count);

    // Rewriting scribbles on its input.
    Query* analyzed = copyObject(query);
    if (query->commandType == CMD_SELECT) query = rewrite(query);
    fill.is_ordered = query->sortClause != NIL;
    fill.dependencies.add(roles_tag());
    fill.dependencies.add(definitions_tag());
    fill.dependencies.add_search_path();
    fill.dependencies.add_query(query);
    const auto findings = query_check::check_query(statement, analyzed, query, fill.request.format,
                                                   fill.reasons, fill.dependencies);
    if (fill.reasons.any()) return;

    // A worker process's functions would read tables unseen by our hook.
    const int options =
        transparent::cursor_option_plain | (findings.calls_user_functions ? 0 : CURSOR_OPT_PARALLEL_OK);
    fill.plan = pg_plan_query(query, fill.request.sql, options, fill.parameters);
    fill.dependencies.add_plan(fill.plan);
    fill.dependencies.set_own_plan(fill.plan);
    query_check::check_plan(fill.plan, fill.reasons);
}

void begin(Fill& fill) {
    fill.started_ns = monotonic_ns();
    fill.plan_age = plan_age_now();
    // What the plan is made of must be as new as its age. Parse analysis accepts messages only where it takes
    // a lock, and a query without tables takes none.
    AcceptInvalidationMessages();
    // What the statement around us did so far is seen, as by any query in a function that may write.
    CommandCounterIncrement();
    Snapshot snapshot = GetTransactionSnapshot();
    if (fill.bypassed == nullptr) fill.stamp = clock_of(snapshot);
    PushActiveSnapshot(snapshot);
}

void execute(Fill& fill, DestReceiver* receiver) {
    // Locks may have been waited for: what is read is the state after them, as in any query.
    PushActiveSnapshot(GetTransactionSnapshot());
    pause_point(PausePoint::fill_planned);
    QueryDesc* query = CreateQueryDesc(fill.plan, fill.request.sql, GetActiveSnapshot(), InvalidSnapshot,
                                       receiver, fill.parameters, nullptr, 0);
    ExecutorStart(query, 0);
    pg::run_to_end(query);
    ExecutorFinish(query);
    ExecutorEnd(query);
    FreeQueryDesc(query);
    PopActiveSnapshot();
    pause_point(PausePoint::fill_computed);
}

void note_cost(Fill& fill) {
    const std::uint64_t us = (monotonic_ns() - fill.started_ns) / 1000;
    fill.cost_us = static_cast<std::uint32_t>(std::min<std::uint64_t>(us, UINT32_MAX));
}

}  // namespace

void prepare(Fill& fill) {
    fill.bypassed = bypass_reason();
    begin(fill);
    in_query(fill, [&fill] { analyze_and_plan(fill); });
    PopActiveSnapshot();
}

void run(Fill& fill, DestReceiver* receiver) {
    prepare(fill);
    fill.reasons.raise_if_any();
    in_query(fill, [&fill, receiver] { execute(fill, receiver); });
    note_cost(fill);
    l4_cache::note_cost(fill.plan->planTree->total_cost, fill.cost_us);
    if (settings::is_broken(settings::Mutant::late_stamp)) fill.stamp = shared::clock_now();
}

bool may_keep(const Fill& fill) {
    return fill.bypassed == nullptr && fill.stamp.has_value() && !fill.dependencies.overflow() &&
           !fill.dependencies.untracked() && bypass_reason() == nullptr &&
           plan_is_current(fill.plan_age, fill.dependencies.tags());
}

}  // namespace tiercache::fill
