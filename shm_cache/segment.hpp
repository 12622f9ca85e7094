// The segment: a fixed-size, lock-free cache of entries in shared memory, used by all processes of a host.
//
// A reader finds an item by one load of an index slot and one look at the item, copies it, and proves
// afterwards that the block it lay in was not reused meanwhile. It writes nothing shared (but an item's
// frequency bits) and waits for nobody. Any process may be stopped or killed at any instruction; the others
// go on in bounded steps.
//
// The segment stores whole entries (entry.hpp) and knows nothing of freshness: the caller judges what it got
// by a clock table. All functions are safe from any thread of any process that has the segment mapped; none
// throws.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "shm_cache/entry.hpp"
#include "shm_cache/file_access.hpp"
#include "shm_cache/hash.hpp"
#include "shm_cache/huge_pages.hpp"
#include "shm_cache/segment_stats.hpp"
#include "shm_cache/status.hpp"
#include "shm_cache/view_pin.hpp"

namespace tiercache {

struct SegmentOptions {
    std::size_t size_bytes = std::size_t{64} << 20;  // of the whole segment; at least 64 KiB
    // A power of two from 1 KiB to 2 MiB; longer values lie in parts. 0: by the size, 256 KiB to 2 MiB.
    std::size_t block_bytes = 0;
    // Of an item as it is stored: key, value and 32 bytes. It sizes the index, 15 bytes an item: with
    // shorter items than this the index is full before the memory is, and what is used least goes
    // (`index_slots_in_use` beside `index_slots` in stats() tells; resize() makes an index that suits). 32 at
    // least.
    std::size_t item_bytes_mean = 256;
    std::uint32_t process_slots = 256;  // how many processes may put() at once
    std::uint32_t clock_slots = 0;      // of the local clock, a power of two; 0: it has none
    mode_t mode = 0600;                 // of the shared-memory object
    // Of a named segment, to share it: create() gives it to this group (with mode 0660), open_or_create()
    // uses also what others of the group made. Each of its members can make all who use it get anything.
    gid_t group = no_group;
    // How long create() waits for another process that is making or removing the segment, before it answers
    // busy; 0: not at all. Making a large segment takes seconds.
    std::uint32_t making_wait_ms = 30'000;
    // Of a named segment, whose size is then rounded up to whole pages.
    HugePages huge_pages = HugePages::off;
    std::string huge_page_mount = {};  // empty: the one that this user may write to, with the smallest pages
};

// A place for get() to copy an entry to: returns room for `bytes` bytes, or nullptr when there is none. A
// plain function and a context, so that it can be std::vector, palloc or a fixed buffer; it must not throw.
struct CopyTarget {
    std::byte* (*reserve)(void* context, std::size_t bytes) noexcept;
    void* context;
};

// What get_value() found.
struct ValueRead {
    EntryFields fields;
    std::uint32_t raw_length = 0;  // of the value, decompressed
    std::size_t tag_count = 0;
    std::span<std::byte> stored;  // in the caller's target; compressed when fields.flags has entry_lz4

    [[nodiscard]] bool compressed() const noexcept { return (fields.flags & entry_lz4) != 0; }
};

// A value where it lies in the segment, and the promise that it stays there unchanged for as long as this
// object holds it, whatever becomes of its key. Hold it for as long as reading takes, not longer: a process
// has few of them (get_view()), and the block that it pins is not reused meanwhile; writers and reclamation
// go around it. May be moved, and released by any thread. It must not outlive its Segment. A forked child has
// nothing in its copy of a view: held() is false there, and the bytes may change. When its process dies, the
// pin is taken back.
class ValueView {
 public:
    EntryFields fields;
    std::uint32_t raw_length = 0;  // of the value, decompressed
    std::size_t tag_count = 0;
    std::span<const std::byte> stored;  // in the segment; compressed when fields.flags has entry_lz4

    [[nodiscard]] bool compressed() const noexcept { return (fields.flags & entry_lz4) != 0; }
    [[nodiscard]] bool held() const noexcept { return pin_.held(); }
    [[nodiscard]] std::string_view text() const noexcept {
        return {reinterpret_cast<const char*>(stored.data()), stored.size()};
    }
    void release() noexcept {
        stored = {};
        pin_.release();
    }
    // For those who make a view, or keep its pin in another form as the C ABI does.
    [[nodiscard]] ViewPin& pin() noexcept { return pin_; }

 private:
    ViewPin pin_;
};

class LeaseTable;
class LocalAuthority;
struct Geometry;
struct ItemContent;
class LockFile;
class SharedMemory;

class Segment {
 public:
    // A segment of its own shared-memory object. create: already_exists when there is one of that name; busy
    // when another process has been making or removing it for longer than making_wait_ms; no_space when there
    // is not enough shared memory, or not enough huge pages.
    //
    // A process has a process slot from here on until its Segment is gone or it dies, however it dies. When
    // all are taken it has the segment attached without one: everything but put() works, and each put() looks
    // for a free slot first (a system call for each slot) and answers no_space as long as there is none;
    // other calls look once a second.
    //
    // What neither this user nor root made is refused (permission_denied), but where it belongs to a group
    // that the caller trusts and where nobody else may write.
    static Result<Segment> create(const std::string& name, const SegmentOptions& options);
    static Result<Segment> open(const std::string& name, gid_t trusted_group = no_group);
    // Opens it, or creates it when there is none; two processes that try at once get the same one.
    static Result<Segment> open_or_create(const std::string& name, const SegmentOptions& options);
    // Only for the segment's owner and root.
    static Status remove(const std::string& name);

    // A segment in memory that the caller owns and keeps (PostgreSQL's main shared memory, say). `memory` is
    // aligned to 64 bytes. All processes that attach it must end together, as a server's do: `process_slot`,
    // unique among the living and below process_slots, names the caller. Format it again before the next
    // life.
    static Result<Segment> format(std::span<std::byte> memory, const SegmentOptions& options);
    static Result<Segment> attach(std::span<std::byte> memory, std::uint32_t process_slot);

    Segment(Segment&&) noexcept;
    Segment& operator=(Segment&&) noexcept;
    Segment(const Segment&) = delete;
    Segment& operator=(const Segment&) = delete;
    ~Segment();

    // Copies the entry of `key` to `target` and returns its bytes; empty when there is none. The bytes are
    // one whole entry that some put() of exactly this key was given, its checksum too; that of a put_value()
    // is computed here. About 100 ns; no lock, no system call,
    // no allocation of ours.
    [[nodiscard]] std::span<std::byte> get(const KeyHash& hash, std::span<const std::byte> key,
                                           CopyTarget target) noexcept;
    // The same, and what the copy says; `entry` is unspecified when there is none.
    [[nodiscard]] std::span<std::byte> get(const KeyHash& hash, std::span<const std::byte> key,
                                           CopyTarget target, EntryView& entry) noexcept;

    // Reads the value of `key` and nothing else: the stored payload goes to `target`, its tags to the front
    // of `tags`, the rest to `read`. The way of those who need no whole entry: a third less bytes to copy, no
    // checksum. What came back is what some put() of exactly this key was given; read_value() decompresses
    // it. Not judged: expiry and freshness. Errors, all without a message: not_found; no_space (`target` had
    // no room for it); `read` is then unspecified.
    [[nodiscard]] StatusCode get_value(const KeyHash& hash, std::span<const std::byte> key,
                                       std::span<Tag, max_entry_tags> tags, CopyTarget target,
                                       ValueRead& read) noexcept;
    // The same with a buffer of fixed size, without a call through a pointer.
    [[nodiscard]] StatusCode get_value(const KeyHash& hash, std::span<const std::byte> key,
                                       std::span<Tag, max_entry_tags> tags, std::span<std::byte> buffer,
                                       ValueRead& read) noexcept;

    // The same without a copy: `view` shows the value where it lies and holds it there; what it held before
    // is released. The tags are copied, to the front of `tags`. Errors, and then nothing is held: not_found;
    // busy (this process holds all the views it may, stats().views_per_process, or has no process slot) and
    // too_large (a value that lies in parts): get_value() has the value. Costs two locked instructions more
    // than get_value(), and no copy.
    [[nodiscard]] StatusCode get_view(const KeyHash& hash, std::span<const std::byte> key,
                                      std::span<Tag, max_entry_tags> tags, ValueView& view) noexcept;

    // Stores an encoded entry under its own key, in place of an older one. Errors: corrupt (not an entry),
    // invalid_argument (an entry that no tier may keep: entry_no_store), too_large, no_space (every block is
    // pinned or being reclaimed by others, or this process has no process slot: drop the entry and go on),
    // unavailable (the segment was resized and this process can't open what took its place, for want of
    // descriptors, memory or rights, or because it was removed: nothing is found either until it can). What
    // can't be stored leaves what there was.
    Status put(std::span<const std::byte> entry) noexcept;

    // Stores a value without making an entry of it first; the counterpart of get_value(). `stored` is as long
    // as `raw_length` says, or less and compressed by LZ4, which fields.flags then tells. `hash` is the
    // key's. Errors as put(); invalid_argument also for lengths that contradict the flags, and for a format
    // or class that is none.
    Status put_value(const KeyHash& hash, std::span<const std::byte> key, std::span<const Tag> tags,
                     const EntryFields& fields, std::span<const std::byte> stored,
                     std::uint32_t raw_length) noexcept;

    // Takes the entry of `key` out. Errors: not_found, there was none; unavailable, as put().
    Status erase(const KeyHash& hash, std::span<const std::byte> key) noexcept;

    // Takes everything out that was put before the call. Error: unavailable.
    Status clear() noexcept;

    // Calls visit(context, entry bytes) with a private copy of each entry, in no order; entries put or
    // evicted meanwhile may or may not be seen, and those of a segment that is resized meanwhile twice.
    // `visit` returns false to stop. Allocates; may throw std::bad_alloc.
    void for_each(bool (*visit)(void* context, std::span<const std::byte> entry), void* context) const;

    // ---- another size ----

    struct ResizeProgress {
        std::uint64_t items_seen = 0;
        std::uint64_t items_total = 0;  // about
        std::uint64_t items_copied = 0;
        std::uint64_t bytes_copied = 0;
    };
    // Called now and then, first when nothing is changed yet. False ends it: the first time nothing has
    // happened, later the segment has its new size and what was copied so far.
    using ReportResize = bool (*)(void* context, const ResizeProgress& progress);
    // Gives the segment of this name another size while it is used: a new one takes its place, with the same
    // owner, group and permissions. Whoever has it open follows at the next call; nobody waits. What is
    // useful is copied, the most used first, as far as it fits; until then it is a miss. No value that was
    // replaced, erased or invalidated comes back, and nothing of that is lost, whoever dies when
    // (segment_resize.cpp). Both segments' memory is needed for some time: that of the old one is given back
    // when all processes have followed and released the views they held. Only for the segment's owner and
    // root. Errors: those of open() and create(); busy: somebody makes, resizes or removes it, or `report`
    // ended it first; no_space: of memory, or of huge pages.
    // What lies in huge pages gets a successor in huge pages of the same mount: `attempt` takes ordinary ones
    // when there are too few, with `on` that is an error and nothing has happened.
    static Result<ResizeProgress> resize(const std::string& name, std::size_t size_bytes,
                                         ReportResize report = nullptr, void* context = nullptr,
                                         HugePages huge_pages = HugePages::attempt);

    // Says what became of what get() returned; its caller judges that. Counted in stats().
    void note(Note note) noexcept;

    // Walks the index: a second or so for a segment of 10 GiB.
    [[nodiscard]] SegmentStats stats() const noexcept;
    // The same, of a segment that this process does not use: takes no process slot, and needs no more than
    // the permission to read.
    static Result<SegmentStats> inspect(const std::string& name, gid_t trusted_group = no_group);

    // Who computes what is missing (lease.hpp), in the segment as it is now: leases end when it is resized.
    [[nodiscard]] LeaseTable& leases() noexcept;
    // The segment's own clock (local_authority.hpp), as it is now; not valid where
    // SegmentOptions::clock_slots was 0. Not for use over a resize: what is asked or told of it then is lost.
    [[nodiscard]] LocalAuthority& local_authority() noexcept;

    // Does the name still lead to this segment? Always true for caller-owned memory.
    [[nodiscard]] bool still_current() const noexcept;

 private:
    friend class SharedCache;  // whose hits are compiled in one piece (segment_find.hpp)
    struct Impl;
    explicit Segment(std::unique_ptr<Impl> impl) noexcept;

    // ---- a segment, and those that took its place (segment_impl.hpp, segment_resize.cpp) ----
    // What is known to be the latest, closed or not.
    [[nodiscard]] Impl& latest() const noexcept;
    // The same, looked for when it is closed; closed when there is no other to be had.
    [[nodiscard]] Impl& current() const noexcept;
    template <class Change, class Late>
    Status change(Change change, Late late) noexcept;
    template <class Read>
    StatusCode read(Read read) const noexcept;
    enum class Urgency : unsigned char { at_once, now_and_then };
    // Of a closed one: what took its place, open. nullptr: that can't be opened, or was tried just before.
    Impl* follow(Impl& from, Urgency urgency) const noexcept;
    static Result<std::unique_ptr<Impl>> open_successor(const Impl& at, const std::string& file);
    static Impl* open_next(Impl& at) noexcept;
    static Status cannot_follow() noexcept;
    // Gives back what is no longer used of those before the latest.
    void settle() const noexcept {
        // Relaxed: whoever comes later will do.
        if (unsettled_.load(std::memory_order_relaxed)) [[unlikely]]
            retire_all();
    }
    void retire_all() const noexcept;
    static Result<Segment> open_named(const std::string& name, gid_t trusted_group);
    static std::unique_ptr<Impl> assemble(const std::string& name, SharedMemory memory,
                                          const Geometry& geometry, LockFile lock);
    static Result<std::unique_ptr<Impl>> make_successor(Impl& from, std::size_t size_bytes,
                                                        HugePages huge_pages, const std::string& file);
    class WarmCopy;

    Status store(const KeyHash& hash, const ItemContent& content) noexcept;
    void count_put(StatusCode outcome) noexcept;

    std::unique_ptr<Impl> impl_;  // the first one, which keeps those that followed
    mutable std::atomic<Impl*> current_ = nullptr;
    mutable std::atomic<bool> unsettled_ = false;
};

}  // namespace tiercache
