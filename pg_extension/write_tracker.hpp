// Finds what each transaction changed, and moves the clock table around its commit.
//
//   PRE_COMMIT   sweep the relation locks this backend holds, add the catalog rows it changed: writers += 1
//   on each slot (visible) COMMIT       version = max(version, clock now), writers -= 1 ABORT        writers
//   -= 1
//
// A write that takes no lock we sweep does not exist in PostgreSQL: DML, COPY, TRUNCATE, cascades, DDL and
// the logical apply worker all hold theirs until the end of the transaction.
#pragma once

#include "pg_extension/pg.hpp"
#include "shm_cache/hash.hpp"

namespace tiercache::write_tracker {

// Registers the transaction and cache callbacks of this backend. Once a process.
void register_callbacks();

// This transaction changes `tag`, whatever its locks say; takes effect at commit. Assigns a transaction id.
void note_change(Tag tag);

// At commit everything that was computed before dies, in all tiers. Assigns a transaction id.
void note_reset();

}  // namespace tiercache::write_tracker
