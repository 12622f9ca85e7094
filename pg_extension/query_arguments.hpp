// The arguments of the SQL functions that take a query: its text, and the values of its parameters.
#pragma once

#include <string_view>

#include "pg_extension/fill.hpp"
#include "pg_extension/l4_cache.hpp"

extern "C" {
#include <utils/array.h>
}

namespace tiercache {

struct QueryArguments {
    const char** texts;  // in the server's encoding; nullptr is NULL
    QueryParam* key_texts;
    std::size_t count;
    bool reversible;  // see l4_cache::Key
};

[[nodiscard]] std::string_view view_of(const text* sql) noexcept;

// Of a text[]; raises an error when it has more than one dimension.
[[nodiscard]] QueryArguments read_arguments(ArrayType* array);

// The key of a query whose answer has this form.
[[nodiscard]] l4_cache::Key key_of(PayloadFormat format, const text* sql, const QueryArguments& arguments);

// The key that a client makes for the same query: of the bytes that it sent, which are in its own encoding.
[[nodiscard]] l4_cache::Key key_of_fetch(const text* sql, const QueryArguments& arguments);

// palloc'ed.
[[nodiscard]] Fill* new_fill(const FillRequest& request);

}  // namespace tiercache
