#include "demo/postgres.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <stdexcept>
#include <string_view>

namespace tiercache::demo {

namespace {

template <class Integer>
void append_big_endian(std::string& out, Integer value) {
    for (int shift = static_cast<int>(sizeof(Integer)) * 8 - 8; shift >= 0; shift -= 8) {
        out += static_cast<char>(static_cast<std::uint64_t>(value) >> shift);
    }
}

void append_message(std::string& out, char type, const std::string& body) {
    out += type;
    append_big_endian(out, static_cast<std::uint32_t>(body.size() + 4));
    out += body;
}

std::string row_description(const PGresult* result) {
    std::string body;
    append_big_endian(body, static_cast<std::int16_t>(PQnfields(result)));
    for (int column = 0; column < PQnfields(result); ++column) {
        body.append(PQfname(result, column)) += '\0';
        append_big_endian(body, static_cast<std::uint32_t>(PQftable(result, column)));
        append_big_endian(body, static_cast<std::int16_t>(PQftablecol(result, column)));
        append_big_endian(body, static_cast<std::uint32_t>(PQftype(result, column)));
        append_big_endian(body, static_cast<std::int16_t>(PQfsize(result, column)));
        append_big_endian(body, static_cast<std::int32_t>(PQfmod(result, column)));
        append_big_endian(body, static_cast<std::int16_t>(PQfformat(result, column)));
    }
    return body;
}

std::string_view field(const PGresult* result, int row, int column) {
    return {PQgetvalue(result, row, column), static_cast<std::size_t>(PQgetlength(result, row, column))};
}

std::string data_row(const PGresult* result, int row) {
    std::string body;
    append_big_endian(body, static_cast<std::int16_t>(PQnfields(result)));
    for (int column = 0; column < PQnfields(result); ++column) {
        if (PQgetisnull(result, row, column) == 1) {
            append_big_endian(body, std::int32_t{-1});
        } else {
            append_big_endian(body, static_cast<std::int32_t>(PQgetlength(result, row, column)));
            body += field(result, row, column);
        }
    }
    return body;
}

void cancel_running(PGcancel* cancel) {
    char error[256];
    PQcancel(cancel, error, sizeof(error));
}

}  // namespace

Database::Database(const std::string& conninfo)
    : connection_(PQconnectdb(conninfo.c_str()), &PQfinish),
      cancel_([cancel = std::shared_ptr<PGcancel>(PQgetCancel(connection_.get()), &PQfreeCancel)] {
          cancel_running(cancel.get());
      }) {
    if (PQstatus(connection_.get()) != CONNECTION_OK) {
        throw std::runtime_error(
            fmt::format("PostgreSQL can't be reached: {}", PQerrorMessage(connection_.get())));
    }
}

PgResultPtr Database::run(const std::string& sql) {
    PgResultPtr result(PQexec(connection_.get(), sql.c_str()), &PQclear);
    const ExecStatusType status = PQresultStatus(result.get());
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
        throw std::runtime_error(fmt::format("{}in: {}", PQerrorMessage(connection_.get()), sql));
    }
    return result;
}

std::string Database::value(const std::string& sql) {
    const PgResultPtr result = run(sql);
    if (PQntuples(result.get()) != 1 || PQnfields(result.get()) != 1) {
        throw std::runtime_error(fmt::format("not one value from: {}", sql));
    }
    return std::string(field(result.get(), 0, 0));
}

std::string Database::quoted_identifier(const char* name) {
    char* quoted = PQescapeIdentifier(connection_.get(), name, std::string_view(name).size());
    if (quoted == nullptr) throw std::runtime_error(PQerrorMessage(connection_.get()));
    const std::unique_ptr<char, decltype(&PQfreemem)> owner(quoted, &PQfreemem);
    return quoted;
}

std::string Database::column_definitions(const PGresult* result) {
    std::string list;
    for (int column = 0; column < PQnfields(result); ++column) {
        const std::string type =
            value(fmt::format("SELECT format_type({}, {})", PQftype(result, column), PQfmod(result, column)));
        list +=
            fmt::format("{}{} {}", column == 0 ? "" : ", ", quoted_identifier(PQfname(result, column)), type);
    }
    return list;
}

std::string wire_bytes(const PGresult* result) {
    std::string bytes;
    append_message(bytes, 'T', row_description(result));
    for (int row = 0; row < PQntuples(result); ++row) append_message(bytes, 'D', data_row(result, row));
    return bytes;
}

std::string psql_text(const PGresult* result) {
    std::string text;
    for (int row = 0; row < PQntuples(result); ++row) {
        for (int column = 0; column < PQnfields(result); ++column) {
            if (column > 0) text += '|';
            text += PQgetisnull(result, row, column) == 1 ? "NULL" : field(result, row, column);
        }
        text += '\n';
    }
    return text;
}

}  // namespace tiercache::demo
