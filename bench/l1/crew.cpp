#include "bench/l1/crew.hpp"

#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <new>
#include <thread>

#include "bench/l1/processors.hpp"
#include "shm_cache/monotonic_time.hpp"

namespace bench {

namespace {

using tiercache::monotonic_ns;

volatile std::sig_atomic_t signalled = 0;

constexpr std::uint32_t samples_max = 1000;
constexpr int spins_max = 20'000;
constexpr int stop_polls_max = 500;
constexpr useconds_t stop_poll_us = 10'000;

// A child that nobody waits for any more ends.
void end_with(pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
}

void wait_on(sem_t& semaphore) {
    while (sem_wait(&semaphore) != 0) {
    }
}

}  // namespace

void throw_on_signals() {
    struct sigaction action {};
    action.sa_handler = [](int number) { signalled = number; };
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
}

void check_signals() {
    if (signalled != 0) throw std::runtime_error("stopped by a signal");
}

// Shared by the measuring program, the host and the workers.
struct Crew::Control {
    struct Order {
        Mix mix;
        std::size_t workers;
        std::size_t begin;
        std::size_t batches;
    };

    Control() {
        sem_init(&reports, 1, 0);
        for (sem_t& semaphore : go) sem_init(&semaphore, 1, 0);
    }

    // All workers that take part have come to their next batch; none waits long without giving way.
    void meet(std::size_t batch) {
        const std::uint64_t all = (batch + 1) * order.workers;
        arrived.fetch_add(1, std::memory_order_acq_rel);
        for (int spin = 0; arrived.load(std::memory_order_acquire) < all && !quit; ++spin) {
            if (spin > spins_max) sched_yield();
            __builtin_ia32_pause();
        }
    }

    std::array<sem_t, workers_max> go;
    sem_t reports;  // ready, done, or failed
    Order order{};
    std::atomic<bool> quit = false;
    std::atomic<bool> failed = false;
    std::array<char, 200> error{};
    alignas(64) std::atomic<std::uint64_t> arrived = 0;
    alignas(64) std::array<std::array<Batch, batches_max>, workers_max> batches{};
};

Crew::Crew(std::unique_ptr<Store> store) : store_(std::move(store)) {
    void* shared = mmap(nullptr, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    require(shared != MAP_FAILED, "mmap failed");
    control_ = new (shared) Control;
    const pid_t self = getpid();
    std::fflush(nullptr);
    host_ = fork();
    if (host_ == 0) {
        end_with(self);
        host();
    }
    try {
        require(host_ > 0, "fork failed");
        wait_for(workers_max);
    } catch (...) {
        stop();
        throw;
    }
}

Crew::~Crew() { stop(); }

void Crew::stop() noexcept {
    control_->quit = true;
    for (sem_t& semaphore : control_->go) sem_post(&semaphore);
    bool gone = host_ <= 0;
    for (int poll = 0; !gone && poll < stop_polls_max; ++poll) {
        // A host that still loads its store does not look at `quit`.
        if (poll == stop_polls_max / 2) kill(host_, SIGKILL);
        gone = waitpid(host_, nullptr, WNOHANG) != 0;
        if (!gone) usleep(stop_poll_us);
    }
    store_->remove_names();
    munmap(control_, sizeof(Control));
}

void Crew::fail(const char* what) noexcept {
    if (control_->failed.exchange(true)) return;
    std::snprintf(control_->error.data(), control_->error.size(), "%s", what);
    for (std::size_t i = 0; i < workers_max; ++i) sem_post(&control_->reports);
}

// ---- the measuring program ------------------------------------------------------------------------

void Crew::wait_for(std::size_t reports) {
    for (std::size_t got = 0; got < reports;) {
        timespec until{};
        clock_gettime(CLOCK_REALTIME, &until);
        ++until.tv_sec;
        if (sem_timedwait(&control_->reports, &until) == 0) ++got;
        check_signals();
        const bool gone = waitpid(host_, nullptr, WNOHANG) != 0;
        if (control_->failed) throw std::runtime_error(store_->name() + ": " + control_->error.data());
        if (gone) {
            host_ = -1;
            throw std::runtime_error(store_->name() + ": its process is gone");
        }
    }
}

std::vector<std::span<const Batch>> Crew::round(const Mix& mix, std::span<const std::size_t> workers,
                                                std::size_t begin, std::size_t batches) {
    require(batches <= batches_max, "too many batches");
    control_->order = {mix, workers.size(), begin, batches};
    control_->arrived = 0;
    for (const std::size_t worker : workers) sem_post(&control_->go[worker]);
    wait_for(workers.size());
    std::vector<std::span<const Batch>> result;
    for (const std::size_t worker : workers) {
        result.push_back(std::span<const Batch>(control_->batches[worker]).first(batches));
    }
    return result;
}

// ---- the host -------------------------------------------------------------------------------------

void Crew::host() {
    // The measuring program tells when to end.
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    try {
        store_->start();
        store_->open()->load(store_->workload());
        if (store_->threads()) {
            host_threads();
        } else {
            host_processes();
        }
    } catch (const std::exception& e) {
        fail(e.what());
    }
    store_->stop();
    _exit(0);
}

void Crew::host_processes() {
    std::array<pid_t, workers_max> workers{};
    const pid_t self = getpid();
    for (std::size_t i = 0; i < workers_max; ++i) {
        workers[i] = fork();
        require(workers[i] >= 0, "fork failed");
        if (workers[i] == 0) {
            end_with(self);
            work(i);
            _exit(0);
        }
    }
    for (std::size_t i = 0; i < workers_max; ++i) {
        int status = 0;
        waitpid(-1, &status, 0);
        if (status != 0) fail("a worker died");
    }
}

void Crew::host_threads() {
    std::vector<std::thread> workers;
    for (std::size_t i = 0; i < workers_max; ++i) workers.emplace_back([this, i] { work(i); });
    for (std::thread& worker : workers) worker.join();
}

// ---- a worker -------------------------------------------------------------------------------------

void Crew::work(std::size_t worker) {
    try {
        const std::vector<int> processors = allowed_processors();
        const int processor = processors[worker % processors.size()];
        bind_thread(processor);
        const std::unique_ptr<Access> access = store_->open();
        // Every item where that is quick: a process that has run for a while has all pages mapped.
        const std::uint32_t all = store_->workload().key_count();
        access->check(store_->workload(), store_->server() != 0 ? std::min(all, samples_max) : all);
        std::vector<Operation> operations(store_->batch());
        sem_post(&control_->reports);
        for (;;) {
            wait_on(control_->go[worker]);
            if (control_->quit) return;
            if (store_->server() != 0) {
                // Beside its only client it is woken by it at once; waking another processor takes longer
                // than a request, where processors are virtual.
                const bool beside = control_->order.workers == 1;
                bind_process(store_->server(), beside ? std::span(&processor, 1) : std::span(processors));
            }
            work_batches(worker, *access, operations);
            sem_post(&control_->reports);
        }
    } catch (const std::exception& e) {
        fail(e.what());
    }
}

void Crew::work_batches(std::size_t worker, Access& access, std::vector<Operation>& operations) {
    const Control::Order order = control_->order;
    const Workload& workload = store_->workload();
    for (std::size_t b = 0; b < order.batches && !control_->quit; ++b) {
        workload.fill(operations, worker, order.begin + b * operations.size(), order.mix);
        control_->meet(b);
        Batch& batch = control_->batches[worker][b];
        batch.begin_ns = monotonic_ns();
        batch.misses = access.run(workload, operations);
        batch.end_ns = monotonic_ns();
    }
}

}  // namespace bench
