// What the demo prints.
#pragma once

#include <cstddef>

#include "demo/reads.hpp"
#include "demo/verdict.hpp"
#include "demo/writes.hpp"

namespace tiercache::demo {

void print_header(Database& database);

void print_latency_head();
void print_latencies(const QueryLatencies& query);
void print_latency_notes();

void print_write_head();
void print_write(const WriteRound& round);

// What was wrong, if anything, and the last line.
void print_verdict(const Verdict& verdict, std::size_t queries);

}  // namespace tiercache::demo
