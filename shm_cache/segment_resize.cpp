// Another size for a segment: a new one takes its place, and those who have the old one follow.
//
//   Z1 the new segment is made beside the old one, under a name that only the word `successor` tells; it is
//      warming, and has the old one's lock file
//   Z2 the old one is closed: successor := the new one's mark          from here on nothing written to it
//   counts Z3 the new one is renamed to the old one's name Z4 what is useful is copied into it Z5 it is no
//   longer warming; the old one's memory is given back, block by block
//
// Nobody waits. Whoever finds a segment closed opens its successor, and renames it should the maker have died
// between Z2 and Z3. A change is followed by a look at `successor`: either it was made before Z2 and Z4
// copies what it left, or it is made again in the new segment.
//
// An item that is copied must not come back when its key was put, erased or evicted in the new segment
// before. So every change there leaves a bit (touched) before it is made; and a copy takes its slot as
// pending, looks at the bit, and only then becomes visible (Index::publish_copy()). A change that comes in
// between empties the slot.
//
// An entry that the old segment's local clock vouches for at the moment of copying gets the new clock's first
// stamp: an invalidation that was too late for the old clock is made again in the new one, and is younger.
#include <dirent.h>
#include <sys/mman.h>
#include <sys/random.h>

#include <array>
#include <cinttypes>
#include <cstdio>
#include <string_view>
#include <vector>

#include "shm_cache/monotonic_time.hpp"
#include "shm_cache/segment_impl.hpp"

namespace tiercache {

namespace {

constexpr int follow_attempts = 8;
constexpr std::uint64_t follow_interval_ns = 100'000'000;
constexpr std::uint64_t report_interval_ns = 100'000'000;
// How full copies make the new segment, in percent: more of them would push each other out.
constexpr std::uint64_t filled_percent = 85;
constexpr std::string_view successor_mark = ".resize-";

std::string successor_name(const std::string& name, std::uint64_t mark) {
    std::array<char, 17> hex{};
    std::snprintf(hex.data(), hex.size(), "%016" PRIx64, mark);
    return name + std::string(successor_mark) + hex.data();
}

std::uint64_t random_mark() noexcept {
    std::uint64_t mark = 0;
    if (getrandom(&mark, sizeof(mark), 0) != sizeof(mark)) mark = monotonic_ns();
    return mark | 1;
}

// What a resizer that was killed before Z2 left behind. The caller holds the lock for making.
void remove_leftovers(const std::string& name, std::uint64_t but) {
    const std::string prefix = name.substr(1) + std::string(successor_mark);
    std::vector<std::string> found;
    DIR* folder = opendir("/dev/shm");
    if (folder == nullptr) return;
    while (const dirent* file = readdir(folder)) {  // NOLINT(concurrency-mt-unsafe): the stream is ours alone
        if (std::string_view(file->d_name).starts_with(prefix)) found.emplace_back(file->d_name);
    }
    closedir(folder);
    for (const std::string& file : found) {
        if ("/" + file != successor_name(name, but)) (void)SharedMemory::remove("/" + file);
    }
}

}  // namespace

// ---- following -----------------------------------------------------------------------------------

Status Segment::adopt_successor(const std::string& name, std::uint64_t mark) {
    Status renamed = SharedMemory::rename(successor_name(name, mark), name);
    // Somebody else was first.
    if (renamed.code() == StatusCode::not_found) return Status();
    return renamed;
}

Segment::Impl& Segment::follow(Impl& from) const noexcept {
    Impl* at = &from;
    for (int attempt = 0; attempt < follow_attempts && at->closed(); ++attempt) {
        // Acquire: pairs with the CAS below; the successor is whole.
        Impl* next = at->next.load(std::memory_order_acquire);
        if (next == nullptr) next = open_next(*at);
        if (next == nullptr) break;
        at = next;
    }
    // Release: pairs with current(). Whoever stores last names a successor of what others stored.
    if (at != &from && !at->closed()) current_.store(at, std::memory_order_release);
    return *at;
}

Segment::Impl* Segment::open_next(Impl& at) noexcept {
    // Caller-owned memory has no successor: its word was overwritten.
    if (at.name.empty()) return nullptr;
    const std::uint64_t now = monotonic_coarse_ns();
    // Relaxed: that few try at once is all there is to it.
    if (now < at.next_try_ns.load(std::memory_order_relaxed)) return nullptr;
    try {
        Result<Segment> opened = Segment::open(at.name);
        if (opened.ok()) {
            Impl* mine = opened->impl_.release();
            Impl* none = nullptr;
            // Release: pairs with follow(). Another thread may have been first.
            if (at.next.compare_exchange_strong(none, mine, std::memory_order_acq_rel)) return mine;
            delete mine;  // NOLINT(cppcoreguidelines-owning-memory)
            return none;
        }
    } catch (...) {
        // No memory: as when it can't be opened.
    }
    at.next_try_ns.store(now + follow_interval_ns, std::memory_order_relaxed);
    return at.next.load(std::memory_order_acquire);
}

// ---- copying -------------------------------------------------------------------------------------

bool Segment::Impl::store_copy(const KeyHash& hash, const ItemContent& content, Stream stream,
                               std::uint8_t frequency) noexcept {
    if (!content.storable()) return false;
    ItemHeader item_header = content.header();
    if (item_header.entry_bytes() > entry_bytes_max(geometry) || !processes.claim_slot()) return false;
    const std::optional<Place> place = reserve(stream, item_header.units());
    if (!place) return false;
    const BlockLife life = place->life;
    item_header.generation = life.generation;
    item_header.place_hash = place_hash(hash);
    item_header.offset = offset_mark(place->offset);
    // As in store().
    before_write();
    tiercache::store_item(blocks.item(life.block, place->offset), item_header, content);
    blocks.note_expiry(life.block, expires_at_ns(item_header.received_at_ns, item_header.hard_ttl_ms));
    blocks.mark_start(life.block, place->offset);
    const Slot slot{slot_tag(hash), Slot::slot_generation(life.generation),
                    static_cast<std::uint16_t>(life.block), place->offset, frequency};
    return index.publish_copy(hash, content.key, slot);
}

class Segment::WarmCopy {
 public:
    WarmCopy(Impl& from, Impl& to, LocalStamp first_stamp)
        : from_(from), to_(to), first_stamp_(first_stamp), buffer_(entry_bytes_max(from.geometry)) {
        bytes_max_ = std::uint64_t{to.geometry.block_count} * to.geometry.block_bytes / 100 * filled_percent;
        from_.index.for_each([this](const Slot&) {
            ++progress_.items_total;
            return true;
        });
    }

    ResizeProgress run(bool (*report)(void*, const ResizeProgress&), void* context) {
        std::uint64_t next_report_ns = 0;
        bool wanted = true;
        // The most used first: they get room in any case.
        for (std::uint32_t frequency = frequency_max + 1; frequency-- > 0 && wanted;) {
            from_.index.for_each([&](const Slot& slot) {
                if (slot.frequency != frequency) return true;
                ++progress_.items_seen;
                copy(slot);
                if (report != nullptr && monotonic_coarse_ns() >= next_report_ns) {
                    next_report_ns = monotonic_coarse_ns() + report_interval_ns;
                    wanted = report(context, progress_);
                }
                wanted = wanted && progress_.bytes_copied < bytes_max_;
                return wanted;
            });
        }
        if (report != nullptr) (void)report(context, progress_);
        return progress_;
    }

 private:
    void copy(const Slot& slot) {
        // A value in parts has no room here, and is left.
        const CopyTarget target{[](void* buffer, std::size_t bytes) noexcept -> std::byte* {
                                    auto& room = *static_cast<std::vector<std::byte>*>(buffer);
                                    return bytes <= room.size() ? room.data() : nullptr;
                                },
                                &buffer_};
        const Stream stream = from_.blocks.state(slot.block).stream;
        std::span<std::byte> bytes;
        EntryView entry;
        if (from_.copy_entry(slot, target, bytes) != ReadResult::whole) return;
        if (decode_entry(bytes, entry) != StatusCode::ok || entry.bytes.size() != bytes.size()) return;
        if (entry.fields.lifetime.expired_at(monotonic_coarse_ns())) return;
        ItemContent content = ItemContent::of(entry);
        if (!vouch(entry, content)) return;
        if (!to_.store_copy(hash_key(entry.key), content, {stream.queue, entry.fields.data_class},
                            slot.frequency)) {
            return;
        }
        ++progress_.items_copied;
        progress_.bytes_copied += bytes.size();
    }

    // Gives what the old local clock vouches for a stamp of the new one; false for what is not fresh.
    bool vouch(const EntryView& entry, ItemContent& content) const noexcept {
        if (!from_.authority.valid() || entry.fields.epoch != from_.authority.stamp().epoch) return true;
        std::array<Tag, max_entry_tags> tags;  // NOLINT(cppcoreguidelines-pro-type-member-init): filled below
        const Verdict verdict =
            from_.authority.check(entry.tags.copy_to(tags), {entry.fields.epoch, entry.fields.stamp});
        if (verdict != Verdict::fresh) return false;
        content.fields.epoch = first_stamp_.epoch;
        content.fields.stamp = first_stamp_.clock;
        content.sealed = false;
        return true;
    }

    Impl& from_;
    Impl& to_;
    LocalStamp first_stamp_;
    std::vector<std::byte> buffer_;
    std::uint64_t bytes_max_ = 0;
    ResizeProgress progress_;
};

// ---- the old segment's memory --------------------------------------------------------------------

void Segment::Impl::give_back() noexcept {
    if (!processes.claim_slot()) return;
    for (std::uint32_t b = 0; b < blocks.count(); ++b) {
        if (!reclaimer.retire(b)) continue;
        // Readers that are in the middle of it see zeros, and then another generation.
        (void)madvise(blocks.item(b, 0), geometry.block_bytes, MADV_REMOVE);
    }
}

// ---- all of it -----------------------------------------------------------------------------------

Result<Segment::ResizeProgress> Segment::resize(const std::string& name, std::size_t size_bytes,
                                                bool (*report)(void* context, const ResizeProgress& progress),
                                                void* context) {
    Result<Segment> old = Segment::open(name);
    if (!old.ok()) return old.status();
    Impl& from = *old->impl_;
    // Held until the end: one resizer, maker or remover at a time.
    Result<LockFile> lock = LockFile::open(name);
    if (!lock.ok()) return lock.status();
    if (Status s = lock->lock_making(0); !s.ok()) return s;
    if (from.closed() || !from.memory.still_named(name)) {
        return Status(StatusCode::busy, "segment \"" + name + "\" was replaced this very moment; try again");
    }
    remove_leftovers(name, 0);
    const SegmentOptions options = options_for_resize(from.geometry, size_bytes, from.memory.mode());
    const Result<Geometry> geometry = plan_geometry(options, Fit::fewer_process_slots);
    if (!geometry.ok()) return geometry.status();
    const std::uint64_t mark = random_mark();
    Result<SharedMemory> memory =
        SharedMemory::create(successor_name(name, mark), geometry->size_bytes, options.mode);
    if (!memory.ok()) return memory.status();
    std::byte* base = memory->bytes().data();
    format_segment(base, *geometry, lock->inode());
    reinterpret_cast<SegmentHeader*>(base)->warming.store(1, std::memory_order_relaxed);
    publish_segment(base);
    Result<LockFile> member = LockFile::open(name);
    if (!member.ok()) {
        (void)SharedMemory::remove(successor_name(name, mark));
        return member.status();
    }
    Impl to(base, *geometry, ProcessTable::join(base, *geometry, std::move(member).value()));
    to.memory = std::move(memory).value();
    to.name = name;
    if (!to.processes.has_slot()) {
        (void)SharedMemory::remove(successor_name(name, mark));
        return Status(StatusCode::no_space,
                      "all process slots of segment \"" + name + "\" are taken; end one of its processes");
    }
    const LocalStamp first_stamp = to.authority.valid() ? to.authority.stamp() : LocalStamp{};
    // Sequentially consistent: pairs with closed_after_write().
    from.header->successor.store(mark, std::memory_order_seq_cst);
    full_fence();
    if (Status s = adopt_successor(name, mark); !s.ok()) return s;
    const ResizeProgress progress = WarmCopy(from, to, first_stamp).run(report, context);
    // Release: pairs with Index::warming().
    to.header->warming.store(0, std::memory_order_release);
    from.give_back();
    return progress;
}

}  // namespace tiercache
