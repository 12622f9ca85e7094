// How segments come into being, are found, and go.
//
// A named segment is two files: the shared-memory object and its lock file, whose inode the header names. Who
// makes or removes a segment holds the lock file's first byte; so there is one maker at a time, and a maker
// that died half-way left an object without READY that the next one replaces.
//
// The lock file comes before the object and goes after it, and its maker is the object's. So an object that
// is not READY is a half-made segment only beside a lock file of the same owner; zeros alone may be
// anybody's, and are left alone. Nobody waits for, or makes a lock file beside, what is not to be had.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>

#include "shm_cache/huge_page_file.hpp"
#include "shm_cache/lock_file.hpp"
#include "shm_cache/monotonic_time.hpp"
#include "shm_cache/segment_file.hpp"
#include "shm_cache/segment_impl.hpp"

namespace tiercache {

Status segment_file::check_name(const std::string& name) {
    if (Status s = SharedMemory::check_name(name); !s.ok()) return s;
    if (name.ends_with(".lock")) {
        return {StatusCode::invalid_argument,
                "\"" + name + "\" is the name of a lock file, not of a segment; leave \".lock\" away"};
    }
    return Status();
}

Status segment_file::check_owner(const std::string& name, uid_t owner) {
    const uid_t me = geteuid();
    if (owner == me || owner == 0 || me == 0) return Status();
    return {StatusCode::permission_denied, "segment \"" + name + "\" belongs to another user (uid " +
                                               std::to_string(owner) +
                                               "); choose another name, or run as that user"};
}

namespace {

using segment_file::check_name;
using segment_file::check_owner;

constexpr int race_attempts = 16;

Status made_and_removed(const std::string& name) {
    return {StatusCode::busy, "segment \"" + name + "\" is made and removed again and again; try later"};
}

Status no_such_segment(const std::string& name) {
    return {StatusCode::not_found, "there is no segment \"" + name + "\" on this host"};
}

Status half_made(const std::string& name) {
    return {StatusCode::busy,
            "segment \"" + name + "\" is being made, or its maker died half-way; create it again"};
}

// Even root: whoever owns the lock file has a say in who lives.
Status check_maker(const std::string& name, const LockFile& lock) {
    if (lock.owner() == geteuid()) return Status();
    return {StatusCode::permission_denied,
            "the lock file \"" + name + ".lock\" in /dev/shm belongs to another user (uid " +
                std::to_string(lock.owner()) +
                "); choose another name, run as that user, or remove the file"};
}

// By the first bytes of what `fd` has open, which is a regular file.
Ready examine(int fd, off_t bytes) noexcept {
    if (bytes == 0) return Ready::half_made;  // its maker had not come further
    alignas(SegmentHeader) std::array<std::byte, sizeof(SegmentHeader)> head{};
    const bool whole = pread(fd, head.data(), head.size(), 0) == static_cast<ssize_t>(head.size());
    return whole ? examine_segment(head.data(), static_cast<std::size_t>(bytes)) : Ready::foreign;
}

// The same of what is in huge pages. A note without its file is what a maker or a remover left half-way.
Result<Ready> examine_noted(const HugePageNote& note, uid_t owner) {
    const Result<Descriptor> file = open_huge_page_file(note, owner, /*writable=*/false);
    if (file.status().code() == StatusCode::not_found) return Ready::half_made;
    if (!file.ok()) return file.status();
    struct stat info {};
    return fstat(file->get(), &info) == 0 ? examine(file->get(), info.st_size) : Ready::foreign;
}

// What lies under a name, by its first bytes only.
struct Object {
    Ready ready = Ready::foreign;
    uid_t owner = 0;
    ino_t inode = 0;
};

// Nothing when there is none. Without a mapping, which would be as large as whatever it is.
Result<std::optional<Object>> look_at_object(const std::string& name) {
    // Not blocking: it may be a pipe.
    const Descriptor named(shm_open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0));
    if (!named.valid()) {
        if (errno == ENOENT) return std::optional<Object>();
        const StatusCode code =
            errno == EACCES || errno == EPERM ? StatusCode::permission_denied : StatusCode::internal;
        return Status(code, "could not open shared memory \"" + name + "\": " + std::strerror(errno));
    }
    Object object;
    struct stat info {};
    if (fstat(named.get(), &info) == 0 && S_ISREG(info.st_mode)) {
        const std::optional<HugePageNote> note = read_huge_page_note(named.get());
        const Result<Ready> ready =
            note ? examine_noted(*note, info.st_uid) : Result<Ready>(examine(named.get(), info.st_size));
        if (!ready.ok()) {
            if (Status s = check_owner(name, info.st_uid); !s.ok()) return s;
            return Status(ready.status().code(), "segment \"" + name + "\": " + ready.status().message());
        }
        object.ready = *ready;
    }
    object.owner = info.st_uid;
    object.inode = info.st_ino;
    return std::optional<Object>(object);
}

enum class Found { nothing, half_made, segment };

// What lies under the name? Errors: permission_denied; corrupt, when it is nothing of ours.
Result<Found> look(const std::string& name) {
    const Status foreign(StatusCode::corrupt,
                         "shared memory \"" + name + "\" is not a tiercache segment; choose another name");
    for (int attempt = 0; attempt < race_attempts; ++attempt) {
        const Result<std::optional<Object>> object = look_at_object(name);
        if (!object.ok()) return object.status();
        if (!object->has_value()) return Found::nothing;
        const Object seen = **object;
        if (Status s = check_owner(name, seen.owner); !s.ok()) return s;
        if (seen.ready == Ready::yes) return Found::segment;
        if (seen.ready == Ready::foreign) return foreign;
        const Result<LockFile> lock = LockFile::open(name);
        if (lock.ok()) return lock->owner() == seen.owner ? Result<Found>(Found::half_made) : foreign;
        if (lock.status().code() != StatusCode::not_found) return lock.status();
        // Without a lock file: foreign, unless both were just removed.
        const Result<std::optional<Object>> again = look_at_object(name);
        if (again.ok() && again->has_value() && (*again)->inode == seen.inode) return foreign;
    }
    return made_and_removed(name);
}

// The lock file, held for making or removing, and still the one that others will find. After look().
Result<LockFile> lock_for_making(const std::string& name, const SegmentOptions& options,
                                 Status (*check)(const std::string&, const LockFile&)) {
    for (int attempt = 0; attempt < race_attempts; ++attempt) {
        Result<LockFile> lock = LockFile::open_or_create(name, options.mode);
        if (!lock.ok()) return lock;
        if (Status s = check(name, *lock); !s.ok()) return s;
        if (Status s = lock->lock_making(options.making_wait_ms); !s.ok()) return s;
        if (lock->still_named(name)) return lock;
    }
    return made_and_removed(name);
}

// A new object, of a size that `geometry` is made for.
Result<SharedMemory> make_memory(const std::string& name, const SegmentOptions& options, Geometry& geometry) {
    if (options.huge_pages == HugePages::off) {
        return SharedMemory::create(name, geometry.size_bytes, options.mode);
    }
    const Result<HugePageMount> mount = find_huge_page_mount(options.huge_page_mount);
    Status refused = mount.status();
    if (mount.ok()) {
        SegmentOptions whole_pages = options;
        const std::size_t pages = (options.size_bytes + mount->page_bytes - 1) / mount->page_bytes;
        whole_pages.size_bytes = pages * mount->page_bytes;
        const Result<Geometry> larger = plan_geometry(whole_pages, Fit::fewer_process_slots);
        if (!larger.ok()) return larger.status();
        Result<SharedMemory> memory =
            SharedMemory::create_in_huge_pages(name, larger->size_bytes, options.mode, *mount);
        if (memory.ok()) {
            geometry = *larger;
            return memory;
        }
        refused = memory.status();
    }
    if (options.huge_pages == HugePages::on) return refused;
    return SharedMemory::create(name, geometry.size_bytes, options.mode);
}

std::uint64_t random_lineage() noexcept {
    std::uint64_t id = 0;
    if (getrandom(&id, sizeof(id), GRND_NONBLOCK) != sizeof(id)) id = monotonic_ns();
    return id;
}

Status check_memory(std::span<std::byte> memory) {
    if (reinterpret_cast<std::uintptr_t>(memory.data()) % cache_line_bytes == 0) return Status();
    return {StatusCode::invalid_argument, "the memory of a segment must be aligned to 64 bytes"};
}

}  // namespace

// Relaxed: a Segment is made, moved and destroyed by one thread, before and after others use it.
Segment::Segment(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)), current_(impl_.get()) {}
Segment::Segment(Segment&& other) noexcept
    : impl_(std::move(other.impl_)),
      current_(other.current_.load(std::memory_order_relaxed)),
      unsettled_(other.unsettled_.load(std::memory_order_relaxed)) {}
Segment& Segment::operator=(Segment&& other) noexcept {
    impl_ = std::move(other.impl_);
    current_.store(other.current_.load(std::memory_order_relaxed), std::memory_order_relaxed);
    unsettled_.store(other.unsettled_.load(std::memory_order_relaxed), std::memory_order_relaxed);
    return *this;
}
Segment::~Segment() = default;

// ---- named segments ------------------------------------------------------------------------------

Result<Segment> Segment::create(const std::string& name, const SegmentOptions& options) {
    if (Status s = check_name(name); !s.ok()) return s;
    Result<Geometry> geometry = plan_geometry(options, Fit::fewer_process_slots);
    if (!geometry.ok()) return geometry.status();
    // Before a lock file is made or waited for, and again when it is held.
    const Status exists(StatusCode::already_exists, "there is a segment \"" + name + "\" already");
    Result<Found> found = look(name);
    if (!found.ok()) return found.status();
    if (*found == Found::segment) return exists;
    Result<LockFile> lock = lock_for_making(name, options, check_maker);
    if (!lock.ok()) return lock.status();
    segment_file::finish_resize(name, *lock);
    found = look(name);
    if (!found.ok()) return found.status();
    if (*found == Found::segment) return exists;
    if (*found == Found::half_made) {
        if (Status s = SharedMemory::remove(name); !s.ok()) return s;
    }
    Result<SharedMemory> memory = make_memory(name, options, *geometry);
    if (!memory.ok()) {
        LockFile::remove(name);
        return memory.status();
    }
    std::byte* base = memory->bytes().data();
    format_segment(base, *geometry, lock->inode(), {random_lineage(), 0});
    publish_segment(base);
    lock->unlock_making();
    return Segment(assemble(name, std::move(memory).value(), *geometry, std::move(lock).value()));
}

Result<Segment> Segment::open(const std::string& name) {
    Result<Segment> opened = open_named(name);
    if (!opened.ok() || !opened->impl_->closed()) return opened;
    // Its resizer is between two steps, or died there.
    if (opened->follow(*opened->impl_, Urgency::at_once) == nullptr) return cannot_follow();
    Result<LockFile> lock = LockFile::open(name);
    if (lock.ok() && lock->lock_making(0).ok() && lock->still_named(name)) {
        segment_file::finish_resize(name, *lock);
    }
    return opened;
}

std::unique_ptr<Segment::Impl> Segment::assemble(const std::string& name, SharedMemory memory,
                                                 const Geometry& geometry, LockFile lock) {
    std::byte* base = memory.bytes().data();
    auto lock_file = std::make_shared<LockFile>(std::move(lock));
    auto impl = std::make_unique<Impl>(
        base, geometry, ProcessTable::join(base, geometry, lock_file, read_lineage(base).life));
    impl->memory = std::move(memory);
    impl->name = name;
    impl->file_name = name;
    impl->lock_file = std::move(lock_file);
    return impl;
}

Result<Segment> Segment::open_named(const std::string& name) {
    if (Status s = check_name(name); !s.ok()) return s;
    const Result<Found> found = look(name);
    if (!found.ok()) return found.status();
    if (*found == Found::nothing) return no_such_segment(name);
    if (*found == Found::half_made) return half_made(name);
    Result<SharedMemory> memory = SharedMemory::open(name, /*writable=*/true);
    // Empty: replaced since.
    if (!memory.ok())
        return memory.status().code() == StatusCode::corrupt ? half_made(name) : memory.status();
    if (Status s = check_owner(name, memory->owner()); !s.ok()) return s;
    std::byte* base = memory->bytes().data();
    std::uint64_t lock_inode = 0;
    const Result<Geometry> geometry = read_geometry(base, memory->bytes().size(), lock_inode);
    if (!geometry.ok()) return geometry.status();
    Result<LockFile> lock = LockFile::open(name);
    if (!lock.ok() && lock.status().code() != StatusCode::not_found) return lock.status();
    if (!lock.ok() || lock->inode() != lock_inode) {
        // Removed this very moment, or somebody took one of the two files away.
        if (!memory->still_named(name)) return no_such_segment(name);
        return Status(StatusCode::corrupt, "the lock file of segment \"" + name +
                                               "\" is missing or another's; remove the segment");
    }
    return Segment(assemble(name, std::move(memory).value(), *geometry, std::move(lock).value()));
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
    }
    return made_and_removed(name);
}

Status Segment::remove(const std::string& name) {
    if (Status s = check_name(name); !s.ok()) return s;
    Result<Found> found = look(name);
    if (!found.ok()) return found.status();
    if (*found == Found::nothing) return no_such_segment(name);
    const Result<LockFile> lock =
        lock_for_making(name, SegmentOptions{},
                        [](const std::string& n, const LockFile& l) { return check_owner(n, l.owner()); });
    if (!lock.ok()) return lock.status();
    segment_file::finish_resize(name, *lock);
    found = look(name);
    if (!found.ok()) return found.status();
    Status removed = *found == Found::nothing ? no_such_segment(name) : SharedMemory::remove(name);
    if (removed.ok() || removed.code() == StatusCode::not_found) LockFile::remove(name);
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

// ---- any ------------------------------------------------------------------------------------------

Result<SegmentStats> Segment::inspect(const std::string& name) {
    if (Status s = check_name(name); !s.ok()) return s;
    const Result<Found> found = look(name);
    if (!found.ok()) return found.status();
    if (*found == Found::nothing) return no_such_segment(name);
    if (*found == Found::half_made) return half_made(name);
    Result<SharedMemory> memory = SharedMemory::open(name, /*writable=*/false);
    if (!memory.ok()) return memory.status();
    const auto successor = [&memory] {
        return reinterpret_cast<const SegmentHeader*>(memory->bytes().data())->successor.load();
    };
    // Closed: before or after what took its place got the name.
    for (int attempt = 0; attempt < race_attempts && successor() != 0; ++attempt) {
        const std::string marked = segment_file::successor_name(name, successor());
        Result<SharedMemory> next = SharedMemory::open(attempt % 2 == 0 ? marked : name, /*writable=*/false);
        if (next.ok()) memory = std::move(next);
    }
    if (Status s = check_owner(name, memory->owner()); !s.ok()) return s;
    // Only loads from here on.
    std::byte* base = memory->bytes().data();
    std::uint64_t lock_inode = 0;
    const Result<Geometry> geometry = read_geometry(base, memory->bytes().size(), lock_inode);
    if (!geometry.ok()) return geometry.status();
    const BlockTable blocks(base, *geometry);
    const auto* slots = reinterpret_cast<const ProcessSlot*>(base + geometry->process_slots_at);
    SegmentStats stats = read_segment_stats(*geometry, blocks, Index(base, *geometry, blocks),
                                            Sampler(base, *geometry), Statistics(base, *geometry),
                                            ProcessTable::holders_in(slots, geometry->process_slots));
    stats.instance = memory->inode();
    stats.huge_page_bytes = memory->huge_page_bytes();
    return stats;
}

bool Segment::still_current() const noexcept {
    const Impl& at = current();
    return at.name.empty() || at.memory.still_named(at.name) || at.memory.still_named(at.file_name);
}

}  // namespace tiercache
