// PostgreSQL without a cache: what the demo compares everything with.
#pragma once

#include <libpq-fe.h>

#include <cstddef>
#include <memory>
#include <string>

#include "demo/cleanup.hpp"

namespace tiercache::demo {

using PgResultPtr = std::unique_ptr<PGresult, decltype(&PQclear)>;

class Database {
 public:
    // Throws std::runtime_error, as all functions here do.
    explicit Database(const std::string& conninfo);
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;
    ~Database() { cancel_.dismiss(); }

    [[nodiscard]] PgResultPtr run(const std::string& sql);
    // The only value of the only row, as text; "" for NULL.
    [[nodiscard]] std::string value(const std::string& sql);

    // "name type, ...": the column definition list that a set-returning function of records needs.
    [[nodiscard]] std::string column_definitions(const PGresult* result);

 private:
    [[nodiscard]] std::string quoted_identifier(const char* name);

    std::unique_ptr<PGconn, decltype(&PQfinish)> connection_;
    Cleanup cancel_;  // of what runs when a signal ends the program
};

// The RowDescription and DataRow messages that carried this result, byte for byte.
[[nodiscard]] std::string wire_bytes(const PGresult* result);

// As psql prints it with -A -t and \pset null NULL.
[[nodiscard]] std::string psql_text(const PGresult* result);

}  // namespace tiercache::demo
