// Leases (single flight): one process computes a missing value, the others on the host wait for it.
//
//   free ----- claim ----> held(sequence) ----- release ----> free
//                             |     ^
//                             +-----+  take-over with sequence + 1: the holder is dead, or late
//
// All of a lease's life is in one word, {sequence, waited, key mark, owner}, changed by CAS; so a lease has
// at most one holder at each sequence, and whoever was taken over finds another sequence and lets go.
// Dead is who has lost the lock of its process slot (process_table.hpp). Late is who holds it beyond the
// deadline, twice what the value cost the last times; a late holder's cost counts as at least that, so the
// next deadline is twice as far. Whoever first misses the deadline of a sequence sets it: a holder that is
// stopped before it could is late all the same.
//
// A key has its lease in one of a few neighbouring places. When all are held for other keys there is none,
// and the caller computes without. Keys whose marks are equal too share a lease: one waits for the other, a
// bounded time. Nothing of this is needed for correctness: a lease only saves work.
//
// The futex is the upper half of the state word. Whoever waits sets `waited`, so that a release nobody waits
// for makes no system call; it sleeps in slices, so that a holder's death needs no witness. Any bytes in
// here cost at most one bounded wait.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "shm_cache/block.hpp"
#include "shm_cache/hash.hpp"
#include "shm_cache/layout.hpp"
#include "shm_cache/process_table.hpp"
#include "shm_cache/words.hpp"

namespace tiercache {

struct LeaseWords {
    Word state;     // {sequence 24, waited 1, mark 11, incarnation 16, slot + 1 12}; slot + 1 is 0 when free
    Word deadline;  // {sequence 24, monotonic milliseconds 40}
    Word cost;      // {mark 16, microseconds 48}: moving average of the keys of this mark
    Word spare[5];
};
static_assert(sizeof(LeaseWords) == cache_line_bytes);

inline constexpr std::uint64_t lease_bound_ms_min = 20;  // a busy machine is no late holder
inline constexpr std::uint64_t lease_bound_ms_max = 60'000;

// The lease of a key while this thread holds it; gives it back at its end.
class Lease {
 public:
    Lease() = default;
    Lease(Lease&& other) noexcept;
    Lease& operator=(Lease&& other) noexcept;
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    ~Lease() { release(); }

    // Not taken over meanwhile, and not the parent's in a forked child.
    [[nodiscard]] bool held() const noexcept;
    [[nodiscard]] std::uint32_t sequence() const noexcept;
    // Says what the value cost.
    void note_cost(std::uint64_t cost_us) noexcept;
    // Wakes the waiters.
    void release() noexcept;

 private:
    friend class LeaseTable;
    Lease(LeaseWords& words, std::uint64_t state, ProcessTable& processes) noexcept
        : words_(&words), state_(state), processes_(&processes) {}

    LeaseWords* words_ = nullptr;
    std::uint64_t state_ = 0;  // as claimed
    ProcessTable* processes_ = nullptr;
};

// A lease that somebody else holds.
struct HeldLease {
    LeaseWords* words = nullptr;
    std::uint64_t state = 0;        // as seen
    std::uint64_t deadline_ms = 0;  // then it may be taken over
};

class LeaseTable {
 public:
    LeaseTable(std::byte* memory, const Geometry& geometry, ProcessTable& processes) noexcept;

    enum class Claim {
        mine,
        theirs,
        none,  // no place, or this process has no process slot: compute without
    };
    // `cost_us`: what the value is expected to cost where nothing is remembered of it. Does not wait.
    [[nodiscard]] Claim claim(const KeyHash& hash, std::uint64_t cost_us, Lease& mine,
                              HeldLease& theirs) noexcept;

    // Returns when the lease changed hands, when it may be taken over, at `until_ns`, or before.
    static void wait(const HeldLease& held, std::uint64_t until_ns) noexcept;

 private:
    [[nodiscard]] std::optional<Lease> take(LeaseWords& words, std::uint64_t seen, std::uint16_t mark,
                                            std::uint64_t cost_us) noexcept;
    [[nodiscard]] std::optional<Claim> join(LeaseWords& words, std::uint64_t seen, std::uint16_t mark,
                                            std::uint64_t cost_us, Lease& mine, HeldLease& theirs) noexcept;
    [[nodiscard]] std::optional<Claim> claim_once(const KeyHash& hash, std::uint64_t cost_us, Lease& mine,
                                                  HeldLease& theirs) noexcept;

    LeaseWords* leases_;
    std::uint32_t mask_;
    ProcessTable* processes_;
};

}  // namespace tiercache
