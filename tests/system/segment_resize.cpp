// A segment is resized again and again while processes put, read, erase and invalidate in it. Resizers are
// killed or stopped at random moments, and so are the users.
//
// Each key has one writer, whose values only grow, and a floor on a board that all processes share: what a
// read that begins now may return at least. A put() that returned raises it to its value, an erase() or
// invalidate() that returned to above all values so far. A value below it is an old one that came back; a put
// with a stamp from before an invalidate() leaves a value below every floor. Entries of another authority
// must keep the stamps that they were put with. At the end nobody may have an old segment mapped, and no file
// may be left.
//
// The seed is printed; it gives the same commands and delays again, not the same interleavings.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "shm_cache/shared_cache.hpp"
#include "tests/lib/program_options.hpp"
#include "tests/system/requirement.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;

constexpr std::size_t writers = 3;
constexpr std::size_t readers = 2;
constexpr std::size_t workers = writers + readers;
constexpr std::uint64_t keys_each = 200;
constexpr std::uint64_t key_count = writers * keys_each;
constexpr std::uint64_t filler_keys = 20'000;
constexpr std::size_t sizes[] = {std::size_t{1} << 20, std::size_t{3} << 20, std::size_t{16} << 20};
// What the slowest operation may take of the processor; on the clock it depends on what else runs.
constexpr std::uint64_t cpu_ms_max = 500;

void raise_to(std::atomic<std::uint64_t>& most, std::uint64_t value) {
    std::uint64_t seen = most.load();
    while (value > seen && !most.compare_exchange_weak(seen, value)) {
    }
}

// In anonymous shared memory.
struct Board {
    struct Key {
        std::atomic<std::uint64_t> begun;  // the last value that a put began with
        std::atomic<std::uint64_t> floor;
    };
    std::array<Key, key_count> keys;
    std::atomic<bool> stop;
    std::atomic<std::uint64_t> signals;  // by the controller, to anybody: before and after
    std::atomic<std::uint64_t> operations, hits, refused;
    std::atomic<std::uint64_t> slowest_cpu_ns, slowest_wall_ns;
    std::array<std::array<char, 200>, workers> wrong;
};

std::string name_of(std::uint64_t key) { return "key " + std::to_string(key); }
std::string tag_of_writer(std::uint64_t key) { return "writer " + std::to_string(key / keys_each); }
bool is_tagged(std::uint64_t key) { return key % 2 == 0; }
// Of another authority: whole entries, whose stamp is their sequence number.
bool is_entry(std::uint64_t key) { return key % 8 == 1; }

class Worker {
 public:
    Worker(const std::string& segment, Board& board, std::size_t place, std::uint64_t seed)
        : cache_(SharedCache::open(segment).value()),
          board_(board),
          place_(place),
          random_(mix(seed) ^ mix(place + 1)) {}

    void run() {
        while (!board_.stop) {
            const std::uint64_t signals = board_.signals.load();
            const std::uint64_t wall = clock_ns(CLOCK_MONOTONIC);
            const std::uint64_t cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
            place_ < writers ? write() : read(random_() % key_count);
            raise_to(board_.slowest_cpu_ns, clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu);
            if (board_.signals.load() == signals) {
                raise_to(board_.slowest_wall_ns, clock_ns(CLOCK_MONOTONIC) - wall);
            }
            board_.operations.fetch_add(1);
        }
        end();
    }

 private:
    void write() {
        const std::uint64_t key = place_ * keys_each + random_() % keys_each;
        const std::uint64_t action = random_() % 100;
        if (action < 50) {
            put(key);
        } else if (action < 58) {
            erase(key);
        } else if (action < 60 && is_tagged(key)) {
            invalidate(key);
        } else if (action < 75) {
            // Others' room: something to evict and to copy.
            const std::uint64_t n = random_() % filler_keys;
            (void)cache_.put("filler " + std::to_string(n), std::string(100 + n % 400, 'f'));
        } else {
            read(key);
        }
    }

    std::size_t length() { return 16 + random_() % (random_() % 50 == 0 ? 90'000 : 800); }
    std::string value_of(std::uint64_t key, std::uint64_t sequence) {
        const Bytes bytes = payload_of(key, sequence, length());
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }

    void put(std::uint64_t key) {
        const std::uint64_t sequence = board_.keys[key].begun.fetch_add(1) + 1;
        Status status;
        if (is_entry(key)) {
            EntryFields fields;
            fields.format = PayloadFormat::pg_wire;
            fields.epoch = 7;
            fields.stamp = sequence;
            status = cache_.segment().put(entry_of(key_of(key), payload_of(key, sequence, length()), fields));
        } else {
            PutOptions options;
            if (is_tagged(key)) options.tags.add(tag_of_writer(key));
            status = cache_.put(name_of(key), value_of(key, sequence), options);
        }
        note(status);
        if (status.ok()) raise_to(board_.keys[key].floor, sequence);
    }

    void erase(std::uint64_t key) {
        const Bytes entry_key = key_of(key);
        const Status status = is_entry(key) ? cache_.segment().erase(hash_key(entry_key), entry_key)
                                            : cache_.erase(name_of(key));
        note(status);
        if (status.ok() || status.code() == StatusCode::not_found) {
            raise_to(board_.keys[key].floor, board_.keys[key].begun.load() + 1);
        }
    }

    void invalidate(std::uint64_t key) {
        const LocalStamp before = cache_.stamp();
        const Status status = cache_.invalidate(tag_of_writer(key));
        note(status);
        if (!status.ok()) return;
        const std::uint64_t first = key / keys_each * keys_each;
        for (std::uint64_t k = first; k < first + keys_each; ++k) {
            if (is_tagged(k)) raise_to(board_.keys[k].floor, board_.keys[k].begun.load() + 1);
        }
        // Computed before: below every floor from here on.
        PutOptions options;
        options.tags.add(tag_of_writer(key));
        options.stamp = before;
        note(cache_.put(name_of(key), value_of(key, 0), options));
    }

    void note(const Status& status) {
        if (status.code() == StatusCode::unavailable) board_.refused.fetch_add(1);
    }

    void read(std::uint64_t key) {
        const std::uint64_t floor = board_.keys[key].floor.load();
        if (is_entry(key)) {
            const Lookup found = look_up_entry(key);
            if (found.hit) check(key, floor, found.ok, found.sequence);
        } else if (random_() % 4 == 0) {
            view(key, floor);
        } else if (cache_.get(name_of(key), value_)) {
            check(key, floor, value_);
        }
    }

    Lookup look_up_entry(std::uint64_t key) {
        const Bytes bytes = key_of(key);
        const std::span<std::byte> found = cache_.segment().get(hash_key(bytes), bytes, copy_to(buffer_));
        if (found.empty()) return {};
        Lookup result = check_entry(found, key);
        EntryView entry;
        result.ok = result.ok && decode_entry(found, entry) == StatusCode::ok && entry.fields.epoch == 7 &&
                    entry.fields.stamp == result.sequence;
        return result;
    }

    // Held over some of the operations that follow.
    void view(std::uint64_t key, std::uint64_t floor) {
        if (view_.held() && random_() % 8 != 0) {
            require(view_.text() == viewed_, "what a view shows has changed");
            return;
        }
        if (!cache_.get_view(name_of(key), view_)) return;
        viewed_ = view_.text();
        check(key, floor, viewed_);
    }

    void check(std::uint64_t key, std::uint64_t floor, const std::string& value) {
        OraclePayload head{};
        require(value.size() >= sizeof(head), "a value is cut short");
        std::memcpy(&head, value.data(), sizeof(head));
        const Bytes right = payload_of(key, head.sequence, value.size());
        check(key, floor, head.key == key && std::memcmp(right.data(), value.data(), value.size()) == 0,
              head.sequence);
    }
    void check(std::uint64_t key, std::uint64_t floor, bool right, std::uint64_t sequence) {
        board_.hits.fetch_add(1);
        require(right, name_of(key) + " came back damaged");
        require(sequence >= floor, name_of(key) + " went back in time: " + std::to_string(sequence) +
                                       " instead of " + std::to_string(floor) + " or more");
    }

    // One call more, and nothing is left of any old segment.
    void end() {
        view_.release();
        (void)cache_.put("filler", "f");
        std::ifstream maps("/proc/self/maps");
        for (std::string line; std::getline(maps, line);) {
            require(line.find("tiercache.resize") == std::string::npos || !line.ends_with("(deleted)"),
                    "an old segment is still mapped: " + line);
        }
    }

    SharedCache cache_;
    Board& board_;
    std::size_t place_;
    std::mt19937_64 random_;
    std::string value_;
    std::string viewed_;
    ValueView view_;
    Bytes buffer_;
};

class Controller {
 public:
    Controller(std::string name, std::uint64_t seed, Board& board)
        : name_(std::move(name)), seed_(seed), board_(board), random_(seed) {
        for (std::size_t place = 0; place < workers; ++place) start(place);
    }

    ~Controller() {
        for (const pid_t pid : pids_) {
            if (pid <= 0) continue;
            kill(pid, SIGKILL);
            (void)wait_for(pid);
        }
    }
    Controller(const Controller&) = delete;
    Controller& operator=(const Controller&) = delete;

    void run(std::uint64_t seconds) {
        const std::uint64_t end = clock_ns(CLOCK_MONOTONIC) + seconds * 1'000'000'000;
        while (clock_ns(CLOCK_MONOTONIC) < end) {
            if (random_() % 5 == 0) disturb_worker();
            resize_once();
            for (std::size_t place = 0; place < workers; ++place) look_after(place);
        }
        require(Segment::resize(name_, sizes[0]).ok(), "the last resizing failed");
        board_.stop = true;
        for (std::size_t place = 0; place < workers; ++place) {
            const int status = wait_for(std::exchange(pids_[place], 0));
            require(status == 0, "worker " + std::to_string(place) + ": " + wrong(place));
        }
    }

    void report() const {
        std::printf("# %llu resizes, %llu of them killed, %llu stopped; %llu users killed\n", resizes_,
                    killed_, stopped_, users_killed_);
        std::printf("# %llu operations, %llu hits, %llu changes refused\n", as_ull(board_.operations),
                    as_ull(board_.hits), as_ull(board_.refused));
        std::printf("# slowest operation: %.1f ms of the processor, %.1f ms on the clock\n",
                    static_cast<double>(board_.slowest_cpu_ns.load()) / 1e6,
                    static_cast<double>(board_.slowest_wall_ns.load()) / 1e6);
        require(board_.slowest_cpu_ns.load() / 1'000'000 < cpu_ms_max, "an operation took too long");
        require(resizes_ > 10 && board_.hits.load() > 1000, "hardly anything happened");
    }

 private:
    static unsigned long long as_ull(const std::atomic<std::uint64_t>& number) { return number.load(); }
    std::string wrong(std::size_t place) const { return board_.wrong[place].data(); }

    void start(std::size_t place) {
        const std::uint64_t seed = seed_ + 1000 * ++lives_;
        pids_[place] = fork();
        if (pids_[place] != 0) return;
        try {
            Worker(name_, board_, place, seed).run();
        } catch (const std::exception& e) {
            std::snprintf(board_.wrong[place].data(), board_.wrong[place].size(), "%s", e.what());
            _exit(1);
        }
        _exit(0);
    }

    static int wait_for(pid_t pid) {
        int status = 0;
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        }
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }

    // A worker that is gone found something wrong.
    void look_after(std::size_t place) const {
        require(waitpid(pids_[place], nullptr, WNOHANG) == 0,
                "worker " + std::to_string(place) + ": " + wrong(place));
    }

    void disturb_worker() {
        const std::size_t place = random_() % workers;
        board_.signals.fetch_add(1);
        if (random_() % 2 == 0) {
            kill(pids_[place], SIGKILL);
            (void)wait_for(pids_[place]);
            ++users_killed_;
            start(place);
        } else {
            kill(pids_[place], SIGSTOP);
            resize_once();
            kill(pids_[place], SIGCONT);
        }
        board_.signals.fetch_add(1);
    }

    void resize_once() {
        const std::size_t size = sizes[random_() % std::size(sizes)];
        const bool dies = random_() % 2 == 0;
        const bool stops = random_() % 4 == 0;
        const auto wait_us = static_cast<useconds_t>(random_() % 40'000);
        const pid_t pid = fork();
        if (pid == 0) {
            const auto done = Segment::resize(name_, size);
            _exit(done.ok() ? 0 : done.status().code() == StatusCode::busy ? 2 : 1);
        }
        ++resizes_;
        if (stops) {
            usleep(wait_us);
            kill(pid, SIGSTOP);
            usleep(30'000);
            if (!dies) kill(pid, SIGCONT);
            ++stopped_;
        }
        if (dies) {
            usleep(wait_us);
            kill(pid, SIGKILL);
        }
        const int status = wait_for(pid);
        killed_ += status == 128 + SIGKILL ? 1 : 0;
        require(status == 0 || status == 128 + SIGKILL, "a resizer ended with " + std::to_string(status));
    }

    std::string name_;
    std::uint64_t seed_;
    Board& board_;
    std::mt19937_64 random_;
    std::array<pid_t, workers> pids_{};
    std::uint64_t lives_ = 0;
    unsigned long long resizes_ = 0, killed_ = 0, stopped_ = 0, users_killed_ = 0;
};

int files_of(const std::string& name) {
    int count = 0;
    for (const auto& file : std::filesystem::directory_iterator("/dev/shm")) {
        if (file.path().filename().string().starts_with(name.substr(1))) ++count;
    }
    return count;
}

void run(std::uint64_t seed, std::uint64_t seconds) {
    const std::string name = "/tiercache.resize." + std::to_string(getpid());
    void* memory = mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    require(memory != MAP_FAILED, "no memory");
    auto& board = *new (memory) Board{};
    (void)SharedCache::create(name, {.size_bytes = sizes[1]}).value();
    Controller controller(name, seed, board);
    controller.run(seconds);
    require(files_of(name) == 2, "files were left in /dev/shm");
    require(SharedCache::remove(name).ok() && files_of(name) == 0, "it could not be removed");
    controller.report();
}

}  // namespace
}  // namespace tiercache

int main(int argc, char** argv) {
    std::uint64_t seed = 1;
    std::uint64_t seconds = 20;
    tiercache::test::ProgramOptions given("Resizes a segment while processes use it.");
    given.number("--seed", seed);
    given.number("--seconds", seconds);
    given.parse(argc, argv);
    try {
        tiercache::run(seed, seconds);
    } catch (const std::exception& e) {
        std::printf("not ok - %s\n", e.what());
        return 1;
    }
    std::printf("ok - nothing old was read and nothing is left\n");
    return 0;
}
