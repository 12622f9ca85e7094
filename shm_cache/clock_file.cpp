#include "shm_cache/clock_file.hpp"

#include <unistd.h>

#include <algorithm>

namespace tiercache {

namespace {

// An object whose maker died before it wrote anything.
bool is_unfinished(std::span<const std::byte> bytes) noexcept {
    return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

// An object of ours that fits, locked; or not_found when a new one is to be made.
Result<SharedMemory> reuse(const std::string& name, std::uint32_t slot_count, mode_t mode) {
    const std::size_t bytes = ClockTable::size_bytes(slot_count);
    Result<SharedMemory> opened = SharedMemory::open(name, /*writable=*/true);
    if (!opened.ok()) {
        if (opened.status().code() == StatusCode::corrupt) {
            (void)SharedMemory::remove(name);
            return Status(StatusCode::not_found);
        }
        return opened.status();
    }
    if (opened->access().owner != geteuid()) {
        return Status(
            StatusCode::permission_denied,
            "shared memory \"" + name + "\" belongs to another user; remove it or set another name");
    }
    if (Status s = opened->lock_exclusive(); !s.ok()) {
        return Status(StatusCode::busy, "the clock table \"" + name +
                                            "\" is in use by another running server; set another name");
    }
    // Locked an object that another authority has just replaced: the name is that one's now.
    if (!opened->still_named(name)) {
        return Status(StatusCode::busy,
                      "the clock table \"" + name + "\" is being made by another server; set another name");
    }
    Result<ClockTable> table = ClockTable::attach(opened->bytes());
    if (!table.ok() && table.status().code() != StatusCode::version_mismatch &&
        !is_unfinished(opened->bytes())) {
        return Status(StatusCode::corrupt,
                      "\"" + name + "\" exists and is no clock table; remove it or set another name");
    }
    if (opened->bytes().size() == bytes && (!table.ok() || table->slot_count() == slot_count)) {
        if (Status s = opened->set_mode(mode); !s.ok()) return s;
        return std::move(opened).value();
    }
    // Whoever has the old object mapped must not go on trusting it.
    if (table.ok()) table->restart(0, UINT64_MAX);
    if (Status s = SharedMemory::remove(name); !s.ok()) return s;
    return Status(StatusCode::not_found);
}

}  // namespace

Result<ClockFile> ClockFile::create(const std::string& name, std::uint32_t slot_count, mode_t mode) {
    if (Status s = ClockTable::check_slot_count(slot_count); !s.ok()) return s;
    const std::size_t bytes = ClockTable::size_bytes(slot_count);
    Result<SharedMemory> memory = reuse(name, slot_count, mode);
    if (memory.ok()) {
        // A table of ours keeps its versions; one that was never finished is made new.
        Result<ClockTable> table = ClockTable::attach(memory->bytes());
        if (!table.ok()) table = ClockTable::format(memory->bytes(), slot_count);
        if (!table.ok()) return table.status();
        return ClockFile(name, std::move(memory).value(), *table, /*reused=*/true);
    }
    if (memory.status().code() != StatusCode::not_found) return memory.status();
    memory = SharedMemory::create(name, bytes, {mode});
    if (!memory.ok()) return memory.status();
    if (Status s = memory->lock_exclusive(); !s.ok()) return s;
    Result<ClockTable> table = ClockTable::format(memory->bytes(), slot_count);
    if (!table.ok()) return table.status();
    return ClockFile(name, std::move(memory).value(), *table, /*reused=*/false);
}

Result<ClockFile> ClockFile::open(const std::string& name) {
    Result<SharedMemory> memory = SharedMemory::open(name, /*writable=*/false);
    if (!memory.ok()) return memory.status();
    Result<ClockTable> table = ClockTable::attach(memory->bytes());
    if (!table.ok()) return table.status();
    return ClockFile(name, std::move(memory).value(), *table, /*reused=*/false);
}

}  // namespace tiercache
