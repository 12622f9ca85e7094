// wire_payload SOCKET USER DATABASE < statements
// Is the payload of tiercache.fetch(), byte for byte, what the server sends for the same query? Speaks the
// protocol itself, since no library shows the bytes. Each line is a statement: SELECTs are compared, on a
// miss and on a hit; others (SET, ...) are executed. Prints ok / not ok lines.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "shm_cache/entry.hpp"

namespace {

using Bytes = std::string;

std::uint32_t read_u32(const char* at) {
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(at[i]);
    return value;
}

Bytes u32(std::uint32_t value) {
    Bytes out;
    for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift & 0xff));
    return out;
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
        (void)receive_until_ready();
    }
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection() { ::close(socket_); }

    // The messages of the answer to a simple query.
    std::vector<Bytes> query(const std::string& sql) {
        send('Q' + u32(static_cast<std::uint32_t>(sql.size() + 5)) + sql + '\0');
        return receive_until_ready();
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

    [[nodiscard]] std::vector<Bytes> receive_until_ready() const {
        std::vector<Bytes> messages;
        do {
            const Bytes head = receive(5);
            messages.push_back(head + receive(read_u32(head.data() + 1) - 4));
        } while (messages.back()[0] != 'Z');
        return messages;
    }

    int socket_ = -1;
};

// RowDescription and DataRows, one after the other; an error is thrown.
Bytes rows_of(const std::vector<Bytes>& messages) {
    Bytes rows;
    for (const Bytes& message : messages) {
        if (message[0] == 'E') throw std::runtime_error(message.substr(5));
        if (message[0] == 'T' || message[0] == 'D') rows += message;
    }
    return rows;
}

// The text in the first column of the first row.
Bytes first_value(const std::vector<Bytes>& messages) {
    for (const Bytes& message : messages) {
        if (message[0] == 'D') return message.substr(11, read_u32(message.data() + 7));
    }
    throw std::runtime_error("no row");
}

Bytes unhex(const Bytes& hex) {
    Bytes bytes;
    for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
        bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    }
    return bytes;
}

Bytes payload_of(const Bytes& bytes) {
    tiercache::EntryView entry;
    const auto span = std::as_bytes(std::span(bytes));
    if (tiercache::decode_entry(span, entry) != tiercache::StatusCode::ok || !entry_checksum_ok(entry)) {
        throw std::runtime_error("not an entry");
    }
    Bytes payload(entry.raw_length, '\0');
    if (read_payload(entry, std::as_writable_bytes(std::span(payload))) != tiercache::StatusCode::ok) {
        throw std::runtime_error("payload does not decompress");
    }
    return payload;
}

Bytes fetched(Connection& connection, const std::string& sql) {
    std::string quoted = "'";
    for (const char c : sql) quoted += c == '\'' ? std::string("''") : std::string(1, c);
    const std::vector<Bytes> answer =
        connection.query("SELECT encode(tiercache.fetch(" + quoted + "'), 'hex')");
    (void)rows_of(answer);
    return payload_of(unhex(first_value(answer)));
}

long hits(Connection& connection) {
    return std::stol(first_value(connection.query("SELECT hits FROM tiercache.stats")));
}

void compare(Connection& connection, const std::string& sql) {
    const Bytes expected = rows_of(connection.query(sql));
    const bool filled = fetched(connection, sql) == expected;
    const long before = hits(connection);
    const bool hit = fetched(connection, sql) == expected;
    const bool is_hit = hits(connection) == before + 1;
    std::cout << (filled && hit && is_hit && !expected.empty() ? "ok - " : "not ok - ") << sql.substr(0, 90)
              << (filled ? "" : " (miss differs)") << (hit ? "" : " (hit differs)")
              << (is_hit ? "" : " (no hit)") << '\n';
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        std::cerr << "usage: wire_payload SOCKET USER DATABASE < statements\n";
        return 2;
    }
    try {
        Connection connection(argv[1], argv[2], argv[3]);
        for (std::string line; std::getline(std::cin, line);) {
            if (line.rfind("SELECT", 0) == 0 || line.rfind("VALUES", 0) == 0 || line.rfind("TABLE", 0) == 0) {
                compare(connection, line);
            } else if (!line.empty()) {
                (void)rows_of(connection.query(line));
            }
        }
    } catch (const std::exception& e) {
        std::cout << "not ok - " << e.what() << '\n';
        return 1;
    }
    return 0;
}
