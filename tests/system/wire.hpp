// PostgreSQL's protocol, byte by byte: what no client library shows.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace tiercache::wire {

using Bytes = std::string;

inline std::uint32_t read_u32(const char* at) {
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(at[i]);
    return value;
}

inline Bytes u32(std::uint32_t value) {
    Bytes out;
    for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift & 0xff));
    return out;
}

inline Bytes message(char type, const Bytes& body) {
    return type + u32(static_cast<std::uint32_t>(body.size() + 4)) + body;
}

class Connection {
 public:
    Connection(const std::string& socket_path, const std::string& user, const std::string& database) {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        if (socket_path.size() >= sizeof(address.sun_path)) throw std::runtime_error("socket path too long");
        std::memcpy(address.sun_path, socket_path.c_str(), socket_path.size() + 1);
        socket_ = ::socket(AF_UNIX, SOCK_STREAM, 0);
        if (socket_ < 0 || ::connect(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
            throw std::runtime_error("no connection to " + socket_path + ": " + std::strerror(errno));
        }
        Bytes body = u32(196608);
        for (const std::string& text : {std::string("user"), user, std::string("database"), database}) {
            body += text + '\0';
        }
        body += '\0';
        send(u32(static_cast<std::uint32_t>(body.size() + 4)) + body);
        (void)receive_until('Z');
    }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection() { ::close(socket_); }

    // The messages of the answer to a simple query.
    std::vector<Bytes> query(const std::string& sql) { return ask(message('Q', sql + '\0')); }
    // The messages of the answer to whatever ends with a Query or a Sync.
    std::vector<Bytes> ask(const Bytes& messages) {
        send(messages);
        return receive_until('Z');
    }
    // The messages up to the first of this type: of an answer that goes on later, after a Flush.
    std::vector<Bytes> ask_until(char type, const Bytes& messages) {
        send(messages);
        return receive_until(type);
    }

 private:
    void send(const Bytes& bytes) const {
        for (std::size_t sent = 0; sent < bytes.size();) {
            const ssize_t n = ::write(socket_, bytes.data() + sent, bytes.size() - sent);
            if (n <= 0) throw std::runtime_error("the server went away");
            sent += static_cast<std::size_t>(n);
        }
    }

    [[nodiscard]] Bytes receive(std::size_t size) const {
        Bytes bytes(size, '\0');
        for (std::size_t got = 0; got < size;) {
            const ssize_t n = ::read(socket_, bytes.data() + got, size - got);
            if (n <= 0) throw std::runtime_error("the server went away");
            got += static_cast<std::size_t>(n);
        }
        return bytes;
    }

    [[nodiscard]] std::vector<Bytes> receive_until(char type) const {
        std::vector<Bytes> messages;
        do {
            const Bytes head = receive(5);
            messages.push_back(head + receive(read_u32(head.data() + 1) - 4));
        } while (messages.back()[0] != type);
        return messages;
    }

    int socket_ = -1;
};

}  // namespace tiercache::wire
