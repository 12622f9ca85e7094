#include "pg_extension/wire_payload.hpp"

#include <cstring>

#include "pg_extension/query_compat.hpp"

extern "C" {
#include <libpq/pqformat.h>
#include <utils/lsyscache.h>
}

// The receiver's functions run in the executor's frames: plain C, so that errors may jump over them.
namespace tiercache::wire_payload {

namespace {

struct Receiver {
    DestReceiver functions;
    StringInfo out;
    PlannedStmt** plan;
    FmgrInfo* output_functions;  // one a column
    MemoryContext row_context;
};

// A message's type and length; end_message() fills the length in.
[[nodiscard]] int begin_message(StringInfo out, char type) {
    appendStringInfoCharMacro(out, type);
    const int start = out->len;
    pq_sendint32(out, 0);
    return start;
}

void end_message(StringInfo out, int start) {
    const uint32 length = pg_hton32(static_cast<uint32>(out->len - start));
    std::memcpy(out->data + start, &length, sizeof(length));
}

// Where the columns come from; nullptr when there are no more.
[[nodiscard]] const TargetEntry* next_column(List* targets, int& position) {
    while (position < list_length(targets)) {
        const auto* target = static_cast<const TargetEntry*>(list_nth(targets, position++));
        if (!target->resjunk) return target;
    }
    return nullptr;
}

void describe_rows(StringInfo out, TupleDesc description, List* targets) {
    const int message = begin_message(out, 'T');
    pq_sendint16(out, static_cast<uint16>(description->natts));
    int position = 0;
    for (int i = 0; i < description->natts; ++i) {
        const auto* column = TupleDescAttr(description, i);
        const TargetEntry* source = next_column(targets, position);
        int32 modifier = column->atttypmod;
        // Clients get a domain as the type it is made from.
        const Oid type = getBaseTypeAndTypmod(column->atttypid, &modifier);
        pq_sendstring(out, NameStr(column->attname));
        pq_sendint32(out, source != nullptr ? source->resorigtbl : InvalidOid);
        pq_sendint16(out, static_cast<uint16>(source != nullptr ? source->resorigcol : 0));
        pq_sendint32(out, type);
        pq_sendint16(out, static_cast<uint16>(column->attlen));
        pq_sendint32(out, static_cast<uint32>(modifier));
        pq_sendint16(out, 0);
    }
    end_message(out, message);
}

void start(DestReceiver* self, int /*operation*/, TupleDesc description) {
    auto* receiver = reinterpret_cast<Receiver*>(self);
    describe_rows(receiver->out, description, (*receiver->plan)->planTree->targetlist);
    receiver->row_context =
        AllocSetContextCreate(CurrentMemoryContext, "tiercache row", ALLOCSET_DEFAULT_SIZES);
    receiver->output_functions =
        static_cast<FmgrInfo*>(palloc(sizeof(FmgrInfo) * static_cast<Size>(description->natts)));
    for (int i = 0; i < description->natts; ++i) {
        Oid function = InvalidOid;
        bool is_varlena = false;
        getTypeOutputInfo(TupleDescAttr(description, i)->atttypid, &function, &is_varlena);
        fmgr_info(function, &receiver->output_functions[i]);
    }
}

bool receive(TupleTableSlot* slot, DestReceiver* self) {
    auto* receiver = reinterpret_cast<Receiver*>(self);
    StringInfo out = receiver->out;
    slot_getallattrs(slot);
    MemoryContext caller = MemoryContextSwitchTo(receiver->row_context);
    const int columns = slot->tts_tupleDescriptor->natts;
    const int message = begin_message(out, 'D');
    pq_sendint16(out, static_cast<uint16>(columns));
    for (int i = 0; i < columns; ++i) {
        if (slot->tts_isnull[i]) {
            pq_sendint32(out, static_cast<uint32>(-1));
            continue;
        }
        const char* text = OutputFunctionCall(&receiver->output_functions[i], slot->tts_values[i]);
#if PG_VERSION_NUM >= 170000
        pq_sendcountedtext(out, text, static_cast<int>(std::strlen(text)));
#else
        pq_sendcountedtext(out, text, static_cast<int>(std::strlen(text)), false);
#endif
    }
    end_message(out, message);
    MemoryContextSwitchTo(caller);
    MemoryContextReset(receiver->row_context);
    return true;
}

void shut_down(DestReceiver* /*self*/) {}
void destroy(DestReceiver* self) { pfree(self); }

}  // namespace

DestReceiver* make_receiver(StringInfo out, PlannedStmt** plan) {
    auto* receiver = static_cast<Receiver*>(palloc0(sizeof(Receiver)));
    receiver->functions = {receive, start, shut_down, destroy, DestNone};
    receiver->out = out;
    receiver->plan = plan;
    return &receiver->functions;
}

std::uint64_t row_count(std::span<const std::byte> payload) noexcept {
    constexpr std::size_t header = 5;
    std::uint64_t rows = 0;
    while (payload.size() >= header) {
        std::uint32_t length = 0;
        std::memcpy(&length, payload.data() + 1, sizeof(length));
        const std::size_t whole = std::size_t{1} + pg_ntoh32(length);
        if (whole < header || whole > payload.size()) break;
        if (payload[0] == std::byte{'D'}) ++rows;
        payload = payload.subspan(whole);
    }
    return rows;
}

}  // namespace tiercache::wire_payload
