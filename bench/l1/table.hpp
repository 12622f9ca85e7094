// What is printed: a table for each workload and mix, and RESULT lines.
#pragma once

#include "bench/l1/measure.hpp"

namespace bench {

// All mixes of one plan. Ratios are against the first store.
void print_tables(const Plan& plan, const std::vector<StoreFigures>& figures);

// RESULT <name> <value> <unit>
void print_result(const char* name, double value, const char* unit);

}  // namespace bench
