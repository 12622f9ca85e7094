#include "demo/reader.hpp"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <tiercache/cache.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "demo/latency.hpp"
#include "demo/message.hpp"
#include "shm_cache/segment.hpp"

namespace tiercache::demo {

namespace {

constexpr int calls_in_turn = 100;

using Payload = std::vector<std::byte>;

void check(const Status& status) {
    if (!status.ok()) throw std::runtime_error(status.to_string());
}

template <class T>
T checked(Result<T> result) {
    check(result.status());
    return std::move(result).value();
}

Options cache_options(const Message& request) {
    Options options;
    options.l1.name = request.at("segment").get<std::string>();
    options.l2.address = request.at("redis").get<std::string>();
    options.l4.conninfo = request.at("conninfo").get<std::string>();
    return options;
}

class CacheReader {
 public:
    explicit CacheReader(const Message& request) : cache_(checked(Cache::open(cache_options(request)))) {
        check(cache_.database_status());
        check(cache_.clock_status());
        const auto segment = request.at("segment").get<std::string>();
        if (!segment.empty()) segment_.emplace(checked(Segment::open(segment)));
    }

    Message answer(const Message& request) {
        const std::string what = request.at("do");
        const std::string sql = request.at("sql");
        empty_segment_first_ = request.value("empty_segment_first", false);
        if (what == "read") return read(sql);
        if (what == "measure") return measure(sql, request);
        throw std::runtime_error(fmt::format("a reader process can't do '{}'", what));
    }

 private:
    Message read(const std::string& sql) {
        const std::uint64_t l4_before = cache_.stats()[Counter::l4_answers];
        const double ns = timed_read(sql);
        return {{"payload", binary(answer_.payload())},
                {"tier", static_cast<int>(answer_.tier())},
                {"fresh", answer_.freshness() == Freshness::fresh},
                {"ns", ns},
                {"l4_answers", cache_.stats()[Counter::l4_answers] - l4_before}};
    }

    Message measure(const std::string& sql, const Message& request) {
        const std::uint64_t l4_before = cache_.stats()[Counter::l4_answers];
        expected_tier_ = static_cast<Tier>(request.at("tier").get<int>());
        timed_read(sql);
        expected_.assign(answer_.payload().begin(), answer_.payload().end());
        reads_ = compared_ = differing_ = elsewhere_ = 0;
        const auto samples = request.at("samples").get<std::size_t>();
        const bool in_batches = request.at("in_batches").get<bool>();
        const double bound_ns = request.at("seconds").get<double>() * 1e9;
        std::vector<double> singles;
        std::vector<double> means;
        const SteadyTime start = steady_now();
        // By turns, so that both meet the same disturbances.
        while (singles.size() < samples && nanoseconds(start, steady_now()) < bound_ns) {
            time_single_calls(sql, singles);
            if (in_batches) means.push_back(batch_mean(sql));
        }
        return {{"payload", binary(expected_)},
                {"median_ns", quantile(in_batches ? means : singles, 0.5)},
                {"p99_ns", quantile(singles, 0.99)},
                {"samples", singles.size()},
                {"reads", reads_},
                {"compared", compared_},
                {"differing", differing_},
                {"elsewhere", elsewhere_},
                {"l4_answers", cache_.stats()[Counter::l4_answers] - l4_before}};
    }

    double timed_read(const std::string& sql) {
        if (empty_segment_first_ && segment_) (void)segment_->clear();
        const SteadyTime start = steady_now();
        const Status status = cache_.query_into(answer_, sql);
        const SteadyTime end = steady_now();
        check(status);
        return nanoseconds(start, end);
    }

    void time_single_calls(const std::string& sql, std::vector<double>& samples) {
        for (int call = 0; call < calls_in_turn; ++call) {
            samples.push_back(timed_read(sql));
            ++reads_;
            elsewhere_ += answer_.tier() != expected_tier_ ? 1 : 0;
            compare();
        }
    }

    // Calls that take hardly longer than reading the clock are timed together.
    double batch_mean(const std::string& sql) {
        bool failed = false;
        const SteadyTime start = steady_now();
        for (int call = 0; call < calls_in_turn; ++call) {
            failed |= !cache_.query_into(answer_, sql).ok();
            elsewhere_ += answer_.tier() != expected_tier_ ? 1 : 0;
        }
        const double mean = nanoseconds(start, steady_now()) / calls_in_turn;
        if (failed) throw std::runtime_error("a read failed while it was measured");
        reads_ += calls_in_turn;
        compare();
        return mean;
    }

    void compare() {
        ++compared_;
        const bool equal = std::ranges::equal(answer_.payload(), expected_);
        if (!equal || answer_.freshness() != Freshness::fresh) ++differing_;
    }

    Cache cache_;
    std::optional<Segment> segment_;  // the same one, to empty it
    Answer answer_;
    bool empty_segment_first_ = false;
    Tier expected_tier_ = Tier::l1;
    Payload expected_;
    std::size_t reads_ = 0;
    std::size_t compared_ = 0;
    std::size_t differing_ = 0;
    std::size_t elsewhere_ = 0;  // not from the expected tier
};

Message reply_to(const Message& request, std::optional<CacheReader>& reader) {
    try {
        if (request.at("do") != "open") return reader.value().answer(request);
        reader.emplace(request);
        return Message::object();
    } catch (const std::exception& failure) {
        return {{"error", failure.what()}};
    }
}

}  // namespace

int serve_as_reader(int socket) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::optional<CacheReader> reader;
    try {
        while (const std::optional<Message> request = receive_message(socket)) {
            send_message(socket, reply_to(*request, reader));
        }
    } catch (const std::exception& failure) {
        fmt::print(stderr, "demo, a reader process: {}\n", failure.what());
        return 1;
    }
    return 0;
}

}  // namespace tiercache::demo
