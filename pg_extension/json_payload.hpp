// json: the text of SELECT coalesce(json_agg(t), '[]') FROM (query) t.
#pragma once

#include "pg_extension/pg.hpp"

extern "C" {
#include <lib/stringinfo.h>
#include <tcop/dest.h>
}

namespace tiercache::json_payload {

// Receives rows and appends the array to `out`, which the caller initialized.
[[nodiscard]] DestReceiver* make_receiver(StringInfo out);

// Ends the array.
void finish(StringInfo out);

}  // namespace tiercache::json_payload
