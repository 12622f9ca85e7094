// One connection to PostgreSQL, through libpq's asynchronous functions, so that every wait has a deadline.
// Used by one thread at a time.
#pragma once

#include <libpq-fe.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "client/deadline.hpp"
#include "shm_cache/query_key.hpp"
#include "shm_cache/status.hpp"

namespace tiercache {

// The rows of a statement that ended well.
class PgResult {
 public:
    explicit PgResult(PGresult* result) noexcept : result_(result, PQclear) {}

    [[nodiscard]] int row_count() const noexcept { return PQntuples(result_.get()); }
    [[nodiscard]] int column_count() const noexcept { return PQnfields(result_.get()); }
    [[nodiscard]] const char* column_name(int column) const noexcept {
        return PQfname(result_.get(), column);
    }
    [[nodiscard]] Oid column_type(int column) const noexcept { return PQftype(result_.get(), column); }
    [[nodiscard]] bool is_null(int row, int column) const noexcept {
        return PQgetisnull(result_.get(), row, column) != 0;
    }
    // Lives as long as this object.
    [[nodiscard]] std::string_view text(int row, int column) const noexcept {
        return {PQgetvalue(result_.get(), row, column),
                static_cast<std::size_t>(PQgetlength(result_.get(), row, column))};
    }
    [[nodiscard]] std::span<const std::byte> bytes(int row, int column) const noexcept {
        return std::as_bytes(std::span(text(row, column)));
    }

 private:
    std::unique_ptr<PGresult, decltype(&PQclear)> result_;
};

enum class PgFormat : int { text = 0, binary = 1 };

class PgConnection {
 public:
    // Errors: unavailable, timeout, both with libpq's words.
    static Result<PgConnection> connect(const std::string& conninfo, Deadline deadline);

    // Runs one statement. Errors: query_failed, permission_denied (SQLSTATE 42501), timeout, unavailable (the
    // connection broke). After a timeout the server is asked to cancel, and the connection is of no more use.
    Result<PgResult> execute(const char* sql, Deadline deadline, PgFormat result_format = PgFormat::text);

    // tiercache.fetch(sql, params): the bytes of one entry, in row 0 and column 0.
    Result<PgResult> fetch(std::string_view sql, std::span<const QueryParam> params, Deadline deadline);

    // False after an error that ended the connection, or left something under way on it.
    [[nodiscard]] bool usable() const noexcept { return usable_; }
    // Asks the kernel, without waiting, whether the server has closed an idle connection.
    [[nodiscard]] bool closed_by_server() noexcept;

    // `status`, or a sentence that says what to do when the last statement failed because the database has no
    // extension tiercache (and so nothing in schema tiercache).
    [[nodiscard]] Status explain(const Status& status) const;

    // What tiercache.session_key() said here; its owner sets it.
    std::vector<std::byte> session_key;

 private:
    explicit PgConnection(PGconn* connection) noexcept : connection_(connection, PQfinish) {}

    Status finish_connect(Deadline deadline);
    Status flush(Deadline deadline);
    Result<PgResult> receive(Deadline deadline);
    Status error_of(const PGresult* result);
    Status broken(const char* doing);
    Status timed_out();

    std::unique_ptr<PGconn, decltype(&PQfinish)> connection_;
    std::string sqlstate_;
    bool usable_ = true;
};

// The libpq connection string can be parsed. Error: invalid_argument, with libpq's words.
Status check_conninfo(const std::string& conninfo);

}  // namespace tiercache
