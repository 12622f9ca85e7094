// tiercache segment watch: what happens in a segment, as vmstat shows it.
#pragma once

#include <cstdint>
#include <string>

#include "shm_cache/status.hpp"

namespace tiercache::tools {

// Prints a line every `interval_s` seconds, `count` of them (0: until SIGINT or SIGTERM, which end it well).
// With `json` one object a line. Takes no process slot, and follows the name to a segment that replaces it.
Status watch_segment(const std::string& name, const std::string& group, double interval_s,
                     std::uint64_t count, bool json);

}  // namespace tiercache::tools
