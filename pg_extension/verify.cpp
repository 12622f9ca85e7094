#include "pg_extension/verify.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "pg_extension/json_payload.hpp"
#include "pg_extension/query_arguments.hpp"
#include "pg_extension/settings.hpp"
#include "pg_extension/tuple_payload.hpp"
#include "pg_extension/wire_payload.hpp"

extern "C" {
#include <lib/stringinfo.h>
#include <port/pg_bswap.h>
#include <utils/tuplestore.h>
}

namespace tiercache::verify {

namespace {

using Bytes = std::span<const std::byte>;

[[nodiscard]] Bytes bytes_of(const StringInfoData& text) noexcept {
    return std::as_bytes(std::span(text.data, static_cast<std::size_t>(text.len)));
}

// Empty: it cannot be kept, so there is nothing to compare.
[[nodiscard]] Bytes run_for_tuples(Fill& fill, TupleDesc columns) {
    tuple_payload::Sink sink{};
    sink.expected = columns;
    sink.rows = tuplestore_begin_heap(false, false, work_mem);
    sink.limit = static_cast<std::size_t>(MaxAllocSize) / 2;
    fill::run(fill, tuple_payload::make_receiver(&sink));
    tuplestore_end(sink.rows);
    return sink.copy.complete ? bytes_of(sink.copy.payload) : Bytes{};
}

[[nodiscard]] Bytes run(Fill& fill, TupleDesc columns) {
    StringInfoData out;
    switch (fill.request.format) {
        case PayloadFormat::json:
            initStringInfo(&out);
            fill::run(fill, json_payload::make_receiver(&out));
            json_payload::finish(&out);
            return bytes_of(out);
        case PayloadFormat::pg_wire:
            initStringInfo(&out);
            fill::run(fill, wire_payload::make_receiver(&out, &fill.plan));
            return bytes_of(out);
        default:
            return run_for_tuples(fill, columns);
    }
}

// The rows of a payload, or what will do as such.
struct Pieces {
    Bytes* pieces;
    std::size_t count;
};

[[nodiscard]] Pieces room_for(std::size_t count) {
    return {static_cast<Bytes*>(palloc_extended(sizeof(Bytes) * (count + 1), MCXT_ALLOC_HUGE)), 0};
}

// A row that holds the separator itself is several pieces, in both payloads.
[[nodiscard]] Pieces pieces_of_json(Bytes payload) {
    constexpr std::string_view separator = ", \n ";
    std::string_view text(reinterpret_cast<const char*>(payload.data()), payload.size());
    if (text.size() >= 2) text = text.substr(1, text.size() - 2);
    Pieces found = room_for(text.size() / separator.size());
    for (bool more = true; more;) {
        const std::size_t end = text.find(separator);
        more = end != std::string_view::npos;
        found.pieces[found.count++] = std::as_bytes(std::span(text.substr(0, end)));
        if (more) text.remove_prefix(end + separator.size());
    }
    return found;
}

// Messages: a byte for the kind, four for the length of what follows, its own included.
[[nodiscard]] Pieces pieces_of_wire(Bytes payload) {
    constexpr std::size_t head = 5;
    Pieces found = room_for(payload.size() / head);
    while (payload.size() >= head) {
        std::uint32_t length = 0;
        std::memcpy(&length, payload.data() + 1, sizeof(length));
        const std::size_t size = std::min<std::size_t>(std::size_t{pg_ntoh32(length)} + 1, payload.size());
        found.pieces[found.count++] = payload.first(size);
        payload = payload.subspan(size);
    }
    return found;
}

[[nodiscard]] Pieces pieces_of_tuples(Bytes payload, TupleDesc columns) {
    tuple_payload::Rows rows{};
    if (!tuple_payload::read(payload, columns, rows)) return room_for(0);
    Pieces found = room_for(rows.count);
    for (; found.count < rows.count; ++found.count) {
        const MinimalTuple row = rows.rows[found.count];
        found.pieces[found.count] = std::as_bytes(std::span(reinterpret_cast<const char*>(row), row->t_len));
    }
    return found;
}

[[nodiscard]] Pieces pieces_of(Bytes payload, PayloadFormat format, TupleDesc columns) {
    if (format == PayloadFormat::json) return pieces_of_json(payload);
    return format == PayloadFormat::pg_wire ? pieces_of_wire(payload) : pieces_of_tuples(payload, columns);
}

[[nodiscard]] bool same_in_any_order(Pieces a, Pieces b) {
    if (a.count != b.count) return false;
    const auto less = [](Bytes x, Bytes y) {
        return x.size() != y.size() ? x.size() < y.size() : std::memcmp(x.data(), y.data(), x.size()) < 0;
    };
    std::sort(a.pieces, a.pieces + a.count, less);
    std::sort(b.pieces, b.pieces + b.count, less);
    return std::equal(a.pieces, a.pieces + a.count, b.pieces,
                      [](Bytes x, Bytes y) { return std::ranges::equal(x, y); });
}

void report(const char* sql, Bytes cached, Bytes own) {
    const auto end = std::ranges::mismatch(cached, own).in1;
    const bool is_error = settings::verify == static_cast<int>(settings::Verify::error);
    ereport(
        is_error ? ERROR : WARNING,
        (errcode(ERRCODE_DATA_CORRUPTED), errmsg("tiercache: a cached answer is not what the query returns"),
         errdetail("Its %zu bytes and the query's %zu differ from byte %zu on.", cached.size(), own.size(),
                   static_cast<std::size_t>(end - cached.begin()) + 1),
         errcontext("SQL statement \"%s\"", sql)));
}

}  // namespace

bool agrees(const FillRequest& request, const EntryView& entry, Bytes payload, TupleDesc columns) {
    if (settings::verify == static_cast<int>(settings::Verify::off)) return true;
    std::array<Tag, max_entry_tags> room;
    const std::span<const Tag> tags = entry.tags.copy_to(room);
    if (reads_foreign_tables(tags)) return true;
    Fill* fill = new_fill(request);
    const Bytes own = run(*fill, columns);
    if (std::ranges::equal(own, payload) || (request.format == PayloadFormat::pg_tuples && own.empty()))
        return true;
    if (!fill->is_ordered && same_in_any_order(pieces_of(payload, request.format, columns),
                                               pieces_of(own, request.format, columns))) {
        return true;
    }
    // Both are right, each of its own moment.
    if (check_for_transaction(tags, entry.fields.stamp, entry.fields.epoch) != Verdict::fresh) return true;
    report(request.sql, payload, own);
    return false;
}

}  // namespace tiercache::verify
