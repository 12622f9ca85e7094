#include "pg_extension/stable_functions.hpp"

extern "C" {
#include <nodes/primnodes.h>
#include <utils/builtins.h>
#include <utils/fmgroids.h>
}

// Left out, and so refused:
//   now() and its kin, age() of one argument, date_in, time_in, timestamp_in, timestamptz_in ('now' and
//   'today' are input), timetz_in, timetz(time), timezone(..., timetz) (daylight saving of today): the time
//   of the query; reg*in, reg*out, to_reg*, format_type, pg_typeof, has_*_privilege, *_is_visible, pg_get_*,
//   obj_description, current_schema(s), table_to_xml and its kin: the catalogs; pg_stat_*, pg_column_size,
//   txid_*, pg_backend_pid, inet_*, version, current_setting: the server's state.
namespace tiercache {

namespace {

// TimeZone, DateStyle, IntervalStyle, lc_*, default_text_search_config, xmloption, the encodings, the role.
[[nodiscard]] bool depends_on_settings(Oid function) noexcept {
    switch (function) {
        case F_DATE_TIMESTAMPTZ:
        case F_TIME_TIMESTAMPTZ:
        case F_TIMETZ_TIMESTAMPTZ:
        case F_TIMESTAMP_TIMESTAMPTZ:
        case F_TIMESTAMPTZ_DATE:
        case F_TIMESTAMPTZ_DATE_TIME:
        case F_TIMESTAMPTZ_TIMESTAMP:
        case F_DATE_CMP_TIMESTAMPTZ:
        case F_DATE_EQ_TIMESTAMPTZ:
        case F_DATE_GE_TIMESTAMPTZ:
        case F_DATE_GT_TIMESTAMPTZ:
        case F_DATE_LE_TIMESTAMPTZ:
        case F_DATE_LT_TIMESTAMPTZ:
        case F_DATE_NE_TIMESTAMPTZ:
        case F_TIMESTAMP_CMP_TIMESTAMPTZ:
        case F_TIMESTAMP_EQ_TIMESTAMPTZ:
        case F_TIMESTAMP_GE_TIMESTAMPTZ:
        case F_TIMESTAMP_GT_TIMESTAMPTZ:
        case F_TIMESTAMP_LE_TIMESTAMPTZ:
        case F_TIMESTAMP_LT_TIMESTAMPTZ:
        case F_TIMESTAMP_NE_TIMESTAMPTZ:
        case F_TIMESTAMPTZ_CMP_DATE:
        case F_TIMESTAMPTZ_EQ_DATE:
        case F_TIMESTAMPTZ_GE_DATE:
        case F_TIMESTAMPTZ_GT_DATE:
        case F_TIMESTAMPTZ_LE_DATE:
        case F_TIMESTAMPTZ_LT_DATE:
        case F_TIMESTAMPTZ_NE_DATE:
        case F_TIMESTAMPTZ_CMP_TIMESTAMP:
        case F_TIMESTAMPTZ_EQ_TIMESTAMP:
        case F_TIMESTAMPTZ_GE_TIMESTAMP:
        case F_TIMESTAMPTZ_GT_TIMESTAMP:
        case F_TIMESTAMPTZ_LE_TIMESTAMP:
        case F_TIMESTAMPTZ_LT_TIMESTAMP:
        case F_TIMESTAMPTZ_NE_TIMESTAMP:
        case F_TIMESTAMPTZ_PL_INTERVAL:
        case F_TIMESTAMPTZ_MI_INTERVAL:
        case F_INTERVAL_PL_TIMESTAMPTZ:
        case F_IN_RANGE_TIMESTAMPTZ_TIMESTAMPTZ_INTERVAL_BOOL_BOOL:
        case F_OVERLAPS_TIMESTAMPTZ_INTERVAL_TIMESTAMPTZ_INTERVAL:
        case F_OVERLAPS_TIMESTAMPTZ_INTERVAL_TIMESTAMPTZ_TIMESTAMPTZ:
        case F_OVERLAPS_TIMESTAMPTZ_TIMESTAMPTZ_TIMESTAMPTZ_INTERVAL:
        case F_DATE_PART_TEXT_TIMESTAMPTZ:
        case F_EXTRACT_TEXT_TIMESTAMPTZ:
        case F_DATE_TRUNC_TEXT_TIMESTAMPTZ:
        case F_DATE_TRUNC_TEXT_TIMESTAMPTZ_TEXT:
        case F_GENERATE_SERIES_TIMESTAMPTZ_TIMESTAMPTZ_INTERVAL:
        case F_MAKE_TIMESTAMPTZ_INT4_INT4_INT4_INT4_INT4_FLOAT8:
        case F_MAKE_TIMESTAMPTZ_INT4_INT4_INT4_INT4_INT4_FLOAT8_TEXT:
        case F_JSONB_PATH_EXISTS_TZ:
        case F_JSONB_PATH_MATCH_TZ:
        case F_JSONB_PATH_QUERY_TZ:
        case F_JSONB_PATH_QUERY_ARRAY_TZ:
        case F_JSONB_PATH_QUERY_FIRST_TZ:
#if PG_VERSION_NUM >= 160000
        case F_DATE_ADD_TIMESTAMPTZ_INTERVAL:
        case F_DATE_SUBTRACT_TIMESTAMPTZ_INTERVAL:
#endif
#if PG_VERSION_NUM >= 170000
        case F_TIMEZONE_TIMESTAMP:
        case F_TIMEZONE_TIMESTAMPTZ:
#endif
        case F_DATE_OUT:
        case F_TIMESTAMP_OUT:
        case F_TIMESTAMPTZ_OUT:
        case F_INTERVAL_IN:
        case F_INTERVAL_OUT:
        case F_TO_CHAR_INTERVAL_TEXT:
        case F_TO_CHAR_TIMESTAMP_TEXT:
        case F_TO_CHAR_TIMESTAMPTZ_TEXT:
        case F_TO_CHAR_NUMERIC_TEXT:
        case F_TO_CHAR_INT4_TEXT:
        case F_TO_CHAR_INT8_TEXT:
        case F_TO_CHAR_FLOAT4_TEXT:
        case F_TO_CHAR_FLOAT8_TEXT:
        case F_TO_DATE:
        case F_TO_NUMBER:
        case F_TO_TIMESTAMP_TEXT_TEXT:
        case F_CASH_IN:
        case F_CASH_OUT:
        case F_MONEY_INT4:
        case F_MONEY_INT8:
        case F_MONEY_NUMERIC:
        case F_NUMERIC_MONEY:
        case F_CONVERT:
        case F_CONVERT_FROM:
        case F_CONVERT_TO:
        case F_LENGTH_BYTEA_NAME:
        case F_GETDATABASEENCODING:
        case F_PG_CLIENT_ENCODING:
        case F_CURRENT_DATABASE:
        case F_CURRENT_USER:
        case F_GETPGUSERNAME:
        case F_XML:
        case F_XML_IN:
        case F_XML_IS_WELL_FORMED:
        case F_GET_CURRENT_TS_CONFIG:
        case F_TO_TSVECTOR_TEXT:
        case F_TO_TSVECTOR_JSON:
        case F_TO_TSVECTOR_JSONB:
        case F_JSON_TO_TSVECTOR_JSON_JSONB:
        case F_JSONB_TO_TSVECTOR_JSONB_JSONB:
        case F_TO_TSQUERY_TEXT:
        case F_PLAINTO_TSQUERY_TEXT:
        case F_PHRASETO_TSQUERY_TEXT:
        case F_WEBSEARCH_TO_TSQUERY_TEXT:
        case F_TS_MATCH_TT:
        case F_TS_MATCH_TQ:
        case F_TS_HEADLINE_TEXT_TSQUERY:
        case F_TS_HEADLINE_TEXT_TSQUERY_TEXT:
        case F_TS_HEADLINE_JSON_TSQUERY:
        case F_TS_HEADLINE_JSON_TSQUERY_TEXT:
        case F_TS_HEADLINE_JSONB_TSQUERY:
        case F_TS_HEADLINE_JSONB_TSQUERY_TEXT:
        // Labels of enums: every entry depends on the definitions tag.
        case F_ENUM_IN:
        case F_ENUM_OUT:
        case F_ENUM_FIRST:
        case F_ENUM_LAST:
        case F_ENUM_RANGE_ANYENUM:
        case F_ENUM_RANGE_ANYENUM_ANYENUM:
            return true;
        default:
            return false;
    }
}

[[nodiscard]] bool writes_arguments(Oid function) noexcept {
    switch (function) {
        case F_TEXTANYCAT:
        case F_ANYTEXTCAT:
        case F_CONCAT:
        case F_CONCAT_WS:
        case F_FORMAT_TEXT:
        case F_FORMAT_TEXT_ANY:
        case F_QUOTE_LITERAL_ANYELEMENT:
        case F_QUOTE_NULLABLE_ANYELEMENT:
        case F_ARRAY_OUT:
        case F_RECORD_OUT:
        case F_RANGE_OUT:
        case F_MULTIRANGE_OUT:
        case F_ARRAY_TO_STRING_ANYARRAY_TEXT:
        case F_ARRAY_TO_STRING_ANYARRAY_TEXT_TEXT:
        case F_ARRAY_TO_JSON_ANYARRAY:
        case F_ARRAY_TO_JSON_ANYARRAY_BOOL:
        case F_ROW_TO_JSON_RECORD:
        case F_ROW_TO_JSON_RECORD_BOOL:
        case F_TO_JSON:
        case F_TO_JSONB:
        case F_JSON_AGG:
        case F_JSON_BUILD_ARRAY_:
        case F_JSON_BUILD_ARRAY_ANY:
        case F_JSON_BUILD_OBJECT_:
        case F_JSON_BUILD_OBJECT_ANY:
        case F_JSON_OBJECT_AGG:
        case F_JSONB_AGG:
        case F_JSONB_BUILD_ARRAY_:
        case F_JSONB_BUILD_ARRAY_ANY:
        case F_JSONB_BUILD_OBJECT_:
        case F_JSONB_BUILD_OBJECT_ANY:
        case F_JSONB_OBJECT_AGG:
#if PG_VERSION_NUM >= 160000
        case F_JSON_AGG_STRICT:
        case F_JSON_OBJECT_AGG_STRICT:
        case F_JSON_OBJECT_AGG_UNIQUE:
        case F_JSON_OBJECT_AGG_UNIQUE_STRICT:
        case F_JSONB_AGG_STRICT:
        case F_JSONB_OBJECT_AGG_STRICT:
        case F_JSONB_OBJECT_AGG_UNIQUE:
        case F_JSONB_OBJECT_AGG_UNIQUE_STRICT:
#endif
            return true;
        default:
            return false;
    }
}

[[nodiscard]] bool reads_result(Oid function) noexcept {
    switch (function) {
        case F_ARRAY_IN:
        case F_RECORD_IN:
        case F_RANGE_IN:
        case F_MULTIRANGE_IN:
        case F_DOMAIN_IN:
        case F_JSON_POPULATE_RECORD:
        case F_JSON_POPULATE_RECORDSET:
        case F_JSON_TO_RECORD:
        case F_JSON_TO_RECORDSET:
        case F_JSONB_POPULATE_RECORD:
        case F_JSONB_POPULATE_RECORDSET:
        case F_JSONB_TO_RECORD:
        case F_JSONB_TO_RECORDSET:
            return true;
        default:
            return false;
    }
}

}  // namespace

StableUse stable_use(Oid function) noexcept {
    if (depends_on_settings(function)) return StableUse::settings_only;
    if (writes_arguments(function)) return StableUse::writes_arguments;
    if (reads_result(function)) return StableUse::reads_result;
    return StableUse::refused;
}

const char* setting_read_by(const Node* node) {
    if (node == nullptr || !IsA(node, FuncExpr)) return nullptr;
    const auto* call = reinterpret_cast<const FuncExpr*>(node);
    if (call->funcid != F_CURRENT_SETTING_TEXT && call->funcid != F_CURRENT_SETTING_TEXT_BOOL) return nullptr;
    const auto* argument = static_cast<const Node*>(linitial(call->args));
    if (!IsA(argument, Const)) return nullptr;
    const auto* constant = reinterpret_cast<const Const*>(argument);
    if (constant->constisnull) return nullptr;
    const char* name = TextDatumGetCString(constant->constvalue);
    return strchr(name, '.') != nullptr ? name : nullptr;
}

}  // namespace tiercache
