// Errors are values: a code that programs branch on, and one sentence for a person that says what to do.
//
// A Status without a message never allocates, so the read path may return one; messages are for set-up
// and administration. Result<T> is a value or a Status that is not ok.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace tiercache {

enum class StatusCode : unsigned char {
    ok,
    not_found,
    invalid_argument,
    corrupt,           // bytes that are not what they claim to be
    version_mismatch,  // made by a tiercache with another layout
    already_exists,
    permission_denied,
    no_space,
    too_large,
    busy,         // somebody else holds it; trying again may work
    unavailable,  // a tier or server that can't be reached
    timeout,
    query_failed,  // the database refused the query
    internal,
};

[[nodiscard]] std::string_view to_string(StatusCode code) noexcept;

class [[nodiscard]] Status {
 public:
    Status() noexcept = default;
    explicit Status(StatusCode code) noexcept : code_(code) {}
    Status(StatusCode code, std::string message) noexcept : code_(code), message_(std::move(message)) {}

    [[nodiscard]] bool ok() const noexcept { return code_ == StatusCode::ok; }
    [[nodiscard]] StatusCode code() const noexcept { return code_; }
    [[nodiscard]] const std::string& message() const noexcept { return message_; }
    // "message", or the code's name where there is none.
    [[nodiscard]] std::string to_string() const;

 private:
    StatusCode code_ = StatusCode::ok;
    std::string message_;
};

template <class T>
class [[nodiscard]] Result {
 public:
    // NOLINTBEGIN(google-explicit-constructor): so that a function returns either.
    Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
    Result(Status status) : state_(std::in_place_index<1>, std::move(status)) {}
    // NOLINTEND(google-explicit-constructor)

    [[nodiscard]] bool ok() const noexcept { return state_.index() == 0; }
    explicit operator bool() const noexcept { return ok(); }

    // Only when ok().
    [[nodiscard]] T& value() & { return *std::get_if<0>(&state_); }
    [[nodiscard]] const T& value() const& { return *std::get_if<0>(&state_); }
    [[nodiscard]] T&& value() && { return std::move(*std::get_if<0>(&state_)); }
    T& operator*() & { return value(); }
    const T& operator*() const& { return value(); }
    T* operator->() { return &value(); }
    const T* operator->() const { return &value(); }

    [[nodiscard]] Status status() const { return ok() ? Status() : *std::get_if<1>(&state_); }

 private:
    std::variant<T, Status> state_;
};

}  // namespace tiercache
