// tiercache.explain: may a query be cached, why not, what does it depend on, is it cached now, what does a
// hit save?
#include <algorithm>
#include <array>

#include "pg_extension/boundary.hpp"
#include "pg_extension/fill.hpp"
#include "pg_extension/l4_cache.hpp"
#include "pg_extension/patterns.hpp"
#include "pg_extension/query_arguments.hpp"
#include "pg_extension/query_compat.hpp"
#include "pg_extension/shared_state.hpp"
#include "pg_extension/snapshot_clock.hpp"
#include "shm_cache/monotonic_time.hpp"

extern "C" {
#include <catalog/pg_type.h>
#include <funcapi.h>
#include <utils/array.h>
#include <utils/builtins.h>
#include <utils/lsyscache.h>

PG_FUNCTION_INFO_V1(tiercache_explain);
}

namespace tiercache {
namespace {

constexpr int explain_columns = 12;

constexpr double ns_per_us = 1000;
constexpr double us_per_ms = 1000;

struct Cached {
    bool found = false;
    bool fresh = false;
    std::uint64_t stamp = 0;
    double fill_us = 0;
    double look_up_us = 0;  // what looking took just now, and unpacking what was found
};

// The entry that the next query would be served from, if any; else one that it would not be served from.
void look_at(const l4_cache::Key& key, Cached& cached) {
    EntryView entry;
    if (cached.fresh) return;
    const std::uint64_t start_ns = monotonic_ns();
    const bool found = l4_cache::peek(key, entry);
    if (found) (void)l4_cache::read_payload_at(entry, 0);
    if (found || !cached.found) {
        cached.look_up_us = static_cast<double>(monotonic_ns() - start_ns) / ns_per_us;
    }
    if (!found) return;
    std::array<Tag, max_entry_tags> tags;
    cached.found = true;
    cached.fill_us = entry.fields.fill_cost_us;
    cached.stamp = entry.fields.stamp;
    cached.fresh = !entry.fields.lifetime.expired_at(monotonic_ns()) &&
                   check_for_transaction(entry.tags.copy_to(tags), entry.fields.stamp, entry.fields.epoch) ==
                       Verdict::fresh;
}

[[nodiscard]] Cached find_cached(const text* sql, const QueryArguments& arguments) {
    Cached cached;
    look_at(key_of_fetch(sql, arguments), cached);
    if (arguments.count > 0) return cached;
    look_at(l4_cache::make_key(PayloadFormat::json, view_of(sql), {}), cached);
    look_at(l4_cache::make_key(PayloadFormat::pg_tuples, view_of(sql), {}), cached);
    return cached;
}

[[nodiscard]] Datum relation_names(List* relations) {
    const int count = list_length(relations);
    auto* names = static_cast<Datum*>(palloc(sizeof(Datum) * static_cast<Size>(count + 1)));
    int used = 0;
    ListCell* cell = nullptr;
    foreach (cell, relations) {
        const Oid relation = lfirst_oid(cell);
        const char* name = get_rel_name(relation);
        const char* schema = get_namespace_name(get_rel_namespace(relation));
        if (name == nullptr || schema == nullptr) continue;
        names[used++] = CStringGetTextDatum(quote_qualified_identifier(schema, name));
    }
    return PointerGetDatum(construct_array(names, used, TEXTOID, -1, false, TYPALIGN_INT));
}

void prepare(Fill& fill) {
    fill::prepare(fill);
    if (fill.plan != nullptr) pg::check_plan_permissions(fill.plan);
    if (fill.dependencies.overflow()) {
        fill.reasons.add("it depends on more than %d tables, schemas, functions and types",
                         Dependencies::limit);
    }
}

// What running the query takes, and from where that is known, best source first.
struct RunTime {
    double us;
    const char* source;
};
[[nodiscard]] RunTime run_time(const PlannedStmt* plan, const Cached& cached) {
    if (cached.found) return {cached.fill_us, "entry"};
    if (const auto mean = patterns::mean_run_us(static_cast<std::uint64_t>(plan->queryId))) {
        return {*mean, "pattern"};
    }
    return {l4_cache::expected_us(plan->planTree->total_cost), "planner"};
}

void add_benefit(const Fill& fill, const Cached& cached, Datum* values, bool* nulls) {
    if (fill.plan == nullptr) {
        std::fill_n(nulls, 4, true);
        return;
    }
    const RunTime run = run_time(fill.plan, cached);
    values[0] = Float8GetDatum(run.us / us_per_ms);
    values[1] = CStringGetTextDatum(run.source);
    values[2] = Float8GetDatum(cached.look_up_us / us_per_ms);
    values[3] = Float8GetDatum(std::max(run.us - cached.look_up_us, 0.0) / us_per_ms);
}

Datum explain(FunctionCallInfo fcinfo) {
    shared::require();
    TupleDesc description = nullptr;
    if (get_call_result_type(fcinfo, nullptr, &description) != TYPEFUNC_COMPOSITE) {
        elog(ERROR, "return type must be a row type");
    }
    BlessTupleDesc(description);
    const text* sql = PG_GETARG_TEXT_PP(0);
    const QueryArguments arguments = read_arguments(PG_GETARG_ARRAYTYPE_P(1));
    Fill* fill = new_fill({text_to_cstring(sql), PayloadFormat::pg_wire, {arguments.texts, arguments.count}});
    prepare(*fill);

    Datum values[explain_columns] = {};
    bool nulls[explain_columns] = {};
    values[0] = BoolGetDatum(!fill->reasons.any());
    nulls[1] = !fill->reasons.any();
    if (!nulls[1]) values[1] = CStringGetTextDatum(fill->reasons.joined());
    nulls[2] = fill->bypassed == nullptr;
    if (!nulls[2]) values[2] = CStringGetTextDatum(fill->bypassed);
    values[3] = relation_names(fill->dependencies.relations());
    nulls[4] = fill->plan == nullptr;
    if (!nulls[4]) values[4] = Float8GetDatum(fill->plan->planTree->total_cost);
    const Cached cached = find_cached(sql, arguments);
    values[5] = BoolGetDatum(cached.found);
    nulls[6] = nulls[7] = !cached.found;
    values[6] = BoolGetDatum(cached.fresh && fill->bypassed == nullptr);
    values[7] = Int64GetDatum(static_cast<int64>(cached.stamp));
    // The extension's first version has no columns for these.
    add_benefit(*fill, cached, values + 8, nulls + 8);
    return HeapTupleGetDatum(heap_form_tuple(description, values, nulls));
}

}  // namespace
}  // namespace tiercache

Datum tiercache_explain(PG_FUNCTION_ARGS) {
    return tiercache::pg::enter([fcinfo] { return tiercache::explain(fcinfo); });
}
