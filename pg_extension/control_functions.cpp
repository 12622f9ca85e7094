// The SQL functions that steer and identify: session_key, token, invalidate, reset, check_preload.
#include <cstring>

#include "pg_extension/ancestors.hpp"
#include "pg_extension/boundary.hpp"
#include "pg_extension/query_compat.hpp"
#include "pg_extension/session_key.hpp"
#include "pg_extension/shared_state.hpp"
#include "pg_extension/tags.hpp"
#include "pg_extension/write_tracker.hpp"

extern "C" {
#include <utils/builtins.h>
#include <utils/lsyscache.h>

PG_FUNCTION_INFO_V1(tiercache_check_preload);
PG_FUNCTION_INFO_V1(tiercache_session_key);
PG_FUNCTION_INFO_V1(tiercache_token);
PG_FUNCTION_INFO_V1(tiercache_invalidate);
PG_FUNCTION_INFO_V1(tiercache_reset);
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
        if (Segment* segment = shared::segment(); segment != nullptr) segment->clear();
    }
    reset_pending = false;
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
Datum tiercache_reset(PG_FUNCTION_ARGS) {
    (void)fcinfo;
    tiercache::pg::enter([] { tiercache::reset(); });
    PG_RETURN_VOID();
}
