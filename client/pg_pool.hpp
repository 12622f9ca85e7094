// The connections of one Cache to PostgreSQL: made when needed, at most so many, given back for others to
// use. Safe from any thread.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "client/pg_connection.hpp"
#include "tiercache/options.hpp"

namespace tiercache {

class PgPool {
 public:
    // Called with each new connection, whose session_key is set, and the name of the server's clock table
    // (empty: it told none).
    using OnConnect = std::function<void(const PgConnection&, std::string_view clock_name)>;

    PgPool(const Options::L4& options, OnConnect on_connect);
    PgPool(const PgPool&) = delete;
    PgPool& operator=(const PgPool&) = delete;
    PgPool(PgPool&&) = delete;
    PgPool& operator=(PgPool&&) = delete;
    ~PgPool() = default;  // all leases must have ended

    // A connection for one user; goes back to the pool, or is closed when it is broken, at the lease's end.
    class Lease {
     public:
        Lease(PgPool& pool, std::unique_ptr<PgConnection> connection, bool reused) noexcept
            : pool_(&pool), connection_(std::move(connection)), reused_(reused) {}
        Lease(Lease&&) noexcept = default;
        Lease& operator=(Lease&&) = delete;
        Lease(const Lease&) = delete;
        Lease& operator=(const Lease&) = delete;
        ~Lease();

        PgConnection& operator*() const noexcept { return *connection_; }
        PgConnection* operator->() const noexcept { return connection_.get(); }
        // It had been idle, so that a failure may be older than this use of it.
        [[nodiscard]] bool reused() const noexcept { return reused_; }

     private:
        PgPool* pool_;
        std::unique_ptr<PgConnection> connection_;
        bool reused_;
    };

    enum class Want : unsigned char { any_connection, new_connection };

    // Errors: unavailable, timeout, query_failed or permission_denied (the server refused
    // tiercache.session_key(): the extension is missing, say).
    Result<Lease> acquire(Deadline deadline, Want want);

 private:
    Result<std::unique_ptr<PgConnection>> connect(Deadline deadline);
    void give_back(std::unique_ptr<PgConnection> connection) noexcept;
    void forget_one() noexcept;

    const Options::L4 options_;
    const OnConnect on_connect_;
    std::mutex mutex_;
    std::condition_variable freed_;
    std::vector<std::unique_ptr<PgConnection>> idle_;  // the last used one at the end
    std::size_t open_ = 0;                             // idle, leased or being made
};

}  // namespace tiercache
