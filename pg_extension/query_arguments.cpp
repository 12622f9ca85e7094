#include "pg_extension/query_arguments.hpp"

#include <cstring>
#include <new>

#include "pg_extension/query_compat.hpp"

extern "C" {
#include <catalog/pg_type.h>
#include <mb/pg_wchar.h>
#include <utils/builtins.h>
}

namespace tiercache {

namespace {

[[nodiscard]] std::string_view as_client_sent(const char* text, std::size_t size) {
    const char* converted = pg_server_to_client(text, static_cast<int>(size));
    return {converted, converted == text ? size : std::strlen(converted)};
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
    arguments.texts = static_cast<const char**>(palloc0(sizeof(char*) * (arguments.count + 1)));
    arguments.key_texts = static_cast<QueryParam*>(palloc(sizeof(QueryParam) * (arguments.count + 1)));
    for (std::size_t i = 0; i < arguments.count; ++i) {
        new (&arguments.key_texts[i]) QueryParam();
        if (nulls[i]) continue;
        const char* value = TextDatumGetCString(elements[i]);
        arguments.texts[i] = value;
        arguments.key_texts[i] = as_client_sent(value, std::strlen(value));
    }
    return arguments;
}

l4_cache::Key key_of_fetch(const text* sql, const QueryArguments& arguments) {
    const std::string_view server_text = view_of(sql);
    return l4_cache::make_key(PayloadFormat::pg_wire, as_client_sent(server_text.data(), server_text.size()),
                              {arguments.key_texts, arguments.count});
}

Fill* new_fill(const FillRequest& request) {
    auto* fill = static_cast<Fill*>(palloc(sizeof(Fill)));
    new (fill) Fill();
    fill->request = request;
    return fill;
}

}  // namespace tiercache
