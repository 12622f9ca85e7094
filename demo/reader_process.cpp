#include "demo/reader_process.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace tiercache::demo {

ReaderProcess::ReaderProcess(ReaderSetup setup) : setup_(std::move(setup)) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        throw std::runtime_error(fmt::format("no socket for a reader process: {}", std::strerror(errno)));
    }
    socket_ = ends[0];
    const int theirs = ends[1];
    try {
        process_.emplace(std::vector<std::string>{"/proc/self/exe", "reader"}, theirs, -1);
        close(theirs);
        ask({{"do", "open"},
             {"segment", setup_.segment},
             {"redis", setup_.redis},
             {"conninfo", setup_.conninfo}});
    } catch (...) {
        close(socket_);
        throw;
    }
}

ReaderProcess::~ReaderProcess() { close(socket_); }

Message ReaderProcess::ask(const Message& request) {
    send_message(socket_, request);
    std::optional<Message> reply = receive_message(socket_);
    if (!reply) throw std::runtime_error(fmt::format("{} {}", setup_.name, process_->wait()));
    if (reply->contains("error")) {
        throw std::runtime_error(fmt::format("{}: {}", setup_.name, reply->at("error").get<std::string>()));
    }
    return *std::move(reply);
}

Read ReaderProcess::read(const std::string& sql) {
    const Message reply = ask({{"do", "read"}, {"sql", sql}});
    return {.payload = text_of(reply, "payload"),
            .tier = static_cast<Tier>(reply.at("tier").get<int>()),
            .fresh = reply.at("fresh").get<bool>(),
            .ns = reply.at("ns").get<double>()};
}

Measurement ReaderProcess::measure(const std::string& sql, Tier tier, const Effort& effort) {
    const Message reply = ask({{"do", "measure"},
                               {"sql", sql},
                               {"tier", static_cast<int>(tier)},
                               {"empty_segment_first", setup_.empty_segment_first},
                               {"samples", effort.samples},
                               {"in_batches", effort.in_batches},
                               {"seconds", effort.seconds}});
    return {.latency = {.median_ns = reply.at("median_ns").get<double>(),
                        .p99_ns = reply.at("p99_ns").get<double>(),
                        .samples = reply.at("samples").get<std::size_t>()},
            .payload = text_of(reply, "payload"),
            .reads = reply.at("reads").get<std::size_t>(),
            .compared = reply.at("compared").get<std::size_t>(),
            .differing = reply.at("differing").get<std::size_t>(),
            .elsewhere = reply.at("elsewhere").get<std::size_t>(),
            .l4_answers = reply.at("l4_answers").get<std::size_t>()};
}

}  // namespace tiercache::demo
