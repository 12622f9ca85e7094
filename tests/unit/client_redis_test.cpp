// A Redis that says anything at all: each reply is a miss in bounded time and memory, and the next call
// works.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <random>
#include <string>
#include <thread>

#include "client/deadline.hpp"
#include "client/redis_connection.hpp"
#include "client/redis_tier.hpp"

namespace tiercache {
namespace {

using std::chrono::milliseconds;

// Listens on a unix socket and answers whatever arrives on each connection with the same bytes.
class Peer {
 public:
    enum class Then : unsigned char { close, stay, drip };

    Peer(std::string reply, Then then) : reply_(std::move(reply)), then_(then) {
        listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
        unlink(path_.c_str());
        EXPECT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
        EXPECT_EQ(listen(listener_, 16), 0);
        thread_ = std::thread([this] { serve(); });
    }
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;
    Peer(Peer&&) = delete;
    Peer& operator=(Peer&&) = delete;
    ~Peer() {
        stop_ = true;
        shutdown(listener_, SHUT_RDWR);
        thread_.join();
        close(listener_);
        unlink(path_.c_str());
    }

    [[nodiscard]] std::string address() const { return "unix:" + path_; }

 private:
    void serve() {
        while (!stop_) {
            const int c = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
            if (c < 0) return;
            talk(c);
            close(c);
        }
    }
    void talk(int c) {
        char request[4096];
        // Until the client hangs up: then the next connection.
        while (!stop_ && recv(c, request, sizeof(request), 0) > 0) {
            if (then_ == Then::drip) {
                for (const char& byte : reply_) {
                    if (stop_ || send(c, &byte, 1, MSG_NOSIGNAL) != 1) return;
                    std::this_thread::sleep_for(milliseconds(1));
                }
            } else if (send(c, reply_.data(), reply_.size(), MSG_NOSIGNAL) < 0) {
                return;
            }
            if (then_ == Then::close) return;
        }
    }

    std::string path_ =
        (std::filesystem::temp_directory_path() / ("tc_peer_" + std::to_string(getpid()) + ".sock")).string();
    std::string reply_;
    Then then_;
    int listener_ = -1;
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

Options::L2 options_of(const Peer& peer) {
    Options::L2 options;
    options.address = peer.address();
    options.timeout = milliseconds(300);
    options.entry_bytes_max = 1024;
    return options;
}

RedisTier::Outcome ask(const std::string& reply, Peer::Then then) {
    const Peer peer(reply, then);
    RedisTier tier(options_of(peer));
    detail::Buffer buffer;
    const auto start = std::chrono::steady_clock::now();
    const RedisTier::Lookup found = tier.get({1, 2}, buffer, deadline_in(std::chrono::seconds(20)));
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10)) << "bounded";
    return found.outcome;
}

TEST(ClientRedis, ReadsGoodReplies) {
    const Peer peer(":1500\r\n$5\r\nhello\r\n", Peer::Then::stay);
    RedisTier tier(options_of(peer));
    detail::Buffer buffer;
    for (int i = 0; i < 3; ++i) {
        const RedisTier::Lookup found = tier.get({1, 2}, buffer, deadline_in(std::chrono::seconds(20)));
        ASSERT_EQ(found.outcome, RedisTier::Outcome::found);
        EXPECT_EQ(found.ttl_left_ms, 1500U);
        EXPECT_EQ(std::string(reinterpret_cast<const char*>(found.value.data()), found.value.size()),
                  "hello");
    }
}

TEST(ClientRedis, KeysAreThePrefixAndTheHash) {
    Options::L2 options;
    options.address = "localhost";
    options.prefix = "shop:";
    EXPECT_EQ(RedisTier(options).redis_key({0x0123456789abcdef, 0xfedcba9876543210}),
              "tc:shop:fedcba98765432100123456789abcdef");
}

TEST(ClientRedis, WhatIsNotOursIsAMiss) {
    using Then = Peer::Then;
    EXPECT_EQ(ask(":-2\r\n$-1\r\n", Then::stay), RedisTier::Outcome::absent);
    EXPECT_EQ(ask(":-1\r\n$1\r\nx\r\n", Then::stay), RedisTier::Outcome::absent) << "without a TTL";
    EXPECT_EQ(ask(":0\r\n$1\r\nx\r\n", Then::stay), RedisTier::Outcome::absent);
    EXPECT_EQ(ask(":9\r\n-WRONGTYPE of key\r\n", Then::stay), RedisTier::Outcome::absent);
}

TEST(ClientRedis, WhatIsNotTheProtocolIsAFailure) {
    using Then = Peer::Then;
    for (const char* reply : {
             "",
             "HTTP/1.1 400 Bad Request\r\n\r\n",
             "-LOADING\r\n-LOADING\r\n",
             "-NOAUTH x\r\n",
             "+OK\r\n+OK\r\n",
             ":1\r\n+OK\r\n",
             "*2\r\n:1\r\n:2\r\n",
             "*1000000000\r\n",
             ":1\r\n*-5\r\n",
             ":1\r\n$-7\r\n",
             ":1\r\n$99999999999999999999\r\n",
             ":1\r\n$9223372036854775807\r\n",
             ":x\r\n$1\r\nx\r\n",
             ":1\r\n$3\r\nab",
             "\r\n\r\n\r\n",
             ",1.5\r\n,1.5\r\n",  // hiredis knows these since 1.0; no command is answered with them
             "#t\r\n#t\r\n",
             "%1\r\n+a\r\n+b\r\n",
             ">1\r\n+a\r\n",
         }) {
        const RedisTier::Outcome outcome = ask(reply, Then::close);
        EXPECT_TRUE(outcome == RedisTier::Outcome::failed || outcome == RedisTier::Outcome::absent) << reply;
        if (reply[0] != ':') {
            EXPECT_EQ(outcome, RedisTier::Outcome::failed) << reply;
        }
    }
}

TEST(ClientRedis, SilenceAndDrippingEndAtTheDeadline) {
    EXPECT_EQ(ask("", Peer::Then::stay), RedisTier::Outcome::failed);
    EXPECT_EQ(ask(":1\r\n$3", Peer::Then::stay), RedisTier::Outcome::failed);
    EXPECT_EQ(ask(":1\r\n$100000\r\n" + std::string(100'000, 'x') + "\r\n", Peer::Then::drip),
              RedisTier::Outcome::failed);
}

TEST(ClientRedis, TooLargeAReplyIsNotTakenIn) {
    EXPECT_EQ(ask(":1000\r\n$500000\r\n" + std::string(500'000, 'x') + "\r\n", Peer::Then::stay),
              RedisTier::Outcome::failed);
    EXPECT_EQ(ask(std::string(500'000, '+'), Peer::Then::stay), RedisTier::Outcome::failed);
}

TEST(ClientRedis, SurvivesRandomReplies) {
    std::minstd_rand random(7);
    constexpr std::string_view alphabet = ":$*+-0123456789\r\nx";
    for (int round = 0; round < 200; ++round) {
        std::string reply;
        for (auto n = random() % 40; n > 0; --n) reply += alphabet[random() % alphabet.size()];
        (void)ask(reply, Peer::Then::close);
    }
}

TEST(ClientRedis, OneThatRefusesWritesIsReadOn) {
    for (const char* refusal : {"-READONLY You can't write against a read only replica.\r\n",
                                "-MISCONF Redis is configured to save RDB snapshots\r\n",
                                "-NOPERM this user has no permissions to run the 'set' command\r\n",
                                "-OOM command not allowed\r\n"}) {
        const Peer peer(refusal, Peer::Then::stay);
        RedisTier tier(options_of(peer));
        const Deadline deadline = deadline_in(std::chrono::seconds(20));
        for (int i = 0; i < 3; ++i) {
            EXPECT_EQ(tier.put({1, 2}, {}, milliseconds(5), deadline), RedisTier::Outcome::absent) << refusal;
        }
        detail::Buffer buffer;
        EXPECT_NE(tier.get({1, 2}, buffer, deadline).outcome, RedisTier::Outcome::skipped) << refusal;
    }
}

TEST(ClientDeadline, WithoutEndIsNotNow) {
    const Deadline now = std::chrono::steady_clock::now();
    EXPECT_EQ(deadline_in(milliseconds::max()), Deadline::max());
    EXPECT_GT(deadline_in(std::chrono::hours(24 * 365 * 100)), now + std::chrono::hours(24 * 365 * 99));
    EXPECT_LT(deadline_in(milliseconds(-1)), now + milliseconds(1000));
    int ends[2];
    ASSERT_EQ(pipe(ends), 0);
    EXPECT_EQ(wait_for(ends[0], POLLIN, Deadline::min()), WaitResult::timeout);
    close(ends[1]);
    EXPECT_EQ(wait_for(ends[0], POLLIN, Deadline::max()), WaitResult::ready);
    close(ends[0]);
}

TEST(ClientRedis, AFailingOneIsSkippedForAWhile) {
    Options::L2 options;
    options.address = "unix:/nonexistent/redis.sock";
    RedisTier tier(options);
    detail::Buffer buffer;
    const Deadline deadline = deadline_in(std::chrono::seconds(60));
    EXPECT_EQ(tier.get({1, 2}, buffer, deadline).outcome, RedisTier::Outcome::failed);
    EXPECT_EQ(tier.get({1, 2}, buffer, deadline).outcome, RedisTier::Outcome::skipped);
    EXPECT_EQ(tier.put({1, 2}, {}, milliseconds(5), deadline), RedisTier::Outcome::skipped);
}

TEST(ClientRedis, ACallersHasteDoesNotSkipItForOthers) {
    const Peer peer(":1500\r\n$5\r\nhello\r\n", Peer::Then::stay);
    RedisTier tier(options_of(peer));
    detail::Buffer buffer;
    EXPECT_EQ(tier.get({1, 2}, buffer, deadline_in(milliseconds(-1))).outcome, RedisTier::Outcome::failed);
    EXPECT_EQ(tier.get({1, 2}, buffer, deadline_in(std::chrono::seconds(20))).outcome,
              RedisTier::Outcome::found);
}

}  // namespace
}  // namespace tiercache
