// One connection to Redis: hiredis connects, formats commands and parses replies; sending and receiving are
// ours, because Redis is not trusted: every wait has a deadline, every reply a size limit, and nested
// replies, which nothing here asks for, break the connection. No SIGPIPE. Used by one thread at a time.
#pragma once

#include <hiredis/hiredis.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "client/deadline.hpp"

namespace tiercache {

struct RedisAddress {
    std::string path;  // of a unix socket; else:
    std::string host;
    int port = 0;
};
// "unix:/path", "/path", "host:port", "[::1]:port" or "host"; nullopt when it is none of them.
[[nodiscard]] std::optional<RedisAddress> parse_redis_address(std::string_view text);

struct RedisReply {
    enum class Type : unsigned char { nil, integer, bytes, status, error };
    Type type = Type::nil;
    std::int64_t integer = 0;
    // Of bytes, status and error; in the connection's own memory, until the next receive().
    std::string_view text;
};

class RedisConnection {
 public:
    // nullptr when it can't be made in time.
    static std::unique_ptr<RedisConnection> connect(const RedisAddress& address, std::size_t reply_bytes_max,
                                                    Deadline deadline);

    // Queues one command.
    [[nodiscard]] bool send(std::initializer_list<std::string_view> words);
    // Flushes what is queued and reads the reply to the oldest command that has had none; nullopt when there
    // is none in time, or the bytes that came are no such reply. The connection is of no use then.
    [[nodiscard]] std::optional<RedisReply> receive(Deadline deadline);

    // Asks the kernel, without waiting: nothing came on this idle connection, not even its end.
    [[nodiscard]] bool quiet() const noexcept;

 private:
    RedisConnection(redisContext* context, std::size_t reply_bytes_max);
    [[nodiscard]] bool finish_connect(Deadline deadline) noexcept;
    [[nodiscard]] bool flush(Deadline deadline) noexcept;
    [[nodiscard]] bool feed(Deadline deadline) noexcept;

    struct Parser;  // hiredis calls it back
    std::unique_ptr<redisContext, decltype(&redisFree)> context_;
    std::size_t reply_bytes_max_;
    std::string unsent_;
    RedisReply parsed_;
    std::string text_;  // of parsed_: the reader's own buffer moves on
};

}  // namespace tiercache
