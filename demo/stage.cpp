#include "demo/stage.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "shm_cache/segment.hpp"

namespace tiercache::demo {

namespace {

std::filesystem::path make_temporary_folder() {
    std::string name = (std::filesystem::temp_directory_path() / "tiercache_demo.XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) {
        throw std::runtime_error(fmt::format("no temporary folder {}: {}", name, std::strerror(errno)));
    }
    return name;
}

void remove_folder(const std::filesystem::path& folder) {
    std::error_code ignored;
    std::filesystem::remove_all(folder, ignored);
}

}  // namespace

TemporaryFolder::TemporaryFolder()
    : path_(make_temporary_folder()), remove_([path = path_] { remove_folder(path); }) {}

SegmentName::SegmentName(std::string name)
    : name_(std::move(name)), remove_([segment = name_] { (void)Segment::remove(segment); }) {
    (void)Segment::remove(name_);
}

Stage::Stage(const StageOptions& options)
    : host_segment_(options.shm_prefix + "_host"),
      remote_segment_(options.shm_prefix + "_remote"),
      database(options.conninfo),
      writer(options.conninfo),
      psql(options.psql, options.conninfo, folder_.path()),
      app({.name = "L1 app",
           .segment = host_segment_.text(),
           .redis = options.redis,
           .conninfo = options.conninfo}),
      second({.name = "L1 second app",
              .segment = host_segment_.text(),
              .redis = options.redis,
              .conninfo = options.conninfo}),
      remote({.name = "L2 own segment",
              .segment = remote_segment_.text(),
              .redis = options.redis,
              .conninfo = options.conninfo,
              .empty_segment_first = true}),
      direct({.name = "L4 app", .segment = {}, .redis = {}, .conninfo = options.conninfo}) {}

}  // namespace tiercache::demo
