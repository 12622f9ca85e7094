// The SQL functions that steer and identify: session_key, token, invalidate, reset, check_preload, and
// the tags of things by name.
#include <algorithm>
#include <cstring>

#include "pg_extension/ancestors.hpp"
#include "pg_extension/boundary.hpp"
#include "pg_extension/entry_copies.hpp"
#include "pg_extension/key_reader.hpp"
#include "pg_extension/query_arguments.hpp"
#include "pg_extension/query_compat.hpp"
#include "pg_extension/session_key.hpp"
#include "pg_extension/shared_state.hpp"
#include "pg_extension/tags.hpp"
#include "pg_extension/write_tracker.hpp"

extern "C" {
#include <commands/dbcommands.h>
#include <utils/acl.h>
#include <utils/builtins.h>
#include <utils/lsyscache.h>

PG_FUNCTION_INFO_V1(tiercache_check_preload);
PG_FUNCTION_INFO_V1(tiercache_session_key);
PG_FUNCTION_INFO_V1(tiercache_token);
PG_FUNCTION_INFO_V1(tiercache_invalidate);
PG_FUNCTION_INFO_V1(tiercache_reset);
PG_FUNCTION_INFO_V1(tiercache_reset_selected);
PG_FUNCTION_INFO_V1(tiercache_invalidate_tag);
PG_FUNCTION_INFO_V1(tiercache_relation_tag);
PG_FUNCTION_INFO_V1(tiercache_label_tag);
}

namespace tiercache {
namespace {

// Has this transaction called reset()? Then the memory of L4 is given back when it commits.
bool reset_pending = false;
bool callback_registered = false;

void on_transaction_end(XactEvent event, void* /*argument*/) {
    if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT) return;
    if (reset_pending && event == XACT_EVENT_COMMIT) {
        // What was stored before is below the floor already.
        if (Segment* segment = shared::segment(); segment != nullptr) (void)segment->clear();
    }
    reset_pending = false;
}

// Entries of a database, a role, a text; what is not given is any.
struct Selection {
    const char* database;
    const char* role;
    const text* sql;
};

[[nodiscard]] bool selects(const Selection& selection, Oid database, Oid role,
                           std::span<const std::byte> key) {
    KeyReader reader(key);
    std::span<const std::byte> sql;
    SessionIdentity identity{};
    if (!reader.take_question(identity, sql)) return false;
    return (selection.database == nullptr || identity.database == database) &&
           (selection.role == nullptr || identity.role == role) &&
           (selection.sql == nullptr ||
            std::ranges::equal(sql, std::as_bytes(std::span(view_of(selection.sql)))));
}

// Takes entries out of L4 at once. Those of other tiers stay, and so do queries that are running.
void reset_some(const Selection& selection) {
    shared::require();
    const Oid database =
        selection.database != nullptr ? get_database_oid(selection.database, false) : InvalidOid;
    const Oid role = selection.role != nullptr ? get_role_oid(selection.role, false) : InvalidOid;
    for (const entry_copies::Copy* copy = entry_copies::all(); copy != nullptr; copy = copy->next) {
        EntryView entry;
        CHECK_FOR_INTERRUPTS();
        if (decode_entry(copy->bytes(), entry) != StatusCode::ok) continue;
        if (!selects(selection, database, role, entry.key)) continue;
        (void)shared::segment()->erase(hash_key(entry.key), entry.key);
        // After it: what a backend found before is no longer recalled.
        pg_atomic_fetch_add_u64(&shared::state().erasures, 1);
    }
}

Datum session_key_datum() {
    shared::require();
    const std::span<const std::byte> key = session_key();
    auto* out = static_cast<bytea*>(palloc(VARHDRSZ + key.size()));
    SET_VARSIZE(out, VARHDRSZ + key.size());
    std::memcpy(VARDATA(out), key.data(), key.size());
    return PointerGetDatum(out);
}

void invalidate(Oid relation) {
    shared::require();
    if (get_rel_name(relation) == nullptr) {
        ereport(ERROR,
                (errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation with OID %u does not exist", relation)));
    }
    // As a write to it would.
    const ancestors::Family family = ancestors::of(relation);
    write_tracker::note_change(relation_tag(relation));
    for (const Oid ancestor : family.ancestors) write_tracker::note_change(relation_tag(ancestor));
}

void reset() {
    shared::require();
    write_tracker::note_reset();
    if (!callback_registered) RegisterXactCallback(on_transaction_end, nullptr);
    callback_registered = true;
    reset_pending = true;
}

void reset_selected(FunctionCallInfo fcinfo) {
    Selection selection{};
    if (!PG_ARGISNULL(0)) selection.database = NameStr(*PG_GETARG_NAME(0));
    if (!PG_ARGISNULL(1)) selection.role = NameStr(*PG_GETARG_NAME(1));
    if (!PG_ARGISNULL(2)) selection.sql = PG_GETARG_TEXT_PP(2);
    if (selection.database == nullptr && selection.role == nullptr && selection.sql == nullptr) {
        reset();
    } else {
        reset_some(selection);
    }
}

}  // namespace
}  // namespace tiercache

Datum tiercache_check_preload(PG_FUNCTION_ARGS) {
    (void)fcinfo;
    tiercache::pg::enter([] { tiercache::shared::require(); });
    PG_RETURN_VOID();
}
Datum tiercache_session_key(PG_FUNCTION_ARGS) {
    (void)fcinfo;
    return tiercache::pg::enter([] { return tiercache::session_key_datum(); });
}
Datum tiercache_token(PG_FUNCTION_ARGS) {
    (void)fcinfo;
    return tiercache::pg::enter([] {
        tiercache::shared::require();
        return Int64GetDatum(static_cast<int64>(tiercache::shared::clock_now()));
    });
}
Datum tiercache_invalidate(PG_FUNCTION_ARGS) {
    tiercache::pg::enter([fcinfo] { tiercache::invalidate(PG_GETARG_OID(0)); });
    PG_RETURN_VOID();
}
Datum tiercache_invalidate_tag(PG_FUNCTION_ARGS) {
    tiercache::pg::enter([fcinfo] {
        tiercache::shared::require();
        tiercache::write_tracker::note_change(tiercache::label_tag(text_to_cstring(PG_GETARG_TEXT_PP(0))));
    });
    PG_RETURN_VOID();
}
Datum tiercache_relation_tag(PG_FUNCTION_ARGS) {
    return Int64GetDatum(static_cast<int64>(tiercache::relation_tag(PG_GETARG_OID(0))));
}
Datum tiercache_label_tag(PG_FUNCTION_ARGS) {
    return tiercache::pg::enter([fcinfo] {
        return Int64GetDatum(static_cast<int64>(tiercache::label_tag(text_to_cstring(PG_GETARG_TEXT_PP(0)))));
    });
}
Datum tiercache_reset_selected(PG_FUNCTION_ARGS) {
    tiercache::pg::enter([fcinfo] { tiercache::reset_selected(fcinfo); });
    PG_RETURN_VOID();
}
Datum tiercache_reset(PG_FUNCTION_ARGS) {
    (void)fcinfo;
    tiercache::pg::enter([] { tiercache::reset(); });
    PG_RETURN_VOID();
}
