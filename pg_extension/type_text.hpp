// Do a type's values have one text, and a text one value? Of a container that depends on what it holds.
#pragma once

#include "pg_extension/pg.hpp"

namespace tiercache {

enum class TextUse : unsigned char {
    cacheable,
    refused,    // the text is a name from the catalogs, or made by a function that we know nothing of
    of_clock,   // only of input: 'now' and 'today' are values
    anonymous,  // a record whose columns the type does not tell
};

// The text that values of `type` are written as.
[[nodiscard]] TextUse text_output(Oid type);
// The values that text is read as.
[[nodiscard]] TextUse text_input(Oid type);

// Has the domain, or one that it is made of, a CHECK that is not only of the value?
[[nodiscard]] bool has_mutable_check(Oid domain);
// Does one call a function that is not PostgreSQL's own?
[[nodiscard]] bool has_check_of_users(Oid domain);

// Does the text hold one of the words (now, today, tomorrow, yesterday) that mean another time at each query?
[[nodiscard]] bool has_clock_word(const char* text) noexcept;

}  // namespace tiercache
