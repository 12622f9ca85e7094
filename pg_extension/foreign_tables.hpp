// Foreign tables whose results may be kept: those that have a row in tiercache.foreign_tables, for as long as
// it says.
//
// Nobody tells us of changes on the other side, so such a result is bounded by its age; and what this cluster
// does ends it at commit: writes through the foreign table, other definitions, servers, user mappings,
// another row. A foreign data wrapper may read under a snapshot that it took at any time in the local
// transaction, so both the age and the stamp count from the transaction's first statement.
#pragma once

#include <cstdint>
#include <optional>

#include "pg_extension/pg.hpp"
#include "shm_cache/hash.hpp"

namespace tiercache::foreign_tables {

// How long a result that reads the foreign table may be used; nothing: it must not be kept.
[[nodiscard]] std::optional<std::uint32_t> ttl_ms_of(Oid relation);

// The tag of tiercache.foreign_tables itself.
[[nodiscard]] std::optional<Tag> settings_tag();

// Has this transaction locked a foreign table in order to change it? It may have no transaction id then.
[[nodiscard]] bool changed_here();

// Before anything of this transaction can have reached another server.
struct Beginning {
    std::uint64_t clock;
    std::uint64_t ns;  // on the monotonic clock
};
// Called at the start of each statement.
void note_statement() noexcept;
[[nodiscard]] Beginning beginning() noexcept;

}  // namespace tiercache::foreign_tables
