#include "shm_cache/process_table.hpp"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include <mutex>

#include "shm_cache/monotonic_time.hpp"

namespace tiercache {

namespace {

// Times that put() looks for a free pin word before it gives up.
constexpr int pin_rounds_max = 64;
constexpr std::uint64_t claim_interval_ns = 1'000'000'000;

// All memberships of this process in named segments; the fork handlers walk the list.
std::mutex memberships_mutex;
Membership* memberships = nullptr;

// Counted by the child; a view pin that is of another number is another process's.
std::atomic<std::uint32_t> forks{0};

void lock_memberships() { memberships_mutex.lock(); }
void unlock_memberships() { memberships_mutex.unlock(); }
void leave_memberships_of_parent() {
    // Relaxed: the child has one thread.
    forks.fetch_add(1, std::memory_order_relaxed);
    for (Membership* m = memberships; m != nullptr; m = m->next) {
        // One lock file for all lives of a segment, and one life that was not left.
        if (!m->left.load(std::memory_order_relaxed)) m->lock_file->reopen_after_fork();
        m->slot.store(Membership::none, std::memory_order_relaxed);
    }
    memberships_mutex.unlock();
}

constexpr std::uint64_t make_identity(std::uint32_t incarnation, std::uint32_t process) noexcept {
    return std::uint64_t{incarnation} << 32 | process;
}
constexpr std::uint32_t incarnation_of(std::uint64_t identity) noexcept {
    return static_cast<std::uint32_t>(identity >> 32);
}
constexpr bool taken(std::uint64_t identity) noexcept { return static_cast<std::uint32_t>(identity) != 0; }

void drop_pins(ProcessSlot& slot) noexcept {
    for (Word& pin : slot.pins) pin.store(0, std::memory_order_relaxed);
    for (Word& view : slot.views) view.store(0, std::memory_order_relaxed);
}

// A new life in a slot whose last holder is gone.
void reset(ProcessSlot& slot) noexcept {
    drop_pins(slot);
    const std::uint32_t incarnation = incarnation_of(slot.identity.load(std::memory_order_relaxed)) + 1;
    // Sequentially consistent: a reclaimer that still sees nobody here looked before any pin of this life.
    slot.identity.store(make_identity(incarnation, static_cast<std::uint32_t>(getpid())),
                        std::memory_order_seq_cst);
}

// The holder is going, or is dead and the caller holds its lock.
void vacate(ProcessSlot& slot) noexcept {
    drop_pins(slot);
    const std::uint32_t incarnation = incarnation_of(slot.identity.load(std::memory_order_relaxed));
    slot.identity.store(make_identity(incarnation, 0), std::memory_order_release);
}

ProcessSlot* slots_of(std::byte* memory, const Geometry& geometry) noexcept {
    return reinterpret_cast<ProcessSlot*>(memory + geometry.process_slots_at);
}

}  // namespace

// ---- membership ----------------------------------------------------------------------------------

Membership::Membership(std::shared_ptr<LockFile> file, std::uint64_t segment_life,
                       std::int32_t first_slot) noexcept
    : slot(first_slot), lock_file(std::move(file)), life(segment_life) {
    static std::once_flag fork_handlers;
    std::call_once(fork_handlers,
                   [] { pthread_atfork(lock_memberships, unlock_memberships, leave_memberships_of_parent); });
    if (!lock_file) return;
    const std::lock_guard guard(memberships_mutex);
    next = memberships;
    memberships = this;
}

Membership::~Membership() {
    if (!lock_file) return;
    const std::lock_guard guard(memberships_mutex);
    for (Membership** at = &memberships; *at != nullptr; at = &(*at)->next) {
        if (*at == this) {
            *at = next;
            break;
        }
    }
}

std::int32_t Membership::claim(ProcessSlot* slots, std::uint32_t count) noexcept {
    const std::lock_guard guard(memberships_mutex);
    // Another thread may have been first.
    if (const std::int32_t seen = slot.load(std::memory_order_acquire); seen >= 0) return seen;
    if (left.load(std::memory_order_relaxed)) return none;
    for (std::uint32_t i = 0; i < count; ++i) {
        if (!lock_file->try_lock_slot(lock_of(i))) continue;
        reset(slots[i]);
        // Release: pairs with own_slot().
        slot.store(static_cast<std::int32_t>(i), std::memory_order_release);
        return static_cast<std::int32_t>(i);
    }
    slot.store(refused, std::memory_order_release);
    return none;
}

// ---- the table -----------------------------------------------------------------------------------

ProcessTable::ProcessTable(std::byte* memory, const Geometry& geometry,
                           std::unique_ptr<Membership> membership) noexcept
    : slots_(slots_of(memory, geometry)),
      count_(geometry.process_slots + 1),
      views_max_(views_max(geometry.block_count)),
      statistics_(memory, geometry),
      membership_(std::move(membership)) {}

ProcessTable::ProcessTable(ProcessTable&&) noexcept = default;

ProcessTable ProcessTable::join(std::byte* memory, const Geometry& geometry,
                                std::shared_ptr<LockFile> lock_file, std::uint64_t life) {
    ProcessTable table = visit(memory, geometry, std::move(lock_file), life);
    (void)table.claim_slot();
    return table;
}

ProcessTable ProcessTable::visit(std::byte* memory, const Geometry& geometry,
                                 std::shared_ptr<LockFile> lock_file, std::uint64_t life) {
    return {memory, geometry, std::make_unique<Membership>(std::move(lock_file), life, Membership::none)};
}

ProcessTable ProcessTable::join(std::byte* memory, const Geometry& geometry, std::uint32_t slot) {
    reset(slots_of(memory, geometry)[slot]);
    return {memory, geometry, std::make_unique<Membership>(nullptr, 0, static_cast<std::int32_t>(slot))};
}

ProcessTable::~ProcessTable() {
    if (membership_ == nullptr) return;
    const std::int32_t slot = membership_->slot.load(std::memory_order_acquire);
    if (slot < 0) return;
    // A child made by a bare clone() shares the parent's slot: not its to give back.
    const std::uint64_t identity = slots_[slot].identity.load(std::memory_order_relaxed);
    if (static_cast<std::uint32_t>(identity) == static_cast<std::uint32_t>(getpid())) vacate(slots_[slot]);
}

ProcessSlot* ProcessTable::rejoin() noexcept {
    if (membership_->slot.load(std::memory_order_acquire) == Membership::refused) return nullptr;
    const std::int32_t slot = membership_->claim(slots_, count_ - 1);
    return slot >= 0 ? &slots_[slot] : nullptr;
}

// After a fork a slot is claimed at once. Who was refused tries again once a second at most: looking costs a
// system call for each slot.
std::uint64_t ProcessTable::count_without_slot(Counter counter, std::uint64_t n) noexcept {
    Membership& m = *membership_;
    if (m.slot.load(std::memory_order_acquire) == Membership::refused) {
        const std::uint64_t now = monotonic_coarse_ns();
        std::uint64_t due = m.next_try_ns.load(std::memory_order_relaxed);
        // Relaxed: of several threads one tries, whichever.
        if (now < due ||
            !m.next_try_ns.compare_exchange_strong(due, now + claim_interval_ns, std::memory_order_relaxed)) {
            return statistics_.add_shared(0, counter, n);
        }
    }
    const std::int32_t slot = m.claim(slots_, count_ - 1);
    return slot >= 0 ? statistics_.add(static_cast<std::uint32_t>(slot), counter, n)
                     : statistics_.add_shared(0, counter, n);
}

ProcessTable::Holders ProcessTable::holders_in(const ProcessSlot* slots, std::uint32_t count) noexcept {
    Holders holders;
    for (std::uint32_t i = 0; i < count; ++i) {
        // Relaxed: numbers for people.
        if (!taken(slots[i].identity.load(std::memory_order_relaxed))) continue;
        ++holders.processes;
        for (const Word& word : slots[i].pins) holders.pins += word.load(std::memory_order_relaxed) != 0;
        for (const Word& word : slots[i].views) holders.pins += word.load(std::memory_order_relaxed) != 0;
    }
    return holders;
}

bool ProcessTable::claim_slot() noexcept {
    // Acquire: as in own_slot().
    return membership_->slot.load(std::memory_order_acquire) >= 0 ||
           membership_->claim(slots_, count_ - 1) >= 0;
}

std::optional<Pin> ProcessTable::pin(BlockLife life) noexcept {
    ProcessSlot* slot = own_slot();
    if (slot == nullptr) return std::nullopt;
    for (int round = 0; round < pin_rounds_max; ++round) {
        for (Word& word : slot->pins) {
            std::uint64_t expected = 0;
            if (word.load(std::memory_order_relaxed) != 0) continue;
            // Sequentially consistent: the pin comes before the second look at the block's state.
            if (word.compare_exchange_strong(expected, life.pack(), std::memory_order_seq_cst)) {
                return Pin(&word);
            }
        }
        sched_yield();
    }
    return std::nullopt;
}

ViewPin::ViewPin(Word* word) noexcept : word_(word), forks_(forks.load(std::memory_order_relaxed)) {}

bool ViewPin::held() const noexcept {
    return word_ != nullptr && forks_ == forks.load(std::memory_order_relaxed);
}

std::optional<ViewPin> ProcessTable::pin_view(BlockLife life) noexcept {
    ProcessSlot* slot = own_slot();
    if (slot == nullptr) return std::nullopt;
    for (Word& word : std::span(slot->views).first(views_max_)) {
        std::uint64_t expected = 0;
        if (word.load(std::memory_order_relaxed) != 0) continue;
        // Sequentially consistent: the pin comes before the second look at the block's state.
        if (word.compare_exchange_strong(expected, life.pack(), std::memory_order_seq_cst)) {
            return ViewPin(&word);
        }
    }
    return std::nullopt;
}

bool ProcessTable::holds_view() const noexcept {
    const std::int32_t slot = membership_->slot.load(std::memory_order_acquire);
    if (slot < 0) return false;
    return std::ranges::any_of(slots_[slot].views,
                               [](const Word& view) { return view.load(std::memory_order_seq_cst) != 0; });
}

void ProcessTable::leave() noexcept {
    const std::lock_guard guard(memberships_mutex);
    membership_->left.store(true, std::memory_order_relaxed);  // relaxed: read under the mutex
    const std::int32_t slot = membership_->slot.load(std::memory_order_relaxed);
    if (slot >= 0 && membership_->lock_file != nullptr) {
        membership_->lock_file->unlock_slot(membership_->lock_of(static_cast<std::uint32_t>(slot)));
    }
}

bool ProcessTable::alive(std::uint32_t slot) noexcept {
    if (!membership_->lock_file) return true;
    if (static_cast<std::int32_t>(slot) == membership_->slot.load(std::memory_order_relaxed)) return true;
    return membership_->lock_file->slot_locked_by_other(membership_->lock_of(slot));
}

bool ProcessTable::in_use(std::uint32_t slot) const noexcept {
    return taken(slots_[slot].identity.load(std::memory_order_relaxed));
}

bool ProcessTable::pinned(BlockLife life) noexcept {
    bool found = false;
    for (std::uint32_t i = 0; i < count_; ++i) {
        ProcessSlot& slot = slots_[i];
        // Sequentially consistent, as are the loads of the pins: they come after RECLAIMING was set.
        if (!taken(slot.identity.load(std::memory_order_seq_cst))) continue;
        bool here = false;
        for (const Word& word : slot.pins) here |= word.load(std::memory_order_seq_cst) == life.pack();
        for (const Word& word : slot.views) here |= word.load(std::memory_order_seq_cst) == life.pack();
        if (!here) continue;
        if (alive(i)) {
            found = true;
        } else {
            bury(i);
        }
    }
    return found;
}

void ProcessTable::bury(std::uint32_t slot) noexcept {
    // The file lock keeps other processes from taking the slot meanwhile, the mutex other threads of this
    // one; one of them may have taken it just before, and its lock would not stop us.
    const std::unique_lock guard(memberships_mutex, std::try_to_lock);
    if (!guard || static_cast<std::int32_t>(slot) == membership_->slot.load(std::memory_order_relaxed))
        return;
    const std::uint64_t lock = membership_->lock_of(slot);
    if (!membership_->lock_file->try_lock_slot(lock)) return;
    vacate(slots_[slot]);
    membership_->lock_file->unlock_slot(lock);
}

Owner ProcessTable::self() noexcept {
    const std::int32_t slot = membership_->slot.load(std::memory_order_acquire);
    const std::uint64_t identity = slots_[slot].identity.load(std::memory_order_relaxed);
    return {static_cast<std::uint16_t>(slot), Owner::incarnation_bits(incarnation_of(identity))};
}

bool ProcessTable::is_self(const Owner& owner) noexcept {
    // Acquire: as in own_slot(). Before the slot is looked at: a forked child has none.
    const std::int32_t slot = membership_->slot.load(std::memory_order_acquire);
    return slot >= 0 && slot == owner.slot && self() == owner;
}

bool ProcessTable::dead(const Owner& owner) noexcept {
    if (owner.slot >= count_) return true;  // overwritten: nobody's
    const std::uint64_t identity = slots_[owner.slot].identity.load(std::memory_order_seq_cst);
    // Another life has the slot, and got it after the death of the one before.
    if (Owner::incarnation_bits(incarnation_of(identity)) != owner.incarnation) return true;
    return !taken(identity) || !alive(owner.slot);
}

}  // namespace tiercache
