// Private copies of all entries of L4, in one linked list: no PostgreSQL error may be raised while the
// segment's own objects are alive. Not for a loop.
#pragma once

#include <span>

#include "pg_extension/pg.hpp"

extern "C" {
#include <utils/tuplestore.h>
}

namespace tiercache::entry_copies {

struct Copy {
    Copy* next;
    std::size_t size;

    [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
        return {reinterpret_cast<const std::byte*>(this + 1), size};
    }
};

// palloc'ed; nullptr when there is none, or no memory for more.
[[nodiscard]] Copy* all();

// May the current role see the text of this role's queries?
[[nodiscard]] bool shows_text_of(Oid role);

// Entries of other databases, and of clients with other encodings, hold text that may be none here.
[[nodiscard]] Datum text_datum(std::span<const std::byte> bytes);

// Where a function that returns a set puts its rows, as `fcinfo` says; raises an error when it may not.
struct Output {
    TupleDesc description;
    Tuplestorestate* rows;
};
[[nodiscard]] Output begin_output(FunctionCallInfo fcinfo);

}  // namespace tiercache::entry_copies
