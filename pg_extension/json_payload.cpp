#include "pg_extension/json_payload.hpp"

#include "pg_extension/query_compat.hpp"

extern "C" {
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
    MemoryContext row_context;
    bool any_row;
};

void start(DestReceiver* self, int /*operation*/, TupleDesc description) {
    auto* receiver = reinterpret_cast<Receiver*>(self);
    // row_to_json() finds the columns of a row by its registered type.
    BlessTupleDesc(description);
    receiver->row_context =
        AllocSetContextCreate(CurrentMemoryContext, "tiercache row", ALLOCSET_DEFAULT_SIZES);
    appendStringInfoChar(receiver->out, '[');
}

bool receive(TupleTableSlot* slot, DestReceiver* self) {
    auto* receiver = reinterpret_cast<Receiver*>(self);
    MemoryContext caller = MemoryContextSwitchTo(receiver->row_context);
    // The white space is json_agg()'s.
    if (receiver->any_row) appendStringInfoString(receiver->out, ", \n ");
    receiver->any_row = true;
    const Datum row = DirectFunctionCall1(row_to_json, ExecFetchSlotHeapTupleDatum(slot));
    const auto* json = DatumGetTextPP(row);
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
