// The relation locks that this backend holds, read from its own PGPROC.
//
// A weak lock starts in the fast-path array and may be moved to the main lock table by another backend at any
// time, never back: so the array is read first.
#pragma once

#include "pg_extension/pg.hpp"

extern "C" {
#include <storage/lock.h>
}

namespace tiercache {

// Lock modes as a mask of LOCKBIT_ON(mode).
// What changes rows, definitions or children of a relation holds one of these until its transaction ends.
inline constexpr LOCKMASK writing_modes =
    LOCKBIT_ON(RowExclusiveLock) | LOCKBIT_ON(ShareUpdateExclusiveLock) | LOCKBIT_ON(ShareRowExclusiveLock) |
    LOCKBIT_ON(ExclusiveLock) | LOCKBIT_ON(AccessExclusiveLock);
// Those that may change what a plan relies on.
inline constexpr LOCKMASK ddl_modes = LOCKBIT_ON(ShareUpdateExclusiveLock) |
                                      LOCKBIT_ON(ShareRowExclusiveLock) | LOCKBIT_ON(AccessExclusiveLock);

// Calls visit(relation, modes) for each relation of this database (or shared) on which this backend holds a
// writing mode. A relation may come twice. `visit` runs under lock-manager locks: it must be quick and must
// not raise errors.
void for_each_written_relation(void (*visit)(void* context, Oid relation, LOCKMASK modes), void* context);

// False: it would visit none. Takes no lock.
[[nodiscard]] bool may_hold_writing_lock() noexcept;

}  // namespace tiercache
