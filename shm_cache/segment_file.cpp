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
#include <time.h>
#include <unistd.h>

#include <algorithm>
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

Status segment_file::check_trust(const std::string& name, const FileAccess& access, gid_t trusted_group) {
    if (access.trusted(trusted_group)) return Status();
    std::string refused =
        "segment \"" + name + "\" belongs to another user (uid " + std::to_string(access.owner) + ")";
    if (trusted_group == no_group) {
        refused += "; choose another name, or run as that user";
        if ((access.mode & 0060U) == 0060 && (access.mode & S_IWOTH) == 0) {
            refused +=
                ", or, to use it, trust all members of its group (gid " + std::to_string(access.group) + ")";
        }
    } else if (access.group != trusted_group) {
        refused += " and to group " + std::to_string(access.group) + ", not to " +
                   std::to_string(trusted_group) + ", which is trusted; choose another name";
    } else {
        refused += ", and others than its group may write to it; choose another name";
    }
    return {StatusCode::permission_denied, std::move(refused)};
}

namespace {

using segment_file::check_name;
using segment_file::check_trust;
using segment_file::look_at_object;
using segment_file::make_memory;
using segment_file::Object;

// Each one lost means that another process made or removed the segment meanwhile; 16 were once not enough for
// five that did nothing else.
constexpr int race_attempts = 256;

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
Status check_maker(const std::string& name, const LockFile& lock, gid_t /*trusted_group*/) {
    if (lock.access().owner == geteuid()) return Status();
    return {StatusCode::permission_denied,
            "the lock file \"" + name + ".lock\" in /dev/shm belongs to another user (uid " +
                std::to_string(lock.access().owner) +
                "); choose another name, run as that user, or remove the file"};
}

// Another of the group may be making the segment.
Status check_maker_or_group(const std::string& name, const LockFile& lock, gid_t trusted_group) {
    return lock.access().group_trusted(trusted_group) ? Status() : check_maker(name, lock, trusted_group);
}

FileAccess access_of(const SegmentOptions& options) noexcept {
    return {.mode = options.mode, .group = options.group};
}

// What create() gives a group is what its members will trust.
Status check_sharing(const SegmentOptions& options) {
    if (options.group == no_group || ((options.mode & 0060U) == 0060 && (options.mode & S_IWOTH) == 0)) {
        return Status();
    }
    return {StatusCode::invalid_argument,
            "a segment that a group shares has a mode by which the group may read and write and others may "
            "not write, such as 0660"};
}

Status check_member(const std::string& name, const SegmentOptions& options, Status failed) {
    if (options.group == no_group || failed.code() != StatusCode::permission_denied) return failed;
    return {StatusCode::permission_denied, "segment \"" + name + "\" could not be made and given to group " +
                                               std::to_string(options.group) +
                                               "; only its members and root can: " + failed.message()};
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

}  // namespace

Result<std::optional<segment_file::Object>> segment_file::look_at_object(const std::string& name,
                                                                         gid_t trusted_group) {
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
            if (Status s = check_trust(name, FileAccess::of(info), trusted_group); !s.ok()) return s;
            return Status(ready.status().code(), "segment \"" + name + "\": " + ready.status().message());
        }
        object.ready = *ready;
    }
    object.access = FileAccess::of(info);
    object.inode = info.st_ino;
    return std::optional<Object>(object);
}

namespace {

enum class Existing { nothing, half_made, segment };

// What lies under the name? Errors: permission_denied; corrupt, when it is nothing of ours.
Result<Existing> look(const std::string& name, gid_t trusted_group) {
    const Status foreign(StatusCode::corrupt,
                         "shared memory \"" + name + "\" is not a tiercache segment; choose another name");
    for (int attempt = 0; attempt < race_attempts; ++attempt) {
        const Result<std::optional<Object>> object = look_at_object(name, trusted_group);
        if (!object.ok()) return object.status();
        if (!object->has_value()) return Existing::nothing;
        const Object seen = **object;
        if (Status s = check_trust(name, seen.access, trusted_group); !s.ok()) return s;
        if (seen.ready == Ready::yes) return Existing::segment;
        if (seen.ready == Ready::foreign) return foreign;
        const Result<LockFile> lock = LockFile::open(name);
        if (lock.ok()) {
            return lock->access().owner == seen.access.owner ? Result<Existing>(Existing::half_made)
                                                             : foreign;
        }
        if (lock.status().code() != StatusCode::not_found) return lock.status();
        // Without a lock file: foreign, unless both were just removed.
        const Result<std::optional<Object>> again = look_at_object(name, trusted_group);
        if (again.ok() && again->has_value() && (*again)->inode == seen.inode) return foreign;
    }
    return made_and_removed(name);
}

// The lock file, held for making or removing, and still the one that others will find. After look().
Result<LockFile> lock_for_making(const std::string& name, const SegmentOptions& options,
                                 Status (*check)(const std::string&, const LockFile&, gid_t)) {
    for (int attempt = 0; attempt < race_attempts; ++attempt) {
        Result<LockFile> lock = LockFile::open_or_create(name, access_of(options));
        if (!lock.ok()) return check_member(name, options, lock.status());
        if (Status s = check(name, *lock, options.group); !s.ok()) return s;
        if (Status s = lock->lock_making(options.making_wait_ms); !s.ok()) return s;
        if (lock->still_named(name)) return lock;
    }
    return made_and_removed(name);
}

}  // namespace

Result<SharedMemory> segment_file::make_memory(const std::string& name, const SegmentOptions& options,
                                               const FileAccess& access, Geometry& geometry) {
    if (options.huge_pages == HugePages::off) {
        return SharedMemory::create(name, geometry.size_bytes, access);
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
            SharedMemory::create_in_huge_pages(name, larger->size_bytes, access, *mount);
        if (memory.ok()) {
            geometry = *larger;
            return memory;
        }
        refused = memory.status();
    }
    if (options.huge_pages == HugePages::on) return refused;
    return SharedMemory::create(name, geometry.size_bytes, access);
}

namespace {

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
    if (Status s = check_sharing(options); !s.ok()) return s;
    Result<Geometry> geometry = plan_geometry(options, Fit::fewer_process_slots);
    if (!geometry.ok()) return geometry.status();
    // Before a lock file is made or waited for, and again when it is held.
    const Status exists(StatusCode::already_exists, "there is a segment \"" + name + "\" already");
    Result<Existing> found = look(name, options.group);
    if (!found.ok()) return found.status();
    if (*found == Existing::segment) return exists;
    Result<LockFile> lock = lock_for_making(name, options, check_maker_or_group);
    if (!lock.ok()) return lock.status();
    segment_file::finish_resize(name, *lock);
    found = look(name, options.group);
    if (!found.ok()) return found.status();
    if (*found == Existing::segment) return exists;
    if (Status s = check_maker(name, *lock, options.group); !s.ok()) return s;
    if (*found == Existing::half_made) {
        if (Status s = SharedMemory::remove(name); !s.ok()) return s;
    }
    Result<SharedMemory> memory = make_memory(name, options, access_of(options), *geometry);
    if (!memory.ok()) {
        LockFile::remove(name);
        return check_member(name, options, memory.status());
    }
    std::byte* base = memory->bytes().data();
    format_segment(base, *geometry, lock->inode(), {random_lineage(), 0});
    publish_segment(base);
    lock->unlock_making();
    return Segment(assemble(name, std::move(memory).value(), *geometry, std::move(lock).value()));
}

Result<Segment> Segment::open(const std::string& name, gid_t trusted_group) {
    Result<Segment> opened = open_named(name, trusted_group);
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

Result<Segment> Segment::open_named(const std::string& name, gid_t trusted_group) {
    if (Status s = check_name(name); !s.ok()) return s;
    const Result<Existing> found = look(name, trusted_group);
    if (!found.ok()) return found.status();
    if (*found == Existing::nothing) return no_such_segment(name);
    if (*found == Existing::half_made) return half_made(name);
    Result<SharedMemory> memory = SharedMemory::open(name, /*writable=*/true);
    // Empty: replaced since.
    if (!memory.ok())
        return memory.status().code() == StatusCode::corrupt ? half_made(name) : memory.status();
    const FileAccess access = memory->access();
    if (Status s = check_trust(name, access, trusted_group); !s.ok()) return s;
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
    auto impl = assemble(name, std::move(memory).value(), *geometry, std::move(lock).value());
    if (!access.owner_trusted()) impl->trusted_group = trusted_group;
    return Segment(std::move(impl));
}

Result<Segment> Segment::open_or_create(const std::string& name, const SegmentOptions& options) {
    // Another of the group may be about to give the group what it makes.
    const std::uint64_t wait_ms = options.group == no_group ? 0 : std::min(options.making_wait_ms, 100U);
    const std::uint64_t refused_until = monotonic_ns() + wait_ms * 1'000'000;
    for (int attempt = 0; attempt < race_attempts;) {
        Result<Segment> segment = open(name, options.group);
        StatusCode code = segment.status().code();
        // Busy is also "half made": then create() waits for the maker, or replaces what it left.
        if (code == StatusCode::not_found || code == StatusCode::busy) {
            segment = create(name, options);
            code = segment.status().code();
        }
        if (code == StatusCode::already_exists) {
            ++attempt;
        } else if (code == StatusCode::permission_denied && monotonic_ns() < refused_until) {
            const timespec millisecond{0, 1'000'000};
            nanosleep(&millisecond, nullptr);
        } else {
            return segment;
        }
    }
    return made_and_removed(name);
}

Status Segment::remove(const std::string& name) {
    if (Status s = check_name(name); !s.ok()) return s;
    Result<Existing> found = look(name, no_group);
    if (!found.ok()) return found.status();
    if (*found == Existing::nothing) return no_such_segment(name);
    const Result<LockFile> lock = lock_for_making(
        name, SegmentOptions{},
        [](const std::string& n, const LockFile& l, gid_t none) { return check_trust(n, l.access(), none); });
    if (!lock.ok()) return lock.status();
    segment_file::finish_resize(name, *lock);
    found = look(name, no_group);
    if (!found.ok()) return found.status();
    Status removed = *found == Existing::nothing ? no_such_segment(name) : SharedMemory::remove(name);
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

Result<SegmentStats> Segment::inspect(const std::string& name, gid_t trusted_group) {
    if (Status s = check_name(name); !s.ok()) return s;
    const Result<Existing> found = look(name, trusted_group);
    if (!found.ok()) return found.status();
    if (*found == Existing::nothing) return no_such_segment(name);
    if (*found == Existing::half_made) return half_made(name);
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
    if (Status s = check_trust(name, memory->access(), trusted_group); !s.ok()) return s;
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
