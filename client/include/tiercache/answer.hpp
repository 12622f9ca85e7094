// The answer to a query: rows in PostgreSQL's own wire form, decoded as they are looked at.
//
// An Answer owns its bytes; views taken from it (Row, Field, Column, text) live until the Answer is
// destroyed, moved from or filled again. Reuse one Answer for many Cache::query_into() calls and the steady
// state allocates nothing. An Answer belongs to one thread at a time.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "shm_cache/entry.hpp"
#include "shm_cache/status.hpp"

namespace tiercache {

// The tier that an answer came from.
enum class Tier : std::uint8_t {
    none = 0,  // there is no answer: not asked yet, or an error
    l1 = 1,    // this host's shared-memory segment
    l2 = 2,    // Redis
    l4 = 4,    // PostgreSQL
};
[[nodiscard]] std::string_view to_string(Tier tier) noexcept;

enum class Freshness : std::uint8_t {
    fresh,  // equal to the latest committed state at a moment after the call began
    stale,  // may be older: by Answer::age() at most under a max_staleness, by any time from a hot standby
};
[[nodiscard]] std::string_view to_string(Freshness freshness) noexcept;

// One value, in PostgreSQL's text form.
class Field {
 public:
    Field() = default;
    explicit Field(std::optional<std::string_view> text) noexcept : text_(text) {}

    [[nodiscard]] bool is_null() const noexcept { return !text_; }
    // The value as PostgreSQL prints it; empty for NULL. Dates, timestamps and numerics are used this way.
    [[nodiscard]] std::string_view text() const noexcept { return text_.value_or(std::string_view()); }

    // nullopt when the value is NULL, or is no such value, or does not fit.
    [[nodiscard]] std::optional<std::int64_t> int64() const noexcept;
    [[nodiscard]] std::optional<double> float64() const noexcept;  // also "NaN" and "Infinity"
    [[nodiscard]] std::optional<bool> boolean() const noexcept;

 private:
    std::optional<std::string_view> text_;
};

struct Column {
    std::string_view name;
    std::uint32_t type_oid = 0;       // pg_type.oid
    std::int32_t type_modifier = -1;  // pg_attribute.atttypmod
    std::uint32_t table_oid = 0;      // 0 when the column is not a table's own
};

namespace detail {

// Bytes that grow and are never initialised. Keeps what it once had.
class Buffer {
 public:
    Buffer() = default;
    Buffer(Buffer&& other) noexcept
        : data_(std::move(other.data_)), capacity_(std::exchange(other.capacity_, 0)) {}
    Buffer& operator=(Buffer&& other) noexcept {
        data_ = std::move(other.data_);
        capacity_ = std::exchange(other.capacity_, 0);
        return *this;
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() = default;

    // Room for `bytes` bytes, whose former contents are lost when it grows; nullptr when there is none.
    [[nodiscard]] std::byte* reserve(std::size_t bytes) noexcept;
    [[nodiscard]] std::span<std::byte> first(std::size_t bytes) noexcept { return {data_.get(), bytes}; }

 private:
    std::unique_ptr<std::byte[]> data_;
    std::size_t capacity_ = 0;
};

// A RowDescription message and the DataRow messages after it, found well-formed. Borrows the bytes.
struct WireRows {
    std::span<const std::byte> columns;  // the field descriptions
    std::span<const std::byte> rows;     // the DataRow messages
    std::size_t row_count = 0;
    std::uint16_t column_count = 0;

    // Walks all of `payload` and checks every length in it. False when it is anything but such messages in
    // text format to its last byte.
    [[nodiscard]] static bool parse(std::span<const std::byte> payload, WireRows& out) noexcept;
};

}  // namespace detail

class Row {
 public:
    [[nodiscard]] std::size_t size() const noexcept { return rows_->column_count; }

    // Column `index`, from 0; a NULL field when there is no such column. Walks the columns before it.
    [[nodiscard]] Field operator[](std::size_t index) const noexcept;
    // The first column of that name; a NULL field when there is none.
    [[nodiscard]] Field operator[](std::string_view column_name) const noexcept;

 private:
    friend class RowIterator;
    const detail::WireRows* rows_ = nullptr;
    const std::byte* message_ = nullptr;  // its type byte
};

class RowIterator {
 public:
    using iterator_category = std::forward_iterator_tag;
    using value_type = Row;
    using difference_type = std::ptrdiff_t;
    using pointer = const Row*;
    using reference = const Row&;

    RowIterator() = default;
    RowIterator(const detail::WireRows& rows, const std::byte* message) noexcept;

    reference operator*() const noexcept { return row_; }
    pointer operator->() const noexcept { return &row_; }
    RowIterator& operator++() noexcept;
    RowIterator operator++(int) noexcept;
    bool operator==(const RowIterator& other) const noexcept { return row_.message_ == other.row_.message_; }

 private:
    Row row_;
};

class Answer {
 public:
    Answer() = default;
    Answer(Answer&& other) noexcept;
    Answer& operator=(Answer&& other) noexcept;
    Answer(const Answer&) = delete;
    Answer& operator=(const Answer&) = delete;
    ~Answer() = default;

    [[nodiscard]] std::size_t row_count() const noexcept { return rows_.row_count; }
    [[nodiscard]] std::size_t column_count() const noexcept { return rows_.column_count; }
    [[nodiscard]] bool empty() const noexcept { return row_count() == 0; }

    // Rows in the query's order: for (const Row& row : answer).
    [[nodiscard]] RowIterator begin() const noexcept;
    [[nodiscard]] RowIterator end() const noexcept;

    // An empty description when `index` is out of range. Walks the columns before it.
    [[nodiscard]] Column column(std::size_t index) const noexcept;
    [[nodiscard]] std::optional<std::size_t> find_column(std::string_view name) const noexcept;

    [[nodiscard]] Tier tier() const noexcept { return tier_; }
    [[nodiscard]] Freshness freshness() const noexcept { return freshness_; }
    // Time since PostgreSQL computed it, as far as the tiers kept count.
    [[nodiscard]] std::chrono::milliseconds age() const noexcept {
        return std::chrono::milliseconds(age_ms_);
    }
    // The clock of the snapshot it was computed from; 0 when PostgreSQL gave none.
    [[nodiscard]] std::uint64_t stamp() const noexcept { return stamp_; }

    // RowDescription and DataRow messages, as PostgreSQL sent them.
    [[nodiscard]] std::span<const std::byte> payload() const noexcept { return payload_; }

 private:
    friend class AnswerWriter;

    detail::Buffer key_;
    detail::Buffer entry_;
    detail::Buffer unpacked_;
    std::span<const std::byte> payload_;
    detail::WireRows rows_;
    std::uint64_t stamp_ = 0;
    std::uint32_t age_ms_ = 0;
    Tier tier_ = Tier::none;
    Freshness freshness_ = Freshness::stale;
};

}  // namespace tiercache
