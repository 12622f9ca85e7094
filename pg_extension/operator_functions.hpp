// What sorting, joining and hashing with an operator calls besides its own function.
#pragma once

#include "pg_extension/pg.hpp"

extern "C" {
#include <nodes/pg_list.h>
}

namespace tiercache {

// The support functions of all operator families that the operator is in: OIDs of those that users wrote in
// SQL or a procedural language. (Those in C read no tables.)
[[nodiscard]] List* support_functions(Oid op);

// The operator that min, max and their kin stand for; InvalidOid: none.
[[nodiscard]] Oid sort_operator(Oid aggregate);

}  // namespace tiercache
