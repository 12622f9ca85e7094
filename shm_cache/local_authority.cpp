#include "shm_cache/local_authority.hpp"

#include <sys/random.h>

#include <new>

#include "shm_cache/layout.hpp"
#include "shm_cache/monotonic_time.hpp"

namespace tiercache {

namespace {

// The clock has a cache line of its own, before the table: readers of the table never touch it.
constexpr std::size_t table_at = cache_line_bytes;

// Never 0, which is the epoch of entries that no local authority stamped.
std::uint64_t random_epoch() noexcept {
    std::uint64_t epoch = 0;
    if (getrandom(&epoch, sizeof(epoch), GRND_NONBLOCK) != sizeof(epoch)) {
        epoch = monotonic_ns();  // so early after boot that there is no randomness yet
    }
    return epoch | 1;
}

}  // namespace

std::size_t LocalAuthority::size_bytes(std::uint32_t slot_count) noexcept {
    return slot_count == 0 ? 0 : table_at + ClockTable::size_bytes(slot_count);
}

void LocalAuthority::format(std::span<std::byte> memory, std::uint32_t slot_count,
                            std::uint64_t first_clock) noexcept {
    if (slot_count == 0) return;
    new (memory.data()) Clock(first_clock);
    Result<ClockTable> table = ClockTable::format(memory.subspan(table_at), slot_count);
    if (table.ok()) table->restart(random_epoch(), first_clock);
}

LocalAuthority LocalAuthority::attach(std::span<std::byte> memory, std::uint32_t slot_count) noexcept {
    if (slot_count == 0 || memory.size() < size_bytes(slot_count)) return {};
    const Result<ClockTable> table = ClockTable::attach(memory.subspan(table_at));
    if (!table.ok() || table->slot_count() != slot_count) return {};
    return {reinterpret_cast<Clock*>(memory.data()), *table};
}

std::uint64_t LocalAuthority::advance() noexcept {
    // Acquire and release: comes after the caller's change of the source, and before the version is set.
    // Pairs with stamp().
    return clock_->fetch_add(1, std::memory_order_acq_rel) + 1;
}

void LocalAuthority::invalidate(Tag tag) noexcept { table_.raise_version(tag, advance()); }

void LocalAuthority::invalidate_all() noexcept { table_.raise_floor(advance()); }

}  // namespace tiercache
