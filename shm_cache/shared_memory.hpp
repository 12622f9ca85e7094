// A mapped POSIX shared-memory object (/dev/shm on Linux).
//
// Names look like "/tiercache.name". Space is reserved at creation, so that a full tmpfs is an error here and
// not a SIGBUS later. /dev/shm is world-writable: anybody may have made an object of that name. Who believes
// what is in it looks at access() first.
//
// An object may be a note of where its bytes are, in huge pages (huge_page_file.hpp): whoever opens or
// removes it by its name need not know.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shm_cache/file_access.hpp"
#include "shm_cache/status.hpp"

namespace tiercache {

struct HugePageMount;

class SharedMemory {
 public:
    SharedMemory() noexcept;
    SharedMemory(SharedMemory&&) noexcept;
    SharedMemory& operator=(SharedMemory&&) noexcept;
    SharedMemory(const SharedMemory&) = delete;
    SharedMemory& operator=(const SharedMemory&) = delete;
    ~SharedMemory();  // unmaps; the object stays

    // A new object of exactly `bytes` zero bytes, mapped for reading and writing. Nobody else can use it
    // before it has the owner and the group of `access`. Errors: already_exists, no_space, permission_denied,
    // invalid_argument (name).
    static Result<SharedMemory> create(const std::string& name, std::size_t bytes, const FileAccess& access);

    // The same in huge pages of the mount; `bytes` is a multiple of their size. Whoever creates the same name
    // meanwhile, or removes it, must be kept out (LockFile). Errors: also those of create_huge_page_file().
    static Result<SharedMemory> create_in_huge_pages(const std::string& name, std::size_t bytes,
                                                     const FileAccess& access, const HugePageMount& mount);

    // Maps an existing object. Errors: not_found, permission_denied, corrupt (empty).
    static Result<SharedMemory> open(const std::string& name, bool writable);

    // Errors: not_found, permission_denied. Those who have it mapped keep it. What it notes is removed when
    // it has this name, or begins with that of which it was `part_of` before.
    static Status remove(const std::string& name) { return remove(name, name); }
    static Status remove(const std::string& name, const std::string& part_of);

    // Gives the object `from` the name `to`, in place of what had it, which is removed. Who dies in between
    // leaves that under the name `from`, a part of `to`. Errors: not_found, permission_denied.
    static Status rename(const std::string& from, const std::string& to);
    // The names of all objects that begin with `prefix`. Error: internal.
    static Result<std::vector<std::string>> list(const std::string& prefix);

    // "/x": one leading slash, 2 to 200 characters of [A-Za-z0-9._-] after it.
    static Status check_name(std::string_view name);

    [[nodiscard]] std::span<std::byte> bytes() const noexcept;
    // Of what has the name, when it was opened.
    [[nodiscard]] FileAccess access() const noexcept;
    [[nodiscard]] std::uint64_t inode() const noexcept;
    // Of the huge pages that were set aside for it; 0: ordinary ones.
    [[nodiscard]] std::size_t huge_page_bytes() const noexcept;
    // The folder of the hugetlbfs where it lies; empty: in ordinary pages.
    [[nodiscard]] const std::string& huge_page_folder() const noexcept;
    // Those who have it mapped already keep it.
    Status set_mode(mode_t mode);

    // Lets go of the object: private memory takes its place, of zeros but for what `fill` writes, in one
    // step: whoever reads or writes here at that moment does so before or after. Error: no_space.
    Status detach(void (*fill)(void* context, std::span<std::byte> fresh), void* context);

    // Takes an exclusive advisory lock (flock) on the object, without waiting; it lasts until this object and
    // all copies of its descriptor in forked children are gone. Error: busy.
    Status lock_exclusive();

    // Does `name` still lead to the object that is mapped here? False after a remove, or a remove and create.
    [[nodiscard]] bool still_named(const std::string& name) const;

 private:
    struct Impl;
    explicit SharedMemory(std::unique_ptr<Impl> impl) noexcept;
    std::unique_ptr<Impl> impl_;
};

}  // namespace tiercache
