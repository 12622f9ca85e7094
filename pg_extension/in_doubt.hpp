// The in-doubt list: prepared transactions (2PC) and the clock slots they have marked.
//
// COMMIT PREPARED runs in any backend, without transaction callbacks. So PREPARE leaves the marks (writers +=
// 1) in place and writes them down here; whoever comes by later asks PostgreSQL whether the transaction is
// still running, and takes its marks back when it is not. Until then its tags serve nothing.
#pragma once

#include <cstdint>
#include <span>

#include "pg_extension/changed_slots.hpp"
#include "pg_extension/pg.hpp"

namespace tiercache::in_doubt {

[[nodiscard]] Size shared_bytes();
void init(void* memory, bool found);

// Writes down the slots of the transaction that is being prepared. Raises an error when the list is full.
void add(TransactionId xid, const ChangedSlots& slots, bool resets);

// The PREPARE failed after all: takes the entry away; the marks are the caller's again.
void forget(TransactionId xid);

// Takes back the marks of those that have been committed or rolled back. One atomic load when there are none.
// Only for a backend that has taken a snapshot lately: TransactionIdIsInProgress() relies on its RecentXmin.
void resolve();

// At server start: prepared transactions of a former life, of which nobody knows what they changed. They
// block the cache until they are gone.
void adopt_survivors();

}  // namespace tiercache::in_doubt
