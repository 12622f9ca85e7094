// wire_payload SOCKET USER DATABASE < statements
// Is the payload of tiercache.fetch(), byte for byte, what the server sends for the same query? Speaks the
// protocol itself, since no library shows the bytes. Each line is a statement: SELECTs are compared, on a
// miss and on a hit; others (SET, ...) are executed. Prints ok / not ok lines.
#include <cstdlib>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "shm_cache/entry.hpp"
#include "tests/system/wire.hpp"

namespace {

using namespace tiercache::wire;

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
