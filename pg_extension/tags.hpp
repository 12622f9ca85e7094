// The tags of things in a PostgreSQL cluster. Both sides use these: the one that records what a query depends
// on, and the one that records what a transaction changed.
#pragma once

#include <string_view>

#include "pg_extension/pg.hpp"
#include "shm_cache/hash.hpp"

namespace tiercache {

enum class TagKind : std::uint32_t {
    relation = 1,
    catalog_row = 2,
    roles = 3,
    definitions = 4,
    label = 5,
    foreign_servers = 6,
    names = 7,
    unlisted_partitions = 8
};

namespace detail {
struct TagName {
    TagKind kind;
    std::uint32_t database;
    std::uint32_t a;
    std::uint32_t b;
};
[[nodiscard]] inline Tag tag_of_name(const TagName& name) noexcept {
    return hash_bytes(std::as_bytes(std::span(&name, 1)));
}

// The finalizer of MurmurHash3 (Austin Appleby), which loses nothing.
constexpr std::uint64_t mix_factors[] = {0xff51afd7ed558ccd, 0xc4ceb9fe1a85ec53};
[[nodiscard]] constexpr std::uint64_t fold(std::uint64_t x) noexcept { return x ^ x >> 33; }
[[nodiscard]] constexpr std::uint64_t mix(std::uint64_t x) noexcept {
    return fold(fold(fold(x) * mix_factors[0]) * mix_factors[1]);
}
// By Newton's method: each step doubles the number of right bits, which is 3 at first.
[[nodiscard]] constexpr std::uint64_t inverse(std::uint64_t odd) noexcept {
    std::uint64_t x = odd;
    for (int bits = 3; bits < 64; bits *= 2) x *= 2 - odd * x;
    return x;
}
[[nodiscard]] constexpr std::uint64_t unmix(std::uint64_t x) noexcept {
    return fold(fold(fold(x) * inverse(mix_factors[1])) * inverse(mix_factors[0]));
}
static_assert(unmix(mix(0x0123456789abcdef)) == 0x0123456789abcdef);
}  // namespace detail

// A table, materialized view, partitioned table, view: its rows, its definition and who may read it.
[[nodiscard]] inline Tag relation_tag(Oid relation) noexcept {
    return detail::mix(std::uint64_t{MyDatabaseId} << 32 | relation);
}
// The relation of this database whose tag that is; InvalidOid: it is none.
[[nodiscard]] inline Oid relation_of(Tag tag) noexcept {
    const std::uint64_t name = detail::unmix(tag);
    return name >> 32 == MyDatabaseId ? static_cast<Oid>(name) : InvalidOid;
}

// Of the same things only the definition, where rows are not read: a name that became a constant, a row type.
[[nodiscard]] inline Tag relation_definition_tag(Oid relation) noexcept {
    return detail::tag_of_name({TagKind::relation, MyDatabaseId, relation, 0});
}

// A row of a syscache by its hash value, as PlanInvalItem has it: PROCOID, TYPEOID, NAMESPACEOID. By name,
// whether the row exists or not: NAMESPACENAME (a schema of search_path), RELNAMENSP (a relation that would
// shadow another one).
[[nodiscard]] inline Tag catalog_tag(int cache_id, std::uint32_t hash_value) noexcept {
    return detail::tag_of_name(
        {TagKind::catalog_row, MyDatabaseId, static_cast<std::uint32_t>(cache_id), hash_value});
}

// All roles, their attributes and memberships, and databases' owners: every entry depends on it.
[[nodiscard]] inline Tag roles_tag() noexcept { return detail::tag_of_name({TagKind::roles, 0, 0, 0}); }

// Functions, operators, casts, collations, enum labels, text search configurations: a new one may change what
// a query that never named it means (overload resolution). Rarely changed, so one tag a database: every entry
// depends on it.
[[nodiscard]] inline Tag definitions_tag() noexcept {
    return detail::tag_of_name({TagKind::definitions, MyDatabaseId, 0, 0});
}

// Foreign servers, their wrappers, user mappings and tables' options. What reads foreign tables has this tag,
// and is known by it: it holds what nobody can compare with anything.
[[nodiscard]] inline Tag foreign_servers_tag() noexcept {
    return detail::tag_of_name({TagKind::foreign_servers, MyDatabaseId, 0, 0});
}

// Relations, types and schemas of this database, and the rights to them, all in one. For what functions look
// up by name while they run: no plan tells it.
[[nodiscard]] inline Tag names_tag() noexcept {
    return detail::tag_of_name({TagKind::names, MyDatabaseId, 0, 0});
}

// What has it was read from partitions whose tags it has not, only those of the tables above them. Never
// written.
[[nodiscard]] inline Tag unlisted_partitions_tag() noexcept {
    return detail::tag_of_name({TagKind::unlisted_partitions, 0, 0, 0});
}

// A name of the user's own, in this database.
[[nodiscard]] inline Tag label_tag(std::string_view name) noexcept {
    const std::uint64_t hash = hash_bytes(std::as_bytes(std::span(name)));
    return detail::tag_of_name({TagKind::label, MyDatabaseId, static_cast<std::uint32_t>(hash >> 32),
                                static_cast<std::uint32_t>(hash)});
}

}  // namespace tiercache
