#include "pg_extension/entry_copies.hpp"

#include <cstring>

#include "pg_extension/shared_state.hpp"

extern "C" {
#include <catalog/pg_authid.h>
#include <funcapi.h>
#include <mb/pg_wchar.h>
#include <utils/acl.h>
#include <utils/builtins.h>
}

namespace tiercache::entry_copies {

namespace {

[[nodiscard]] bool copy_entry(void* context, std::span<const std::byte> bytes) {
    auto** list = static_cast<Copy**>(context);
    auto* copy =
        static_cast<Copy*>(palloc_extended(sizeof(Copy) + bytes.size(), MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM));
    if (copy == nullptr) return false;
    *copy = {*list, bytes.size()};
    std::memcpy(copy + 1, bytes.data(), bytes.size());
    *list = copy;
    return true;
}

}  // namespace

Copy* all() {
    Copy* copies = nullptr;
    if (Segment* segment = shared::segment(); segment != nullptr) segment->for_each(copy_entry, &copies);
    return copies;
}

bool shows_text_of(Oid role) {
    return has_privs_of_role(GetUserId(), ROLE_PG_READ_ALL_STATS) || has_privs_of_role(GetUserId(), role);
}

Datum text_datum(std::span<const std::byte> bytes) {
    const auto* text = reinterpret_cast<const char*>(bytes.data());
    if (!pg_verifymbstr(text, static_cast<int>(bytes.size()), true)) {
        return CStringGetTextDatum("<text in another encoding>");
    }
    return PointerGetDatum(cstring_to_text_with_len(text, static_cast<int>(bytes.size())));
}

Output begin_output(FunctionCallInfo fcinfo) {
    auto* result = reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
    if (result == nullptr || !IsA(result, ReturnSetInfo) || (result->allowedModes & SFRM_Materialize) == 0) {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("a function of tiercache returns a set, which is not allowed here")));
    }
    MemoryContext caller = MemoryContextSwitchTo(result->econtext->ecxt_per_query_memory);
    Output output{};
    if (get_call_result_type(fcinfo, nullptr, &output.description) != TYPEFUNC_COMPOSITE) {
        elog(ERROR, "return type must be a row type");
    }
    BlessTupleDesc(output.description);
    output.rows =
        tuplestore_begin_heap((result->allowedModes & SFRM_Materialize_Random) != 0, false, work_mem);
    MemoryContextSwitchTo(caller);
    result->returnMode = SFRM_Materialize;
    result->setResult = output.rows;
    result->setDesc = output.description;
    return output;
}

}  // namespace tiercache::entry_copies
