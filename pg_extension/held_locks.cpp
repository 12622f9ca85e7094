#include "pg_extension/held_locks.hpp"

#if PG_VERSION_NUM >= 160000
extern "C" {
#include <lib/ilist.h>
}
#endif

namespace tiercache {

namespace {

using Visit = void (*)(void* context, Oid relation, LOCKMASK modes);

// The fast path holds modes 1 (AccessShare) to 3 (RowExclusive), three bits a slot.
constexpr int fast_path_bits = 3;
constexpr std::uint64_t row_exclusive_bit = 1U << (RowExclusiveLock - 1);
// That bit of each slot of a word.
constexpr std::uint64_t row_exclusive_bits = 0x1249249249249249U * row_exclusive_bit;

void visit_fast_path(Visit visit, void* context) {
    LWLockAcquire(&MyProc->fpInfoLock, LW_SHARED);
#if PG_VERSION_NUM >= 180000
    for (int group = 0; group < FastPathLockGroupsPerBackend; ++group) {
        const std::uint64_t bits = MyProc->fpLockBits[group];
        const Oid* relations = MyProc->fpRelId + static_cast<size_t>(group) * FP_LOCK_SLOTS_PER_GROUP;
        for (int slot = 0; bits != 0 && slot < FP_LOCK_SLOTS_PER_GROUP; ++slot) {
#else
    {
        const std::uint64_t bits = MyProc->fpLockBits;
        const Oid* relations = MyProc->fpRelId;
        for (int slot = 0; bits != 0 && slot < FP_LOCK_SLOTS_PER_BACKEND; ++slot) {
#endif
            if ((bits >> (fast_path_bits * slot) & row_exclusive_bit) != 0) {
                visit(context, relations[slot], LOCKBIT_ON(RowExclusiveLock));
            }
        }
    }
    LWLockRelease(&MyProc->fpInfoLock);
}

void visit_proclock(const PROCLOCK* proclock, Visit visit, void* context) {
    const LOCKTAG& tag = proclock->tag.myLock->tag;
    const LOCKMASK modes = proclock->holdMask & writing_modes;
    if (modes == 0 || tag.locktag_type != LOCKTAG_RELATION) return;
    if (tag.locktag_field1 != MyDatabaseId && tag.locktag_field1 != InvalidOid) return;
    visit(context, tag.locktag_field2, modes);
}

void visit_partition(int partition, Visit visit, void* context) {
#if PG_VERSION_NUM >= 160000
    dlist_head* held = &MyProc->myProcLocks[partition];
    // Unlocked: whoever moves a fast-path lock of ours here holds our fpInfoLock, which we had after it.
    if (dlist_is_empty(held)) return;
    LWLock* guard = LockHashPartitionLockByIndex(partition);
    LWLockAcquire(guard, LW_SHARED);
    // Not dlist_foreach(): it is for C only.
    for (const dlist_node* at = held->head.next; at != &held->head; at = at->next) {
        const char* link = reinterpret_cast<const char*>(at);
        visit_proclock(reinterpret_cast<const PROCLOCK*>(link - offsetof(PROCLOCK, procLink)), visit,
                       context);
    }
#else
    SHM_QUEUE* held = &MyProc->myProcLocks[partition];
    // Unlocked: as above.
    if (SHMQueueEmpty(held)) return;
    LWLock* guard = LockHashPartitionLockByIndex(partition);
    LWLockAcquire(guard, LW_SHARED);
    auto* at = reinterpret_cast<PROCLOCK*>(SHMQueueNext(held, held, offsetof(PROCLOCK, procLink)));
    for (; at != nullptr;
         at = reinterpret_cast<PROCLOCK*>(SHMQueueNext(held, &at->procLink, offsetof(PROCLOCK, procLink)))) {
        visit_proclock(at, visit, context);
    }
#endif
    LWLockRelease(guard);
}

}  // namespace

void for_each_written_relation(Visit visit, void* context) {
    visit_fast_path(visit, context);
    for (int partition = 0; partition < NUM_LOCK_PARTITIONS; ++partition) {
        visit_partition(partition, visit, context);
    }
}

// Unlocked: only this backend takes locks for itself; whoever moves one of them to the main table at this
// moment adds it there before it takes it out of the array.
bool may_hold_writing_lock() noexcept {
#if PG_VERSION_NUM >= 180000
    for (int group = 0; group < FastPathLockGroupsPerBackend; ++group) {
        if ((MyProc->fpLockBits[group] & row_exclusive_bits) != 0) return true;
    }
#else
    if ((MyProc->fpLockBits & row_exclusive_bits) != 0) return true;
#endif
    pg_read_barrier();
    for (int partition = 0; partition < NUM_LOCK_PARTITIONS; ++partition) {
#if PG_VERSION_NUM >= 160000
        if (!dlist_is_empty(&MyProc->myProcLocks[partition])) return true;
#else
        const SHM_QUEUE& held = MyProc->myProcLocks[partition];
        if (held.prev != &held) return true;  // as SHMQueueEmpty(), without a call
#endif
    }
    return false;
}

}  // namespace tiercache
