#include "demo/message.hpp"

#include <fmt/format.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace tiercache::demo {

namespace {

constexpr std::uint32_t message_bytes_max = 256U << 20;

void send_all(int socket, const void* data, std::size_t size) {
    const char* at = static_cast<const char*>(data);
    while (size > 0) {
        const ssize_t sent = send(socket, at, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0)
            throw std::runtime_error(fmt::format("a reader process is gone: {}", std::strerror(errno)));
        at += sent;
        size -= static_cast<std::size_t>(sent);
    }
}

// How much came before the other side hung up.
std::size_t receive_all(int socket, void* data, std::size_t size) {
    std::size_t received = 0;
    while (received < size) {
        const ssize_t got = recv(socket, static_cast<char*>(data) + received, size - received, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            throw std::runtime_error(fmt::format("a reader process is gone: {}", std::strerror(errno)));
        if (got == 0) break;
        received += static_cast<std::size_t>(got);
    }
    return received;
}

}  // namespace

void send_message(int socket, const Message& message) {
    const std::vector<std::uint8_t> bytes = Message::to_cbor(message);
    const auto size = static_cast<std::uint32_t>(bytes.size());
    send_all(socket, &size, sizeof(size));
    send_all(socket, bytes.data(), bytes.size());
}

std::optional<Message> receive_message(int socket) {
    std::uint32_t size = 0;
    const std::size_t got = receive_all(socket, &size, sizeof(size));
    if (got == 0) return std::nullopt;
    if (got < sizeof(size) || size > message_bytes_max)
        throw std::runtime_error("a broken message came from a reader process");
    std::vector<std::uint8_t> bytes(size);
    if (receive_all(socket, bytes.data(), size) < size)
        throw std::runtime_error("a reader process ended in mid-message");
    return Message::from_cbor(bytes);
}

Message binary(std::span<const std::byte> bytes) {
    const auto* data = reinterpret_cast<const std::uint8_t*>(bytes.data());
    return Message::binary(std::vector<std::uint8_t>(data, data + bytes.size()));
}

std::string text_of(const Message& message, const char* member) {
    const std::vector<std::uint8_t>& bytes = message.at(member).get_binary();
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace tiercache::demo
