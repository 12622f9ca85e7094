// Kills and stops a process at single instructions of put(), reclamation included, with ptrace.
//
//   kill   a writer dies after n instructions of a put(), for n = 0, stride, 2 stride ...; the others go on,
//          and after one trip around the blocks nothing of the dead one is left
//   stop   a writer is held at random instructions while others recycle every block they can, several times
//          over; then it goes on. What it does then must harm nobody
//
// Prints `ok` or `not ok` lines. The seed is printed; the same seed and stride give the same run.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <stdexcept>

#include "shm_cache/block.hpp"
#include "shm_cache/layout.hpp"
#include "shm_cache/shared_memory.hpp"
#include "tests/unit/segment_inside.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;

struct Failure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

void require(bool condition, const std::string& what) {
    if (!condition) throw Failure(what);
}

// A child that runs one operation between two stops, one instruction at a time.
class SteppedProcess {
 public:
    // `operation(prepared)`: prepares when false is passed, then does the thing that is stepped through.
    explicit SteppedProcess(const std::function<bool(bool prepared)>& operation) : pid_(fork()) {
        require(pid_ >= 0, "fork failed");
        if (pid_ == 0) {
            ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
            for (;;) {
                if (!operation(false)) _exit(1);
                raise(SIGSTOP);
                if (!operation(true)) _exit(1);
                raise(SIGSTOP);
            }
        }
        expect_stop();
    }
    ~SteppedProcess() {
        if (pid_ <= 0) return;
        kill(pid_, SIGKILL);
        while (waitpid(pid_, nullptr, 0) > 0) {
        }
    }
    SteppedProcess(const SteppedProcess&) = delete;
    SteppedProcess& operator=(const SteppedProcess&) = delete;

    // One instruction; false when the operation has ended.
    bool step() {
        require(ptrace(PTRACE_SINGLESTEP, pid_, nullptr, nullptr) == 0, "ptrace is not permitted here");
        return wait_signal() == SIGTRAP;
    }
    // To the next stop, at full speed.
    void run() {
        require(ptrace(PTRACE_CONT, pid_, nullptr, nullptr) == 0, "ptrace is not permitted here");
        expect_stop();
    }

 private:
    void expect_stop() { require(wait_signal() == SIGSTOP, "the stepped process did not stop"); }
    int wait_signal() {
        int status = 0;
        require(waitpid(pid_, &status, 0) == pid_, "the stepped process is gone");
        if (!WIFSTOPPED(status)) {
            pid_ = -1;
            throw Failure("the stepped process ended: it saw something wrong, or crashed");
        }
        return WSTOPSIG(status);
    }

    pid_t pid_;
};

class World {
 public:
    explicit World(std::uint64_t seed)
        : random_(seed),
          segment_(Segment::create(name_, tiny_segment()).value()),
          memory_(SharedMemory::open(name_, true).value()) {
        std::uint64_t lock_file = 0;
        geometry_ = read_geometry(memory_.bytes().data(), memory_.bytes().size(), lock_file).value();
        blocks_ = BlockTable(memory_.bytes().data(), geometry_);
    }

    // Puts of this process, until the open block has moved on `blocks` times.
    void recycle(std::uint32_t blocks) {
        for (std::uint32_t moved = 0; moved < blocks;) {
            const BlockLife before = open_block(memory_.bytes().data());
            const std::uint64_t key = random_() % 100;
            const Status status = segment_.put(oracle_entry(key, ++sequence_, 16 + random_() % 500));
            require(status.ok(), "a put failed: " + status.to_string());
            if (!(open_block(memory_.bytes().data()) == before)) ++moved;
        }
    }
    void put_some(std::uint64_t count) {
        for (std::uint64_t i = 0; i < count; ++i) {
            (void)segment_.put(oracle_entry(random_() % 100, ++sequence_, 16 + random_() % 500));
        }
    }

    // Each entry that can be read is one that somebody put.
    void check_entries() {
        for (std::uint64_t key = 0; key < 140; ++key) {
            require(look_up(segment_, key).ok, "key " + std::to_string(key) + " came back damaged");
        }
    }
    // The dead left nothing: what is open is open for a stream, nothing is in reclamation.
    void check_order() {
        const std::string wrong = check_blocks(memory_.bytes().data(), blocks_);
        require(wrong.empty(), wrong);
    }

    std::mt19937_64 random_;
    SegmentName name_;
    Segment segment_;
    SharedMemory memory_;
    Geometry geometry_;
    BlockTable blocks_;
    std::uint64_t sequence_ = 0;
};

// A put() of the child, which got its process slot by an earlier one.
class ChildPut {
 public:
    ChildPut(World& world, std::uint64_t seed) : world_(world), random_(seed) {}
    bool operator()(bool prepared) {
        if (prepared) {
            // Overtaken in every one of its attempts, a put() may give up.
            const StatusCode code = world_.segment_.put(entry_).code();
            return code == StatusCode::ok || code == StatusCode::no_space;
        }
        if (!warm_) warm_ = world_.segment_.put(oracle_entry(139, 1, 30)).ok();
        const std::uint64_t key = 100 + random_() % 39;
        entry_ = oracle_entry(key, ++sequence_, 16 + random_() % 500);
        return warm_ && look_up(world_.segment_, key).ok;
    }

 private:
    World& world_;
    std::mt19937_64 random_;
    Bytes entry_;
    std::uint64_t sequence_ = 1;
    bool warm_ = false;
};

void kill_sweep(std::uint64_t seed, std::uint64_t stride) {
    World world(seed);
    world.recycle(2 * world.blocks_.count());
    std::uint64_t deaths = 0;
    std::uint64_t longest = 0;
    // A put() that has to reclaim is longer than one that has not: go on until several in a row ended early.
    int ended_in_a_row = 0;
    for (std::uint64_t n = seed % stride; ended_in_a_row < 60; n += stride) {
        world.put_some(world.random_() % 8);
        bool ended = false;
        {
            SteppedProcess victim(ChildPut(world, world.random_()));
            for (std::uint64_t i = 0; i < n && !ended; ++i) ended = !victim.step();
            if (!ended) longest = n;
        }
        ++deaths;
        ended_in_a_row = ended ? ended_in_a_row + 1 : 0;
        world.recycle(world.blocks_.count() + 2);
        world.check_entries();
        world.check_order();
    }
    printf("ok kill: %llu deaths, the longest put had more than %llu instructions (seed %llu, stride %llu)\n",
           static_cast<unsigned long long>(deaths), static_cast<unsigned long long>(longest),
           static_cast<unsigned long long>(seed), static_cast<unsigned long long>(stride));
}

void stop_sweep(std::uint64_t seed, std::uint64_t puts) {
    World world(seed);
    world.recycle(2 * world.blocks_.count());
    std::uint64_t stops = 0;
    SteppedProcess held(ChildPut(world, seed));
    for (std::uint64_t i = 0; i < puts; ++i) {
        // Stops come in clusters: the interesting ones are a few instructions apart.
        const std::uint64_t rarity = 1 + (std::uint64_t{1} << world.random_() % 9);
        while (held.step()) {
            if (world.random_() % rarity != 0 || world.random_() % 8 != 0) continue;
            world.recycle(
                static_cast<std::uint32_t>(1 + world.random_() % (std::uint64_t{3} * world.blocks_.count())));
            if (world.random_() % 4 == 0) world.put_some(world.random_() % 8);
            world.check_entries();
            ++stops;
        }
        world.check_entries();
        held.run();
    }
    printf("ok stop: %llu stops in %llu puts (seed %llu)\n", static_cast<unsigned long long>(stops),
           static_cast<unsigned long long>(puts), static_cast<unsigned long long>(seed));
}

}  // namespace
}  // namespace tiercache

int main(int argc, char** argv) {
    std::uint64_t seed = 1;
    std::uint64_t stride = 61;
    std::uint64_t puts = 40;
    CLI::App app{"Kills and stops a process at single instructions of put()."};
    app.add_option("--seed", seed)->capture_default_str();
    app.add_option("--stride", stride, "instructions from one death to the next; 1 is every one")
        ->check(CLI::PositiveNumber)
        ->capture_default_str();
    app.add_option("--puts", puts, "puts to stop in")->capture_default_str();
    CLI11_PARSE(app, argc, argv);
    int failures = 0;
    const auto run = [&failures](const char* name, const std::function<void()>& sweep) {
        try {
            sweep();
        } catch (const std::exception& e) {
            printf("not ok %s: %s\n", name, e.what());
            ++failures;
        }
        fflush(stdout);
    };
    run("kill", [&] { tiercache::kill_sweep(seed, stride); });
    run("stop", [&] { tiercache::stop_sweep(seed, puts); });
    return failures == 0 ? 0 : 1;
}
