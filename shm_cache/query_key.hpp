// The key of a query's result: everything the result depends on besides data.
//
//   u8 version | u8 payload format | u16 zero | u32 session key length | session key
//   | u32 SQL length | SQL | u32 parameter count | per parameter: i32 length (-1: NULL), bytes
//
// The session key is made by the server alone (tiercache.session_key()): database, effective role,
// search_path and all settings that change results. An app asks for it once a connection and then builds the
// keys that tiercache.fetch() builds, without asking the server again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>

#include "shm_cache/entry.hpp"

namespace tiercache {

using QueryParam = std::optional<std::string_view>;  // text form; nullopt is NULL

[[nodiscard]] inline std::size_t query_key_bytes(std::span<const std::byte> session_key, std::string_view sql,
                                                 std::span<const QueryParam> params) noexcept {
    std::size_t total = 4 + 4 + session_key.size() + 4 + sql.size() + 4;
    for (const QueryParam& p : params) total += 4 + (p ? p->size() : 0);
    return total;
}

// Writes the key to the front of `out`, which has query_key_bytes() or more, and returns it. Never allocates.
[[nodiscard]] inline std::span<const std::byte> write_query_key(PayloadFormat format,
                                                                std::span<const std::byte> session_key,
                                                                std::string_view sql,
                                                                std::span<const QueryParam> params,
                                                                std::span<std::byte> out) noexcept {
    constexpr std::uint8_t key_version = 1;
    std::byte* at = out.data();
    const auto put = [&at](const void* bytes, std::size_t size) {
        if (size > 0) std::memcpy(at, bytes, size);
        at += size;
    };
    const auto put_u32 = [&put](std::size_t value) {
        const auto v = static_cast<std::uint32_t>(value);
        put(&v, sizeof(v));
    };
    const std::uint8_t head[4] = {key_version, static_cast<std::uint8_t>(format), 0, 0};
    put(head, sizeof(head));
    put_u32(session_key.size());
    put(session_key.data(), session_key.size());
    put_u32(sql.size());
    put(sql.data(), sql.size());
    put_u32(params.size());
    for (const QueryParam& p : params) {
        put_u32(p ? p->size() : UINT32_MAX);
        if (p) put(p->data(), p->size());
    }
    return out.first(static_cast<std::size_t>(at - out.data()));
}

}  // namespace tiercache
