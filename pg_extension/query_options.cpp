#include "pg_extension/query_options.hpp"

#include "pg_extension/tags.hpp"

extern "C" {
#include <catalog/pg_type.h>
#include <utils/array.h>
#include <utils/builtins.h>
#include <utils/timestamp.h>
}

namespace tiercache {

namespace {

// Milliseconds, at least 1; or 0 when the argument is not given.
[[nodiscard]] std::uint32_t read_interval(FunctionCallInfo fcinfo, int number, const char* name,
                                          bool zero_is_ok) {
    if (PG_ARGISNULL(number)) return 0;
    const Interval* interval = PG_GETARG_INTERVAL_P(number);
    const std::uint32_t ms = classes::milliseconds_of(interval);
    const bool is_zero = interval->time == 0 && interval->day == 0 && interval->month == 0;
    if (ms == 0 && !(zero_is_ok && is_zero)) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("%s must be at least a millisecond", name)));
    }
    return ms;
}

void read_labels(ArrayType* array, QueryOptions& options) {
    Datum* elements = nullptr;
    bool* nulls = nullptr;
    int count = 0;
    deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
    if (count > labels_max || ARR_NDIM(array) > 1) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                        errmsg("tags must be a one-dimensional array of at most %d names", labels_max)));
    }
    for (int i = 0; i < count; ++i) {
        if (nulls[i]) {
            ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("a tag must not be NULL")));
        }
        options.labels[options.label_count++] = label_tag(TextDatumGetCString(elements[i]));
    }
}

}  // namespace

void read_options(FunctionCallInfo fcinfo, int first, QueryOptions& options) {
    if (!PG_ARGISNULL(first)) options.named_class = classes::find(text_to_cstring(PG_GETARG_TEXT_PP(first)));
    options.ttl_ms = read_interval(fcinfo, first + 1, "ttl", false);
    if (!PG_ARGISNULL(first + 2)) read_labels(PG_GETARG_ARRAYTYPE_P(first + 2), options);
    options.demand.age_max_ms = options.ttl_ms != 0 ? options.ttl_ms : ttl_never_ms;
    options.demand.max_staleness_ms = read_interval(fcinfo, first + 3, "max_staleness", true);
    options.demand.labels = options.label_tags();
}

}  // namespace tiercache
