// tiercache.verify: the query's own answer against the entry's.
#include <algorithm>
#include <bit>

#include "pg_extension/cache_scan_state.hpp"
#include "pg_extension/query_compat.hpp"
#include "pg_extension/settings.hpp"

extern "C" {
#include <executor/executor.h>
#include <utils/datum.h>
#include <utils/lsyscache.h>
}

namespace tiercache::cache_scan {

namespace {

struct Sorted {
    std::uint32_t hash;
    std::uint64_t row;
};

[[nodiscard]] tuple_payload::Rows run_child(State& state) {
    constexpr std::uint64_t first_room = 64;
    std::uint64_t room = first_room;
    tuple_payload::Rows rows{static_cast<MinimalTuple*>(palloc(sizeof(MinimalTuple) * room)), 0,
                             tuple_payload::DependsOn::anything};
    while (true) {
        CHECK_FOR_INTERRUPTS();
        TupleTableSlot* slot = next_of_child(state);
        if (TupIsNull(slot)) return rows;
        if (rows.count == room) {
            room *= 2;
            rows.rows = static_cast<MinimalTuple*>(repalloc_huge(rows.rows, sizeof(MinimalTuple) * room));
        }
        rows.rows[rows.count++] = tuple_payload::flatten(slot);
    }
}

[[nodiscard]] bool same_row(TupleTableSlot* a, TupleTableSlot* b) {
    slot_getallattrs(a);
    slot_getallattrs(b);
    TupleDesc description = a->tts_tupleDescriptor;
    for (int i = 0; i < description->natts; ++i) {
        if (a->tts_isnull[i] != b->tts_isnull[i]) return false;
        if (a->tts_isnull[i]) continue;
        const auto* column = TupleDescAttr(description, i);
        if (!datum_image_eq(a->tts_values[i], b->tts_values[i], column->attbyval, column->attlen))
            return false;
    }
    return true;
}

[[nodiscard]] std::uint32_t hash_of(TupleTableSlot* slot) {
    slot_getallattrs(slot);
    TupleDesc description = slot->tts_tupleDescriptor;
    std::uint32_t hash = 0;
    for (int i = 0; i < description->natts; ++i) {
        const auto* column = TupleDescAttr(description, i);
        hash = std::rotl(hash, 1);
        if (!slot->tts_isnull[i]) {
            hash ^= datum_image_hash(slot->tts_values[i], column->attbyval, column->attlen);
        }
    }
    return hash;
}

struct Comparison {
    TupleTableSlot* a;
    TupleTableSlot* b;
};

[[nodiscard]] bool same_at(const Comparison& c, MinimalTuple a, MinimalTuple b) {
    ExecStoreMinimalTuple(a, c.a, false);
    ExecStoreMinimalTuple(b, c.b, false);
    return same_row(c.a, c.b);
}

int compare_hashes(const void* a, const void* b) {
    const std::uint32_t x = static_cast<const Sorted*>(a)->hash;
    const std::uint32_t y = static_cast<const Sorted*>(b)->hash;
    return x < y ? -1 : static_cast<int>(x > y);
}

[[nodiscard]] Sorted* sort_by_hash(const Comparison& c, const tuple_payload::Rows& rows) {
    auto* sorted = static_cast<Sorted*>(palloc_extended(sizeof(Sorted) * (rows.count + 1), MCXT_ALLOC_HUGE));
    for (std::uint64_t i = 0; i < rows.count; ++i) {
        ExecStoreMinimalTuple(rows.rows[i], c.a, false);
        sorted[i] = {hash_of(c.a), i};
    }
    qsort(sorted, rows.count, sizeof(Sorted), compare_hashes);
    return sorted;
}

// Without an ORDER BY the rows may come in any order. The number of rows; or that of the first that differs.
[[nodiscard]] std::uint64_t same_rows(const Comparison& c, const tuple_payload::Rows& a,
                                      const tuple_payload::Rows& b, bool is_ordered) {
    const std::uint64_t count = std::min(a.count, b.count);
    std::uint64_t same = 0;
    while (same < count && same_at(c, a.rows[same], b.rows[same])) ++same;
    if (same == count || is_ordered || a.count != b.count) return same;
    const Sorted* sorted_a = sort_by_hash(c, a);
    const Sorted* sorted_b = sort_by_hash(c, b);
    for (std::uint64_t i = 0; i < count; ++i) {
        if (sorted_a[i].hash != sorted_b[i].hash) return sorted_b[i].row;
    }
    return count;
}

[[nodiscard]] char* text_of(TupleTableSlot* slot, MinimalTuple row) {
    StringInfoData text;
    initStringInfo(&text);
    ExecStoreMinimalTuple(row, slot, false);
    slot_getallattrs(slot);
    TupleDesc description = slot->tts_tupleDescriptor;
    for (int i = 0; i < description->natts; ++i) {
        if (i > 0) appendStringInfoString(&text, ", ");
        if (slot->tts_isnull[i]) {
            appendStringInfoString(&text, "NULL");
            continue;
        }
        Oid output = InvalidOid;
        bool is_varlena = false;
        getTypeOutputInfo(TupleDescAttr(description, i)->atttypid, &output, &is_varlena);
        appendStringInfoString(&text, OidOutputFunctionCall(output, slot->tts_values[i]));
    }
    return text.data;
}

}  // namespace

void verify(State& state) {
    state.must_verify = false;
    const tuple_payload::Rows own = run_child(state);
    TupleDesc description = ExecGetResultType(&state.node.ss.ps);
    const Comparison c{MakeSingleTupleTableSlot(description, &TTSOpsMinimalTuple),
                       MakeSingleTupleTableSlot(description, &TTSOpsMinimalTuple)};
    const std::uint64_t same = same_rows(c, state.rows, own, state.facts.is_ordered);
    if (same < state.rows.count || same < own.count) {
        const bool is_error = settings::verify == static_cast<int>(settings::Verify::error);
        ereport(is_error ? ERROR : WARNING,
                (errcode(ERRCODE_DATA_CORRUPTED),
                 errmsg("tiercache: a cached answer is not what the query returns"),
                 errdetail("Row %llu of %llu is (%s); of the query's %llu it is (%s).",
                           static_cast<unsigned long long>(same + 1),
                           static_cast<unsigned long long>(state.rows.count),
                           same < state.rows.count ? text_of(c.a, state.rows.rows[same]) : "",
                           static_cast<unsigned long long>(own.count),
                           same < own.count ? text_of(c.b, own.rows[same]) : ""),
                 errcontext("SQL statement \"%s\"", state.facts.text)));
    }
    ExecDropSingleTupleTableSlot(c.a);
    ExecDropSingleTupleTableSlot(c.b);
    state.rows = own;
}

}  // namespace tiercache::cache_scan
