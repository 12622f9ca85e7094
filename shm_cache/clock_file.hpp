// The clock table in its shared-memory object: made by the authority, mapped read-only by everybody else.
#pragma once

#include <sys/types.h>

#include <string>

#include "shm_cache/clock_table.hpp"
#include "shm_cache/shared_memory.hpp"

namespace tiercache {

class ClockFile {
 public:
    ClockFile() = default;

    // For the authority. Reuses an object of the same owner, layout and size, so that readers that have it
    // mapped see the restart; replaces one that does not fit. Holds a lock as long as this process or a
    // forked child of it lives. The caller must call table().restart() before anything else. Errors: busy
    // (another living authority uses that name), permission_denied (a foreign owner), no_space.
    static Result<ClockFile> create(const std::string& name, std::uint32_t slot_count, mode_t mode);

    // For readers: mapped read-only. Errors: not_found, permission_denied, corrupt, version_mismatch.
    static Result<ClockFile> open(const std::string& name);

    // After create(): is it the object that readers of a former life have mapped? If not, those who still
    // have that one mapped trust it until its lease runs out.
    [[nodiscard]] bool reused() const noexcept { return reused_; }

    [[nodiscard]] bool valid() const noexcept { return table_.valid(); }
    // Lives as long as this object.
    [[nodiscard]] ClockTable table() const noexcept { return table_; }
    [[nodiscard]] const std::string& name() const noexcept { return name_; }

    // False when the name now leads to another object, or to none: open it again.
    [[nodiscard]] bool still_current() const { return memory_.still_named(name_); }

 private:
    ClockFile(std::string name, SharedMemory memory, ClockTable table, bool reused) noexcept
        : name_(std::move(name)), memory_(std::move(memory)), table_(table), reused_(reused) {}

    std::string name_;
    SharedMemory memory_;
    ClockTable table_;
    bool reused_ = false;
};

}  // namespace tiercache
