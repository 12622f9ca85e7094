// The text of one SELECT inside the source text that it came with.
#pragma once

#include <string_view>

#include "pg_extension/pg.hpp"

extern "C" {
#include <nodes/parsenodes.h>
}

namespace tiercache {

// Without what surrounds it: other statements, EXPLAIN and its options (only when `explained`), DECLARE ...
// FOR, PREPARE ... AS, white space. False when the query is not known to be just that text: a part of another
// command, of a rule or of a function whose text is lost. Never allocates.
[[nodiscard]] bool statement_text(const Query* query, const char* source, bool explained,
                                  std::string_view& text) noexcept;

}  // namespace tiercache
