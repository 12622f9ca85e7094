// The two files of a named segment: what its makers, resizers and removers share (segment_file.cpp).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "shm_cache/layout.hpp"
#include "shm_cache/lock_file.hpp"
#include "shm_cache/segment.hpp"
#include "shm_cache/shared_memory.hpp"
#include "shm_cache/status.hpp"

namespace tiercache::segment_file {

Status check_name(const std::string& name);

// Is what lies there, or its lock file, to be believed (file_access.hpp)?
Status check_trust(const std::string& name, const FileAccess& access, gid_t trusted_group);

// What lies under a name, by its first bytes only.
struct Object {
    Ready ready = Ready::foreign;
    FileAccess access;
    ino_t inode = 0;
};
// Nothing when there is none. Without a mapping, which would be as large as whatever it is.
Result<std::optional<Object>> look_at_object(const std::string& name, gid_t trusted_group);

// A new object, of a size that `geometry` is made for: larger than that was, where it is in huge pages.
Result<SharedMemory> make_memory(const std::string& name, const SegmentOptions& options,
                                 const FileAccess& access, Geometry& geometry);

// A resizer's file, before it gets the segment's name: "/name." and 16 hexadecimal digits.
[[nodiscard]] std::string successor_name(const std::string& name, std::uint64_t mark);

// What a resizer that died left (segment_resize.cpp): gives the segment that took another's place its name,
// and removes what took nobody's. The caller holds the lock for making, so no resizer lives.
void finish_resize(const std::string& name, const LockFile& lock);

}  // namespace tiercache::segment_file
