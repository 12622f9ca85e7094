#include "client/pg_connection.hpp"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "client/pg_cancel.hpp"

namespace tiercache {

namespace {

constexpr Oid text_oid = 25;
constexpr Oid text_array_oid = 1009;

// libpq's messages have several lines and end with a newline; ours are one sentence.
std::string one_line(const char* message) {
    std::string line;
    for (std::string_view rest(message == nullptr ? "" : message); !rest.empty();) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        std::string_view part = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        part.remove_prefix(std::min(part.find_first_not_of(" \t"), part.size()));
        if (part.empty()) continue;
        if (!line.empty()) line += ' ';
        line += part;
    }
    return line;
}

void append_i32(std::string& out, std::size_t value) {
    const std::uint32_t big_endian = htonl(static_cast<std::uint32_t>(value));
    out.append(reinterpret_cast<const char*>(&big_endian), sizeof(big_endian));
}

// text[] in the protocol's binary form.
std::string binary_array(std::span<const QueryParam> params) {
    std::string out;
    append_i32(out, params.empty() ? 0 : 1);  // dimensions
    bool has_null = false;
    for (const QueryParam& p : params) has_null = has_null || !p;
    append_i32(out, has_null ? 1 : 0);
    append_i32(out, text_oid);
    if (params.empty()) return out;
    append_i32(out, params.size());
    append_i32(out, 1);  // lower bound
    for (const QueryParam& p : params) {
        append_i32(out, p ? p->size() : UINT32_MAX);
        if (p) out += *p;
    }
    return out;
}

}  // namespace

Status check_conninfo(const std::string& conninfo) {
    char* error = nullptr;
    PQconninfoOption* parsed = PQconninfoParse(conninfo.c_str(), &error);
    if (parsed != nullptr) {
        PQconninfoFree(parsed);
        return Status();
    }
    Status status(StatusCode::invalid_argument,
                  "the PostgreSQL connection string is wrong: " + one_line(error));
    PQfreemem(error);
    return status;
}

Result<PgConnection> PgConnection::connect(const std::string& conninfo, Deadline deadline) {
    const std::array<const char*, 3> keywords = {"dbname", "fallback_application_name", nullptr};
    const std::array<const char*, 3> values = {conninfo.c_str(), "tiercache", nullptr};
    PGconn* raw = PQconnectStartParams(keywords.data(), values.data(), /*expand_dbname=*/1);
    if (raw == nullptr)
        return Status(StatusCode::unavailable, "could not connect to PostgreSQL: out of memory");
    PgConnection connection(raw);
    if (Status s = connection.finish_connect(deadline); !s.ok()) return s;
    if (PQsetnonblocking(raw, 1) != 0) return connection.broken("set up the connection");
    // Notices go to nobody: a library does not write to stderr.
    PQsetNoticeProcessor(
        raw, [](void*, const char*) {}, nullptr);
    return connection;
}

Status PgConnection::finish_connect(Deadline deadline) {
    PGconn* c = connection_.get();
    PostgresPollingStatusType next = PGRES_POLLING_WRITING;
    while (true) {
        if (PQstatus(c) == CONNECTION_BAD || next == PGRES_POLLING_FAILED) {
            return {StatusCode::unavailable,
                    "could not connect to PostgreSQL: " + one_line(PQerrorMessage(c))};
        }
        if (next == PGRES_POLLING_OK) return Status();
        const short events = next == PGRES_POLLING_READING ? POLLIN : POLLOUT;
        // The socket may be another one after each step.
        switch (wait_for(PQsocket(c), events, deadline)) {
            case WaitResult::ready:
                break;
            case WaitResult::timeout:
                return {StatusCode::timeout, "PostgreSQL did not accept the connection in time"};
            case WaitResult::failed:
                return {StatusCode::unavailable, "could not wait for PostgreSQL: the socket failed"};
        }
        next = PQconnectPoll(c);
    }
}

Result<PgResult> PgConnection::execute(const char* sql, Deadline deadline, PgFormat result_format) {
    if (PQsendQueryParams(connection_.get(), sql, 0, nullptr, nullptr, nullptr, nullptr,
                          static_cast<int>(result_format)) == 0) {
        return broken("send the statement");
    }
    return receive(deadline);
}

Result<PgResult> PgConnection::fetch(std::string_view sql, std::span<const QueryParam> params,
                                     Deadline deadline) {
    const std::string array = binary_array(params);
    const std::array<Oid, 2> types = {text_oid, text_array_oid};
    const std::array<const char*, 2> values = {sql.data() == nullptr ? "" : sql.data(), array.data()};
    const std::array<int, 2> lengths = {static_cast<int>(sql.size()), static_cast<int>(array.size())};
    const std::array<int, 2> formats = {1, 1};  // with a length each, so that no byte ends a text early
    if (PQsendQueryParams(connection_.get(), "SELECT tiercache.fetch($1, $2)", 2, types.data(), values.data(),
                          lengths.data(), formats.data(), 1) == 0) {
        return broken("send the query");
    }
    return receive(deadline);
}

Status PgConnection::flush(Deadline deadline) {
    PGconn* c = connection_.get();
    while (true) {
        const int left = PQflush(c);
        if (left == 0) return Status();
        if (left < 0) return broken("send the query");
        // While the server sends us something, it may not read: take that in, or both wait for ever.
        switch (wait_for(PQsocket(c), POLLIN | POLLOUT, deadline)) {
            case WaitResult::ready:
                if (PQconsumeInput(c) == 0) return broken("send the query");
                break;
            case WaitResult::timeout:
                return timed_out();
            case WaitResult::failed:
                return broken("wait for the server");
        }
    }
}

Result<PgResult> PgConnection::receive(Deadline deadline) {
    PGconn* c = connection_.get();
    sqlstate_.clear();
    if (Status s = flush(deadline); !s.ok()) return s;
    std::unique_ptr<PGresult, decltype(&PQclear)> last(nullptr, PQclear);
    while (true) {
        while (PQisBusy(c) != 0) {
            switch (wait_for(PQsocket(c), POLLIN, deadline)) {
                case WaitResult::ready:
                    break;
                case WaitResult::timeout:
                    return timed_out();
                case WaitResult::failed:
                    return broken("wait for the server");
            }
            // An error shows in the result that follows.
            if (PQconsumeInput(c) == 0 && PQstatus(c) == CONNECTION_BAD && PQisBusy(c) != 0) {
                return broken("read the server's answer");
            }
        }
        PGresult* result = PQgetResult(c);
        if (result == nullptr) break;
        // The first error says most.
        if (last == nullptr || PQresultStatus(last.get()) != PGRES_FATAL_ERROR)
            last.reset(result);
        else
            PQclear(result);
        // COPY would have to be carried on; nothing that is sent here begins one.
        const ExecStatusType status = PQresultStatus(last.get());
        if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
            return broken("run the statement: it is a COPY");
        }
    }
    if (last == nullptr) return broken("read the server's answer");
    const ExecStatusType status = PQresultStatus(last.get());
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) return error_of(last.get());
    return PgResult(last.release());
}

Status PgConnection::error_of(const PGresult* result) {
    PGconn* c = connection_.get();
    const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (state == nullptr || PQstatus(c) == CONNECTION_BAD) {
        // The end of the connection, with or without the server's last words.
        usable_ = false;
        return {StatusCode::unavailable,
                "lost the connection to PostgreSQL: " + one_line(PQresultErrorMessage(result))};
    }
    sqlstate_ = state;
    const char* primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    std::string message = one_line(primary != nullptr ? primary : "the query failed");
    if (const char* hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT))
        message += "; hint: " + one_line(hint);
    message += " (SQLSTATE " + sqlstate_ + ")";
    const bool denied = sqlstate_ == "42501";
    return {denied ? StatusCode::permission_denied : StatusCode::query_failed, std::move(message)};
}

Status PgConnection::explain(const Status& status) const {
    constexpr std::array<std::string_view, 3> missing = {"3F000",   // undefined schema
                                                         "42883",   // undefined function
                                                         "42P01"};  // undefined table
    if (status.ok() || std::ranges::find(missing, sqlstate_) == missing.end()) return status;
    return {
        StatusCode::query_failed,
        std::string("the extension tiercache (or this release of it) is not in database \"") +
            PQdb(connection_.get()) +
            "\": set shared_preload_libraries = 'tiercache', restart the server, and run CREATE EXTENSION "
            "tiercache in that database"};
}

Status PgConnection::broken(const char* doing) {
    usable_ = false;
    return {StatusCode::unavailable,
            std::string("could not ") + doing + ": " + one_line(PQerrorMessage(connection_.get()))};
}

Status PgConnection::timed_out() {
    usable_ = false;
    cancel_in_background(PQgetCancel(connection_.get()));
    return {StatusCode::timeout, "PostgreSQL did not answer before the deadline; the query was cancelled"};
}

bool PgConnection::closed_by_server() noexcept {
    // What waits on an idle connection is a notice, or the server's last words and then the end.
    constexpr int looks_max = 4;
    for (int look = 0; look < looks_max; ++look) {
        char byte = 0;
        const ssize_t n = recv(PQsocket(connection_.get()), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
        if (n == 0) return true;
        if (n < 0) return errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR;
        if (PQconsumeInput(connection_.get()) == 0) return true;
    }
    return false;
}

}  // namespace tiercache
