// Which plans have all of their rows computed when they return the first.
#pragma once

#include "pg_extension/pg.hpp"

extern "C" {
#include <nodes/plannodes.h>
}

namespace tiercache::read_ahead {

// Can nobody tell whether a row that was not asked for was read? An expression that is computed for it may
// fail.
[[nodiscard]] bool is_unnoticed(const Plan* plan);

}  // namespace tiercache::read_ahead
