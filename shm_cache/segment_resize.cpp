// Another size for a segment that is in use: a new one takes its place, and whoever has the old one follows.
//
//   Z1 the new segment is made, warming, as NAME.MARK, MARK being random; it shares the lock file
//   Z2 the old one's `successor` := MARK                 no change that ends after this counts there
//   Z3 the old one's records of statistics are closed    no hit that ends after this counts there
//   Z4 NAME.MARK is renamed to NAME; an old one in huge pages gets the name NAME.MARK in exchange, and is
//      removed under it, with its file
//   Z5 what is useful is copied to the new one
//   Z6 the new one is no longer warming
//
// The resizer holds the lock for making from Z1 to Z6. Who finds the old one closed opens NAME or, before Z4,
// NAME.MARK, does Z3 (which may be repeated) and goes over. What a death leaves: before Z2 a file that nobody
// believes, which the next holder of that lock removes, its maker being dead; from Z2 on everybody goes over,
// and the next holder of the lock, or who opens the segment, does Z3, Z4 and Z6; after Z4 a segment less
// warm, whose changes leave marks for a copier (index.hpp, 5) until the next holder of the lock does Z6.
//
// Why no old value is read, and no completed change is lost, whoever dies or is stopped where:
//  1  A change looks at `successor` after it was made, sequentially consistent with Z2: either it was there
//     before Z2, so whoever copies finds it in the old segment; or it is not complete yet, finds the old one
//     closed, and is made in the new one as far as it takes something away (a put erases its key there: its
//     value may have been seen, and replaced since). Should it not get there, its caller is told so.
//  2  Nothing is changed or read in the new one before Z3 is done: by the resizer before Z4, or by whoever
//     came before Z4. A hit looks at its record after its copy, a miss at `successor`. So a read that counts
//     in the old one ended its copy before any change of the new one began. From Z3 on, only the new one
//     counts.
//  3  A copy is made after Z3, of what is in the old one, which has all changes that were completed there. It
//     becomes visible only if nothing was put, erased or cleared under its key in the new one since Z1, and
//     replaces nothing (index.hpp, 5). Against changes of tags it has a stamp: of another authority its own;
//     of the old local clock it gets the new clock's first stamp if the old clock vouches for it after Z2. A
//     change of its tag was there then; or it is made in the new one (1), where it is younger than that
//     stamp.
//  4  A stamp that was taken in the old one has another epoch, and as a number alone lies below the new
//  clock's
//     floor, which is 2^40 above what the old clock was. So what was computed then is never fresh.
//  5  A lease of the old one is held against nobody in the new one; a late loader's stamp is as in 4.
//
// The old segment's memory: a process that went over and holds no view there puts private memory in the place
// of its mapping, in one step, that says closed and holds nothing. A thread that is still in there, however
// late, finds that. A view's pin and the look at the record are sequentially consistent with Z3 and the look
// for pins: either the view is seen, or it does not count.
#include "shm_cache/segment_file.hpp"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdio>
#include <new>
#include <vector>

#include "shm_cache/monotonic_time.hpp"
#include "shm_cache/segment_impl.hpp"

namespace tiercache {

namespace {

using segment_file::look_at_object;
using segment_file::Object;

constexpr std::uint64_t follow_interval_ns = 100'000'000;
constexpr std::uint64_t report_interval_ns = 100'000'000;
constexpr std::uint64_t clock_step = std::uint64_t{1} << 40;
// How much of the new segment copies may fill, in percent: more of them would push each other out.
constexpr std::uint64_t filled_percent = 90;
constexpr std::size_t mark_digits = 16;
constexpr std::size_t name_length_max = 201 - 1 - mark_digits;

std::uint64_t random_mark() noexcept {
    std::uint64_t mark = 0;
    if (getrandom(&mark, sizeof(mark), GRND_NONBLOCK) != sizeof(mark)) mark = monotonic_ns();
    return mark | 1;
}

bool is_successor_name(const std::string& file, const std::string& name) {
    const auto hex = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
    return file.size() == name.size() + 1 + mark_digits && file.starts_with(name + ".") &&
           std::all_of(file.end() - mark_digits, file.end(), hex);
}

// Was this file made by a resizer of the segment that this is the lock file of? A segment has a lock file of
// its own; what a resizer made names this one, or nothing yet.
bool is_leftover(const std::string& file, const LockFile& lock) {
    const Result<std::optional<Object>> object = look_at_object(file, no_group);
    if (!object.ok() || !object->has_value() || (*object)->ready == Ready::foreign) return false;
    const uid_t owner = (*object)->access.owner;
    if (owner != lock.access().owner && owner != geteuid()) return false;
    if (LockFile::open(file).status().code() != StatusCode::not_found) return false;
    if ((*object)->ready == Ready::half_made) return true;
    const Result<SharedMemory> memory = SharedMemory::open(file, /*writable=*/false);
    std::uint64_t lock_inode = 0;
    return memory.ok() && read_geometry(memory->bytes().data(), memory->bytes().size(), lock_inode).ok() &&
           lock_inode == lock.inode();
}

}  // namespace

std::string segment_file::successor_name(const std::string& name, std::uint64_t mark) {
    std::array<char, mark_digits + 1> hex{};
    std::snprintf(hex.data(), hex.size(), "%016" PRIx64, mark);
    return name + "." + hex.data();
}

// ---- what a dead resizer left --------------------------------------------------------------------

namespace {

// Z3, Z4 and Z6, where a dead resizer left them out. False: what lies there may still be needed.
bool finish_renaming(const std::string& name) {
    const Result<std::optional<Object>> object = look_at_object(name, no_group);
    if (!object.ok()) return false;
    if (!object->has_value() || (*object)->ready == Ready::half_made) return true;
    const Result<SharedMemory> memory = SharedMemory::open(name, /*writable=*/true);
    if (!memory.ok()) return false;
    std::byte* base = memory->bytes().data();
    std::uint64_t lock_inode = 0;
    std::uint64_t next_inode = 0;
    const Result<Geometry> geometry = read_geometry(base, memory->bytes().size(), lock_inode);
    if (!geometry.ok()) return false;
    auto* header = reinterpret_cast<SegmentHeader*>(base);
    const std::uint64_t mark = header->successor.load();
    if (mark == 0) {
        // Z6: who copied is dead, or the lock for making would not be ours.
        header->warming.store(0, std::memory_order_release);
        return true;
    }
    const std::string file = segment_file::successor_name(name, mark);
    const Result<SharedMemory> next = SharedMemory::open(file, /*writable=*/true);
    if (!next.ok() || next->access().owner != memory->access().owner ||
        !read_geometry(next->bytes().data(), next->bytes().size(), next_inode).ok() ||
        next_inode != lock_inode) {
        return next.status().code() == StatusCode::not_found;
    }
    Statistics(base, *geometry).close();
    reinterpret_cast<SegmentHeader*>(next->bytes().data())->warming.store(0, std::memory_order_release);
    return SharedMemory::rename(file, name).ok();
}

}  // namespace

void segment_file::finish_resize(const std::string& name, const LockFile& lock) {
    if (!finish_renaming(name)) return;
    const Result<std::vector<std::string>> files = SharedMemory::list(name + ".");
    if (!files.ok()) return;
    for (const std::string& file : *files) {
        if (is_successor_name(file, name) && is_leftover(file, lock)) {
            (void)SharedMemory::remove(file, name);
        }
    }
}

// ---- following -----------------------------------------------------------------------------------

Status Segment::cannot_follow() noexcept {
    try {
        return {StatusCode::unavailable,
                "the segment was resized, and this process can't open what took its place: look at its limit "
                "of open files and of memory and at its rights, or open the segment again if it was removed"};
    } catch (...) {
        return Status(StatusCode::unavailable);
    }
}

Result<std::unique_ptr<Segment::Impl>> Segment::open_successor(const Impl& at, const std::string& file) {
    Result<SharedMemory> memory = SharedMemory::open(file, /*writable=*/true);
    if (!memory.ok()) return memory.status();
    const FileAccess access = memory->access();
    if (access.owner != at.memory.access().owner ||
        (at.trusted_group != no_group && !access.group_trusted(at.trusted_group))) {
        return Status(StatusCode::permission_denied);
    }
    std::byte* base = memory->bytes().data();
    std::uint64_t lock_inode = 0;
    const Result<Geometry> geometry = read_geometry(base, memory->bytes().size(), lock_inode);
    if (!geometry.ok()) return geometry.status();
    const Lineage lineage = read_lineage(base);
    if (lock_inode != at.lock_file->inode() || lineage.id != at.lineage.id ||
        lineage.life <= at.lineage.life) {
        return Status(StatusCode::not_found);  // itself, or another one since it was removed
    }
    auto impl = std::make_unique<Impl>(base, *geometry,
                                       ProcessTable::visit(base, *geometry, at.lock_file, lineage.life));
    impl->memory = std::move(memory).value();
    impl->name = at.name;
    impl->file_name = file;
    impl->trusted_group = at.trusted_group;
    impl->lock_file = at.lock_file;
    return impl;
}

Segment::Impl* Segment::open_next(Impl& at) noexcept {
    try {
        const std::string marked = segment_file::successor_name(at.name, at.successor());
        // The name once more: renamed in between.
        for (const std::string& file : {at.name, marked, at.name}) {
            Result<std::unique_ptr<Impl>> opened = open_successor(at, file);
            if (!opened.ok()) continue;
            // Z3, should the resizer not have come so far.
            at.processes.statistics().close();
            Impl* none = nullptr;
            // Release: pairs with follow(). Another thread may have been first; this one's has no slot yet.
            if (!at.next.compare_exchange_strong(none, opened->get(), std::memory_order_acq_rel)) return none;
            return std::move(opened).value().release();
        }
    } catch (...) {
        // No memory: as when it can't be opened.
    }
    return nullptr;
}

Segment::Impl* Segment::follow(Impl& from, Urgency urgency) const noexcept {
    Impl* at = &from;
    // The word may have been overwritten, or the record by which a reader came here.
    if (!at->closed()) return nullptr;
    while (at->closed()) {
        // Acquire: pairs with open_next(); it is whole.
        Impl* next = at->next.load(std::memory_order_acquire);
        if (next == nullptr) {
            const std::uint64_t now = monotonic_coarse_ns();
            // Relaxed, here and below: how often it is tried is all there is to it.
            if (urgency == Urgency::now_and_then && now < at->next_try_ns.load(std::memory_order_relaxed)) {
                return nullptr;
            }
            next = open_next(*at);
            if (next == nullptr) {
                at->next_try_ns.store(now + follow_interval_ns, std::memory_order_relaxed);
                return nullptr;
            }
            (void)next->processes.claim_slot();
        }
        at = next;
    }
    // Release: pairs with latest(). Should another thread have stored a later one, this one's is followed
    // again.
    current_.store(at, std::memory_order_release);
    unsettled_.store(true, std::memory_order_relaxed);
    settle();
    return at;
}

// ---- the old segment's memory --------------------------------------------------------------------

bool Segment::Impl::retire() noexcept {
    if (retired.load(std::memory_order_relaxed)) return true;
    if (processes.holds_view()) return false;
    if (retired.exchange(true, std::memory_order_acq_rel)) return true;
    // What is said here of a closed segment, and nothing else.
    const auto fill = [](void* context, std::span<std::byte> fresh) {
        const auto& old = *static_cast<const Impl*>(context);
        reinterpret_cast<SegmentHeader*>(fresh.data())->successor.store(old.successor());
        Statistics(fresh.data(), old.geometry).close();
    };
    if (!memory.detach(fill, this).ok()) {
        retired.store(false, std::memory_order_relaxed);
        return false;
    }
    processes.leave();
    return true;
}

void Segment::retire_all() const noexcept {
    unsettled_.store(false, std::memory_order_relaxed);
    for (Impl* at = impl_.get(); at != nullptr;) {
        Impl* next = at->next.load(std::memory_order_acquire);
        if (next != nullptr && !at->retire()) unsettled_.store(true, std::memory_order_relaxed);
        at = next;
    }
}

// ---- copying -------------------------------------------------------------------------------------

class Segment::WarmCopy {
 public:
    WarmCopy(Impl& from, Impl& to, LocalStamp first_stamp)
        : from_(from), to_(to), first_stamp_(first_stamp), buffer_(entry_bytes_max(from.geometry)) {
        const std::uint64_t blocks = to.geometry.block_count;
        opened_max_ =
            std::min(blocks * filled_percent / 100, blocks - Reclaimer::reserve_of(to.geometry.block_count));
        from_.index.for_each([this](const Slot&) {
            ++progress_.items_total;
            return true;
        });
    }

    // The most used first: they get room in any case. Among equals those that proved it before.
    ResizeProgress run(ReportResize report, void* context) {
        for (std::uint32_t frequency = frequency_max + 1; frequency-- > 0;) {
            for (const Queue queue : {Queue::main, Queue::small}) {
                if (!pass(frequency, queue, report, context)) return progress_;
            }
        }
        if (report != nullptr) (void)report(context, progress_);
        return progress_;
    }

 private:
    bool pass(std::uint32_t frequency, Queue queue, ReportResize report, void* context) {
        bool go_on = true;
        from_.index.for_each_scattered([&](const Slot& slot) {
            const Stream stream = from_.blocks.state(slot.block).stream;
            if (slot.frequency != frequency || stream.queue != queue) return true;
            ++progress_.items_seen;
            copy(slot, stream);
            const std::uint64_t now = monotonic_coarse_ns();
            if (report != nullptr && now >= next_report_ns_) {
                next_report_ns_ = now + report_interval_ns;
                go_on = report(context, progress_);
            }
            // Relaxed: a number by itself. Those who put meanwhile open blocks too.
            go_on = go_on && to_.header->opened.load(std::memory_order_relaxed) <= opened_max_;
            return go_on;
        });
        return go_on;
    }

    void copy(const Slot& slot, Stream stream) {
        const CopyTarget target{[](void* buffer, std::size_t bytes) noexcept -> std::byte* {
                                    auto& room = *static_cast<std::vector<std::byte>*>(buffer);
                                    try {
                                        if (bytes > room.size()) room.resize(bytes);
                                    } catch (const std::bad_alloc&) {
                                        return nullptr;
                                    }
                                    return room.data();
                                },
                                &buffer_};
        std::span<std::byte> bytes;
        EntryView entry;
        if (from_.copy_entry(slot, target, bytes) != ReadResult::whole) return;
        if (decode_entry(bytes, entry) != StatusCode::ok || entry.bytes.size() != bytes.size()) return;
        if (entry.fields.lifetime.expired_at(monotonic_coarse_ns())) return;
        const KeyHash hash = hash_key(entry.key);
        ItemContent content = ItemContent::of(entry);
        if (!has_room(bytes.size()) || !to_.index.copy_has_place(hash) || !vouch(entry, content)) return;
        if (!to_.reclaimer.policy().copy_forward) stream.queue = Queue::small;
        stream.data_class = entry.fields.data_class;
        if (!to_.store_copy(hash, content, {stream, static_cast<std::uint32_t>(slot.frequency)}).ok()) return;
        ++progress_.items_copied;
        progress_.bytes_copied += bytes.size();
    }

    // A value in parts may open many blocks.
    [[nodiscard]] bool has_room(std::size_t bytes) const noexcept {
        // Relaxed: as in pass().
        return to_.header->opened.load(std::memory_order_relaxed) + bytes / to_.geometry.block_bytes <=
               opened_max_;
    }

    // Gives what the old local clock vouches for a stamp of the new one; false for what is not fresh.
    bool vouch(const EntryView& entry, ItemContent& content) const noexcept {
        if (!from_.authority.valid() || entry.fields.epoch != from_.authority.stamp().epoch) return true;
        std::array<Tag, max_entry_tags> room;  // NOLINT(cppcoreguidelines-pro-type-member-init): filled below
        const std::span<const Tag> tags = entry.tags.copy_to(room);
        const LocalStamp stamp{entry.fields.epoch, entry.fields.stamp};
        // By the new one only to save the room.
        if (from_.authority.check(tags, stamp) != Verdict::fresh ||
            to_.authority.check(tags, first_stamp_) != Verdict::fresh) {
            return false;
        }
        content.fields.epoch = first_stamp_.epoch;
        content.fields.stamp = first_stamp_.clock;
        content.sealed = false;
        return true;
    }

    Impl& from_;
    Impl& to_;
    LocalStamp first_stamp_;
    std::vector<std::byte> buffer_;
    std::uint64_t opened_max_ = 0;
    std::uint64_t next_report_ns_ = 0;
    ResizeProgress progress_;
};

// ---- all of it -----------------------------------------------------------------------------------

namespace {

Status check_resizer(const std::string& name, uid_t owner) {
    if (geteuid() == owner || geteuid() == 0) return Status();
    return {StatusCode::permission_denied, "segment \"" + name + "\" belongs to another user (uid " +
                                               std::to_string(owner) +
                                               "); only its owner or root may resize it"};
}

// An index that is full lets go of items that there is room for, and one that is nearly empty when the blocks
// are full takes room from them. When items are as long as was expected, 60% of its slots are in use
// (layout.cpp); where it is much more or less, the next one is made for the items that are there. Where few
// are, as after a clear(), they say nothing of those to come.
std::size_t item_bytes_for_successor(const Geometry& geometry, const BlockTable& blocks, const Index& index,
                                     bool filling, std::size_t expected) noexcept {
    std::uint64_t items = 0;
    std::uint64_t bytes = 0;
    for_each_item(geometry, blocks, index, [&](const ItemHeader& header) {
        ++items;
        bytes += header.units() * unit_bytes;
    });
    const std::uint64_t slots = geometry.bucket_count * slots_per_bucket;
    const bool crowded = items * 10 >= slots * 7;
    const bool half_full = !filling && bytes * 2 > geometry.block_count * geometry.block_bytes;
    const bool needless = half_full && items * 10 <= slots * 3;
    if (items == 0 || !(crowded || needless)) return expected;
    return std::max<std::size_t>(bytes / items, item_bytes_min);
}

Status replaced_meanwhile(const std::string& name) {
    return {StatusCode::busy, "segment \"" + name + "\" was replaced this very moment; try again"};
}

}  // namespace

Result<std::unique_ptr<Segment::Impl>> Segment::make_successor(Impl& from, std::size_t size_bytes,
                                                               HugePages huge_pages,
                                                               const std::string& file) {
    SegmentOptions options = options_for_resize(from.geometry, size_bytes);
    const std::size_t expected = options.item_bytes_mean;
    options.item_bytes_mean =
        item_bytes_for_successor(from.geometry, from.blocks, from.index, from.reclaimer.filling(), expected);
    if (from.memory.huge_page_bytes() != 0) {
        options.huge_pages = huge_pages;
        options.huge_page_mount = from.memory.huge_page_folder();
    }
    Result<Geometry> planned = plan_geometry(options, Fit::fewer_process_slots);
    if (!planned.ok()) {
        // A very small segment has no room for that index.
        options.item_bytes_mean = expected;
        planned = plan_geometry(options, Fit::fewer_process_slots);
    }
    if (!planned.ok()) return planned.status();
    Geometry geometry = *planned;
    Result<SharedMemory> memory = segment_file::make_memory(file, options, from.memory.access(), geometry);
    if (!memory.ok()) return memory.status();
    std::byte* base = memory->bytes().data();
    const Lineage lineage{from.lineage.id, from.lineage.life + 1};
    format_segment(base, geometry, from.lock_file->inode(), lineage);
    if (from.authority.valid()) {
        LocalAuthority::format({base + geometry.local_clock_at, geometry.local_clock_bytes},
                               geometry.clock_slots, from.authority.stamp().clock + clock_step);
    }
    Statistics(base, geometry).carry_on(from.processes.statistics());
    reinterpret_cast<SegmentHeader*>(base)->warming.store(1, std::memory_order_relaxed);
    publish_segment(base);
    auto impl = std::make_unique<Impl>(base, geometry,
                                       ProcessTable::join(base, geometry, from.lock_file, lineage.life));
    impl->memory = std::move(memory).value();
    impl->name = from.name;
    impl->file_name = from.name;
    impl->lock_file = from.lock_file;
    return impl;
}

Result<Segment::ResizeProgress> Segment::resize(const std::string& name, std::size_t size_bytes,
                                                ReportResize report, void* context, HugePages huge_pages) {
    if (name.size() > name_length_max) {
        return Status(StatusCode::invalid_argument, "a segment that is to be resized has a name of at most " +
                                                        std::to_string(name_length_max) + " characters");
    }
    Result<Segment> old = open(name);
    if (!old.ok()) return old.status();
    Impl& from = old->latest();
    if (Status s = check_resizer(name, from.memory.access().owner); !s.ok()) return s;
    // Held until the end.
    Result<LockFile> lock = LockFile::open(name);
    if (!lock.ok()) return lock.status();
    if (Status s = lock->lock_making(0); !s.ok()) return s;
    if (!lock->still_named(name) || lock->inode() != from.lock_file->inode() || from.closed() ||
        !from.memory.still_named(name)) {
        return replaced_meanwhile(name);
    }
    segment_file::finish_resize(name, *lock);

    const std::uint64_t mark = random_mark();
    const std::string file = segment_file::successor_name(name, mark);
    Result<std::unique_ptr<Impl>> made = make_successor(from, size_bytes, huge_pages, file);  // Z1
    if (!made.ok()) return made.status();
    Impl& to = **made;
    const LocalStamp first_stamp = to.authority.valid() ? to.authority.stamp() : LocalStamp{};
    if (report != nullptr && !report(context, {})) {
        (void)SharedMemory::remove(file);
        return Status(StatusCode::busy, "given up before anything was changed");
    }
    WarmCopy copy(from, to, first_stamp);                           // before Z2: it takes memory
    from.header->successor.store(mark, std::memory_order_seq_cst);  // Z2
    full_fence();
    from.processes.statistics().close();                                 // Z3
    if (Status s = SharedMemory::rename(file, name); !s.ok()) return s;  // Z4
    const ResizeProgress progress = copy.run(report, context);           // Z5
    // Release: pairs with Index::warming().
    to.header->warming.store(0, std::memory_order_release);  // Z6
    return progress;
}

}  // namespace tiercache
