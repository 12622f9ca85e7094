// Messages between the demo and its reader processes, over a stream socket: a 32-bit length, then CBOR.
#pragma once

#include <nlohmann/json.hpp>

#include <optional>
#include <span>

namespace tiercache::demo {

using Message = nlohmann::json;

// Both throw std::runtime_error when the other side is gone.
void send_message(int socket, const Message& message);
// nullopt when the other side hung up between two messages.
[[nodiscard]] std::optional<Message> receive_message(int socket);

[[nodiscard]] Message binary(std::span<const std::byte> bytes);
// The bytes of a binary member.
[[nodiscard]] std::string text_of(const Message& message, const char* member);

}  // namespace tiercache::demo
