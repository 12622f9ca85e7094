// L2: entries in one Redis. A failure of any kind is a miss, or a store that did not happen. Safe from any
// thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "client/circuit_breaker.hpp"
#include "client/deadline.hpp"
#include "client/redis_connection.hpp"
#include "shm_cache/hash.hpp"
#include "tiercache/answer.hpp"
#include "tiercache/options.hpp"

namespace tiercache {

class RedisTier {
 public:
    // `options.address` can be parsed.
    explicit RedisTier(const Options::L2& options);

    enum class Outcome : unsigned char {
        found,
        absent,  // also: a value that is not ours by its type or lack of a TTL
        failed,
        skipped,  // not tried: it has been failing
    };
    struct Lookup {
        Outcome outcome = Outcome::absent;
        std::span<std::byte> value;  // in the caller's buffer; untrusted bytes
        std::uint64_t ttl_left_ms = 0;
    };

    // Copies the value of `hash` to `buffer`.
    Lookup get(const KeyHash& hash, detail::Buffer& buffer, Deadline deadline) noexcept;

    // found: it is stored. absent: it is not, for it is too large or Redis refused it.
    Outcome put(const KeyHash& hash, std::span<const std::byte> value, std::chrono::milliseconds ttl,
                Deadline deadline) noexcept;

    // "tc:", the prefix, 32 hexadecimal digits.
    [[nodiscard]] std::string redis_key(const KeyHash& hash) const;

 private:
    std::unique_ptr<RedisConnection> take(Deadline deadline);
    void give_back(std::unique_ptr<RedisConnection> connection);
    bool log_in(RedisConnection& connection, Deadline deadline);
    Lookup try_get(const KeyHash& hash, detail::Buffer& buffer, Deadline deadline);
    Outcome try_put(const KeyHash& hash, std::span<const std::byte> value, std::chrono::milliseconds ttl,
                    Deadline deadline);
    void report(Outcome outcome, Deadline deadline) noexcept;

    const Options::L2 options_;
    const RedisAddress address_;
    CircuitBreaker breaker_;
    std::mutex mutex_;
    std::vector<std::unique_ptr<RedisConnection>> idle_;
};

}  // namespace tiercache
