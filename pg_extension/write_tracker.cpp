#include "pg_extension/write_tracker.hpp"

#include "pg_extension/ancestors.hpp"
#include "pg_extension/changed_slots.hpp"
#include "pg_extension/foreign_tables.hpp"
#include "pg_extension/held_locks.hpp"
#include "pg_extension/in_doubt.hpp"
#include "pg_extension/maintenance.hpp"
#include "pg_extension/name_changes.hpp"
#include "pg_extension/pause_point.hpp"
#include "pg_extension/settings.hpp"
#include "pg_extension/shared_state.hpp"
#include "pg_extension/tags.hpp"

extern "C" {
#include <access/parallel.h>
#include <access/xlog.h>
#include <utils/inval.h>
#include <utils/resowner.h>
#include <utils/syscache.h>
}

namespace tiercache::write_tracker {

namespace {

// What the running transaction of this backend changes, and how far its commit has come.
struct Transaction {
    ChangedSlots changed;  // collected during the transaction, completed at PRE_COMMIT
    ChangedSlots ddl;      // those whose definition may have changed
    bool resets = false;
    bool marked = false;  // writers were counted up on each slot of `changed`, later additions included
    bool changes_other_servers = false;                 // through foreign tables
    bool holds_ddl_pending = false;                     // ddl_pending was counted up
    TransactionId prepared_xid = InvalidTransactionId;  // written down in the in-doubt list
    std::size_t prepared_count = 0;                     // with that many slots of `changed`
};
Transaction transaction;

[[nodiscard]] bool has_xid() { return TransactionIdIsValid(GetTopTransactionIdIfAny()); }

// The relations found by a sweep, collected under lock-manager locks: fixed room first, no error.
struct Sweep {
    struct Found {
        Oid relation;
        LOCKMASK modes;
    };
    static constexpr int room = 4096;
    Found found[room];
    int count = 0;
    bool overflow = false;

    static void visit(void* self, Oid relation, LOCKMASK modes) {
        auto& sweep = *static_cast<Sweep*>(self);
        if (settings::is_broken(settings::Mutant::rows_only)) modes &= LOCKBIT_ON(RowExclusiveLock);
        if (maintenance::only()) modes &= ~LOCKBIT_ON(ShareUpdateExclusiveLock);
        if (modes == 0) return;
        if (settings::is_broken(settings::Mutant::one_lock)) sweep.count = 0;
        if (sweep.count == room) {
            sweep.overflow = true;
            return;
        }
        sweep.found[sweep.count++] = {relation, modes};
    }
};
Sweep sweep;

void run_sweep() {
    sweep.count = 0;
    sweep.overflow = false;
    for_each_written_relation(Sweep::visit, &sweep);
}

void add_with_ancestors(const Sweep::Found& found, const ancestors::Family& family) {
    if (family.temporary) return;
    if (family.foreign) transaction.changes_other_servers = true;
    const bool is_ddl = (found.modes & ddl_modes) != 0;
    const auto add = [is_ddl](Oid relation) {
        const Tag tag = relation_tag(relation);
        transaction.changed.add(tag);
        if (is_ddl) transaction.ddl.add(tag);
    };
    add(found.relation);
    if (settings::is_broken(settings::Mutant::no_ancestors)) return;
    for (const Oid ancestor : family.ancestors) add(ancestor);
}

void collect_from_locks() {
    run_sweep();
    if (sweep.overflow) {
        // More relations than the sweep has room for: everything counts as changed, nothing is missed.
        for (Tag slot = 0; slot < ChangedSlots::capacity; ++slot) transaction.changed.add(slot);
    }
    for (int i = 0; i < sweep.count; ++i) {
        add_with_ancestors(sweep.found[i], ancestors::of(sweep.found[i].relation));
    }
}

// After the sweep, and with its relations.
void collect_names() {
    if (maintenance::only() || settings::is_broken(settings::Mutant::no_names)) return;
    List* redefined = NIL;
    for (int i = 0; i < sweep.count; ++i) {
        if ((sweep.found[i].modes & ddl_modes) == 0) continue;
        redefined = lappend_oid(redefined, sweep.found[i].relation);
    }
    if (sweep.overflow || name_changes::any(redefined)) {
        transaction.changed.add(names_tag());
        transaction.ddl.add(names_tag());
    }
    list_free(redefined);
}

[[nodiscard]] bool marks_writers() { return !settings::is_broken(settings::Mutant::no_writers); }

[[nodiscard]] bool moves_versions() { return !settings::is_broken(settings::Mutant::no_versions); }

// Cannot fail.
void mark_all() noexcept {
    if (!transaction.ddl.empty() || transaction.resets) {
        pg_atomic_fetch_add_u32(&shared::state().ddl_pending, 1);
        transaction.holds_ddl_pending = true;
    }
    if (marks_writers()) {
        ClockTable clock = shared::clock();
        for (const std::uint32_t slot : transaction.changed.slots()) clock.begin_write(slot);
    }
    transaction.marked = true;
}

// Changes of a foreign table's rows take no transaction id; but nothing moves the clock without one.
[[nodiscard]] bool gets_xid() {
    if (has_xid()) return true;
    if (IsInParallelMode() || RecoveryInProgress() || !foreign_tables::changed_here()) return false;
    (void)GetTopTransactionId();
    return true;
}

void before_commit() {
    if (!gets_xid()) return;
    pause_point(PausePoint::pre_commit_unmarked);
    if (!IsInParallelMode()) {
        // Makes the last command's catalog changes arrive at our cache callbacks.
        CommandCounterIncrement();
        AcceptInvalidationMessages();
    }
    collect_from_locks();
    collect_names();
    if (transaction.changed.empty() && !transaction.resets) return;
    mark_all();
    pause_point(PausePoint::pre_commit_marked);
}

void raise_ddl_version(Tag slot, std::uint64_t clock) noexcept {
    pg_atomic_uint64& version = shared::ddl_version(slot);
    uint64 seen = pg_atomic_read_u64(&version);
    while (seen < clock && !pg_atomic_compare_exchange_u64(&version, &seen, clock)) {
    }
}

// What callbacks that ran after ours locked: not marked in time for readers that raced with this commit, but
// no entry of an older state outlives it. Nothing here may fail: the transaction is committed.
void bump_latecomers(std::uint64_t now) noexcept {
    run_sweep();
    ClockTable clock = shared::clock();
    const auto bump = [&](Oid relation) {
        const Tag tag = relation_tag(relation);
        if (transaction.marked && transaction.changed.contains(tag)) return;
        clock.begin_write(tag);
        clock.end_write(tag, now);
    };
    for (int i = 0; i < sweep.count; ++i) {
        const ancestors::Family family = ancestors::remembered(sweep.found[i].relation);
        if (family.temporary) continue;
        bump(sweep.found[i].relation);
        if (settings::is_broken(settings::Mutant::no_ancestors)) continue;
        for (const Oid ancestor : family.ancestors) bump(ancestor);
    }
    if (sweep.overflow) clock.raise_floor(now);
}

void forget_transaction() noexcept {
    transaction.changed.clear();
    transaction.ddl.clear();
    transaction.resets = false;
    transaction.marked = false;
    transaction.changes_other_servers = false;
    transaction.prepared_xid = InvalidTransactionId;
    transaction.prepared_count = 0;
}

void after_commit() noexcept {
    if (!has_xid()) {
        forget_transaction();
        return;
    }
    if (transaction.marked) pause_point(PausePoint::commit_visible);
    // At least this transaction's own completion: it was counted before this callback.
    const std::uint64_t now = shared::clock_now();
    ClockTable clock = shared::clock();
    for (const std::uint32_t slot : transaction.ddl.slots()) raise_ddl_version(slot, now);
    if (transaction.resets) clock.raise_floor(now);
    bump_latecomers(now);
    if (transaction.marked) {
        for (const std::uint32_t slot : transaction.changed.slots()) {
            if (!marks_writers()) clock.begin_write(slot);
            clock.end_write(slot, moves_versions() ? now : 0);
        }
        pause_point(PausePoint::commit_done);
    }
    forget_transaction();
}

void after_abort() noexcept {
    if (TransactionIdIsValid(transaction.prepared_xid)) in_doubt::forget(transaction.prepared_xid);
    if (transaction.marked && marks_writers()) {
        ClockTable clock = shared::clock();
        // The other server may have committed already.
        const bool may_be_done = transaction.changes_other_servers;
        const std::uint64_t now = may_be_done ? shared::clock_now() : 0;
        for (const std::uint32_t slot : transaction.changed.slots()) {
            if (may_be_done) {
                clock.end_write(slot, now);
            } else {
                clock.cancel_write(slot);
            }
        }
    }
    forget_transaction();
}

void before_prepare() {
    before_commit();
    if (!transaction.marked) return;
    in_doubt::add(GetTopTransactionId(), transaction.changed, transaction.resets);
    transaction.prepared_xid = GetTopTransactionId();
    transaction.prepared_count = transaction.changed.slots().size();
}

// The marks stay, and the in-doubt list has them; but not those that came after it was written.
void after_prepare() noexcept {
    if (transaction.marked && marks_writers()) {
        for (const std::uint32_t slot : transaction.changed.slots().subspan(transaction.prepared_count)) {
            shared::clock().cancel_write(slot);
        }
    }
    forget_transaction();
}

void on_transaction_event(XactEvent event, void* /*argument*/) {
    if (!shared::available()) return;
    switch (event) {
        case XACT_EVENT_PRE_COMMIT:
            before_commit();
            break;
        case XACT_EVENT_COMMIT:
            after_commit();
            maintenance::after_commit();
            break;
        case XACT_EVENT_ABORT:
            after_abort();
            maintenance::after_abort();
            break;
        case XACT_EVENT_PRE_PREPARE:
            before_prepare();
            break;
        case XACT_EVENT_PREPARE:
            after_prepare();
            maintenance::after_commit();
            break;
        case XACT_EVENT_PARALLEL_PRE_COMMIT:
        case XACT_EVENT_PARALLEL_COMMIT:
        case XACT_EVENT_PARALLEL_ABORT:
            break;
    }
}

// A DDL stops being pending when its invalidation messages are out, which is before its locks are released.
void on_resource_release(ResourceReleasePhase phase, bool /*is_commit*/, bool is_top_level,
                         void* /*argument*/) {
    if (phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_top_level || !transaction.holds_ddl_pending) return;
    pg_atomic_fetch_sub_u32(&shared::state().ddl_pending, 1);
    transaction.holds_ddl_pending = false;
}

// The cache callbacks also see other transactions' messages; taking those for ours only invalidates too much.
[[nodiscard]] bool may_be_ours() {
    if (pg::is_autovacuum_worker() && maintenance::only()) return false;
    return shared::available() && IsTransactionState() && has_xid();
}

// Also called between PRE_COMMIT and COMMIT: on-commit actions accept other sessions' messages. The set and
// the marks must stay the same thing, or a mark would be taken back that was never made.
void note_definition(Tag tag) {
    const bool is_new = !transaction.changed.contains(tag);
    transaction.changed.add(tag);
    if (is_new && transaction.marked && marks_writers()) shared::clock().begin_write(tag);
    transaction.ddl.add(tag);
}

// GRANT and REVOKE lock nothing that a sweep would find; they change the relation's definition.
void on_relation_change(Datum /*argument*/, Oid relation) {
    ancestors::forget();
    if (settings::is_broken(settings::Mutant::no_relations) ||
        settings::is_broken(settings::Mutant::rows_only))
        return;
    if (!OidIsValid(relation) || !may_be_ours() || maintenance::only()) return;
    note_definition(relation_tag(relation));
    note_definition(relation_definition_tag(relation));
}

void on_catalog_row_change(Datum /*argument*/, int cache_id, uint32 hash_value) {
    if (settings::is_broken(settings::Mutant::no_catalogs)) return;
    if (hash_value != 0 && may_be_ours()) note_definition(catalog_tag(cache_id, hash_value));
}

void on_roles_change(Datum /*argument*/, int /*cache_id*/, uint32 hash_value) {
    if (settings::is_broken(settings::Mutant::no_roles)) return;
    if (hash_value != 0 && may_be_ours()) note_definition(roles_tag());
}

void on_foreign_change(Datum /*argument*/, int /*cache_id*/, uint32 hash_value) {
    if (settings::is_broken(settings::Mutant::no_catalogs)) return;
    if (hash_value != 0 && may_be_ours()) note_definition(foreign_servers_tag());
}

void on_shared_definition_change(Datum /*argument*/, int cache_id, uint32 hash_value) {
    if (settings::is_broken(settings::Mutant::no_definitions) || hash_value == 0 || !may_be_ours()) return;
    note_definition(definitions_tag());
    if (cache_id == PROCOID) note_definition(catalog_tag(cache_id, hash_value));
}

}  // namespace

void register_callbacks() {
    RegisterXactCallback(on_transaction_event, nullptr);
    RegisterResourceReleaseCallback(on_resource_release, nullptr);
    CacheRegisterRelcacheCallback(on_relation_change, Datum{0});
    for (const int cache_id : {TYPEOID, TYPENAMENSP, NAMESPACEOID, NAMESPACENAME, RELNAMENSP}) {
        CacheRegisterSyscacheCallback(cache_id, on_catalog_row_change, Datum{0});
    }
    for (const int cache_id : {PROCOID, OPEROID, CASTSOURCETARGET, CLAOID, AMOPOPID, AMPROCNUM, COLLOID,
                               CONDEFAULT, ENUMOID, TSCONFIGOID, TSCONFIGMAP, TSDICTOID}) {
        CacheRegisterSyscacheCallback(cache_id, on_shared_definition_change, Datum{0});
    }
    for (const int cache_id :
         {FOREIGNDATAWRAPPEROID, FOREIGNSERVEROID, FOREIGNTABLEREL, USERMAPPINGOID, USERMAPPINGUSERSERVER}) {
        CacheRegisterSyscacheCallback(cache_id, on_foreign_change, Datum{0});
    }
    for (const int cache_id : {AUTHOID, AUTHMEMMEMROLE, DATABASEOID}) {
        CacheRegisterSyscacheCallback(cache_id, on_roles_change, Datum{0});
    }
}

void note_change(Tag tag) {
    (void)GetTopTransactionId();
    note_definition(tag);
}

void note_reset() {
    (void)GetTopTransactionId();
    transaction.resets = true;
}

}  // namespace tiercache::write_tracker
