// The temporary tables and types of this session. They shadow others of the same name, so what a query means
// depends on which there are.
#pragma once

#include "pg_extension/pg.hpp"

namespace tiercache::temp_names {

struct Names {
    bool any = false;
    // SHA-256 over kinds and names, and over the identity of those that inherit from a table that others see.
    unsigned char digest[32] = {};
    std::uint64_t generation = 0;  // grows whenever the rest changes
};

// Looked up again only after something that may be one of them was made, changed or dropped.
[[nodiscard]] const Names& current();

}  // namespace tiercache::temp_names
