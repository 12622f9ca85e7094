// How a segment's state is shown.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "shm_cache/segment.hpp"

namespace tiercache::tools {

[[nodiscard]] nlohmann::ordered_json segment_json(const SegmentStats& stats);
[[nodiscard]] std::string segment_table(const SegmentStats& stats);

}  // namespace tiercache::tools
