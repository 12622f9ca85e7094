#include "client/pg_pool.hpp"

#include <algorithm>

namespace tiercache {

PgPool::PgPool(const Options::L4& options, OnConnect on_connect)
    : options_(options), on_connect_(std::move(on_connect)) {
    idle_.reserve(options.pool_size);
}

PgPool::Lease::~Lease() {
    if (connection_) pool_->give_back(std::move(connection_));
}

Result<PgPool::Lease> PgPool::acquire(Deadline deadline, Want want) {
    {
        std::unique_lock lock(mutex_);
        const auto available = [this] { return !idle_.empty() || open_ < options_.pool_size; };
        if (!freed_.wait_until(lock, deadline, available)) {
            return Status(StatusCode::timeout, "all " + std::to_string(options_.pool_size) +
                                                   " connections to PostgreSQL were in use until the "
                                                   "deadline; raise l4.pool_size or the timeout");
        }
        while (!idle_.empty()) {
            std::unique_ptr<PgConnection> connection = std::move(idle_.back());
            idle_.pop_back();
            if (want == Want::any_connection && !connection->closed_by_server()) {
                return Lease(*this, std::move(connection), /*reused=*/true);
            }
            --open_;
        }
        ++open_;
    }
    // Gives the place back when no connection takes it, also when something throws.
    const auto forget = [](PgPool* pool) noexcept { pool->forget_one(); };
    std::unique_ptr<PgPool, decltype(forget)> place(this, forget);
    Result<std::unique_ptr<PgConnection>> connected = connect(deadline);
    if (!connected.ok()) return connected.status();
    (void)place.release();
    return Lease(*this, std::move(connected).value(), /*reused=*/false);
}

Result<std::unique_ptr<PgConnection>> PgPool::connect(Deadline deadline) {
    const Deadline connected_by = std::min(deadline, deadline_in(options_.connect_timeout));
    Result<PgConnection> connected = PgConnection::connect(options_.conninfo, connected_by);
    if (!connected.ok()) return connected.status();
    auto connection = std::make_unique<PgConnection>(std::move(connected).value());
    Result<PgResult> session =
        connection->execute("SELECT tiercache.session_key(), current_setting('tiercache.clock_name', true)",
                            connected_by, PgFormat::binary);
    if (!session.ok()) return connection->explain(session.status());
    if (session->row_count() != 1 || session->column_count() != 2 || session->is_null(0, 0)) {
        return Status(StatusCode::query_failed,
                      "the server gave no session key; use the same tiercache release there and here");
    }
    const std::span<const std::byte> key = session->bytes(0, 0);
    connection->session_key.assign(key.begin(), key.end());
    on_connect_(*connection, session->text(0, 1));
    return connection;
}

void PgPool::give_back(std::unique_ptr<PgConnection> connection) noexcept {
    if (!connection->usable()) {
        connection.reset();
        forget_one();
        return;
    }
    {
        const std::scoped_lock lock(mutex_);
        idle_.push_back(std::move(connection));  // within what was reserved
    }
    freed_.notify_one();
}

void PgPool::forget_one() noexcept {
    {
        const std::scoped_lock lock(mutex_);
        --open_;
    }
    freed_.notify_one();
}

}  // namespace tiercache
