#include "pg_extension/query_arguments.hpp"

#include <algorithm>
#include <climits>
#include <cstring>
#include <new>
#include <optional>

#include "pg_extension/query_compat.hpp"

extern "C" {
#include <catalog/namespace.h>
#include <catalog/pg_type.h>
#include <mb/pg_wchar.h>
#include <utils/builtins.h>
}

namespace tiercache {

namespace {

// Converts without raising errors; nothing when the text, or a part of it, has no counterpart.
[[nodiscard]] std::optional<std::string_view> convert(std::string_view text, int from, int to) {
    const Oid conversion = FindDefaultConversionProc(from, to);
    if (!OidIsValid(conversion)) return std::nullopt;
    const auto size = static_cast<int>(text.size());
    const std::size_t room = text.size() * MAX_CONVERSION_GROWTH + 1;
    auto* converted = static_cast<unsigned char*>(palloc_extended(room, MCXT_ALLOC_HUGE));
    converted[0] = 0;
    auto* source = reinterpret_cast<unsigned char*>(const_cast<char*>(text.data()));
    const int done =
        pg_do_encoding_conversion_buf(conversion, from, to, source, size, converted,
                                      static_cast<int>(std::min<std::size_t>(room, INT_MAX)), true);
    if (done != size) return std::nullopt;
    const auto* result = reinterpret_cast<const char*>(converted);
    return std::string_view(result, std::strlen(result));
}

// The bytes that a client sent for `text`. `reversible` becomes false when another text might have been sent
// so, or none at all: then the server's bytes are returned.
[[nodiscard]] std::string_view as_client_sent(std::string_view text, bool& reversible) {
    const int server = GetDatabaseEncoding();
    const int client = pg_get_client_encoding();
    if (client == server || client == PG_SQL_ASCII || server == PG_SQL_ASCII) return text;
    const auto sent = convert(text, server, client);
    if (sent && convert(*sent, client, server) == text) return *sent;
    reversible = false;
    return text;
}

}  // namespace

std::string_view view_of(const text* sql) noexcept { return {VARDATA_ANY(sql), VARSIZE_ANY_EXHDR(sql)}; }

QueryArguments read_arguments(ArrayType* array) {
    if (ARR_NDIM(array) > 1) {
        ereport(ERROR, (errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
                        errmsg("params must be a one-dimensional array, one element a parameter")));
    }
    Datum* elements = nullptr;
    bool* nulls = nullptr;
    int count = 0;
    deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
    QueryArguments arguments{};
    arguments.count = static_cast<std::size_t>(count);
    arguments.reversible = true;
    arguments.texts = static_cast<const char**>(palloc0(sizeof(char*) * (arguments.count + 1)));
    arguments.key_texts = static_cast<QueryParam*>(palloc(sizeof(QueryParam) * (arguments.count + 1)));
    for (std::size_t i = 0; i < arguments.count; ++i) {
        new (&arguments.key_texts[i]) QueryParam();
        if (nulls[i]) continue;
        const char* value = TextDatumGetCString(elements[i]);
        arguments.texts[i] = value;
        arguments.key_texts[i] = as_client_sent(value, arguments.reversible);
    }
    return arguments;
}

l4_cache::Key key_of(PayloadFormat format, const text* sql, const QueryArguments& arguments) {
    if (format == PayloadFormat::pg_wire) return key_of_fetch(sql, arguments);
    if (arguments.count == 0) return l4_cache::make_key(format, view_of(sql), {});
    auto* values = static_cast<QueryParam*>(palloc(sizeof(QueryParam) * arguments.count));
    for (std::size_t i = 0; i < arguments.count; ++i) {
        new (&values[i]) QueryParam();
        if (arguments.texts[i] != nullptr) values[i] = std::string_view(arguments.texts[i]);
    }
    return l4_cache::make_key(format, view_of(sql), {values, arguments.count});
}

l4_cache::Key key_of_fetch(const text* sql, const QueryArguments& arguments) {
    bool reversible = arguments.reversible;
    const std::string_view sent = as_client_sent(view_of(sql), reversible);
    l4_cache::Key key =
        l4_cache::make_key(PayloadFormat::pg_wire, sent, {arguments.key_texts, arguments.count});
    key.unambiguous = reversible;
    return key;
}

Fill* new_fill(const FillRequest& request) {
    auto* fill = static_cast<Fill*>(palloc(sizeof(Fill)));
    new (fill) Fill();
    fill->request = request;
    return fill;
}

}  // namespace tiercache
