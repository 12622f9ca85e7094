// pg_wire: RowDescription and DataRow messages of the PostgreSQL protocol, text format, byte for byte as a
// client gets them from a simple query.
#pragma once

#include <span>

#include "pg_extension/pg.hpp"

extern "C" {
#include <lib/stringinfo.h>
#include <nodes/plannodes.h>
#include <tcop/dest.h>
}

namespace tiercache::wire_payload {

// Receives the rows of `plan` and appends the messages to `out`, which the caller initialized.
[[nodiscard]] DestReceiver* make_receiver(StringInfo out, PlannedStmt** plan);

// DataRow messages in a payload.
[[nodiscard]] std::uint64_t row_count(std::span<const std::byte> payload) noexcept;

}  // namespace tiercache::wire_payload
