#include "pg_extension/tuple_payload.hpp"

#include <cstring>

#include "pg_extension/query_compat.hpp"

extern "C" {
#include <access/detoast.h>
#include <access/htup_details.h>
#include <access/tupmacs.h>
#include <catalog/pg_type.h>
#include <executor/tuptable.h>
#include <parser/parse_coerce.h>
#include <utils/builtins.h>
#include <utils/lsyscache.h>
}

// Plain C data throughout: errors may jump over all of it.
namespace tiercache::tuple_payload {

namespace {

struct Header {
    std::uint32_t column_count;
    DependsOn depends_on;
    std::uint64_t row_count;
};
static_assert(sizeof(Header) == 16);

struct Column {
    Oid type;
    std::int32_t modifier;
    NameData name;
};
static_assert(sizeof(Column) == 8 + NAMEDATALEN && sizeof(Column) % MAXIMUM_ALIGNOF == 0);

struct Receiver {
    DestReceiver functions;
    Sink* sink;
    TupleTableSlot* flat_slot;  // rows whose out-of-line values were fetched
    MemoryContext row_context;
    MemoryContext caller_context;  // of the copy
};

[[nodiscard]] bool same_column(const Column& column, Oid type, std::int32_t modifier) {
    if (column.type != type && !IsBinaryCoercible(column.type, type)) return false;
    return modifier < 0 || modifier == column.modifier;
}

[[nodiscard]] const char* type_name(Oid type, std::int32_t modifier) {
    return format_type_extended(type, modifier, FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_ALLOW_INVALID);
}

// "AS t(a integer, b text)"
[[nodiscard]] char* definition_list(std::span<const Column> columns) {
    StringInfoData text;
    initStringInfo(&text);
    appendStringInfoString(&text, "AS t(");
    for (std::size_t i = 0; i < columns.size(); ++i) {
        if (i > 0) appendStringInfoString(&text, ", ");
        NameData name = columns[i].name;
        name.data[NAMEDATALEN - 1] = '\0';
        appendStringInfo(&text, "%s %s", quote_identifier(NameStr(name)),
                         type_name(columns[i].type, columns[i].modifier));
    }
    appendStringInfoChar(&text, ')');
    return text.data;
}

void check_columns(std::span<const Column> columns, TupleDesc expected) {
    if (columns.size() != static_cast<std::size_t>(expected->natts)) {
        ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                        errmsg("the query has %d columns, but the column definition list has %d",
                               static_cast<int>(columns.size()), expected->natts),
                        errhint("Write: %s", definition_list(columns))));
    }
    for (int i = 0; i < expected->natts; ++i) {
        const Column& column = columns[static_cast<std::size_t>(i)];
        const auto* wanted = TupleDescAttr(expected, i);
        if (same_column(column, wanted->atttypid, wanted->atttypmod)) continue;
        ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
                        errmsg("column %d of the query is of type %s, but the column definition list says %s",
                               i + 1, type_name(column.type, column.modifier),
                               type_name(wanted->atttypid, wanted->atttypmod)),
                        errhint("Write: %s", definition_list(columns))));
    }
}

[[nodiscard]] std::span<Column> describe(TupleDesc description) {
    const auto count = static_cast<std::size_t>(description->natts);
    auto* columns = static_cast<Column*>(palloc0(sizeof(Column) * (count + 1)));
    for (std::size_t i = 0; i < count; ++i) {
        const auto* attribute = TupleDescAttr(description, static_cast<int>(i));
        columns[i] = {attribute->atttypid, attribute->atttypmod, attribute->attname};
    }
    return {columns, count};
}

void give_up(Copy& copy) {
    pfree(copy.payload.data);
    copy.payload = {};
    copy.complete = false;
}

void append(Copy& copy, const void* bytes, Size size) {
    if (!copy.complete) return;
    const Size padded = MAXALIGN(size);
    if (static_cast<Size>(copy.payload.len) + padded > copy.limit) {
        give_up(copy);
        return;
    }
    static constexpr char zeros[MAXIMUM_ALIGNOF] = {};
    appendBinaryStringInfo(&copy.payload, static_cast<const char*>(bytes), static_cast<int>(size));
    appendBinaryStringInfo(&copy.payload, zeros, static_cast<int>(padded - size));
}

void start(DestReceiver* self, int /*operation*/, TupleDesc description) {
    auto* receiver = reinterpret_cast<Receiver*>(self);
    Sink& sink = *receiver->sink;
    check_columns(describe(description), sink.expected);
    receiver->flat_slot = MakeSingleTupleTableSlot(description, &TTSOpsMinimalTuple);
    receiver->row_context =
        AllocSetContextCreate(CurrentMemoryContext, "tiercache row", ALLOCSET_DEFAULT_SIZES);
    // The executor's own context ends with it.
    MemoryContext executor = MemoryContextSwitchTo(receiver->caller_context);
    begin_copy(sink.copy, sink.limit, description);
    MemoryContextSwitchTo(executor);
}

bool receive(TupleTableSlot* slot, DestReceiver* self) {
    auto* receiver = reinterpret_cast<Receiver*>(self);
    Sink& sink = *receiver->sink;
    MemoryContext caller = MemoryContextSwitchTo(receiver->row_context);
    MinimalTuple tuple = flatten(slot);
    ExecStoreMinimalTuple(tuple, receiver->flat_slot, false);
    tuplestore_puttupleslot(sink.rows, receiver->flat_slot);
    add_to_copy(sink.copy, tuple);
    ExecClearTuple(receiver->flat_slot);
    MemoryContextSwitchTo(caller);
    MemoryContextReset(receiver->row_context);
    return true;
}

void shut_down(DestReceiver* self) {
    auto* receiver = reinterpret_cast<Receiver*>(self);
    if (receiver->flat_slot != nullptr) ExecDropSingleTupleTableSlot(receiver->flat_slot);
    receiver->flat_slot = nullptr;
    finish_copy(receiver->sink->copy);
}
void destroy(DestReceiver* self) { pfree(self); }

// Is the attribute at `offset` of `data` whole and in line? Moves `offset` behind it.
[[nodiscard]] bool step_over(const char* data, std::size_t size, const FormData_pg_attribute* column,
                             std::size_t& offset) {
    if (column->attlen != -1) {
        // No type of a result's column has attlen -2 (cstring) in a table; refuse it.
        if (column->attlen < 0) return false;
        offset = att_align_nominal(offset, column->attalign);
        if (offset > size || size - offset < static_cast<std::size_t>(column->attlen)) return false;
        offset += static_cast<std::size_t>(column->attlen);
        return true;
    }
    if (offset >= size) return false;
    offset = att_align_pointer(offset, column->attalign, -1, data + offset);
    if (offset >= size) return false;
    const char* value = data + offset;
    if (VARATT_IS_1B_E(value)) return false;
    const std::size_t header = VARATT_IS_1B(value) ? VARHDRSZ_SHORT : VARHDRSZ;
    if (size - offset < header) return false;
    const std::size_t length = VARSIZE_ANY(value);
    if (length < header || size - offset < length) return false;
    // A compressed value starts with the length of the raw one.
    if (VARATT_IS_4B_C(value) && length < VARHDRSZ_COMPRESSED) return false;
    offset += length;
    return true;
}

// The columns at the front that lie in the same place in every row without NULLs, and where they end.
struct FixedFront {
    int columns;
    std::size_t bytes;
};

[[nodiscard]] FixedFront fixed_front(TupleDesc description) noexcept {
    FixedFront front{0, 0};
    for (; front.columns < description->natts; ++front.columns) {
        const auto* column = TupleDescAttr(description, front.columns);
        if (column->attlen <= 0) break;
        front.bytes = att_align_nominal(front.bytes, column->attalign) + static_cast<Size>(column->attlen);
    }
    return front;
}

[[nodiscard]] bool is_whole_tuple(const MinimalTupleData* tuple, TupleDesc description,
                                  const FixedFront& front) {
    const bool has_nulls = (tuple->t_infomask & HEAP_HASNULL) != 0;
    const int columns = tuple->t_infomask2 & HEAP_NATTS_MASK;
    if (columns != description->natts || (tuple->t_infomask & HEAP_HASEXTERNAL) != 0) return false;
    const std::size_t bitmap = has_nulls ? BITMAPLEN(columns) : 0;
    if (tuple->t_hoff != MAXALIGN(SizeofHeapTupleHeader + bitmap)) return false;
    const std::size_t data_start = tuple->t_hoff - MINIMAL_TUPLE_OFFSET;
    if (data_start > tuple->t_len) return false;
    const char* data = reinterpret_cast<const char*>(tuple) + data_start;
    const std::size_t size = tuple->t_len - data_start;
    std::size_t offset = has_nulls ? 0 : front.bytes;
    if (offset > size) return false;
    for (int i = has_nulls ? 0 : front.columns; i < columns; ++i) {
        if (has_nulls && att_isnull(i, tuple->t_bits)) continue;
        if (!step_over(data, size, TupleDescAttr(description, i), offset)) return false;
    }
    return true;
}

}  // namespace

bool can_be_kept(TupleDesc description) {
    for (int i = 0; i < description->natts; ++i) {
        const auto* column = TupleDescAttr(description, i);
        // A record's columns are known to the backend that made it only; a cstring is no value of a table.
        if (column->atttypid == RECORDOID || column->atttypid == RECORDARRAYOID || column->attlen < -1) {
            return false;
        }
    }
    return true;
}

void begin_copy(Copy& copy, Size limit, TupleDesc description, DependsOn depends_on) {
    initStringInfo(&copy.payload);
    copy.limit = limit;
    copy.row_count = 0;
    copy.complete = true;
    if (!can_be_kept(description)) {
        give_up(copy);
        return;
    }
    const std::span<Column> columns = describe(description);
    const Header header{static_cast<std::uint32_t>(columns.size()), depends_on, 0};
    append(copy, &header, sizeof(header));
    append(copy, columns.data(), columns.size_bytes());
}

void add_to_copy(Copy& copy, MinimalTuple row) {
    append(copy, row, row->t_len);
    ++copy.row_count;
}

void finish_copy(Copy& copy) {
    if (!copy.complete) return;
    std::memcpy(copy.payload.data + offsetof(Header, row_count), &copy.row_count, sizeof(copy.row_count));
}

MinimalTuple flatten(TupleTableSlot* slot) {
    TupleDesc description = slot->tts_tupleDescriptor;
    slot_getallattrs(slot);
    auto* values = static_cast<Datum*>(palloc(sizeof(Datum) * (static_cast<Size>(description->natts) + 1)));
    for (int i = 0; i < description->natts; ++i) {
        values[i] = slot->tts_values[i];
        if (slot->tts_isnull[i] || TupleDescAttr(description, i)->attlen != -1) continue;
        auto* value = reinterpret_cast<struct varlena*>(DatumGetPointer(values[i]));
        if (VARATT_IS_EXTERNAL(value)) values[i] = PointerGetDatum(detoast_external_attr(value));
    }
    return pg::form_minimal_tuple(description, values, slot->tts_isnull);
}

DestReceiver* make_receiver(Sink* sink) {
    auto* receiver = static_cast<Receiver*>(palloc0(sizeof(Receiver)));
    receiver->functions = {receive, start, shut_down, destroy, DestNone};
    receiver->sink = sink;
    receiver->caller_context = CurrentMemoryContext;
    return &receiver->functions;
}

namespace {

struct Parts {
    std::span<const Column> columns;
    std::span<const std::byte> tuples;
    std::uint64_t row_count;
    DependsOn depends_on;
};

[[nodiscard]] bool split(std::span<const std::byte> payload, Parts& parts) noexcept {
    Header header;
    if (payload.size() < sizeof(header)) return false;
    std::memcpy(&header, payload.data(), sizeof(header));
    payload = payload.subspan(sizeof(header));
    if (header.column_count > MaxTupleAttributeNumber) return false;
    const std::size_t column_bytes = header.column_count * sizeof(Column);
    if (payload.size() < column_bytes) return false;
    parts.columns = {reinterpret_cast<const Column*>(payload.data()), header.column_count};
    parts.tuples = payload.subspan(column_bytes);
    parts.row_count = header.row_count;
    parts.depends_on = header.depends_on;
    return parts.row_count <= parts.tuples.size() / SizeofMinimalTupleHeader;
}

// The first tuple of `tuples`, which then starts behind it; nullptr when there is no whole one.
[[nodiscard]] MinimalTuple take(std::span<const std::byte>& tuples, TupleDesc description,
                                const FixedFront& front) {
    const auto* tuple = reinterpret_cast<const MinimalTupleData*>(tuples.data());
    const bool whole = tuples.size() >= SizeofMinimalTupleHeader &&
                       tuple->t_len >= SizeofMinimalTupleHeader && MAXALIGN(tuple->t_len) <= tuples.size() &&
                       is_whole_tuple(tuple, description, front);
    if (!whole) return nullptr;
    tuples = tuples.subspan(MAXALIGN(tuple->t_len));
    return const_cast<MinimalTuple>(tuple);
}

[[nodiscard]] bool same_types(std::span<const Column> columns, TupleDesc description) noexcept {
    if (columns.size() != static_cast<std::size_t>(description->natts)) return false;
    for (int i = 0; i < description->natts; ++i) {
        if (columns[static_cast<std::size_t>(i)].type != TupleDescAttr(description, i)->atttypid)
            return false;
    }
    return true;
}

}  // namespace

bool read(std::span<const std::byte> payload, TupleDesc description, Rows& rows) {
    Parts parts{};
    if (!split(payload, parts) || !same_types(parts.columns, description)) return false;
    rows.count = parts.row_count;
    rows.depends_on = parts.depends_on;
    rows.rows = static_cast<MinimalTuple*>(
        palloc_extended(sizeof(MinimalTuple) * (parts.row_count + 1), MCXT_ALLOC_HUGE));
    const FixedFront front = fixed_front(description);
    for (std::uint64_t i = 0; i < parts.row_count; ++i) {
        rows.rows[i] = take(parts.tuples, description, front);
        if (rows.rows[i] == nullptr) return false;
    }
    return parts.tuples.empty();
}

bool replay(std::span<const std::byte> payload, TupleDesc expected, Tuplestorestate* rows) {
    Parts parts{};
    if (!split(payload, parts)) return false;
    check_columns(parts.columns, expected);
    TupleTableSlot* slot = MakeSingleTupleTableSlot(expected, &TTSOpsMinimalTuple);
    const FixedFront front = fixed_front(expected);
    bool whole = true;
    for (std::uint64_t i = 0; whole && i < parts.row_count; ++i) {
        CHECK_FOR_INTERRUPTS();
        MinimalTuple tuple = take(parts.tuples, expected, front);
        whole = tuple != nullptr;
        if (!whole) break;
        ExecStoreMinimalTuple(tuple, slot, false);
        tuplestore_puttupleslot(rows, slot);
    }
    ExecDropSingleTupleTableSlot(slot);
    return whole && parts.tuples.empty();
}

std::uint64_t row_count(std::span<const std::byte> payload) noexcept {
    Header header;
    if (payload.size() < sizeof(header)) return 0;
    std::memcpy(&header, payload.data(), sizeof(header));
    return header.row_count;
}

}  // namespace tiercache::tuple_payload
