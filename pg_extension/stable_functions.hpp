// PostgreSQL's own STABLE functions, one by one: on what does each depend besides its arguments and the data?
#pragma once

#include "pg_extension/pg.hpp"

extern "C" {
#include <nodes/nodes.h>
}

namespace tiercache {

enum class StableUse : unsigned char {
    refused,           // on the time of the query, the catalogs, the server's state: not cacheable
    settings_only,     // on settings that are in the session key
    writes_arguments,  // on the output functions of its arguments' types
    reads_result,      // on the input functions of its result's type
};

// `function` is one of PostgreSQL's own.
[[nodiscard]] StableUse stable_use(Oid function) noexcept;

// The setting that a call of current_setting() reads, when that is a constant, and a setting of an
// application or an extension ("app.tenant"): these are shown as they are set. Else nullptr.
[[nodiscard]] const char* setting_read_by(const Node* node);

}  // namespace tiercache
