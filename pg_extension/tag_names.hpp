// What tags stand for, for people. A tag is a hash: its name is found by hashing all that this database has.
#pragma once

#include <span>

#include "pg_extension/pg.hpp"
#include "shm_cache/hash.hpp"

extern "C" {
#include <nodes/pg_list.h>
}

namespace tiercache::tag_names {

struct Name {
    Tag tag;
    const char* kind;  // "table", "schema", ...
    const char* name;  // nullptr where the kind says all
    Oid relation;      // InvalidOid for what is none
};

// Those of `tags` whose names are found, in no order: a List of Name, palloc'ed. Of all when there are none.
// Labels, and things of other databases or that are gone, are not found.
[[nodiscard]] List* find(std::span<const Tag> tags);

// For each of `tags` one text such as "table public.orders", or what is not known of it: a List of char*.
[[nodiscard]] List* describe(std::span<const Tag> tags);

}  // namespace tiercache::tag_names
