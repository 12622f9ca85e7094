// How segments come into being, are found, and go.
//
// A named segment is two files: the shared-memory object and its lock file, whose inode the header names. Who
// makes or removes a segment holds the lock file's first byte; so there is one maker at a time, and a maker
// that died half-way left an object without READY that the next one replaces.
#include <unistd.h>
#include <cerrno>

#include "shm_cache/lock_file.hpp"
#include "shm_cache/segment_impl.hpp"

namespace tiercache {

namespace {

constexpr int race_attempts = 16;

// The lock file, held for making or removing, and still the one that others will find.
Result<LockFile> lock_for_making(const std::string& name, const SegmentOptions& options) {
    for (int attempt = 0; attempt < race_attempts; ++attempt) {
        Result<LockFile> lock = LockFile::open_or_create(name, options.mode);
        if (!lock.ok()) return lock;
        if (Status s = lock->lock_making(options.making_wait_ms); !s.ok()) return s;
        if (lock->still_named(name)) return lock;
    }
    return Status(StatusCode::busy,
                  "segment \"" + name + "\" is made and removed again and again; try later");
}

Status check_name(const std::string& name) {
    if (Status s = SharedMemory::check_name(name); !s.ok()) return s;
    if (name.ends_with(".lock")) {
        return {StatusCode::invalid_argument,
                "\"" + name + "\" is the name of a lock file, not of a segment; leave \".lock\" away"};
    }
    return Status();
}

// Entries are believed, so the maker of a segment must be: oneself or root. Root may look at anybody's.
Status check_owner(const std::string& name, uid_t owner) {
    const uid_t me = geteuid();
    if (owner == me || owner == 0 || me == 0) return Status();
    return {StatusCode::permission_denied, "segment \"" + name + "\" belongs to another user (uid " +
                                               std::to_string(owner) +
                                               "); choose another name, or run as that user"};
}

enum class Found { nothing, half_made, segment };

// What lies under the name? Errors: corrupt, when it is nothing of ours; permission_denied.
Result<Found> look(const std::string& name) {
    Result<SharedMemory> memory = SharedMemory::open(name, /*writable=*/false);
    if (!memory.ok()) {
        if (memory.status().code() == StatusCode::not_found) return Found::nothing;
        // Empty: its maker died before it had any bytes.
        if (memory.status().code() == StatusCode::corrupt) return Found::half_made;
        return memory.status();
    }
    if (Status s = check_owner(name, memory->owner()); !s.ok()) return s;
    switch (examine_segment(memory->bytes().data(), memory->bytes().size())) {
        case Ready::yes:
            return Found::segment;
        case Ready::half_made:
            return Found::half_made;
        case Ready::foreign:
            break;
    }
    return Status(StatusCode::corrupt,
                  "shared memory \"" + name + "\" is not a tiercache segment; choose another name");
}

Status check_memory(std::span<std::byte> memory) {
    if (reinterpret_cast<std::uintptr_t>(memory.data()) % cache_line_bytes == 0) return Status();
    return {StatusCode::invalid_argument, "the memory of a segment must be aligned to 64 bytes"};
}

}  // namespace

Segment::Segment(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Segment::Segment(Segment&&) noexcept = default;
Segment& Segment::operator=(Segment&&) noexcept = default;
Segment::~Segment() = default;

// ---- named segments ------------------------------------------------------------------------------

Result<Segment> Segment::create(const std::string& name, const SegmentOptions& options) {
    if (Status s = check_name(name); !s.ok()) return s;
    const Result<Geometry> geometry = plan_geometry(options, Fit::fewer_process_slots);
    if (!geometry.ok()) return geometry.status();
    Result<LockFile> lock = lock_for_making(name, options);
    if (!lock.ok()) return lock.status();
    const Result<Found> found = look(name);
    if (!found.ok()) return found.status();
    if (*found == Found::segment) {
        return Status(StatusCode::already_exists, "there is a segment \"" + name + "\" already");
    }
    if (Status s = check_owner(name, lock->owner()); !s.ok()) return s;
    if (*found == Found::half_made) {
        if (Status s = SharedMemory::remove(name); !s.ok()) return s;
    }
    Result<SharedMemory> memory = SharedMemory::create(name, geometry->size_bytes, options.mode);
    if (!memory.ok()) {
        if (memory.status().code() != StatusCode::already_exists) LockFile::remove(name);
        return memory.status();
    }
    std::byte* base = memory->bytes().data();
    format_segment(base, *geometry, lock->inode());
    publish_segment(base);
    lock->unlock_making();
    auto impl =
        std::make_unique<Impl>(base, *geometry, ProcessTable::join(base, *geometry, std::move(lock).value()));
    impl->memory = std::move(memory).value();
    impl->name = name;
    return Segment(std::move(impl));
}

Result<Segment> Segment::open(const std::string& name) {
    if (Status s = check_name(name); !s.ok()) return s;
    Result<SharedMemory> memory = SharedMemory::open(name, /*writable=*/true);
    if (!memory.ok()) {
        if (memory.status().code() != StatusCode::corrupt) return memory.status();
        return Status(StatusCode::busy,
                      "segment \"" + name + "\" is being made, or its maker died half-way; create it again");
    }
    if (Status s = check_owner(name, memory->owner()); !s.ok()) return s;
    std::byte* base = memory->bytes().data();
    std::uint64_t lock_inode = 0;
    const Result<Geometry> geometry = read_geometry(base, memory->bytes().size(), lock_inode);
    if (!geometry.ok()) return geometry.status();
    Result<LockFile> lock = LockFile::open(name);
    if (!lock.ok() && lock.status().code() != StatusCode::not_found) return lock.status();
    if (!lock.ok() || lock->inode() != lock_inode) {
        // Removed this very moment, or somebody took one of the two files away.
        if (!memory->still_named(name)) {
            return Status(StatusCode::not_found, "there is no shared memory \"" + name + "\" on this host");
        }
        return Status(StatusCode::corrupt, "the lock file of segment \"" + name +
                                               "\" is missing or another's; remove the segment");
    }
    auto impl =
        std::make_unique<Impl>(base, *geometry, ProcessTable::join(base, *geometry, std::move(lock).value()));
    impl->memory = std::move(memory).value();
    impl->name = name;
    return Segment(std::move(impl));
}

Result<Segment> Segment::open_or_create(const std::string& name, const SegmentOptions& options) {
    for (int attempt = 0; attempt < race_attempts; ++attempt) {
        Result<Segment> opened = open(name);
        if (opened.ok()) return opened;
        const StatusCode code = opened.status().code();
        // Busy is also "half made": then create() waits for the maker, or replaces what it left.
        if (code != StatusCode::not_found && code != StatusCode::busy) return opened;
        Result<Segment> created = create(name, options);
        if (created.ok() || created.status().code() != StatusCode::already_exists) return created;
        if (code == StatusCode::busy) return open(name);
    }
    return Status(StatusCode::busy,
                  "segment \"" + name + "\" is made and removed again and again; try later");
}

Status Segment::remove(const std::string& name) {
    if (Status s = check_name(name); !s.ok()) return s;
    Result<Found> found = look(name);
    if (!found.ok()) return found.status();
    if (*found == Found::nothing) {
        return {StatusCode::not_found, "there is no segment \"" + name + "\" on this host"};
    }
    const Result<LockFile> lock = lock_for_making(name, SegmentOptions{});
    if (!lock.ok()) return lock.status();
    Status removed = SharedMemory::remove(name);
    if (removed.ok()) LockFile::remove(name);
    return removed;
}

// ---- caller-owned memory -------------------------------------------------------------------------

Result<Segment> Segment::format(std::span<std::byte> memory, const SegmentOptions& options) {
    if (Status s = check_memory(memory); !s.ok()) return s;
    if (memory.size() < options.size_bytes) {
        return Status(StatusCode::invalid_argument, "the memory is smaller than the segment is to be");
    }
    const Result<Geometry> geometry = plan_geometry(options, Fit::exact);
    if (!geometry.ok()) return geometry.status();
    format_segment(memory.data(), *geometry, /*lock_file=*/0);
    publish_segment(memory.data());
    return Segment(std::make_unique<Impl>(
        memory.data(), *geometry, ProcessTable::join(memory.data(), *geometry, geometry->process_slots)));
}

Result<Segment> Segment::attach(std::span<std::byte> memory, std::uint32_t process_slot) {
    if (Status s = check_memory(memory); !s.ok()) return s;
    std::uint64_t lock_inode = 0;
    const Result<Geometry> geometry = read_geometry(memory.data(), memory.size(), lock_inode);
    if (!geometry.ok()) return geometry.status();
    if (process_slot >= geometry->process_slots) {
        return Status(StatusCode::invalid_argument,
                      "process slot " + std::to_string(process_slot) + " of a segment that has " +
                          std::to_string(geometry->process_slots) + "; format it with more process slots");
    }
    return Segment(std::make_unique<Impl>(memory.data(), *geometry,
                                          ProcessTable::join(memory.data(), *geometry, process_slot)));
}

bool Segment::still_current() const noexcept {
    return impl_->name.empty() || impl_->memory.still_named(impl_->name);
}

}  // namespace tiercache
