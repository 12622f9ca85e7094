// Redis over a unix socket, by hiredis.
#include <hiredis/hiredis.h>

#include <cstring>
#include <optional>
#include <vector>

#include "bench/l1/peers/peers.hpp"
#include "bench/l1/server.hpp"
#include "bench/l1/temporary_folder.hpp"

namespace bench {

namespace {

struct Free {
    void operator()(redisReply* reply) const { freeReplyObject(reply); }
    void operator()(redisContext* context) const { redisFree(context); }
};
using Reply = std::unique_ptr<redisReply, Free>;

class Peer {
 public:
    Peer(std::size_t value_bytes, const std::string& socket)
        : value_(value_bytes), connection_(redisConnectUnix(socket.c_str())) {
        require(connection_ != nullptr && connection_->err == 0, "could not connect to Redis");
    }

    std::span<const std::byte> get(std::string_view key) {
        const Reply reply(
            static_cast<redisReply*>(redisCommand(connection_.get(), "GET %b", key.data(), key.size())));
        require(reply != nullptr, "Redis does not answer");
        if (reply->type != REDIS_REPLY_STRING) return {};
        const auto bytes = static_cast<std::size_t>(reply->len);
        require(bytes <= value_.size(), "a value from Redis is too long");
        std::memcpy(value_.data(), reply->str, bytes);
        return std::span(value_).first(bytes);
    }

    void put(std::string_view key, std::span<const std::byte> value) {
        append(key, value);
        expect_ok();
    }

    void load(const Workload& workload) {
        constexpr std::uint32_t at_once = 100;
        for (std::uint32_t first = 0; first < workload.key_count(); first += at_once) {
            const std::uint32_t end = std::min(workload.key_count(), first + at_once);
            for (std::uint32_t i = first; i < end; ++i) append(workload.key(i).text(), workload.value(i));
            for (std::uint32_t i = first; i < end; ++i) expect_ok();
        }
    }

 private:
    void append(std::string_view key, std::span<const std::byte> value) {
        require(redisAppendCommand(connection_.get(), "SET %b %b", key.data(), key.size(), value.data(),
                                   value.size()) == REDIS_OK,
                "could not write to Redis");
    }
    void expect_ok() {
        void* answer = nullptr;
        require(redisGetReply(connection_.get(), &answer) == REDIS_OK, "Redis does not answer");
        const Reply reply(static_cast<redisReply*>(answer));
        require(reply->type == REDIS_REPLY_STATUS, "Redis refused a SET");
    }

    std::vector<std::byte> value_;
    std::unique_ptr<redisContext, Free> connection_;
};

class Redis : public Store {
 public:
    explicit Redis(const Workload& workload)
        : Store("Redis, unix socket", workload), folder_("/tmp"), socket_(folder_.path() + "/redis.sock") {}

    [[nodiscard]] std::size_t batch() const override { return 20; }
    [[nodiscard]] pid_t server() const override { return server_ ? server_->pid() : 0; }

    void start() override {
        server_.emplace(std::vector<std::string>{"redis-server", "--port", "0", "--unixsocket", socket_,
                                                 "--save", "", "--appendonly", "no", "--dir", folder_.path()},
                        socket_);
    }
    std::unique_ptr<Access> open() override {
        return std::make_unique<AccessOf<Peer>>(workload().value_bytes(), socket_);
    }
    void stop() override { server_.reset(); }
    void remove_names() noexcept override { folder_.remove(); }

 private:
    TemporaryFolder folder_;
    std::string socket_;
    std::optional<Server> server_;
};

}  // namespace

StorePointer make_redis(const Workload& workload) { return std::make_unique<Redis>(workload); }

}  // namespace bench
