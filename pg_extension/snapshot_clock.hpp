// Which clock value a snapshot has, and whether this transaction may use the cache at all.
//
// Equal completion count, equal snapshot contents (GetSnapshotDataReuse in procarray.c): the count of a
// snapshot is a name for what it sees. PostgreSQL forgets it when a snapshot is copied; a snapshot whose
// contents equal the latest snapshot's has the latter's count.
#pragma once

#include <optional>

#include "pg_extension/pg.hpp"
#include "shm_cache/clock_table.hpp"

namespace tiercache {

// nullptr, or why this backend must neither look up nor publish now: "transaction has changes of its own",
// ...
[[nodiscard]] const char* bypass_reason();

// The clock of `snapshot`; nothing when it can't be told. Must not be called when bypass_reason() says why
// not. READ COMMITTED: pass what GetTransactionSnapshot() returned, before it is copied, for a certain
// answer.
[[nodiscard]] std::optional<std::uint64_t> clock_of(Snapshot snapshot);

// Is it a result that reads tables of other servers? By the tags that it has then.
[[nodiscard]] bool reads_foreign_tables(std::span<const Tag> tags) noexcept;

// May an entry be served to this transaction? In READ COMMITTED the freshness rule is enough; above it the
// entry must not hold anything younger or older than the transaction's snapshot: version <= min(stamp, r).
[[nodiscard]] Verdict check_for_transaction(std::span<const Tag> tags, std::uint64_t stamp,
                                            std::uint64_t epoch);

// The same for a snapshot whose clock is known, whatever the isolation level: the entry must be what a query
// under that very snapshot returns.
[[nodiscard]] Verdict check_for_snapshot(std::span<const Tag> tags, std::uint64_t stamp, std::uint64_t epoch,
                                         std::uint64_t snapshot_clock);

// The age of a plan, taken before parse analysis (which takes locks and accepts invalidation messages).
struct PlanAge {
    std::uint64_t clock;
    bool ddl_pending;
};
[[nodiscard]] PlanAge plan_age_now() noexcept;

// Can a plan of that age have missed a DDL on one of the tags? Then its result must not be published.
[[nodiscard]] bool plan_is_current(const PlanAge& age, std::span<const Tag> tags) noexcept;

// Called at the start of a top-level statement: learns the clock of a REPEATABLE READ transaction's snapshot.
void note_transaction_snapshot();

}  // namespace tiercache
