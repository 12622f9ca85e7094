#include "shm_cache/file_access.hpp"

#include <cerrno>

namespace tiercache {

int FileAccess::apply_to(int fd) const noexcept {
    struct stat info {};
    if (fstat(fd, &info) != 0) return errno;
    const bool other_owner = owner != static_cast<uid_t>(-1) && owner != info.st_uid;
    const bool other_group = group != no_group && group != info.st_gid;
    if ((other_owner || other_group) && fchown(fd, owner, group) != 0) return errno;
    return fchmod(fd, mode) == 0 ? 0 : errno;
}

}  // namespace tiercache
