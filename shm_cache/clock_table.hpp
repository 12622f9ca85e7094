// The clock table: for each tag, when it last changed and whether somebody is changing it now.
//
// It lives in a shared-memory object that the authority (PostgreSQL) writes and everybody else maps
// read-only. It is state, not a log: nothing can be missed. Many tags share a slot; a shared slot only
// invalidates too much.
//
//   writer:  begin_write  -> the change becomes visible ->  end_write(clock)      (or cancel_write)
//   reader:  for each tag: writers == 0, then version <= stamp;  then floor, epoch;  then the lease
//
// Why a hit is never stale: a reader that sees writers == 0 either read before begin_write, so before the
// change was visible to anybody, or after end_write, and then the acquire load of `writers` pairs with its
// release and `version` is at least the change's clock. A restart raises the floor before it clears
// `writers`, and the floor is read after `writers`, so the same argument holds across a crash.
//
// All functions are safe to call from any thread and process, never block, allocate or throw.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "shm_cache/hash.hpp"
#include "shm_cache/status.hpp"

namespace tiercache {

static_assert(std::atomic<std::uint64_t>::is_always_lock_free,
              "shared memory needs lock-free 64-bit atomics");

// Why an entry is, or is not, fresh.
enum class Verdict : unsigned char {
    fresh,
    changed,        // a tag changed after the entry's stamp
    being_written,  // a transaction that changes a tag is committing
    below_floor,    // the entry is older than the authority's last start or reset
    other_epoch,    // made under another authority, or another life of this one
    lease_expired,  // the authority no longer vouches for the table
    no_clock,       // there is no table to judge by
};

[[nodiscard]] const char* to_string(Verdict verdict) noexcept;

// One slot. 16 bytes, so that one cache line holds four.
struct ClockSlot {
    std::atomic<std::uint64_t> version;
    std::atomic<std::uint64_t> writers;
};
static_assert(sizeof(ClockSlot) == 16);

struct ClockTableHeader;

// A non-owning view of a formatted table: two words, copy it freely.
class ClockTable {
 public:
    static constexpr std::uint32_t default_slot_count = 65536;
    static constexpr std::uint32_t max_slot_count = 1U << 24;

    ClockTable() = default;

    // Bytes that a table of `slot_count` (a power of two) takes.
    [[nodiscard]] static std::size_t size_bytes(std::uint32_t slot_count) noexcept;

    // A power of two up to 2^24. Error: invalid_argument.
    static Status check_slot_count(std::uint32_t slot_count);

    // Makes an empty table in zeroed or reused memory. It vouches for nothing until restart() and
    // renew_lease().
    static Result<ClockTable> format(std::span<std::byte> memory, std::uint32_t slot_count);

    // Checks that `memory` holds a table of this layout. `memory` may be mapped read-only; then only the
    // reader's functions may be called.
    static Result<ClockTable> attach(std::span<const std::byte> memory);

    [[nodiscard]] bool valid() const noexcept { return header_ != nullptr; }
    [[nodiscard]] std::uint32_t slot_count() const noexcept { return mask_ + 1; }

    // --- readers ---------------------------------------------------------------------------------

    // The freshness rule without the lease: for those who run inside the authority.
    [[nodiscard]] Verdict check_unleased(std::span<const Tag> tags, std::uint64_t stamp,
                                         std::uint64_t epoch) const noexcept;

    // The whole rule. Call it after the payload was copied: a stopped process wakes late.
    [[nodiscard]] Verdict check(std::span<const Tag> tags, std::uint64_t stamp,
                                std::uint64_t epoch) const noexcept;

    [[nodiscard]] std::uint64_t version_of(Tag tag) const noexcept;
    [[nodiscard]] std::uint64_t writers_of(Tag tag) const noexcept;
    [[nodiscard]] std::uint64_t floor() const noexcept;
    [[nodiscard]] std::uint64_t epoch() const noexcept;
    [[nodiscard]] std::uint64_t valid_until_ns() const noexcept;

    // --- the authority ---------------------------------------------------------------------------

    void begin_write(Tag tag) noexcept;
    void end_write(Tag tag, std::uint64_t clock) noexcept;
    void cancel_write(Tag tag) noexcept;

    // For an authority whose changes are visible before it tells of them: there is nothing to announce.
    void raise_version(Tag tag, std::uint64_t clock) noexcept;

    // A new life of the authority: entries with a lower stamp or another epoch are dead from here on, and
    // no transaction is in flight. The caller must be alone. The lease is left expired.
    void restart(std::uint64_t epoch, std::uint64_t floor) noexcept;

    // Every entry made so far is dead from here on, whatever its stamp. Transactions may be in flight.
    void change_epoch(std::uint64_t epoch) noexcept;

    // Raises the floor, never lowers it.
    void raise_floor(std::uint64_t floor) noexcept;

    // The authority vouches for the table until `valid_until_ns` on this host's monotonic clock.
    void renew_lease(std::uint64_t valid_until_ns) noexcept;

 private:
    ClockTable(ClockTableHeader* header, std::uint32_t mask) noexcept : header_(header), mask_(mask) {}
    [[nodiscard]] inline ClockSlot& slot(Tag tag) const noexcept;

    ClockTableHeader* header_ = nullptr;
    std::uint32_t mask_ = 0;
};

}  // namespace tiercache
