// Which relations may a cached result be made from?
#pragma once

#include "pg_extension/query_check.hpp"

namespace tiercache::relation_check {

// `entry` of a query's or a plan's range table.
void check_entry(const RangeTblEntry* entry, Reasons& reasons);

}  // namespace tiercache::relation_check
