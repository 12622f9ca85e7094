#include "pg_extension/json_payload.hpp"

#include "pg_extension/query_compat.hpp"

extern "C" {
#include <access/htup_details.h>
#include <executor/tuptable.h>
#include <funcapi.h>
#include <utils/fmgrprotos.h>
}

// The receiver's functions run in the executor's frames: plain C, so that errors may jump over them.
namespace tiercache::json_payload {

namespace {

struct Receiver {
    DestReceiver functions;
    StringInfo out;
    TupleDesc description;
    MemoryContext row_context;
    bool any_row;
};

void start(DestReceiver* self, int /*operation*/, TupleDesc description) {
    auto* receiver = reinterpret_cast<Receiver*>(self);
    // row_to_json() finds the columns of a row by its registered type.
    receiver->description = BlessTupleDesc(description);
    receiver->row_context =
        AllocSetContextCreate(CurrentMemoryContext, "tiercache row", ALLOCSET_DEFAULT_SIZES);
    appendStringInfoChar(receiver->out, '[');
}

bool receive(TupleTableSlot* slot, DestReceiver* self) {
    auto* receiver = reinterpret_cast<Receiver*>(self);
    slot_getallattrs(slot);
    MemoryContext caller = MemoryContextSwitchTo(receiver->row_context);
    // The white space is json_agg()'s.
    if (receiver->any_row) appendStringInfoString(receiver->out, ", \n ");
    receiver->any_row = true;
    // Of the result's type: a slot that a lower plan node handed up may have other names for its columns, or
    // no registered type.
    slot_getallattrs(slot);
    HeapTuple row = heap_form_tuple(receiver->description, slot->tts_values, slot->tts_isnull);
    const auto* json = DatumGetTextPP(DirectFunctionCall1(row_to_json, HeapTupleGetDatum(row)));
    appendBinaryStringInfo(receiver->out, VARDATA_ANY(json), static_cast<int>(VARSIZE_ANY_EXHDR(json)));
    MemoryContextSwitchTo(caller);
    MemoryContextReset(receiver->row_context);
    return true;
}

void shut_down(DestReceiver* /*self*/) {}
void destroy(DestReceiver* self) { pfree(self); }

}  // namespace

DestReceiver* make_receiver(StringInfo out) {
    auto* receiver = static_cast<Receiver*>(palloc0(sizeof(Receiver)));
    receiver->functions = {receive, start, shut_down, destroy, DestNone};
    receiver->out = out;
    return &receiver->functions;
}

void finish(StringInfo out) { appendStringInfoChar(out, ']'); }

}  // namespace tiercache::json_payload
