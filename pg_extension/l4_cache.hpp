// L4: entries in PostgreSQL's shared memory. Looks one up and judges it for this transaction; stores one.
#pragma once

#include <array>
#include <optional>
#include <span>

#include "pg_extension/dependencies.hpp"
#include "pg_extension/pg.hpp"
#include "pg_extension/session_key.hpp"
#include "shm_cache/entry.hpp"
#include "shm_cache/query_key.hpp"

namespace tiercache::l4_cache {

// A key, and its hash. The bytes are palloc'ed.
struct Key {
    std::span<const std::byte> bytes;
    KeyHash hash;
    std::array<std::byte, session_key_bytes> session;  // the session key in it
    // False: another text may have the same bytes in the client's encoding. Then there is no entry, nor will
    // be.
    bool unambiguous = true;
};

// Of the query `sql` with `params` in this session, now: other sessions' changes of schemas and roles are
// accepted first.
[[nodiscard]] Key make_key(PayloadFormat format, std::string_view sql, std::span<const QueryParam> params);

// Is it still the key that this session makes, and of nothing else? Then what was computed since may be kept
// under it.
[[nodiscard]] bool is_current(const Key& key);

// What the caller asks of an entry besides freshness.
struct Demand {
    std::uint32_t age_max_ms = ttl_never_ms;
    std::uint32_t max_staleness_ms = 0;  // served while younger than this, though its rows are not fresh
    std::span<const Tag> labels;         // among its tags
};

// The entry of `key` when it may be served to this transaction: whole, unexpired, fresh. A private, palloc'ed
// copy. False: there is none. Counts hits and misses; call it only without a bypass_reason().
[[nodiscard]] bool find(const Key& key, EntryView& entry, const Demand& demand);
// The same for a query under a snapshot whose clock is known.
[[nodiscard]] bool find(const Key& key, EntryView& entry, std::uint64_t snapshot_clock);
// May an entry that peek() found under a key of this moment be served, as find() would? Counts a hit, and
// nothing when it may not.
[[nodiscard]] bool serves(const EntryView& entry, std::uint64_t snapshot_clock);
[[nodiscard]] bool serves(const EntryFields& fields, std::span<const Tag> tags, std::uint64_t snapshot_clock);
// The same for a key that was made before.
[[nodiscard]] bool still_serves(const Key& key, const EntryView& entry, std::uint64_t snapshot_clock);

// Is there a fresh entry that is not served here, because what it was read from can't be locked
// (read_locks.hpp)? `snapshot_clock` as for find(); none: to a function. Counts nothing.
[[nodiscard]] bool is_out_of_reach(const Key& key, std::optional<std::uint64_t> snapshot_clock);

// As find(), but counts nothing and judges nothing but the bytes.
[[nodiscard]] bool peek(const Key& key, EntryView& entry);

// The payload, decompressed, behind `offset` palloc'ed bytes, MAXALIGNed when offset is. nullptr: no memory,
// or the entry was corrupt.
[[nodiscard]] std::byte* read_payload_at(const EntryView& entry, std::size_t offset);

// When a result was computed, by the clock and by this host's monotonic clock.
struct Moment {
    std::uint64_t stamp;
    std::uint64_t ns;
};
// Stamp and lifetime of a new entry. It may be used for `ttl_ms`, or less when its dependencies say so, less
// up to a tenth of it so that entries do not expire all at once. What reads other servers may be as old as
// the transaction.
void date(EntryFields& fields, const Key& key, Moment computed, std::uint32_t ttl_ms,
          const Dependencies& dependencies);

// Encodes an entry behind `offset` palloc'ed bytes. Empty when it is too large or there is no memory.
[[nodiscard]] std::span<std::byte> encode(const EntryFields& fields, std::span<const Tag> tags,
                                          const Key& key, std::span<const std::byte> payload,
                                          std::size_t offset);

// A query was run that the planner gave `cost` units, and it took `us`.
void note_cost(double cost, std::uint32_t us) noexcept;
// What a query of so many units will take, as far as those before it tell; in microseconds.
[[nodiscard]] double expected_us(double cost) noexcept;

// Stores an encoded entry; false when L4 is off or has no room for it.
bool put(std::span<const std::byte> entry) noexcept;

}  // namespace tiercache::l4_cache
