// The two files of a named segment: what its makers, resizers and removers share (segment_file.cpp).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "shm_cache/lock_file.hpp"
#include "shm_cache/status.hpp"

namespace tiercache::segment_file {

Status check_name(const std::string& name);

// Is what lies there, or its lock file, to be believed (file_access.hpp)?
Status check_trust(const std::string& name, const FileAccess& access, gid_t trusted_group);

// A resizer's file, before it gets the segment's name: "/name." and 16 hexadecimal digits.
[[nodiscard]] std::string successor_name(const std::string& name, std::uint64_t mark);

// What a resizer that died left (segment_resize.cpp): gives the segment that took another's place its name,
// and removes what took nobody's. The caller holds the lock for making, so no resizer lives.
void finish_resize(const std::string& name, const LockFile& lock);

}  // namespace tiercache::segment_file
