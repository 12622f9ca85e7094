#include "bench/l1/line_passing.hpp"

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "bench/l1/measure.hpp"
#include "bench/l1/processors.hpp"
#include "shm_cache/monotonic_time.hpp"

namespace bench {

namespace {

constexpr std::uint64_t passes = 200;  // to and fro
constexpr std::uint64_t batches = 50;

struct Ball {
    alignas(128) std::atomic<std::uint64_t> at{0};

    // Acquire and release: as a value that is handed over, which is what this stands for.
    void wait_for(std::uint64_t number) const {
        while (at.load(std::memory_order_acquire) != number) {
        }
    }
    void pass(std::uint64_t number) { at.store(number, std::memory_order_release); }
};

}  // namespace

double line_passing_ns() {
    const std::vector<int> processors = allowed_processors();
    if (processors.size() < 2) return 0;
    Ball ball;
    std::vector<double> ns;
    std::thread other([&] {
        bind_thread(processors[1]);
        for (std::uint64_t i = 0; i < batches * passes; ++i) {
            ball.wait_for(2 * i + 1);
            ball.pass(2 * i + 2);
        }
    });
    std::thread one([&] {
        bind_thread(processors[0]);
        for (std::uint64_t b = 0; b < batches; ++b) {
            const std::uint64_t begin = tiercache::monotonic_ns();
            for (std::uint64_t i = b * passes; i < (b + 1) * passes; ++i) {
                ball.pass(2 * i + 1);
                ball.wait_for(2 * i + 2);
            }
            ns.push_back(static_cast<double>(tiercache::monotonic_ns() - begin) / (2 * passes));
        }
    });
    one.join();
    other.join();
    return quantile(ns, 0.5);
}

}  // namespace bench
