// Does this transaction change what a name means to functions that look it up while they run?
#pragma once

#include "pg_extension/pg.hpp"

extern "C" {
#include <nodes/pg_list.h>
}

namespace tiercache::name_changes {

// A relation, a type or a schema that other sessions can see: made, altered, dropped, or its rights changed.
// Not an index, and nothing temporary. At PRE_COMMIT, with all commands' invalidations registered.
// `redefined`: OIDs of relations that are locked as a change of definition locks them.
[[nodiscard]] bool any(List* redefined);

}  // namespace tiercache::name_changes
