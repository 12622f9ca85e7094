#include "pg_extension/snapshot_clock.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "pg_extension/foreign_tables.hpp"
#include "pg_extension/in_doubt.hpp"
#include "pg_extension/settings.hpp"
#include "pg_extension/shared_state.hpp"
#include "pg_extension/tags.hpp"

extern "C" {
#include <access/parallel.h>
#include <access/xlog.h>
}

namespace tiercache {

namespace {

// The clock of a REPEATABLE READ transaction's snapshot, found out once a transaction.
struct TransactionClock {
    LocalTransactionId transaction = InvalidLocalTransactionId;
    std::optional<std::uint64_t> clock;
};
TransactionClock transaction_clock;

[[nodiscard]] bool same_xids(const TransactionId* a, const TransactionId* b, std::size_t count) noexcept {
    return count == 0 || std::memcmp(a, b, count * sizeof(TransactionId)) == 0;
}

// Do both see the same transactions?
[[nodiscard]] bool same_contents(const SnapshotData& a, const SnapshotData& b) noexcept {
    return a.xmin == b.xmin && a.xmax == b.xmax && a.xcnt == b.xcnt && a.subxcnt == b.subxcnt &&
           a.suboverflowed == b.suboverflowed && a.takenDuringRecovery == b.takenDuringRecovery &&
           same_xids(a.xip, b.xip, a.xcnt) &&
           same_xids(a.subxip, b.subxip, static_cast<std::size_t>(a.subxcnt));
}

// The snapshot of the latest count that this backend asked for: while no transaction ends, others are like
// it.
class KnownSnapshot {
 public:
    void note(const SnapshotData& snapshot) noexcept {
        count_ = 0;
        if (snapshot.xcnt > xids_.size() || snapshot.subxcnt != 0 || snapshot.suboverflowed ||
            snapshot.takenDuringRecovery) {
            return;
        }
        count_ = snapshot.snapXactCompletionCount;
        xmin_ = snapshot.xmin;
        xmax_ = snapshot.xmax;
        xid_count_ = snapshot.xcnt;
        std::copy_n(snapshot.xip, snapshot.xcnt, xids_.begin());
    }
    // 0: not known, or no longer the latest. Not every transaction that ends changes what snapshots contain:
    // a VACUUM does not.
    [[nodiscard]] std::uint64_t count_of(const SnapshotData& snapshot) const noexcept {
        if (pg::completed_transactions() != count_) return 0;
        const bool same = snapshot.xmin == xmin_ && snapshot.xmax == xmax_ && snapshot.xcnt == xid_count_ &&
                          snapshot.subxcnt == 0 && !snapshot.suboverflowed &&
                          same_xids(snapshot.xip, xids_.data(), snapshot.xcnt);
        return same ? count_ : 0;
    }

 private:
    std::uint64_t count_ = 0;
    TransactionId xmin_ = InvalidTransactionId;
    TransactionId xmax_ = InvalidTransactionId;
    std::uint32_t xid_count_ = 0;
    std::array<TransactionId, 16> xids_{};
};
KnownSnapshot known_snapshot;

[[nodiscard]] std::optional<std::uint64_t> clock_by_contents(Snapshot snapshot) {
    if (const std::uint64_t count = known_snapshot.count_of(*snapshot); count != 0) {
        return shared::state().base + count;
    }
    const Snapshot latest = GetLatestSnapshot();
    if (latest->snapXactCompletionCount == 0) return std::nullopt;
    known_snapshot.note(*latest);
    if (!same_contents(*snapshot, *latest)) return std::nullopt;
    return shared::state().base + latest->snapXactCompletionCount;
}

}  // namespace

const char* bypass_reason() {
    if (RecoveryInProgress()) return "the server is in recovery";
    if (pg_atomic_read_u32(&shared::state().open) == 0) {
        return "the lease worker has not started yet (it needs one of max_worker_processes)";
    }
    in_doubt::resolve();
    if (!settings::enabled) return "tiercache.enabled is off";
    if (pg_atomic_read_u32(&shared::state().blocked) != 0) {
        return "a transaction that was prepared before the server's start is still open";
    }
    if (IsolationIsSerializable()) return "the transaction is SERIALIZABLE";
    if (IsInParallelMode() || IsParallelWorker()) return "the query runs in parallel";
    if (TransactionIdIsValid(GetTopTransactionIdIfAny()) &&
        !settings::is_broken(settings::Mutant::no_own_writes))
        return "the transaction has changes of its own";
    if (foreign_tables::changed_here()) return "the transaction changes a foreign table";
    return nullptr;
}

std::optional<std::uint64_t> clock_of(Snapshot snapshot) {
    if (snapshot->snapshot_type != SNAPSHOT_MVCC || snapshot->takenDuringRecovery) return std::nullopt;
    if (IsolationUsesXactSnapshot()) {
        note_transaction_snapshot();
        return transaction_clock.clock;
    }
    if (snapshot->snapXactCompletionCount != 0) {
        return shared::state().base + snapshot->snapXactCompletionCount;
    }
    return clock_by_contents(snapshot);
}

void note_transaction_snapshot() {
    if (!IsolationUsesXactSnapshot() || IsolationIsSerializable() || !FirstSnapshotSet ||
        IsInParallelMode() || IsParallelWorker() || RecoveryInProgress()) {
        return;
    }
    if (transaction_clock.transaction == pg::this_transaction()) return;
    transaction_clock.transaction = pg::this_transaction();
    // Returns the transaction's one snapshot, which is a copy: its count was lost.
    transaction_clock.clock = clock_by_contents(GetTransactionSnapshot());
}

namespace {

// REPEATABLE READ has one snapshot of this cluster, and nobody knows what that is on another server.
[[nodiscard]] bool needs_other_snapshots(std::span<const Tag> tags) noexcept {
    return IsolationUsesXactSnapshot() && reads_foreign_tables(tags);
}

}  // namespace

bool reads_foreign_tables(std::span<const Tag> tags) noexcept {
    return std::find(tags.begin(), tags.end(), foreign_servers_tag()) != tags.end();
}

Verdict check_for_transaction(std::span<const Tag> tags, std::uint64_t stamp, std::uint64_t epoch) {
    if (settings::is_broken(settings::Mutant::no_check)) return Verdict::fresh;
    if (IsolationUsesXactSnapshot() && !settings::is_broken(settings::Mutant::no_snapshot)) {
        note_transaction_snapshot();
        if (!transaction_clock.clock || needs_other_snapshots(tags)) return Verdict::no_clock;
        stamp = std::min(stamp, *transaction_clock.clock);
    }
    return shared::clock().check_unleased(tags, stamp, epoch);
}

Verdict check_for_snapshot(std::span<const Tag> tags, std::uint64_t stamp, std::uint64_t epoch,
                           std::uint64_t snapshot_clock) {
    if (settings::is_broken(settings::Mutant::no_check)) return Verdict::fresh;
    if (settings::is_broken(settings::Mutant::no_snapshot)) snapshot_clock = stamp;
    if (needs_other_snapshots(tags)) return Verdict::no_clock;
    return shared::clock().check_unleased(tags, std::min(stamp, snapshot_clock), epoch);
}

PlanAge plan_age_now() noexcept {
    PlanAge age{};
    age.clock = shared::clock_now();
    // The clock first: a DDL that is visible at this clock and no longer pending has sent its invalidation
    // messages.
    pg_memory_barrier();
    age.ddl_pending = pg_atomic_read_u32(&shared::state().ddl_pending) != 0;
    return age;
}

bool plan_is_current(const PlanAge& age, std::span<const Tag> tags) noexcept {
    if (settings::is_broken(settings::Mutant::no_plan_age)) return true;
    if (age.ddl_pending) return false;
    return std::all_of(tags.begin(), tags.end(), [&age](Tag tag) {
        return pg_atomic_read_u64(&shared::ddl_version(tag)) <= age.clock;
    });
}

}  // namespace tiercache
