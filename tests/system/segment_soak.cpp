// Processes use one small segment while a controller kills, stops and continues them at random, and has them
// give the segment another size.
//
// Every value says which put it came from (its bytes are a function of key, sequence number and length), so a
// mixture, another key's value or a damaged one is found at once; keys that one worker alone puts must never
// go back in time, nor come back after an invalidate(); what a worker has in view stays what it was for as
// long as it is held. Now and then all workers but one are stopped where they are, for longer than any
// operation may take: the one must go on all the time. At the end all that the dead held must be recovered,
// and nothing may lie there of resizes that were not ended.
//
// The seed is printed: the same seed gives the same commands and delays of the controller, and the same
// operations of each worker.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "shm_cache/block.hpp"
#include "shm_cache/layout.hpp"
#include "shm_cache/lease.hpp"
#include "shm_cache/shared_cache.hpp"
#include "shm_cache/shared_memory.hpp"
#include "tests/lib/program_options.hpp"
#include "tests/system/requirement.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;
using std::chrono::milliseconds;

constexpr std::size_t workers = 5;
constexpr std::uint64_t shared_keys = 200;
constexpr std::uint64_t own_keys_each = 8;

// A freeze: so many slices, in each of which the running worker must end an operation. Every so many
// commands.
constexpr std::uint64_t freeze_slices = 3;
constexpr useconds_t freeze_slice_us = 400'000;
constexpr std::uint64_t starved_max_ns = 60'000'000'000;
constexpr std::uint64_t freeze_interval = 250;

// The sizes that a segment gets, in percent of its first one.
constexpr std::uint64_t resize_percents[] = {100, 75, 150, 200};

struct World {
    const char* name;
    std::size_t size_bytes;
    std::size_t block_bytes;
    std::size_t value_bytes_max;
    bool expiring;
};
constexpr World worlds[] = {
    {"blocks of 4 KiB", std::size_t{128} << 10, std::size_t{4} << 10, 900, false},
    {"classes and TTLs", std::size_t{512} << 10, std::size_t{8} << 10, 3000, true},
    {"large values", std::size_t{8} << 20, std::size_t{256} << 10, 200'000, false},
    {"values in parts", std::size_t{8} << 20, std::size_t{64} << 10, 1'000'000, false},
};

// How long this process has been ready to run while others ran, as far as the kernel tells.
class RunQueue {
 public:
    [[nodiscard]] std::uint64_t delay_ns() const {
        std::array<char, 100> text{};
        if (::pread(file_, text.data(), text.size() - 1, 0) <= 0) {
            throw Failure("/proc/self/schedstat can't be read: whether operations sleep can't be told");
        }
        char* end = nullptr;
        (void)std::strtoull(text.data(), &end, 10);  // the time that it ran
        return std::strtoull(end, nullptr, 10);
    }

 private:
    int file_ = ::open("/proc/self/schedstat", O_RDONLY | O_CLOEXEC);  // open for as long as the worker lives
};

// What a worker tells the controller; in anonymous shared memory.
struct Report {
    std::atomic<std::uint64_t> resize_to;  // by the controller: the worker's next operation; 0: none
    std::atomic<std::uint64_t> resizes;
    std::atomic<std::uint64_t> signals;  // by the controller: before each SIGCONT
    std::atomic<std::uint64_t> operations;
    std::atomic<std::uint64_t> hits;
    std::atomic<std::uint64_t> slowest_cpu_ns;
    std::atomic<std::uint64_t> slowest_wall_ns;
    std::atomic<std::uint64_t> longest_sleep_ns;  // of it neither run nor ready to run
    std::array<char, 200> wrong;
};
struct Board {
    std::atomic<bool> stop;
    std::array<Report, workers> reports;
};

std::string value_of(std::uint64_t key, std::uint64_t sequence, std::size_t length) {
    const Bytes bytes = payload_of(key, sequence, length);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// The sequence number of a value, or a failure when nobody can have put it under this key.
std::uint64_t sequence_of(std::uint64_t key, std::string_view value) {
    OraclePayload head{};
    require(value.size() >= sizeof(head), "a value is cut short");
    std::memcpy(&head, value.data(), sizeof(head));
    require(head.key == key && value == value_of(key, head.sequence, value.size()),
            "key " + std::to_string(key) + " came back damaged");
    return head.sequence;
}

void raise_to(std::atomic<std::uint64_t>& most, std::uint64_t value) {
    if (value > most.load(std::memory_order_relaxed)) most.store(value, std::memory_order_relaxed);
}

class Worker {
 public:
    Worker(SharedCache& cache, const std::string& name, const World& world, Report& report, std::size_t place,
           std::uint64_t life, std::uint64_t seed)
        : cache_(cache),
          name_(name),
          world_(world),
          report_(report),
          random_(mix(seed + 1) ^ mix(place + 100) ^ mix(life + 10'000)),
          own_from_(1'000'000 + place * own_keys_each),
          tag_("own " + std::to_string(place)),
          sequence_(life << 32) {}

    void step() {
        if (const std::uint64_t size = report_.resize_to.exchange(0, std::memory_order_relaxed); size != 0) {
            return resize(size);
        }
        const std::uint64_t signals = report_.signals.load(std::memory_order_acquire);
        const std::uint64_t delayed = run_queue_.delay_ns();
        const std::uint64_t wall = clock_ns(CLOCK_MONOTONIC);
        const std::uint64_t cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        const bool may_wait = operate();
        const std::uint64_t ran = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
        const std::uint64_t took = clock_ns(CLOCK_MONOTONIC) - wall;
        const std::uint64_t awake = ran + run_queue_.delay_ns() - delayed;
        raise_to(report_.slowest_cpu_ns, ran);
        // Time that the worker itself was stopped is nobody's fault.
        if (!may_wait && report_.signals.load(std::memory_order_acquire) == signals) {
            raise_to(report_.slowest_wall_ns, took);
            if (took > awake) raise_to(report_.longest_sleep_ns, took - awake);
        }
        report_.operations.fetch_add(1, std::memory_order_relaxed);
    }

 private:
    static std::string name_of(std::uint64_t key) { return "key " + std::to_string(key); }

    std::size_t length() {
        const std::uint64_t most = random_() % 4 == 0 ? world_.value_bytes_max : world_.value_bytes_max / 8;
        return 16 + random_() % most;
    }
    PutOptions put_options() {
        PutOptions options;
        options.data_class = static_cast<DataClass>(random_() % 4);
        if (world_.expiring) options.ttl = milliseconds(1 + random_() % 400);
        return options;
    }

    // As long as its copying takes: not what an operation is measured by.
    void resize(std::uint64_t size_bytes) {
        const auto alive = [](void* context, const Segment::ResizeProgress&) {
            static_cast<Report*>(context)->operations.fetch_add(1, std::memory_order_relaxed);
            return true;
        };
        const Status status = Segment::resize(name_, size_bytes, alive, &report_).status();
        require(status.ok() || status.code() == StatusCode::busy, "resize: " + status.to_string());
        if (status.ok()) report_.resizes.fetch_add(1, std::memory_order_relaxed);
        report_.operations.fetch_add(1, std::memory_order_relaxed);
    }

    // What took the segment's place can always be opened here.
    static bool done(const Status& status) {
        require(status.code() != StatusCode::unavailable, "a change was refused: " + status.to_string());
        return status.ok();
    }

    // True when the operation is one that may wait for another process.
    bool operate() {
        const std::uint64_t action = random_() % 100;
        if (action < 25) return operate_on_own_key(action);
        const std::uint64_t key = random_() % shared_keys;
        if (action >= 92) {
            look(key, 0);
            return false;
        }
        if (action < 50) {
            (void)done(cache_.put(name_of(key), value_of(key, ++sequence_, length()), put_options()));
        } else if (action < 53) {
            (void)done(cache_.erase(name_of(key)));
        } else if (action < 60) {
            load(key);
            return true;
        } else if (action == 60 && random_() % 100 == 0) {
            (void)cache_.stats();
        } else if (cache_.get(name_of(key), value_)) {
            report_.hits.fetch_add(1, std::memory_order_relaxed);
            sequence_of(key, value_);
        }
        return false;
    }

    bool operate_on_own_key(std::uint64_t action) {
        const std::size_t i = random_() % own_keys_each;
        const std::uint64_t key = own_from_ + i;
        if (action < 10) {
            PutOptions options = put_options();
            options.tags = {tag_};
            options.stamp = cache_.stamp();
            if (done(cache_.put(name_of(key), value_of(key, ++sequence_, length()), options))) {
                last_[i] = sequence_;
            }
        } else if (action == 10) {
            require(done(cache_.invalidate(tag_)), "invalidate failed");
            last_.fill(++sequence_);
        } else if (action < 15) {
            look(key, last_[i]);
        } else if (cache_.get(name_of(key), value_)) {
            report_.hits.fetch_add(1, std::memory_order_relaxed);
            require(sequence_of(key, value_) >= last_[i], name_of(key) + " went back in time");
        }
        return false;
    }

    // In place of what was in view before, which must still be what it was.
    void look(std::uint64_t key, std::uint64_t sequence_min) {
        Held& held = held_[random_() % held_.size()];
        if (held.view.held()) {
            require(sequence_of(held.key, held.view.text()) == held.sequence,
                    name_of(held.key) + " changed while it was held");
        }
        if (!cache_.get_view(name_of(key), held.view)) return;
        report_.hits.fetch_add(1, std::memory_order_relaxed);
        held.key = key;
        held.sequence = sequence_of(key, held.view.text());
        require(held.sequence >= sequence_min, name_of(key) + " went back in time");
        if (random_() % 2 == 0) held.view.release();
    }

    void load(std::uint64_t key) {
        LoadOptions options;
        options.expected_cost = milliseconds(1);
        options.deadline = std::chrono::steady_clock::now() + milliseconds(300);
        if (world_.expiring) options.ttl = milliseconds(1 + random_() % 400);
        const Status status = cache_.get_or_load(name_of(key), value_, options,
                                                 [&] { return value_of(key, ++sequence_, length()); });
        require(status.ok() || status.code() == StatusCode::timeout, "get_or_load: " + status.to_string());
        if (status.ok()) sequence_of(key, value_);
    }

    SharedCache& cache_;
    const std::string& name_;
    const World& world_;
    Report& report_;
    RunQueue run_queue_;
    std::mt19937_64 random_;
    std::uint64_t own_from_;
    std::string tag_;
    std::uint64_t sequence_;
    std::array<std::uint64_t, own_keys_each> last_{};
    std::string value_;
    struct Held {
        ValueView view;
        std::uint64_t key = 0;
        std::uint64_t sequence = 0;
    };
    std::array<Held, 3> held_{};
};

class Soak {
 public:
    Soak(const World& world, std::uint64_t seed)
        : world_(world), seed_(seed), random_(seed), cache_(SharedCache::create(name_, options()).value()) {
        void* shared =
            mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        require(shared != MAP_FAILED, "mmap failed");
        board_ = new (shared) Board{};
        pids_.fill(-1);
        lives_.fill(0);
        stopped_.fill(false);
    }
    ~Soak() {
        for (std::size_t w = 0; w < workers; ++w) end(w);
        munmap(board_, sizeof(Board));
    }
    Soak(const Soak&) = delete;
    Soak& operator=(const Soak&) = delete;

    void run(std::uint64_t seconds) {
        for (std::size_t w = 0; w < workers; ++w) start(w);
        const std::uint64_t until = clock_ns(CLOCK_MONOTONIC) + seconds * 1'000'000'000;
        while (clock_ns(CLOCK_MONOTONIC) < until) {
            usleep(static_cast<useconds_t>(200 + random_() % (random_() % 4 == 0 ? 20'000 : 3'000)));
            command();
            if (++commands % freeze_interval == 0) freeze(random_() % workers);
            for (std::size_t w = 0; w < workers; ++w) check_alive(w);
        }
        finish();
        check_nothing_is_left();
        check_recovered();
    }

    std::uint64_t kills = 0;
    std::uint64_t stops = 0;
    std::uint64_t commands = 0;
    std::uint64_t freezes = 0;
    std::uint64_t resizes = 0;
    std::uint64_t operations = 0;
    std::uint64_t hits = 0;
    std::uint64_t slowest_cpu_ns = 0;
    std::uint64_t slowest_wall_ns = 0;
    std::uint64_t longest_sleep_ns = 0;

 private:
    [[nodiscard]] SegmentOptions options() const {
        SegmentOptions options;
        options.size_bytes = world_.size_bytes;
        options.block_bytes = world_.block_bytes;
        options.item_bytes_mean = std::max<std::size_t>(256, world_.value_bytes_max / 8);
        options.process_slots = 16;
        options.clock_slots = 64;
        return options;
    }

    void start(std::size_t w) {
        ++lives_[w];
        const pid_t pid = fork();
        require(pid >= 0, "fork failed");
        if (pid > 0) {
            pids_[w] = pid;
            stopped_[w] = false;
            return;
        }
        Report& report = board_->reports[w];
        try {
            // Half of the lives attach by name, half use what they inherited.
            std::optional<SharedCache> opened;
            if (lives_[w] % 2 == 0) opened.emplace(SharedCache::open(name_).value());
            Worker worker(opened ? *opened : cache_, name_, world_, report, w, lives_[w], seed_);
            while (!board_->stop.load(std::memory_order_relaxed)) worker.step();
        } catch (const std::exception& e) {
            snprintf(report.wrong.data(), report.wrong.size(), "%s", e.what());
            _exit(1);
        }
        _exit(0);
    }

    // Each command draws the same random numbers whatever the state of the world.
    void command() {
        const std::size_t w = random_() % workers;
        const std::uint64_t what = random_() % 10;
        const std::uint64_t resize = random_() % 64;
        if (resize < std::size(resize_percents)) return start_resize(w, resize_percents[resize]);
        if (what < 3) {
            kill(pids_[w], SIGKILL);
            reap(w);
            ++kills;
            start(w);
        } else if (what < 7 && !stopped_[w]) {
            stop(w);
        } else if (stopped_[w]) {
            resume(w);
        }
    }

    // Another one is stopped in what it is changing, and ends it in the segment that was closed meanwhile.
    void start_resize(std::size_t w, std::uint64_t percent) {
        const std::size_t late = (w + 1) % workers;
        if (!stopped_[late]) stop(late);
        board_->reports[w].resize_to.store(world_.size_bytes * percent / 100, std::memory_order_relaxed);
        if (stopped_[w]) resume(w);
    }

    void stop(std::size_t w) {
        kill(pids_[w], SIGSTOP);
        stopped_[w] = true;
        ++stops;
    }
    void resume(std::size_t w) {
        // Before: the operation that was stopped may end before anything is written after the signal.
        board_->reports[w].signals.fetch_add(1, std::memory_order_release);
        kill(pids_[w], SIGCONT);
        stopped_[w] = false;
    }

    // All others are stopped, at whatever instruction they are; they stay so until commands continue them.
    void freeze(std::size_t running) {
        for (std::size_t w = 0; w < workers; ++w) {
            if (w != running && !stopped_[w]) stop(w);
        }
        if (stopped_[running]) resume(running);
        for (std::uint64_t slice = 0; slice < freeze_slices; ++slice) expect_progress(running);
        ++freezes;
    }

    // A process that others keep from running has time; one that runs, or sleeps, has not.
    void expect_progress(std::size_t running) {
        const std::atomic<std::uint64_t>& ended = board_->reports[running].operations;
        const std::uint64_t before = ended.load(std::memory_order_relaxed);
        clockid_t cpu{};
        require(clock_getcpuclockid(pids_[running], &cpu) == 0, "a process has no clock");
        const std::uint64_t cpu_end = clock_ns(cpu) + freeze_slice_us * std::uint64_t{1000};
        const std::uint64_t end = clock_ns(CLOCK_MONOTONIC) + starved_max_ns;
        do {
            usleep(freeze_slice_us);
            check_alive(running);
            if (ended.load(std::memory_order_relaxed) != before) return;
        } while (clock_ns(cpu) < cpu_end && clock_ns(CLOCK_MONOTONIC) < end);
        throw Failure("an operation waits for a stopped process");
    }

    void reap(std::size_t w) {
        int status = 0;
        while (waitpid(pids_[w], &status, 0) < 0 && errno == EINTR) {
        }
        pids_[w] = -1;
        check_end(w, status);
    }
    void check_end(std::size_t w, int status) {
        const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        require(killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0),
                "worker " + std::to_string(w) + " ended (status " + std::to_string(status) +
                    "): " + board_->reports[w].wrong.data());
    }
    void check_alive(std::size_t w) {
        int status = 0;
        if (waitpid(pids_[w], &status, WNOHANG) == 0) return;
        pids_[w] = -1;
        check_end(w, status);
    }
    void end(std::size_t w) {
        if (pids_[w] <= 0) return;
        kill(pids_[w], SIGKILL);
        while (waitpid(pids_[w], nullptr, 0) < 0 && errno == EINTR) {
        }
        pids_[w] = -1;
    }

    // Some die where they are, the others end by themselves.
    void finish() {
        for (std::size_t w = 0; w < workers; w += 2) {
            kill(pids_[w], SIGKILL);
            reap(w);
        }
        board_->stop.store(true, std::memory_order_relaxed);
        for (std::size_t w = 1; w < workers; w += 2) {
            resume(w);
            reap(w);
        }
        for (const Report& report : board_->reports) {
            operations += report.operations.load(std::memory_order_relaxed);
            hits += report.hits.load(std::memory_order_relaxed);
            resizes += report.resizes.load(std::memory_order_relaxed);
            slowest_cpu_ns = std::max(slowest_cpu_ns, report.slowest_cpu_ns.load(std::memory_order_relaxed));
            slowest_wall_ns =
                std::max(slowest_wall_ns, report.slowest_wall_ns.load(std::memory_order_relaxed));
            longest_sleep_ns =
                std::max(longest_sleep_ns, report.longest_sleep_ns.load(std::memory_order_relaxed));
        }
    }

    // Who resizes next takes away what resizers left that were killed: the segment and its lock file remain.
    void check_nothing_is_left() {
        const Status status = Segment::resize(name_, world_.size_bytes).status();
        require(status.ok(), "resize when all others were gone: " + status.to_string());
        const std::vector<std::string> files = SharedMemory::list(name_.text() + ".").value();
        require(files == std::vector{name_.text() + ".lock"},
                std::to_string(files.size()) + " files are left beside the segment, not its lock file alone");
    }

    // After some trips around the blocks nothing is left of the dead.
    void check_recovered() {
        const SharedMemory memory = SharedMemory::open(name_, true).value();
        std::uint64_t lock_file = 0;
        const Geometry geometry =
            read_geometry(memory.bytes().data(), memory.bytes().size(), lock_file).value();
        const BlockTable blocks(memory.bytes().data(), geometry);
        const std::size_t length = std::min<std::size_t>(world_.value_bytes_max / 2, 4000);
        const std::uint64_t puts = std::uint64_t{6} * geometry.block_count * geometry.block_bytes / length;
        for (std::uint64_t i = 0; i < puts; ++i) {
            const Status status = cache_.put("after " + std::to_string(i), value_of(i, i, length));
            require(status.ok(), "a put failed when all others were gone: " + status.to_string());
            require(cache_.get("after " + std::to_string(i)).has_value(), "a value is gone at once");
        }
        std::uint32_t open = 0;
        std::uint32_t others = 0;
        for (std::uint32_t b = 0; b < blocks.count(); ++b) {
            const BlockState state = blocks.state(b);
            require(state.generation % 2 == 0, "block " + std::to_string(b) + " was left half reclaimed");
            open += state.phase == BlockPhase::open ? 1 : 0;
            others += state.phase == BlockPhase::free || state.phase == BlockPhase::sealed ? 1 : 0;
        }
        require(open + others == blocks.count(), "the blocks don't add up");
        require(open <= 16, std::to_string(open) + " blocks are open");
        // No lease is held: each key has one to be had at once, or after a dead holder's.
        for (std::uint64_t key = 0; key < shared_keys; ++key) {
            Lease mine;
            HeldLease theirs;
            const Bytes name = key_of(key);
            require(cache_.segment().leases().claim(hash_key(name), 1000, mine, theirs) ==
                        LeaseTable::Claim::mine,
                    "a lease is still held");
        }
        for (std::uint64_t key = 0; key < shared_keys; ++key) {
            std::string value;
            if (cache_.get("key " + std::to_string(key), value)) sequence_of(key, value);
        }
        const SegmentStats stats = cache_.stats();
        require(stats.items > 0 && stats.puts > 0 && stats.items <= stats.index_slots,
                "the statistics are wrong");
    }

    World world_;
    std::uint64_t seed_;
    std::mt19937_64 random_;
    SegmentName name_;
    SharedCache cache_;
    Board* board_ = nullptr;
    std::array<pid_t, workers> pids_{};
    std::array<std::uint64_t, workers> lives_{};
    std::array<bool, workers> stopped_{};
};

}  // namespace
}  // namespace tiercache

int main(int argc, char** argv) {
    using namespace tiercache;
    std::uint64_t seed = 1;
    std::uint64_t seconds = 120;
    std::uint64_t bound_ms = 250;
    test::ProgramOptions given("Kills and stops processes that share a segment, at random.");
    given.number("--seed", seed);
    given.number("--seconds", seconds, "for all worlds together");
    given.number("--bound-ms", bound_ms, "CPU time that one operation may take, and time that it may sleep");
    given.parse(argc, argv);
    int failures = 0;
    std::uint64_t slowest_cpu_ns = 0;
    std::uint64_t slowest_wall_ns = 0;
    std::uint64_t longest_sleep_ns = 0;
    for (const World& world : worlds) {
        try {
            Soak soak(world, seed);
            soak.run(std::max<std::uint64_t>(1, seconds / std::size(worlds)));
            require(soak.hits > 0, "not a single hit");
            require(soak.resizes > 0, "it was not resized");
            require(soak.slowest_cpu_ns <= bound_ms * 1'000'000,
                    "an operation took " + std::to_string(soak.slowest_cpu_ns / 1'000'000) + " ms");
            require(soak.longest_sleep_ns <= bound_ms * 1'000'000,
                    "an operation slept for " + std::to_string(soak.longest_sleep_ns / 1'000'000) + " ms");
            longest_sleep_ns = std::max(longest_sleep_ns, soak.longest_sleep_ns);
            slowest_cpu_ns = std::max(slowest_cpu_ns, soak.slowest_cpu_ns);
            slowest_wall_ns = std::max(slowest_wall_ns, soak.slowest_wall_ns);
            printf(
                "ok %s: %llu operations, %llu hits, %llu kills, %llu stops, %llu freezes, %llu resizes "
                "(seed %llu)\n",
                world.name, static_cast<unsigned long long>(soak.operations),
                static_cast<unsigned long long>(soak.hits), static_cast<unsigned long long>(soak.kills),
                static_cast<unsigned long long>(soak.stops), static_cast<unsigned long long>(soak.freezes),
                static_cast<unsigned long long>(soak.resizes), static_cast<unsigned long long>(seed));
        } catch (const std::exception& e) {
            printf("not ok %s: %s (seed %llu)\n", world.name, e.what(),
                   static_cast<unsigned long long>(seed));
            ++failures;
        }
        fflush(stdout);
    }
    printf("RESULT segment_slowest_op_ms %.3f ms\n", static_cast<double>(slowest_cpu_ns) / 1e6);
    printf("RESULT segment_longest_sleep_ms %.3f ms\n", static_cast<double>(longest_sleep_ns) / 1e6);
    printf("RESULT segment_slowest_op_wall_ms %.3f ms\n", static_cast<double>(slowest_wall_ns) / 1e6);
    return failures == 0 ? 0 : 1;
}
