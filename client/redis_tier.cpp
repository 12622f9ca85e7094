#include "client/redis_tier.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

namespace tiercache {

RedisTier::RedisTier(const Options::L2& options)
    : options_(options), address_(parse_redis_address(options.address).value_or(RedisAddress())) {}

std::string RedisTier::redis_key(const KeyHash& hash) const {
    constexpr std::string_view digits = "0123456789abcdef";
    std::string key = "tc:" + options_.prefix;
    for (const std::uint64_t word : {hash.high, hash.low}) {
        for (int shift = 60; shift >= 0; shift -= 4) key += digits[(word >> shift) & 15U];
    }
    return key;
}

RedisTier::Lookup RedisTier::get(const KeyHash& hash, detail::Buffer& buffer, Deadline deadline) noexcept {
    if (!breaker_.allow()) return {.outcome = Outcome::skipped, .value = {}};
    Lookup lookup{.outcome = Outcome::failed, .value = {}};
    try {
        lookup = try_get(hash, buffer, std::min(deadline, deadline_in(options_.timeout)));
    } catch (...) {
        // No memory: as if Redis had not answered.
    }
    report(lookup.outcome, deadline);
    return lookup;
}

RedisTier::Outcome RedisTier::put(const KeyHash& hash, std::span<const std::byte> value,
                                  std::chrono::milliseconds ttl, Deadline deadline) noexcept {
    if (value.size() > options_.entry_bytes_max || ttl < std::chrono::milliseconds(1)) return Outcome::absent;
    if (!breaker_.allow()) return Outcome::skipped;
    Outcome outcome = Outcome::failed;
    try {
        outcome = try_put(hash, value, ttl, std::min(deadline, deadline_in(options_.timeout)));
    } catch (...) {
        // As above.
    }
    report(outcome, deadline);
    return outcome;
}

void RedisTier::report(Outcome outcome, Deadline deadline) noexcept {
    if (outcome != Outcome::failed) {
        breaker_.succeeded();
    } else if (std::chrono::steady_clock::now() < deadline) {
        breaker_.failed();  // not the haste of one caller
    }
}

RedisTier::Lookup RedisTier::try_get(const KeyHash& hash, detail::Buffer& buffer, Deadline deadline) {
    Lookup lookup{.outcome = Outcome::failed, .value = {}};
    std::unique_ptr<RedisConnection> connection = take(deadline);
    if (!connection) return lookup;
    const std::string key = redis_key(hash);
    // The TTL first: when the value is replaced in between, the new one looks older than it is, never
    // younger.
    if (!connection->send({"PTTL", key}) || !connection->send({"GET", key})) return lookup;
    const std::optional<RedisReply> ttl = connection->receive(deadline);
    if (!ttl || ttl->type != RedisReply::Type::integer) return lookup;
    const std::int64_t ttl_left_ms = ttl->integer;
    const std::optional<RedisReply> value = connection->receive(deadline);
    if (!value || (value->type != RedisReply::Type::bytes && value->type != RedisReply::Type::nil &&
                   value->type != RedisReply::Type::error)) {
        return lookup;
    }
    // An error here may be of the key (WRONGTYPE) or of Redis (LOADING, NOAUTH, MASTERDOWN ...).
    const bool wrong_type = value->type == RedisReply::Type::error && value->text.starts_with("WRONGTYPE");
    if (value->type == RedisReply::Type::error && !wrong_type) return lookup;
    lookup.outcome = Outcome::absent;
    if (value->type == RedisReply::Type::bytes && ttl_left_ms > 0) {
        std::byte* room = buffer.reserve(value->text.size());
        if (room != nullptr) {
            std::memcpy(room, value->text.data(), value->text.size());
            lookup = {Outcome::found, {room, value->text.size()}, static_cast<std::uint64_t>(ttl_left_ms)};
        }
    }
    give_back(std::move(connection));
    return lookup;
}

RedisTier::Outcome RedisTier::try_put(const KeyHash& hash, std::span<const std::byte> value,
                                      std::chrono::milliseconds ttl, Deadline deadline) {
    std::unique_ptr<RedisConnection> connection = take(deadline);
    if (!connection) return Outcome::failed;
    const std::string key = redis_key(hash);
    const std::string ttl_ms = std::to_string(ttl.count());
    const std::string_view bytes(reinterpret_cast<const char*>(value.data()), value.size());
    if (!connection->send({"SET", key, bytes, "PX", ttl_ms})) return Outcome::failed;
    const std::optional<RedisReply> reply = connection->receive(deadline);
    const bool stored = reply && reply->type == RedisReply::Type::status;
    // A Redis that is full, a replica, or not ours to write to refuses writes and goes on answering reads.
    const bool refused = reply && reply->type == RedisReply::Type::error;
    if (!stored && !refused) return Outcome::failed;
    give_back(std::move(connection));
    return stored ? Outcome::found : Outcome::absent;
}

std::unique_ptr<RedisConnection> RedisTier::take(Deadline deadline) {
    {
        const std::scoped_lock lock(mutex_);
        while (!idle_.empty()) {
            std::unique_ptr<RedisConnection> connection = std::move(idle_.back());
            idle_.pop_back();
            // A quiet socket: Redis neither hung up nor said anything that nobody asked for.
            if (connection->quiet()) return connection;
        }
    }
    std::unique_ptr<RedisConnection> connection =
        RedisConnection::connect(address_, options_.entry_bytes_max, deadline);
    if (connection && !log_in(*connection, deadline)) connection.reset();
    return connection;
}

void RedisTier::give_back(std::unique_ptr<RedisConnection> connection) {
    const std::scoped_lock lock(mutex_);
    if (idle_.size() < options_.idle_connections_max) idle_.push_back(std::move(connection));
}

bool RedisTier::log_in(RedisConnection& connection, Deadline deadline) {
    const auto accepted = [&] {
        const std::optional<RedisReply> reply = connection.receive(deadline);
        return reply && reply->type == RedisReply::Type::status;
    };
    if (!options_.password.empty()) {
        const bool sent = options_.username.empty()
                              ? connection.send({"AUTH", options_.password})
                              : connection.send({"AUTH", options_.username, options_.password});
        if (!sent || !accepted()) return false;
    }
    if (options_.database != 0) {
        const std::string number = std::to_string(options_.database);
        if (!connection.send({"SELECT", number}) || !accepted()) return false;
    }
    return true;
}

}  // namespace tiercache
