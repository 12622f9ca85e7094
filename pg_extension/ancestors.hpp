// What a change of a relation changes besides: its partition and inheritance ancestors; and which relations
// are special: temporary ones concern nobody, foreign ones change without a transaction id. Remembered in the
// backend until any relation's definition changes.
#pragma once

#include <span>

#include "pg_extension/pg.hpp"

namespace tiercache::ancestors {

struct Family {
    bool temporary = false;
    bool foreign = false;
    std::span<const Oid> ancestors;  // valid until the next call of forget()
};

// Reads the catalogs when the relation is not remembered: only inside a transaction that is not aborted.
[[nodiscard]] Family of(Oid relation);

// Only if it is remembered; nothing otherwise. Safe at any time.
[[nodiscard]] Family remembered(Oid relation) noexcept;

// A relation's definition changed: everything is looked up anew from the next of() on. Safe at any time.
void forget() noexcept;

}  // namespace tiercache::ancestors
