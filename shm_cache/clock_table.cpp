#include "shm_cache/clock_table.hpp"

#include <bit>
#include <new>

#include "shm_cache/monotonic_time.hpp"

namespace tiercache {

namespace {
constexpr std::uint64_t clock_magic = 0x4b434f4c43524954;  // "TIRCLOCK"
constexpr std::uint32_t clock_layout_version = 1;

// word := max(word, value)
void raise(std::atomic<std::uint64_t>& word, std::uint64_t value) noexcept {
    std::uint64_t seen = word.load(std::memory_order_relaxed);
    while (seen < value &&
           !word.compare_exchange_weak(seen, value, std::memory_order_release, std::memory_order_relaxed)) {
    }
}

}  // namespace

// `valid_until_ns` is written several times a second: it keeps off the line of the rarely written words.
struct alignas(64) ClockTableHeader {
    std::atomic<std::uint64_t> magic;
    std::uint32_t layout_version;
    std::uint32_t slot_count;
    std::atomic<std::uint64_t> epoch;
    std::atomic<std::uint64_t> floor;
    alignas(64) std::atomic<std::uint64_t> valid_until_ns;
};
static_assert(sizeof(ClockTableHeader) == 128);

const char* to_string(Verdict verdict) noexcept {
    switch (verdict) {
        case Verdict::fresh:
            return "fresh";
        case Verdict::changed:
            return "changed";
        case Verdict::being_written:
            return "being written";
        case Verdict::below_floor:
            return "below floor";
        case Verdict::other_epoch:
            return "other epoch";
        case Verdict::lease_expired:
            return "lease expired";
        case Verdict::no_clock:
            return "no clock";
    }
    return "unknown";
}

std::size_t ClockTable::size_bytes(std::uint32_t slot_count) noexcept {
    return sizeof(ClockTableHeader) + static_cast<std::size_t>(slot_count) * sizeof(ClockSlot);
}

Status ClockTable::check_slot_count(std::uint32_t slot_count) {
    if (std::has_single_bit(slot_count) && slot_count <= max_slot_count) return Status();
    return {StatusCode::invalid_argument, "the clock table's slot count must be a power of two up to 2^24"};
}

Result<ClockTable> ClockTable::format(std::span<std::byte> memory, std::uint32_t slot_count) {
    if (Status s = check_slot_count(slot_count); !s.ok()) return s;
    if (memory.size() < size_bytes(slot_count)) {
        return Status(StatusCode::invalid_argument, "the memory is too small for the clock table");
    }
    auto* header = new (memory.data()) ClockTableHeader{};
    header->layout_version = clock_layout_version;
    header->slot_count = slot_count;
    auto* slots = reinterpret_cast<ClockSlot*>(memory.data() + sizeof(ClockTableHeader));
    for (std::uint32_t i = 0; i < slot_count; ++i) new (&slots[i]) ClockSlot{};
    // Until restart() no entry may pass: any stamp is below this floor.
    header->floor.store(UINT64_MAX, std::memory_order_relaxed);
    // Release: whoever sees the magic (acquire in attach) sees the table.
    header->magic.store(clock_magic, std::memory_order_release);
    return ClockTable(header, slot_count - 1);
}

Result<ClockTable> ClockTable::attach(std::span<const std::byte> memory) {
    // The writer functions are for the owner of a writable mapping; a reader's mapping is read-only anyway.
    auto* header = reinterpret_cast<ClockTableHeader*>(const_cast<std::byte*>(memory.data()));
    if (memory.size() < sizeof(ClockTableHeader) ||
        header->magic.load(std::memory_order_acquire) != clock_magic) {
        return Status(
            StatusCode::corrupt,
            "this is not a tiercache clock table; give the name that SHOW tiercache.clock_name prints");
    }
    if (header->layout_version != clock_layout_version) {
        return Status(StatusCode::version_mismatch,
                      "the clock table has layout version " + std::to_string(header->layout_version) +
                          ", this program reads version " + std::to_string(clock_layout_version) +
                          "; use the same tiercache release as the server");
    }
    const std::uint32_t slot_count = header->slot_count;
    if (!std::has_single_bit(slot_count) || slot_count > max_slot_count ||
        memory.size() < size_bytes(slot_count)) {
        return Status(StatusCode::corrupt,
                      "the clock table's size does not fit its header; restart the server");
    }
    return ClockTable(header, slot_count - 1);
}

inline ClockSlot& ClockTable::slot(Tag tag) const noexcept {
    return reinterpret_cast<ClockSlot*>(header_ + 1)[tag & mask_];
}

Verdict ClockTable::check_unleased(std::span<const Tag> tags, std::uint64_t stamp,
                                   std::uint64_t epoch) const noexcept {
    if (header_ == nullptr) return Verdict::no_clock;
    for (const Tag tag : tags) {
        const ClockSlot& s = slot(tag);
        // Acquire: pairs with the release in end_write and restart, so that `version` and `floor`, read
        // after it, are at least what the last finished writer left.
        if (s.writers.load(std::memory_order_acquire) != 0) return Verdict::being_written;
        // Acquire: keeps the floor's load below behind it.
        if (s.version.load(std::memory_order_acquire) > stamp) return Verdict::changed;
    }
    // Acquire: pairs with restart(), which stores the epoch before the floor.
    if (header_->floor.load(std::memory_order_acquire) > stamp) return Verdict::below_floor;
    // Last: a reader whose memory is taken away meanwhile (segment_resize.cpp) finds no epoch here.
    if (header_->epoch.load(std::memory_order_relaxed) != epoch) return Verdict::other_epoch;
    return Verdict::fresh;
}

Verdict ClockTable::check(std::span<const Tag> tags, std::uint64_t stamp,
                          std::uint64_t epoch) const noexcept {
    if (header_ == nullptr) return Verdict::no_clock;
    // The lease first, the time last: a reader stopped anywhere in between wakes to a lease that has run out.
    // Acquire: pairs with renew_lease, so the tags read below are at least as new as what was vouched for.
    const std::uint64_t valid_until = header_->valid_until_ns.load(std::memory_order_acquire);
    const Verdict verdict = check_unleased(tags, stamp, epoch);
    if (verdict != Verdict::fresh) return verdict;
    // The coarse clock lags by at most its error.
    return monotonic_coarse_ns() + coarse_error_ns <= valid_until ? Verdict::fresh : Verdict::lease_expired;
}

std::uint64_t ClockTable::version_of(Tag tag) const noexcept {
    return slot(tag).version.load(std::memory_order_acquire);
}
std::uint64_t ClockTable::writers_of(Tag tag) const noexcept {
    return slot(tag).writers.load(std::memory_order_acquire);
}
std::uint64_t ClockTable::floor() const noexcept { return header_->floor.load(std::memory_order_acquire); }
std::uint64_t ClockTable::epoch() const noexcept { return header_->epoch.load(std::memory_order_acquire); }
std::uint64_t ClockTable::valid_until_ns() const noexcept {
    return header_->valid_until_ns.load(std::memory_order_acquire);
}

void ClockTable::begin_write(Tag tag) noexcept {
    // Sequentially consistent: the mark must be visible to every reader before the change can be. It is
    // followed by ProcArrayLock in PostgreSQL, which is a full barrier too.
    slot(tag).writers.fetch_add(1, std::memory_order_seq_cst);
}

void ClockTable::end_write(Tag tag, std::uint64_t clock) noexcept {
    ClockSlot& s = slot(tag);
    raise(s.version, clock);
    // Release: pairs with the reader's acquire of `writers`. Decrements of other writers continue this
    // release sequence, so a reader that sees 0 sees the version of each of them.
    s.writers.fetch_sub(1, std::memory_order_release);
}

void ClockTable::cancel_write(Tag tag) noexcept {
    // Release: continues the release sequence of concurrent writers of the slot.
    slot(tag).writers.fetch_sub(1, std::memory_order_release);
}

void ClockTable::raise_version(Tag tag, std::uint64_t clock) noexcept {
    // The release of raise() pairs with the acquire of `version` in check_unleased.
    raise(slot(tag).version, clock);
}

void ClockTable::restart(std::uint64_t epoch, std::uint64_t floor) noexcept {
    // Order matters for readers that run on: lease, epoch and floor first, then the versions, `writers` last.
    // A reader that sees a version of the new life (acquire) sees its floor and epoch.
    header_->valid_until_ns.store(0, std::memory_order_release);
    header_->epoch.store(epoch, std::memory_order_release);
    header_->floor.store(floor, std::memory_order_release);
    auto* slots = reinterpret_cast<ClockSlot*>(header_ + 1);
    for (std::uint32_t i = 0; i <= mask_; ++i) {
        slots[i].version.store(0, std::memory_order_release);
        slots[i].writers.store(0, std::memory_order_release);
    }
}

void ClockTable::change_epoch(std::uint64_t epoch) noexcept {
    // Release: pairs with the acquire in epoch(), by which new entries are labelled.
    header_->epoch.store(epoch, std::memory_order_release);
}

void ClockTable::raise_floor(std::uint64_t floor) noexcept {
    // The release of raise() pairs with the acquire of `floor` in check_unleased.
    raise(header_->floor, floor);
}

void ClockTable::renew_lease(std::uint64_t valid_until_ns) noexcept {
    // Release: pairs with the acquire in check().
    header_->valid_until_ns.store(valid_until_ns, std::memory_order_release);
}

}  // namespace tiercache
