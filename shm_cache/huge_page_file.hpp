// Memory in huge pages that were set aside (hugetlbfs), under the name of a shared-memory object.
//
// The bytes are a file on a hugetlbfs mount. The object under the name is a note that says where. The note
// comes first, without the file's inode, and goes last: whoever dies in between leaves a note by which the
// file is found and removed. The file's name has a random part, so that nothing that lies there is in the
// way.
//
// Who may write to the mount may put another file in that place: a file counts only with the inode that the
// note names, and the note's owner. Who removes one that a stranger noted, as root may, removes nothing but a
// file of that stranger, on a hugetlbfs mount, with such a name.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "shm_cache/file_access.hpp"
#include "shm_cache/status.hpp"

namespace tiercache {

// A descriptor that is closed.
class Descriptor {
 public:
    explicit Descriptor(int fd = -1) noexcept : fd_(fd) {}
    Descriptor(Descriptor&& other) noexcept;
    Descriptor& operator=(Descriptor&& other) noexcept;
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor();

    [[nodiscard]] int get() const noexcept { return fd_; }
    [[nodiscard]] bool valid() const noexcept { return fd_ >= 0; }

 private:
    int fd_;
};

struct HugePageMount {
    std::string path;
    std::size_t page_bytes = 0;
};

// `wanted`, which must be a hugetlbfs mount, or a folder of one; empty: of the mounts that this user may
// write to the one with the smallest pages. Errors: not_found, permission_denied, invalid_argument.
Result<HugePageMount> find_huge_page_mount(const std::string& wanted);

// What lies under the name, as bytes.
struct HugePageNote {
    static constexpr std::size_t path_bytes_max = 1024;

    std::uint64_t magic = 0;
    std::uint64_t device = 0;
    std::uint64_t inode = 0;  // 0: its maker had not come further
    char path[path_bytes_max] = {};
    std::uint64_t checksum = 0;

    // Where the file lies.
    [[nodiscard]] std::string folder() const;
};

// Where the file of the object `name` is to be made.
Result<HugePageNote> plan_huge_page_file(const std::string& name, const HugePageMount& mount);

// Writes the note to the object that `fd` has open. Error: internal, no_space.
Status write_huge_page_note(int fd, HugePageNote note);
// Nothing when it is no note, or one that is being written.
std::optional<HugePageNote> read_huge_page_note(int fd) noexcept;

// The file that was planned: `bytes` zero bytes, all of their pages there. Errors: no_space, which tells what
// to do; permission_denied. `note` gets device and inode.
Result<Descriptor> create_huge_page_file(HugePageNote& note, std::size_t bytes, const FileAccess& access);

// The file that the note of `owner` names. Errors: not_found (there is none, another, or none was made yet),
// corrupt (its mount is not here), permission_denied.
Result<Descriptor> open_huge_page_file(const HugePageNote& note, uid_t owner, bool writable);

// Takes it away, if it is the one that the note of `owner` names, made for `name` or a name that goes on with
// a dot. Those who have it mapped keep it.
void remove_huge_page_file(const std::string& name, const HugePageNote& note, uid_t owner) noexcept;

}  // namespace tiercache
