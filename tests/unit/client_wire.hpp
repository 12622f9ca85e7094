// Payloads in pg_wire form, made by hand, and Answers filled with them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "client/answer_writer.hpp"
#include "shm_cache/entry.hpp"
#include "tests/unit/bytes_of.hpp"
#include "tiercache/answer.hpp"

namespace tiercache::test {

inline void put_u16(std::string& out, std::uint32_t v) {
    out += static_cast<char>(v >> 8);
    out += static_cast<char>(v);
}
inline void put_u32(std::string& out, std::uint32_t v) {
    put_u16(out, v >> 16);
    put_u16(out, v & 0xffff);
}

class WirePayload {
 public:
    WirePayload(std::initializer_list<std::pair<std::string_view, std::uint32_t>> columns) {
        std::string body;
        put_u16(body, static_cast<std::uint32_t>(columns.size()));
        for (const auto& [name, type] : columns) {
            body += name;
            body += '\0';
            put_u32(body, 0);  // table
            put_u16(body, 0);  // attribute number
            put_u32(body, type);
            put_u16(body, 0xffff);      // length
            put_u32(body, UINT32_MAX);  // modifier
            put_u16(body, 0);           // text
        }
        message('T', body);
    }

    WirePayload& row(std::initializer_list<std::optional<std::string_view>> values) {
        std::string body;
        put_u16(body, static_cast<std::uint32_t>(values.size()));
        for (const auto& v : values) {
            put_u32(body, v ? static_cast<std::uint32_t>(v->size()) : UINT32_MAX);
            if (v) body += *v;
        }
        message('D', body);
        return *this;
    }

    [[nodiscard]] std::string take() { return std::move(bytes_); }

 private:
    void message(char type, const std::string& body) {
        bytes_ += type;
        put_u32(bytes_, static_cast<std::uint32_t>(body.size() + 4));
        bytes_ += body;
    }
    std::string bytes_;
};

// Where each message of a well-formed payload ends.
inline std::vector<std::size_t> message_ends(const std::string& payload) {
    std::vector<std::size_t> ends;
    for (std::size_t at = 0; at < payload.size();) {
        std::uint32_t length = 0;
        for (std::size_t i = 1; i <= 4; ++i)
            length = length << 8 | static_cast<unsigned char>(payload[at + i]);
        at += 1 + length;
        ends.push_back(at);
    }
    return ends;
}

// An encoded entry with that payload.
inline std::vector<std::byte> wire_entry_of(std::string_view payload, const EntryFields& fields = {},
                                            std::span<const Tag> tags = {}, std::string_view key = "key") {
    EntryFields with_format = fields;
    with_format.format = PayloadFormat::pg_wire;
    std::vector<std::byte> out(encoded_entry_bound(tags.size(), key.size(), payload.size()));
    const Result<std::size_t> size = encode_entry(with_format, tags, bytes_of(key), bytes_of(payload), out);
    out.resize(size.ok() ? *size : 0);
    return out;
}

// Fills `answer` as a tier would that found an entry with that payload; false when it refuses.
inline bool fill(Answer& answer, std::string_view payload) {
    const std::vector<std::byte> encoded = wire_entry_of(payload);
    AnswerWriter writer(answer);
    std::byte* room = writer.entry_buffer().reserve(encoded.size());
    std::ranges::copy(encoded, room);
    EntryView view;
    return decode_entry({room, encoded.size()}, view) == StatusCode::ok && writer.accept(view);
}

}  // namespace tiercache::test
