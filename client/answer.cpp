#include "tiercache/answer.hpp"

#include <charconv>
#include <cstring>
#include <limits>
#include <new>
#include <utility>

namespace tiercache {

namespace {

constexpr std::size_t message_head_bytes = 5;  // type, int32 length that counts itself
constexpr std::size_t field_tail_bytes = 18;   // of a field description, after the name
constexpr std::size_t at_type_oid = 6;         // in that tail
constexpr std::size_t at_type_modifier = 12;
constexpr std::size_t at_field_format = 16;

// The protocol is big-endian.
std::uint16_t load_u16(const std::byte* p) noexcept {
    return static_cast<std::uint16_t>(std::to_integer<unsigned>(p[0]) << 8 | std::to_integer<unsigned>(p[1]));
}
std::uint32_t load_u32(const std::byte* p) noexcept {
    return std::uint32_t{load_u16(p)} << 16 | load_u16(p + 2);
}

// The body of the message at the front of `bytes`, which is moved past it; false when there is no whole
// message of that type.
bool take_message(char type, std::span<const std::byte>& bytes, std::span<const std::byte>& body) noexcept {
    if (bytes.size() < message_head_bytes || bytes[0] != static_cast<std::byte>(type)) return false;
    const std::size_t length = load_u32(bytes.data() + 1);
    if (length < 4 || length > bytes.size() - 1) return false;
    body = bytes.subspan(message_head_bytes, length - 4);
    bytes = bytes.subspan(1 + length);
    return true;
}

bool columns_ok(std::span<const std::byte> columns, std::uint16_t count) noexcept {
    for (std::uint16_t i = 0; i < count; ++i) {
        if (columns.empty()) return false;
        const void* zero = std::memchr(columns.data(), 0, columns.size());
        if (zero == nullptr) return false;
        const auto name_bytes =
            static_cast<std::size_t>(static_cast<const std::byte*>(zero) - columns.data());
        columns = columns.subspan(name_bytes + 1);
        if (columns.size() < field_tail_bytes) return false;
        if (load_u16(columns.data() + at_field_format) != 0) return false;  // not text
        columns = columns.subspan(field_tail_bytes);
    }
    return columns.empty();
}

bool row_ok(std::span<const std::byte> body, std::uint16_t column_count) noexcept {
    if (body.size() < 2 || load_u16(body.data()) != column_count) return false;
    body = body.subspan(2);
    for (std::uint16_t i = 0; i < column_count; ++i) {
        if (body.size() < 4) return false;
        const std::uint32_t length = load_u32(body.data());
        body = body.subspan(4);
        if (length == UINT32_MAX) continue;  // NULL
        if (length > body.size()) return false;
        body = body.subspan(length);
    }
    return body.empty();
}

const std::byte* next_message(const std::byte* message) noexcept {
    return message + 1 + load_u32(message + 1);
}

const char* chars(const std::byte* bytes) noexcept { return reinterpret_cast<const char*>(bytes); }

// What follows expects found-well-formed bytes.
Column column_at(const detail::WireRows& rows, std::size_t index) noexcept {
    const std::byte* at = rows.columns.data();
    for (std::size_t i = 0; i < rows.column_count; ++i) {
        const std::string_view name(chars(at));
        const std::byte* tail = at + name.size() + 1;
        if (i == index) {
            return {name, load_u32(tail + at_type_oid),
                    static_cast<std::int32_t>(load_u32(tail + at_type_modifier)), load_u32(tail)};
        }
        at = tail + field_tail_bytes;
    }
    return {};
}

std::optional<std::size_t> index_of(const detail::WireRows& rows, std::string_view name) noexcept {
    const std::byte* at = rows.columns.data();
    for (std::size_t i = 0; i < rows.column_count; ++i) {
        const std::string_view candidate(chars(at));
        if (candidate == name) return i;
        at += candidate.size() + 1 + field_tail_bytes;
    }
    return std::nullopt;
}

template <class T>
std::optional<T> number(const std::optional<std::string_view>& text) noexcept {
    if (!text) return std::nullopt;
    T value{};
    const char* end = text->data() + text->size();
    const auto [stop, error] = std::from_chars(text->data(), end, value);
    if (error != std::errc() || stop != end) return std::nullopt;
    return value;
}

}  // namespace

std::string_view to_string(Tier tier) noexcept {
    switch (tier) {
        case Tier::none:
            return "none";
        case Tier::l1:
            return "l1";
        case Tier::l2:
            return "l2";
        case Tier::l4:
            return "l4";
    }
    return "unknown";
}

std::string_view to_string(Freshness freshness) noexcept {
    return freshness == Freshness::fresh ? "fresh" : "stale";
}

std::optional<std::int64_t> Field::int64() const noexcept { return number<std::int64_t>(text_); }

std::optional<double> Field::float64() const noexcept { return number<double>(text_); }

std::optional<bool> Field::boolean() const noexcept {
    if (text_ == "t" || text_ == "true") return true;
    if (text_ == "f" || text_ == "false") return false;
    return std::nullopt;
}

namespace detail {

std::byte* Buffer::reserve(std::size_t bytes) noexcept {
    if (bytes > capacity_ || !data_) {
        // Half as much again, so that answers of slowly growing size do not allocate each time.
        const std::size_t capacity = bytes + bytes / 2 + 64;
        std::unique_ptr<std::byte[]> larger(new (std::nothrow) std::byte[capacity]);
        if (!larger) return nullptr;
        data_ = std::move(larger);
        capacity_ = capacity;
    }
    return data_.get();
}

bool WireRows::parse(std::span<const std::byte> payload, WireRows& out) noexcept {
    std::span<const std::byte> body;
    if (!take_message('T', payload, body) || body.size() < 2) return false;
    WireRows found;
    found.column_count = load_u16(body.data());
    found.columns = body.subspan(2);
    if (!columns_ok(found.columns, found.column_count)) return false;
    found.rows = payload;
    while (!payload.empty()) {
        if (!take_message('D', payload, body) || !row_ok(body, found.column_count)) return false;
        ++found.row_count;
    }
    out = found;
    return true;
}

}  // namespace detail

Field Row::operator[](std::size_t index) const noexcept {
    if (index >= rows_->column_count) return {};
    const std::byte* at = message_ + message_head_bytes + 2;
    while (true) {
        const std::uint32_t length = load_u32(at);
        at += 4;
        const bool null = length == UINT32_MAX;
        if (index == 0) return null ? Field() : Field(std::string_view(chars(at), length));
        --index;
        if (!null) at += length;
    }
}

Field Row::operator[](std::string_view column_name) const noexcept {
    const std::optional<std::size_t> index = index_of(*rows_, column_name);
    return index ? (*this)[*index] : Field();
}

RowIterator::RowIterator(const detail::WireRows& rows, const std::byte* message) noexcept {
    row_.rows_ = &rows;
    row_.message_ = message;
}

RowIterator& RowIterator::operator++() noexcept {
    row_.message_ = next_message(row_.message_);
    return *this;
}

RowIterator RowIterator::operator++(int) noexcept {
    RowIterator before = *this;
    ++*this;
    return before;
}

Answer::Answer(Answer&& other) noexcept { *this = std::move(other); }

Answer& Answer::operator=(Answer&& other) noexcept {
    key_ = std::move(other.key_);
    entry_ = std::move(other.entry_);
    unpacked_ = std::move(other.unpacked_);
    payload_ = std::exchange(other.payload_, {});
    rows_ = std::exchange(other.rows_, {});
    stamp_ = std::exchange(other.stamp_, 0);
    age_ms_ = std::exchange(other.age_ms_, 0);
    tier_ = std::exchange(other.tier_, Tier::none);
    freshness_ = std::exchange(other.freshness_, Freshness::stale);
    return *this;
}

RowIterator Answer::begin() const noexcept { return {rows_, rows_.rows.data()}; }
RowIterator Answer::end() const noexcept { return {rows_, rows_.rows.data() + rows_.rows.size()}; }

Column Answer::column(std::size_t index) const noexcept { return column_at(rows_, index); }

std::optional<std::size_t> Answer::find_column(std::string_view name) const noexcept {
    return index_of(rows_, name);
}

}  // namespace tiercache
