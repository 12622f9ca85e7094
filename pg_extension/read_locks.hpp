// The locks that a query which was served from the cache would hold if it had been run.
//
// TRUNCATE, DROP and their kin do not keep old rows for old snapshots: what keeps a transaction from missing
// them when it reads again is that they wait for the locks of whoever has read before. PostgreSQL locks the
// tables that a query names before it asks us; these are the others: partitions, children, and tables that
// functions read.
#pragma once

#include <span>

#include "pg_extension/pg.hpp"
#include "shm_cache/entry.hpp"

namespace tiercache::read_locks {

// Locks the relations among an entry's tags, as readers do, until the transaction ends, where it may read
// them again: in transaction blocks, and wherever one snapshot is kept. May wait, so what was judged before
// may be wrong when it returns true. Costs nothing else; about 50 ns for each that is locked already.
[[nodiscard]] bool take(std::span<const Tag> tags);

}  // namespace tiercache::read_locks
