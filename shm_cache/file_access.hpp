// Who may use a file of shared memory, and whose files are believed.
//
// Entries are believed, so whoever may write to a segment must be. /dev/shm is writable for all: an object of
// that name may be anybody's. Its owner is trusted when it is oneself or root. A group is trusted only by
// those who say so: each member of it can write what it likes.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

namespace tiercache {

inline constexpr gid_t no_group = static_cast<gid_t>(-1);

struct FileAccess {
    mode_t mode = 0600;
    uid_t owner = static_cast<uid_t>(-1);  // who makes it
    gid_t group = no_group;                // that of who makes it

    static FileAccess of(const struct stat& info) noexcept {
        return {info.st_mode & 07777U, info.st_uid, info.st_gid};
    }

    // What it is made with: nobody else opens it before it has its owner and group.
    [[nodiscard]] mode_t first_mode() const noexcept {
        return owner == static_cast<uid_t>(-1) && group == no_group ? mode : 0600;
    }
    // To what was made so, whatever the umask. Returns 0 or errno.
    [[nodiscard]] int apply_to(int fd) const noexcept;

    // Oneself, or root. Root may look at anybody's.
    [[nodiscard]] bool owner_trusted() const noexcept {
        const uid_t me = geteuid();
        return owner == me || owner == 0 || me == 0;
    }
    // Nobody but its owner and the members of this group can have written to it: only root, the owner, and
    // of these only a member, gives a file to a group.
    [[nodiscard]] bool group_trusted(gid_t trusted) const noexcept {
        return trusted != no_group && group == trusted && (mode & S_IWOTH) == 0;
    }
    [[nodiscard]] bool trusted(gid_t trusted_group) const noexcept {
        return owner_trusted() || group_trusted(trusted_group);
    }
};

}  // namespace tiercache
