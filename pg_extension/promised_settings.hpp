// What the owner of a STABLE function promises of it:
//   ALTER FUNCTION current_tenant() SET tiercache.depends_on_settings = 'app.tenant'
// says that it depends on its arguments, on what it reads by queries, on the settings of the session key, and
// on these settings; on nothing else. '' names none. PostgreSQL keeps this with the function, and ends it
// when the function is replaced.
#pragma once

#include "pg_extension/pg.hpp"

extern "C" {
#include <nodes/pg_list.h>
}

namespace tiercache {

// Names of settings with a dot, separated by commas? Sets `names` to String nodes, NIL when there are none.
[[nodiscard]] bool read_setting_names(const char* text, List*& names);

// False when nothing is promised of `function`. Else sets `names`, as above.
[[nodiscard]] bool promised_settings(Oid function, List*& names);

}  // namespace tiercache
