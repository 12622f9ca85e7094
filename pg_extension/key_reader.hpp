// A query key, taken apart (shm_cache/query_key.hpp). Its bytes are not trusted.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>

#include "pg_extension/session_key.hpp"

namespace tiercache {

class KeyReader {
 public:
    explicit KeyReader(std::span<const std::byte> key) noexcept : rest_(key) {}

    [[nodiscard]] bool skip(std::size_t bytes) noexcept {
        if (rest_.size() < bytes) return false;
        rest_ = rest_.subspan(bytes);
        return true;
    }
    [[nodiscard]] bool take_u32(std::uint32_t& value) noexcept {
        if (rest_.size() < sizeof(value)) return false;
        std::memcpy(&value, rest_.data(), sizeof(value));
        return skip(sizeof(value));
    }
    [[nodiscard]] bool take(std::uint32_t size, std::span<const std::byte>& bytes) noexcept {
        if (rest_.size() < size) return false;
        bytes = rest_.first(size);
        return skip(size);
    }
    [[nodiscard]] bool take_counted(std::span<const std::byte>& bytes) noexcept {
        std::uint32_t size = 0;
        return take_u32(size) && take(size, bytes);
    }
    // What comes first in a key: whose query it is, and its text.
    [[nodiscard]] bool take_question(SessionIdentity& identity, std::span<const std::byte>& sql) noexcept {
        std::span<const std::byte> session;
        return skip(4) && take_counted(session) && read_session_identity(session, identity) &&
               take_counted(sql);
    }

 private:
    std::span<const std::byte> rest_;
};

}  // namespace tiercache
