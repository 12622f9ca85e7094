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

enum class Asked : unsigned char {
    by_plan,
    by_function,  // of ours, which a statement runs
};
// Where a transaction may read the same again: in blocks, inside other statements, and wherever one snapshot
// is kept.
[[nodiscard]] bool are_needed(Asked asked) noexcept;

// Of an entry with these tags: can all be locked? Not partitions that are too many to be told one by one.
[[nodiscard]] bool are_known(std::span<const Tag> tags) noexcept;

// Locks the relations among the tags as readers do, until the transaction ends; about 50 ns for each that is
// locked already. May wait, and then what was judged before may be wrong.
void take(std::span<const Tag> tags);

}  // namespace tiercache::read_locks
