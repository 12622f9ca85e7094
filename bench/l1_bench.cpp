// What an L1 hit costs, beside a Redis GET of the same value over a unix socket.
//
// 100,000 keys, payloads of 200 bytes, keys drawn by Zipf's law (exponent 0.99), read only, one process. An
// L1 hit is all that a client needs to serve it: hash the key, get the entry into a private buffer, decode
// it, check its expiry and its two tags against a clock table with a lease. Redis holds the same encoded
// entries under the same keys; its hit ends when hiredis has the reply. The two take turns, a round each, and
// the medians of all batches are printed:
//
//   RESULT l1_hit_ns <v> ns
//   RESULT l1_hit_vs_redis_unix_socket <ratio> x
//
// The Redis server is private: started here, on a socket in a folder of its own, and stopped here.
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "shm_cache/clock_file.hpp"
#include "shm_cache/entry.hpp"
#include "shm_cache/monotonic_time.hpp"
#include "shm_cache/segment.hpp"

namespace {

using namespace tiercache;

constexpr std::size_t key_count = 100'000;
constexpr std::size_t payload_bytes = 200;
constexpr double zipf_exponent = 0.99;
constexpr int rounds = 9;
// A batch is shorter than the scheduler's time slice: on a machine that does other things as well, the median
// batch is one that was not interrupted.
constexpr std::size_t l1_batch = 1000;
constexpr std::size_t l1_batches = 500;
constexpr std::size_t redis_batch = 20;
constexpr std::size_t redis_batches = 250;

// On the measured path too: takes no string apart.
void require(bool condition, const char* what) {
    if (!condition) throw std::runtime_error(what);
}
void require(const Status& status) {
    if (!status.ok()) throw std::runtime_error(status.to_string());
}

// ---- the work ------------------------------------------------------------------------------------

struct Key {
    std::array<char, 24> bytes;
    [[nodiscard]] std::string_view text() const { return {bytes.data(), 21}; }
};

Key key_of(std::size_t i) {
    Key key{};
    std::snprintf(key.bytes.data(), key.bytes.size(), "user:%08zu:profile", i % key_count);
    return key;
}

std::vector<std::uint32_t> zipf_sequence(std::size_t count, std::uint64_t seed) {
    std::vector<double> cumulative(key_count);
    double total = 0;
    for (std::size_t i = 0; i < key_count; ++i) {
        total += 1 / std::pow(static_cast<double>(i + 1), zipf_exponent);
        cumulative[i] = total;
    }
    std::mt19937_64 random(seed);
    // The ranks are spread over the keys: neighbours in popularity are no neighbours in memory.
    std::vector<std::uint32_t> key_at_rank(key_count);
    for (std::uint32_t i = 0; i < key_count; ++i) key_at_rank[i] = i;
    std::shuffle(key_at_rank.begin(), key_at_rank.end(), random);
    std::uniform_real_distribution<double> uniform(0, total);
    std::vector<std::uint32_t> sequence(count);
    for (std::uint32_t& key : sequence) {
        const auto rank = std::lower_bound(cumulative.begin(), cumulative.end(), uniform(random));
        key = key_at_rank[std::min<std::size_t>(static_cast<std::size_t>(rank - cumulative.begin()),
                                                key_count - 1)];
    }
    return sequence;
}

std::vector<std::byte> entry_of(std::size_t i, std::uint64_t epoch, std::uint64_t stamp) {
    std::mt19937_64 random(i);
    std::vector<std::byte> payload(payload_bytes);
    for (std::byte& b : payload) b = static_cast<std::byte>(random());
    const Tag tags[] = {tag_of("public.users"), tag_of("public.profiles")};
    EntryFields fields;
    fields.epoch = epoch;
    fields.stamp = stamp;
    fields.lifetime = {.received_at_ns = monotonic_ns(), .hard_ttl_ms = 3'600'000};
    const Key key = key_of(i);
    const auto key_bytes = std::as_bytes(std::span(key.text()));
    std::vector<std::byte> entry(encoded_entry_bound(std::size(tags), key_bytes.size(), payload.size()));
    const Result<std::size_t> size = encode_entry(fields, tags, key_bytes, payload, entry);
    require(size.ok(), "could not encode an entry");
    entry.resize(*size);
    return entry;
}

// ---- L1 ------------------------------------------------------------------------------------------

class L1 {
 public:
    static constexpr std::uint64_t epoch = 1;
    static constexpr std::uint64_t stamp = 1000;

    L1() : name_("/tiercache.bench." + std::to_string(getpid())), clock_name_(name_ + ".clock") {
        SegmentOptions options;
        options.size_bytes = std::size_t{128} << 20;
        Result<Segment> segment = Segment::create(name_, options);
        require(segment.status());
        segment_ = std::make_unique<Segment>(std::move(segment).value());
        Result<ClockFile> clock = ClockFile::create(clock_name_, ClockTable::default_slot_count, 0600);
        require(clock.status());
        authority_ = std::move(clock).value();
        authority_.table().restart(epoch, stamp);
        authority_.table().renew_lease(monotonic_ns() + std::uint64_t{3600} * 1'000'000'000);
        Result<ClockFile> reader = ClockFile::open(clock_name_);
        require(reader.status());
        clock_ = std::move(reader).value();
    }
    ~L1() {
        (void)Segment::remove(name_);
        (void)SharedMemory::remove(clock_name_);
    }
    L1(const L1&) = delete;
    L1& operator=(const L1&) = delete;

    void put(std::span<const std::byte> entry) { require(segment_->put(entry)); }

    // The payload's first byte: something that depends on the copy.
    unsigned hit(std::string_view text) {
        const auto key = std::as_bytes(std::span(text));
        EntryView view;
        require(!segment_->get(hash_key(key), key, target(), view).empty(), "an L1 read missed");
        require(!view.fields.lifetime.expired_at(monotonic_coarse_ns()), "an entry expired");
        std::array<Tag, max_entry_tags> tags;
        const Verdict verdict =
            clock_.table().check(view.tags.copy_to(tags), view.fields.stamp, view.fields.epoch);
        require(verdict == Verdict::fresh, "an entry was not fresh");
        return static_cast<unsigned>(view.stored_payload[0]);
    }

 private:
    CopyTarget target() {
        return {[](void* context, std::size_t bytes) noexcept -> std::byte* {
                    auto& buffer = *static_cast<std::array<std::byte, 4096>*>(context);
                    return bytes <= buffer.size() ? buffer.data() : nullptr;
                },
                &buffer_};
    }

    std::string name_;
    std::string clock_name_;
    std::unique_ptr<Segment> segment_;
    ClockFile authority_;
    ClockFile clock_;
    std::array<std::byte, 4096> buffer_;
};

// ---- Redis ---------------------------------------------------------------------------------------

class Redis {
 public:
    Redis() {
        char folder[] = "/tmp/tiercache.bench.XXXXXX";
        require(mkdtemp(folder) != nullptr, "could not make a temporary folder");
        folder_ = folder;
        const std::string socket = folder_ + "/redis.sock";
        server_ = fork();
        require(server_ >= 0, "fork failed");
        if (server_ == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            const int null = open("/dev/null", O_RDWR);
            dup2(null, STDOUT_FILENO);
            execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", socket.c_str(), "--save",
                   "", "--appendonly", "no", "--dir", folder, nullptr);
            _exit(127);
        }
        connect(socket);
    }
    ~Redis() {
        connection_.reset();
        kill(server_, SIGTERM);
        waitpid(server_, nullptr, 0);
        std::error_code ignored;
        std::filesystem::remove_all(folder_, ignored);
    }
    Redis(const Redis&) = delete;
    Redis& operator=(const Redis&) = delete;

    void set(std::string_view key, std::span<const std::byte> value) {
        const Reply reply(static_cast<redisReply*>(redisCommand(connection_.get(), "SET %b %b", key.data(),
                                                                key.size(), value.data(), value.size())));
        require(reply != nullptr && reply->type == REDIS_REPLY_STATUS, "Redis refused a SET");
    }
    unsigned hit(std::string_view key) {
        const Reply reply(
            static_cast<redisReply*>(redisCommand(connection_.get(), "GET %b", key.data(), key.size())));
        require(reply != nullptr && reply->type == REDIS_REPLY_STRING && reply->len > 0,
                "a Redis read missed");
        return static_cast<unsigned char>(reply->str[reply->len - 1]);
    }

 private:
    struct FreeReply {
        void operator()(redisReply* reply) const { freeReplyObject(reply); }
    };
    struct FreeContext {
        void operator()(redisContext* context) const { redisFree(context); }
    };
    using Reply = std::unique_ptr<redisReply, FreeReply>;

    void connect(const std::string& socket) {
        for (int attempt = 0; attempt < 1000; ++attempt) {
            connection_.reset(redisConnectUnix(socket.c_str()));
            if (connection_ != nullptr && connection_->err == 0) return;
            require(waitpid(server_, nullptr, WNOHANG) == 0, "redis-server did not start; is it installed?");
            usleep(10'000);
        }
        throw std::runtime_error("redis-server does not answer");
    }

    std::string folder_;
    pid_t server_ = -1;
    std::unique_ptr<redisContext, FreeContext> connection_;
};

// ---- measuring -----------------------------------------------------------------------------------

// Appends the nanoseconds a hit took in each of `batches` batches.
template <class Hit>
void measure(const std::vector<Key>& keys, std::span<const std::uint32_t> sequence, std::size_t batch,
             std::size_t batches, std::vector<double>& out, Hit hit) {
    unsigned sum = 0;
    // The keys of a batch lie at hand, as a key does that a program has just made.
    std::vector<Key> at_hand(batch);
    for (std::size_t b = 0; b < batches; ++b) {
        for (std::size_t i = 0; i < batch; ++i) at_hand[i] = keys[sequence[b * batch + i]];
        const std::uint64_t begin = monotonic_ns();
        for (const Key& key : at_hand) sum += hit(key.text());
        const std::uint64_t end = monotonic_ns();
        out.push_back(static_cast<double>(end - begin) / static_cast<double>(batch));
    }
    require(sum != 0, "nothing was read");
}

double median(std::vector<double> values) {
    std::ranges::sort(values);
    return values[values.size() / 2];
}

void run() {
    L1 l1;
    Redis redis;
    std::vector<Key> keys;
    for (std::size_t i = 0; i < key_count; ++i) {
        keys.push_back(key_of(i));
        const std::vector<std::byte> entry = entry_of(i, L1::epoch, L1::stamp);
        l1.put(entry);
        redis.set(keys.back().text(), entry);
    }
    const std::vector<std::uint32_t> sequence = zipf_sequence(l1_batch * l1_batches, 1);
    const auto l1_hit = [&l1](std::string_view key) { return l1.hit(key); };
    const auto redis_hit = [&redis](std::string_view key) { return redis.hit(key); };
    std::vector<double> l1_ns;
    std::vector<double> redis_ns;
    // The first round warms the caches and does not count.
    for (int round = 0; round <= rounds; ++round) {
        if (round == 1) {
            l1_ns.clear();
            redis_ns.clear();
        }
        measure(keys, sequence, l1_batch, l1_batches, l1_ns, l1_hit);
        measure(keys, sequence, redis_batch, redis_batches, redis_ns, redis_hit);
    }
    std::printf("# %zu keys, %zu bytes, Zipf %.2f: L1 %.0f ns, Redis %.0f ns (medians, %d rounds)\n",
                key_count, payload_bytes, zipf_exponent, median(l1_ns), median(redis_ns), rounds);
    std::printf("RESULT l1_hit_ns %.1f ns\n", median(l1_ns));
    std::printf("RESULT l1_hit_vs_redis_unix_socket %.1f x\n", median(redis_ns) / median(l1_ns));
}

}  // namespace

int main() {
    try {
        run();
    } catch (const std::exception& e) {
        std::fprintf(stderr, "l1_bench: %s\n", e.what());
        return 1;
    }
    return 0;
}
