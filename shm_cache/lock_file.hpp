// The lock file beside a named segment: one byte says "somebody makes, resizes or removes the segment", and
// one byte for each process slot says "its process lives". The kernel drops a lock with its holder, however
// it dies. A resized segment keeps the file, and has bytes of its own in it (slot_lock()).
//
// The locks belong to the open file description (F_OFD_SETLK). Traditional fcntl locks would vanish when any
// code in the process closed any descriptor of the file, a second copy of this library for one: a living
// process would look dead, and others would recycle the block it is writing to. The price is that a forked
// child keeps the parent's locks alive until it calls reopen_after_fork(); too long is the safe side. The
// lock for making is let go of in a forked child by itself.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "shm_cache/file_access.hpp"
#include "shm_cache/status.hpp"

namespace tiercache {

class LockFile {
 public:
    // Error: not_found, permission_denied.
    static Result<LockFile> open(const std::string& segment_name);
    // Makes it when there is none. Error also: permission_denied, the user may not give it to that group.
    static Result<LockFile> open_or_create(const std::string& segment_name, const FileAccess& access);
    static void remove(const std::string& segment_name) noexcept;

    LockFile(LockFile&& other) noexcept;
    LockFile& operator=(LockFile&& other) noexcept;
    LockFile(const LockFile&) = delete;
    LockFile& operator=(const LockFile&) = delete;
    ~LockFile();  // drops all locks

    // Never 0.
    [[nodiscard]] std::uint64_t inode() const noexcept { return inode_; }
    [[nodiscard]] const FileAccess& access() const noexcept { return access_; }
    [[nodiscard]] bool still_named(const std::string& segment_name) const noexcept;

    // Waits up to `wait_ms` for whoever makes or removes the segment; 0: tries once. Errors: busy, internal.
    Status lock_making(std::uint32_t wait_ms = 30'000);
    void unlock_making() noexcept;

    // The number of a process slot's lock in this life of the segment (SegmentHeader::life).
    [[nodiscard]] static std::uint64_t slot_lock(std::uint64_t life, std::uint32_t slot) noexcept {
        return (life & lives_max) << 12 | slot;
    }
    [[nodiscard]] bool try_lock_slot(std::uint64_t lock) noexcept;
    void unlock_slot(std::uint64_t lock) noexcept;
    // Does another holder have it? One system call. Knows nothing of one's own locks. When in doubt, yes.
    [[nodiscard]] bool slot_locked_by_other(std::uint64_t lock) const noexcept;

    // In a forked child: lets go of the parent's locks. Only what is allowed between fork and exec.
    void reopen_after_fork() noexcept;

 private:
    static constexpr std::uint64_t lives_max = (std::uint64_t{1} << 48) - 1;
    LockFile(int fd, std::uint64_t inode, const FileAccess& access) noexcept
        : fd_(fd), inode_(inode), access_(access) {}
    static Result<LockFile> adopt(int fd, const std::string& segment_name);
    bool set_lock(short type, std::uint64_t byte) const noexcept;

    int fd_ = -1;
    std::uint64_t inode_ = 0;
    FileAccess access_;
};

}  // namespace tiercache
