// memcached over a unix socket, by a client of a few lines for its text protocol.
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <vector>

#include "bench/l1/peers/peers.hpp"
#include "bench/l1/server.hpp"
#include "bench/l1/temporary_folder.hpp"

namespace bench {

namespace {

constexpr std::string_view stored = "STORED\r\n";
constexpr std::string_view not_there = "END\r\n";
constexpr std::string_view value_tail = "\r\nEND\r\n";

class Peer {
 public:
    Peer(std::size_t value_bytes, const std::string& socket)
        : fd_(connect_to(socket)), value_bytes_(value_bytes), value_(value_bytes), reply_(value_bytes + 256) {
        require(fd_ >= 0, "could not connect to memcached");
    }
    ~Peer() { close(fd_); }
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;

    // The reply to a hit is "VALUE <key> <flags> <bytes>\r\n<value>\r\nEND\r\n", to a miss "END\r\n".
    std::span<const std::byte> get(std::string_view key) {
        request_.assign("get ").append(key).append("\r\n");
        send_request();
        std::size_t got = 0;
        for (;;) {
            got += receive(got);
            const std::string_view text(reply_.data(), got);
            if (text == not_there) return {};
            if (text.size() > value_bytes_ && text.ends_with(value_tail)) {
                const std::size_t begin = text.find("\r\n") + 2;
                require(begin + value_bytes_ + value_tail.size() == got,
                        "a value from memcached is of another size");
                std::memcpy(value_.data(), text.data() + begin, value_bytes_);
                return value_;
            }
        }
    }

    void put(std::string_view key, std::span<const std::byte> value) {
        request_.clear();
        append_set(key, value, "");
        send_request();
        expect(stored);
    }

    void load(const Workload& workload) {
        constexpr std::size_t at_once_bytes = 65536;
        request_.clear();
        for (std::uint32_t i = 0; i < workload.key_count(); ++i) {
            append_set(workload.key(i).text(), workload.value(i), " noreply");
            if (request_.size() < at_once_bytes) continue;
            send_request();
            request_.clear();
        }
        // One that is answered comes after all that are not.
        append_set(workload.key(0).text(), workload.value(0), "");
        send_request();
        expect(stored);
    }

 private:
    void append_set(std::string_view key, std::span<const std::byte> value, std::string_view option) {
        request_.append("set ").append(key).append(" 0 0 ").append(std::to_string(value.size()));
        request_.append(option).append("\r\n");
        request_.append(reinterpret_cast<const char*>(value.data()), value.size()).append("\r\n");
    }
    void send_request() {
        for (std::size_t sent = 0; sent < request_.size();) {
            const ssize_t n = send(fd_, request_.data() + sent, request_.size() - sent, MSG_NOSIGNAL);
            require(n > 0, "could not write to memcached");
            sent += static_cast<std::size_t>(n);
        }
    }
    std::size_t receive(std::size_t at) {
        require(at < reply_.size(), "a reply of memcached is too long");
        const ssize_t n = recv(fd_, reply_.data() + at, reply_.size() - at, 0);
        require(n > 0, "memcached does not answer");
        return static_cast<std::size_t>(n);
    }
    void expect(std::string_view answer) {
        std::size_t got = 0;
        while (got < answer.size()) got += receive(got);
        require(std::string_view(reply_.data(), got) == answer, "memcached refused a set");
    }

    int fd_;
    std::size_t value_bytes_;
    std::vector<std::byte> value_;
    std::vector<char> reply_;
    std::string request_;
};

class Memcached : public Store {
 public:
    explicit Memcached(const Workload& workload)
        : Store("memcached, unix socket", workload),
          folder_("/tmp"),
          socket_(folder_.path() + "/memcached.sock") {}

    [[nodiscard]] std::size_t batch() const override { return 20; }
    [[nodiscard]] pid_t server() const override { return server_ ? server_->pid() : 0; }

    void start() override {
        const std::size_t item_bytes = workload().value_bytes() * 5 / 4 + 128;  // slabs waste some
        const std::size_t megabytes = 64 + (workload().key_count() * item_bytes >> 20) * 5 / 4;
        std::vector<std::string> command{
            "memcached", "-s", socket_, "-t", "2", "-m", std::to_string(megabytes)};
        if (geteuid() == 0) command.insert(command.end(), {"-u", "root"});
        server_.emplace(command, socket_);
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

StorePointer make_memcached(const Workload& workload) { return std::make_unique<Memcached>(workload); }

}  // namespace bench
