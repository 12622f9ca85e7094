// Identical queries at the same time: one leads and runs the query, the others wait for its entry.
//
// A wait is bounded by tiercache.share_wait, can be cancelled, and ends at once when the leader is done, with
// or without an entry; then the waiter looks up again, by its own rules, and runs the query itself when there
// is nothing for it. PostgreSQL's deadlock detector knows nothing of these waits, so:
//   - who leads never waits here: there is no circle of waits of this kind alone;
//   - nobody waits for a leader that itself waits for a heavyweight lock or for its client: any other circle
//     goes through such a wait.
// What a leader holds is given back when its memory context goes, however its query ends.
#pragma once

#include "pg_extension/pg.hpp"
#include "shm_cache/hash.hpp"

namespace tiercache::sharing {

struct Flight;

// After a look-up found nothing: waits while another session runs the query of this key. True: it waited for
// one that ended, so look again.
[[nodiscard]] bool wait_for_leader(const KeyHash& key);

// This session runs the query of this key; nullptr: another one does, or there is no place. Lives in the
// current memory context.
[[nodiscard]] Flight* lead(const KeyHash& key);

// The query was run. `stored`: its entry is there; when it is not, nobody waits the next time. Any number of
// times; nullptr is nothing.
void end(Flight* flight, bool stored) noexcept;

[[nodiscard]] Size shared_bytes() noexcept;
void init(void* memory, bool found) noexcept;

}  // namespace tiercache::sharing
