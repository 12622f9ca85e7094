// Settings that queries inside functions read, by current_setting() or by a function that says so; also in
// views and policies of what they name. Their plans carry them, because plans are kept and the queries are
// not.
#pragma once

#include "pg_extension/pg.hpp"

extern "C" {
#include <nodes/parsenodes.h>
#include <nodes/plannodes.h>
}

namespace tiercache::nested_settings {

// Numbers of the settings that the rewritten `query` reads: NIL of most.
[[nodiscard]] List* read_by(Query* query);
// The number of a setting's name.
[[nodiscard]] int number_of(const char* name) noexcept;

void note(PlannedStmt* plan, const List* numbers);
[[nodiscard]] bool is_note(const PlanInvalItem* item) noexcept;
[[nodiscard]] int number_in(const PlanInvalItem* note) noexcept;

}  // namespace tiercache::nested_settings
