// The session key: who asks, where names are looked up, and every setting that changes what a query returns.
//
//   u64 system identifier of the cluster | u32 database | u32 effective role | SHA-256
//
// The digest is over the names and values of `result_settings()`, the schemas of the resolved search_path,
// and the names of this session's temporary tables and types, which shadow others. Two sessions with the same
// key get the same answer to the same question.
#pragma once

#include <cstddef>
#include <span>

#include "pg_extension/pg.hpp"

namespace tiercache {

inline constexpr std::size_t session_key_bytes = 8 + 4 + 4 + 32;

// Of this session, now. The bytes are this backend's and hold until the next call. Costs a few comparisons
// when nothing was set since the last call. May raise an error (out of memory, the search path's catalog
// look-ups).
[[nodiscard]] std::span<const std::byte> session_key();

// Is it the session key of this moment? May raise an error, as that.
[[nodiscard]] bool is_session_key(std::span<const std::byte, session_key_bytes> bytes);

// A hash of the values that the settings of session keys have in this process, whatever process it is. May
// raise an error (out of memory).
[[nodiscard]] std::uint64_t settings_hash();

// What a session key says in the clear.
struct SessionIdentity {
    std::uint64_t system_identifier;
    Oid database;
    Oid role;
};
// False when `bytes` are not one.
[[nodiscard]] bool read_session_identity(std::span<const std::byte> bytes,
                                         SessionIdentity& identity) noexcept;

}  // namespace tiercache
