#include "client/redis_connection.hpp"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <vector>

namespace tiercache {

namespace {

constexpr std::size_t receive_chunk_bytes = std::size_t{64} << 10;
constexpr std::size_t reply_head_bytes_max = 64;  // "$" length CRLF, and the CRLF after the bytes
constexpr int default_port = 6379;

std::optional<int> parse_port(std::string_view text) {
    int port = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (error != std::errc() || end != text.data() + text.size() || port < 1 || port > 65535)
        return std::nullopt;
    return port;
}

}  // namespace

std::optional<RedisAddress> parse_redis_address(std::string_view text) {
    constexpr std::string_view unix_scheme = "unix:";
    RedisAddress address;
    const bool names_path = text.starts_with(unix_scheme);
    if (names_path) text.remove_prefix(unix_scheme.size());
    if (names_path && !text.starts_with('/')) return std::nullopt;
    if (text.starts_with('/')) {
        address.path = text;
        return address;
    }
    std::string_view port;
    if (text.starts_with('[')) {  // an IPv6 address
        const std::size_t end = text.find(']');
        if (end == std::string_view::npos) return std::nullopt;
        address.host = text.substr(1, end - 1);
        port = text.substr(end + 1);
    } else {
        const std::size_t colon = std::min(text.find(':'), text.size());
        address.host = text.substr(0, colon);
        port = text.substr(colon);
    }
    address.port = default_port;
    if (!port.empty()) {
        if (!port.starts_with(':')) return std::nullopt;
        const std::optional<int> given = parse_port(port.substr(1));
        if (!given) return std::nullopt;
        address.port = *given;
    }
    if (address.host.empty() || address.host.find('/') != std::string::npos) return std::nullopt;
    return address;
}

// hiredis hands each reply to these; the "object" is the connection itself.
struct RedisConnection::Parser {
    static RedisConnection& self(const redisReadTask* task) {
        return *static_cast<RedisConnection*>(task->privdata);
    }
    static void* string(const redisReadTask* task, char* bytes, std::size_t size) {
        RedisConnection& c = self(task);
        c.text_.assign(bytes, size);
        c.parsed_ = {.type = task->type == REDIS_REPLY_ERROR    ? RedisReply::Type::error
                             : task->type == REDIS_REPLY_STATUS ? RedisReply::Type::status
                                                                : RedisReply::Type::bytes,
                     .text = c.text_};
        return &c;
    }
    // What no command of ours is answered with: arrays; and of what hiredis knows since 1.0, doubles and
    // booleans.
    template <class... Parts>
    static void* refuse(const redisReadTask* /*task*/, Parts... /*parts*/) {
        return nullptr;
    }
    static void* integer(const redisReadTask* task, long long value) {
        self(task).parsed_ = {.type = RedisReply::Type::integer, .integer = value, .text = {}};
        return &self(task);
    }
    static void* nil(const redisReadTask* task) {
        self(task).parsed_ = RedisReply();
        return &self(task);
    }
    static void free(void* /*object*/) {}

    template <class Functions>
    static Functions make_functions() {
        Functions made{};
        made.createString = string;
        made.createArray = refuse;
        made.createInteger = integer;
        made.createNil = nil;
        made.freeObject = free;
        if constexpr (requires { made.createDouble; }) {
            made.createDouble = refuse;
            made.createBool = refuse;
        }
        return made;
    }
};

RedisConnection::RedisConnection(redisContext* context, std::size_t reply_bytes_max)
    : context_(context, redisFree), reply_bytes_max_(reply_bytes_max) {
    static redisReplyObjectFunctions functions = Parser::make_functions<redisReplyObjectFunctions>();
    context->reader->fn = &functions;
    context->reader->privdata = this;
}

std::unique_ptr<RedisConnection> RedisConnection::connect(const RedisAddress& address,
                                                          std::size_t reply_bytes_max, Deadline deadline) {
    redisContext* context = address.path.empty() ? redisConnectNonBlock(address.host.c_str(), address.port)
                                                 : redisConnectUnixNonBlock(address.path.c_str());
    if (context == nullptr) return nullptr;
    if (context->err != 0) {
        redisFree(context);
        return nullptr;
    }
    std::unique_ptr<RedisConnection> connection(new RedisConnection(context, reply_bytes_max));
    return connection->finish_connect(deadline) ? std::move(connection) : nullptr;
}

bool RedisConnection::finish_connect(Deadline deadline) noexcept {
    if (wait_for(context_->fd, POLLOUT, deadline) != WaitResult::ready) return false;
    int error = 0;
    socklen_t size = sizeof(error);
    return getsockopt(context_->fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0;
}

bool RedisConnection::send(std::initializer_list<std::string_view> words) {
    std::vector<const char*> texts;
    std::vector<std::size_t> sizes;
    for (const std::string_view word : words) {
        texts.push_back(word.data());
        sizes.push_back(word.size());
    }
    char* command = nullptr;
    const int size =
        redisFormatCommandArgv(&command, static_cast<int>(words.size()), texts.data(), sizes.data());
    if (size < 0) return false;
    unsent_.append(command, static_cast<std::size_t>(size));
    redisFreeCommand(command);
    return true;
}

bool RedisConnection::flush(Deadline deadline) noexcept {
    std::size_t sent = 0;
    while (sent < unsent_.size()) {
        const ssize_t n = ::send(context_->fd, unsent_.data() + sent, unsent_.size() - sent, MSG_NOSIGNAL);
        if (n >= 0) {
            sent += static_cast<std::size_t>(n);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (wait_for(context_->fd, POLLOUT, deadline) != WaitResult::ready) return false;
        } else if (errno != EINTR) {
            return false;
        }
    }
    unsent_.clear();
    return true;
}

bool RedisConnection::feed(Deadline deadline) noexcept {
    redisReader* reader = context_->reader;
    if (reader->len - reader->pos > reply_bytes_max_ + reply_head_bytes_max) return false;
    std::array<char, receive_chunk_bytes> chunk;  // NOLINT(cppcoreguidelines-pro-type-member-init)
    while (true) {
        // Looked at each time: bytes that keep dripping in are no reason to stay.
        if (wait_for(context_->fd, POLLIN, deadline) != WaitResult::ready) return false;
        const ssize_t n = recv(context_->fd, chunk.data(), chunk.size(), MSG_DONTWAIT);
        if (n > 0) return redisReaderFeed(reader, chunk.data(), static_cast<std::size_t>(n)) == REDIS_OK;
        if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) return false;
    }
}

bool RedisConnection::quiet() const noexcept {
    char byte = 0;
    const ssize_t n = recv(context_->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) &&
           context_->reader->len == context_->reader->pos;
}

std::optional<RedisReply> RedisConnection::receive(Deadline deadline) {
    if (!flush(deadline)) return std::nullopt;
    while (true) {
        void* object = nullptr;
        if (redisReaderGetReply(context_->reader, &object) != REDIS_OK) return std::nullopt;
        if (object != nullptr) return parsed_;
        if (std::chrono::steady_clock::now() >= deadline || !feed(deadline)) return std::nullopt;
    }
}

}  // namespace tiercache
