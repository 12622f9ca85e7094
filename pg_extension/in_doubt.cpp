#include "pg_extension/in_doubt.hpp"

#include <bit>

#include "pg_extension/settings.hpp"
#include "pg_extension/shared_state.hpp"

extern "C" {
#include <access/twophase.h>
#include <storage/procarray.h>
}

namespace tiercache::in_doubt {

namespace {

struct Entry {
    TransactionId xid;  // InvalidTransactionId: unused
    bool unknown;       // a survivor: it may have changed anything
    bool resets;        // it called tiercache.reset()
    std::uint64_t slots[ChangedSlots::bitmap_words];
};

Entry* entries = nullptr;

int capacity() { return max_prepared_xacts; }

template <class F>
void for_each_slot(const Entry& entry, F&& visit) {
    for (std::size_t word = 0; word < ChangedSlots::bitmap_words; ++word) {
        for (std::uint64_t bits = entry.slots[word]; bits != 0; bits &= bits - 1) {
            visit(static_cast<Tag>(word * 64 + static_cast<std::size_t>(std::countr_zero(bits))));
        }
    }
}

// The caller holds the lock.
void release(Entry& entry) {
    entry.xid = InvalidTransactionId;
    pg_atomic_fetch_sub_u32(&shared::state().in_doubt, 1);
}

Entry* find(TransactionId xid) {
    for (int i = 0; i < capacity(); ++i) {
        if (entries[i].xid == xid) return &entries[i];
    }
    return nullptr;
}

void settle(Entry& entry, bool committed) {
    ClockTable clock = shared::clock();
    const std::uint64_t now = shared::clock_now();
    if (committed && (entry.unknown || entry.resets)) clock.raise_floor(now);
    if (entry.unknown) {
        pg_atomic_fetch_sub_u32(&shared::state().blocked, 1);
    } else {
        for_each_slot(entry, [&](Tag slot) {
            // A prepared transaction may have changed definitions as well as rows.
            pg_atomic_uint64& ddl = shared::ddl_version(slot);
            if (committed && pg_atomic_read_u64(&ddl) < now) pg_atomic_write_u64(&ddl, now);
            if (committed) {
                clock.end_write(slot, settings::is_broken(settings::Mutant::no_in_doubt) ? 0 : now);
            } else {
                clock.cancel_write(slot);
            }
        });
    }
    release(entry);
}

}  // namespace

Size shared_bytes() { return mul_size(sizeof(Entry), static_cast<Size>(Max(capacity(), 1))); }

void init(void* memory, bool found) {
    entries = static_cast<Entry*>(memory);
    if (!found) memset(memory, 0, shared_bytes());
}

void add(TransactionId xid, const ChangedSlots& slots, bool resets) {
    resolve();
    LWLockAcquire(shared::state().lock, LW_EXCLUSIVE);
    Entry* entry = capacity() > 0 ? find(InvalidTransactionId) : nullptr;
    if (entry == nullptr) {
        LWLockRelease(shared::state().lock);
        ereport(ERROR,
                (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("maximum number of prepared transactions reached"),
                 errhint("Increase max_prepared_transactions (currently %d).", max_prepared_xacts)));
    }
    entry->xid = xid;
    entry->unknown = false;
    entry->resets = resets;
    memcpy(entry->slots, slots.bitmap().data(), sizeof(entry->slots));
    pg_atomic_fetch_add_u32(&shared::state().in_doubt, 1);
    LWLockRelease(shared::state().lock);
}

void forget(TransactionId xid) {
    LWLockAcquire(shared::state().lock, LW_EXCLUSIVE);
    if (Entry* entry = find(xid); entry != nullptr) release(*entry);
    LWLockRelease(shared::state().lock);
}

void resolve() {
    if (pg_atomic_read_u32(&shared::state().in_doubt) == 0) return;
    LWLockAcquire(shared::state().lock, LW_EXCLUSIVE);
    for (int i = 0; i < capacity(); ++i) {
        Entry& entry = entries[i];
        if (!TransactionIdIsValid(entry.xid)) continue;
        // In this order: a transaction that is no longer in progress has its outcome in the commit log.
        if (TransactionIdIsInProgress(entry.xid)) continue;
        settle(entry, TransactionIdDidCommit(entry.xid));
    }
    LWLockRelease(shared::state().lock);
}

void adopt_survivors() {
    LWLockAcquire(shared::state().lock, LW_EXCLUSIVE);
    LWLockAcquire(ProcArrayLock, LW_SHARED);
    // PostgreSQL keeps a process entry without a pid for each prepared transaction, behind those of the
    // backends. One that is only left over from a finished transaction resolves at once.
    for (int i = 0; i < capacity(); ++i) {
        const PGPROC& proc = ProcGlobal->allProcs[ProcGlobal->allProcCount + static_cast<uint32>(i)];
        if (!TransactionIdIsValid(proc.xid)) continue;
        if (find(proc.xid) != nullptr) continue;
        Entry* entry = capacity() > 0 ? find(InvalidTransactionId) : nullptr;
        if (entry == nullptr) break;
        entry->xid = proc.xid;
        entry->unknown = true;
        entry->resets = false;
        memset(entry->slots, 0, sizeof(entry->slots));
        pg_atomic_fetch_add_u32(&shared::state().in_doubt, 1);
        pg_atomic_fetch_add_u32(&shared::state().blocked, 1);
    }
    LWLockRelease(ProcArrayLock);
    LWLockRelease(shared::state().lock);
}

}  // namespace tiercache::in_doubt
