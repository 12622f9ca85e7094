// tiercache.verify for the functions: is what an entry says what its query returns?
#pragma once

#include <span>

#include "pg_extension/fill.hpp"
#include "pg_extension/pg.hpp"
#include "shm_cache/entry.hpp"

extern "C" {
#include <access/tupdesc.h>
}

namespace tiercache::verify {

// Runs the query of a hit and compares its answer with the entry's payload (decompressed), byte for byte;
// rows of a query without ORDER BY may come in any order. A difference is an error or, with a warning, false,
// as tiercache.verify says. True when it is off, and when nothing can be said: what the query reads was
// changed meanwhile, or is on another server. `columns`: of the rows of tiercache.query.
[[nodiscard]] bool agrees(const FillRequest& request, const EntryView& entry,
                          std::span<const std::byte> payload, TupleDesc columns);

}  // namespace tiercache::verify
