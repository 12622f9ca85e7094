// Concurrent writers and readers, checked read by read.
//
// Each of `pairs` pairs of tables holds one number twice. Writers change both in one transaction (or roll
// back, which only ever writes odd numbers); readers of several kinds, each a process of its own, read both
// through a tier. A read is wrong when
//   - the two numbers differ (half a transaction),
//   - the number is odd (a transaction that rolled back),
//   - it is below what was acknowledged to a writer, or returned to any reader, before the read began
//   (stale),
//   - it is above what any writer has started (invented).
// Ends when every kind of reader has done its share of reads. Exit status 1 when a read was wrong, or when a
// kind had too few hits for the run to mean anything.
#include <libpq-fe.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <tiercache/cache.hpp>
#include <vector>

#include "tests/lib/program_options.hpp"

namespace {

using tiercache::Answer;
using tiercache::Cache;

constexpr std::size_t max_pairs = 64;
constexpr std::size_t max_kinds = 8;

struct Settings {
    std::string conninfo;
    std::string segment;
    std::string redis;
    std::size_t pairs = 8;
    std::size_t writers = 2;
    std::uint64_t reads_per_kind = 40'000;
    std::uint64_t seconds_max = 300;
    std::uint64_t writer_nap_us_max = 8'000;
    std::uint64_t seed = 1;
};

struct KindCounts {
    std::atomic<std::uint64_t> reads;
    std::atomic<std::uint64_t> hits;
    std::atomic<std::uint64_t> wrong;
};

// Shared by all processes. Sequentially consistent throughout: the checks must not be the thing that races.
struct Ledger {
    std::array<std::atomic<std::int64_t>, max_pairs>
        started;  // highest number that a writer may have made visible
    std::array<std::atomic<std::int64_t>, max_pairs>
        known;  // highest number acknowledged, or returned to a reader
    std::array<KindCounts, max_kinds> kinds;
    std::atomic<std::uint64_t> commits;
    std::atomic<std::uint64_t> rollbacks;
    std::atomic<bool> stop;
};

Ledger* ledger = nullptr;

void raise_to(std::atomic<std::int64_t>& value, std::int64_t wanted) {
    std::int64_t seen = value.load();
    while (seen < wanted && !value.compare_exchange_weak(seen, wanted)) {
    }
}

// --- PostgreSQL
// -----------------------------------------------------------------------------------------------------

struct Finish {
    void operator()(PGconn* c) const { PQfinish(c); }
    void operator()(PGresult* r) const { PQclear(r); }
};
using Connection = std::unique_ptr<PGconn, Finish>;
using QueryResult = std::unique_ptr<PGresult, Finish>;

[[noreturn]] void die(const std::string& message) {
    std::fprintf(stderr, "stress: %s\n", message.c_str());
    std::exit(2);
}

Connection connect(const Settings& settings) {
    Connection c(PQconnectdb(settings.conninfo.c_str()));
    if (PQstatus(c.get()) != CONNECTION_OK) die(PQerrorMessage(c.get()));
    return c;
}

QueryResult run(PGconn* c, const std::string& sql) {
    QueryResult r(PQexec(c, sql.c_str()));
    const ExecStatusType status = PQresultStatus(r.get());
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) die(sql + ": " + PQerrorMessage(c));
    return r;
}

std::string query_of(std::size_t pair) {
    const std::string n = std::to_string(pair);
    return "SELECT a.v AS a, b.v AS b FROM stress_a" + n + " a CROSS JOIN stress_b" + n + " b";
}

void make_tables(const Settings& settings) {
    const Connection c = connect(settings);
    run(c.get(), "SET client_min_messages = warning");
    for (std::size_t i = 0; i < settings.pairs; ++i) {
        for (const char* side : {"stress_a", "stress_b"}) {
            const std::string table = side + std::to_string(i);
            run(c.get(), "DROP TABLE IF EXISTS " + table);
            run(c.get(), "CREATE TABLE " + table + " (v bigint)");
            run(c.get(), "INSERT INTO " + table + " VALUES (0)");
        }
    }
}

// --- writers
// --------------------------------------------------------------------------------------------------------

void write_pair(PGconn* c, std::size_t pair, bool roll_back) {
    const std::int64_t last = ledger->started[pair].load();
    // Committed numbers are even, rolled back ones odd.
    const std::int64_t number = roll_back ? last + 1 : last + 2;
    if (!roll_back) ledger->started[pair].store(number);
    const std::string n = std::to_string(pair);
    const std::string v = std::to_string(number);
    run(c, "BEGIN");
    run(c, "UPDATE stress_a" + n + " SET v = " + v);
    run(c, "UPDATE stress_b" + n + " SET v = " + v);
    run(c, roll_back ? "ROLLBACK" : "COMMIT");
    if (!roll_back) raise_to(ledger->known[pair], number);
    (roll_back ? ledger->rollbacks : ledger->commits).fetch_add(1);
}

// Each pair belongs to one writer.
void write_until_stopped(const Settings& settings, std::size_t writer) {
    const Connection c = connect(settings);
    std::mt19937_64 random(settings.seed * 1000 + writer);
    std::vector<std::size_t> mine;
    for (std::size_t i = writer; i < settings.pairs; i += settings.writers) mine.push_back(i);
    while (!ledger->stop.load()) {
        const std::size_t pair = mine[random() % mine.size()];
        write_pair(c.get(), pair, random() % 8 == 0);
        // Bursts and pauses: hits need the one, races the other.
        if (random() % 4 != 0) usleep(static_cast<useconds_t>(random() % (settings.writer_nap_us_max + 1)));
    }
}

// --- readers
// --------------------------------------------------------------------------------------------------------

struct PairRead {
    std::int64_t a = -1;
    std::int64_t b = -1;
    bool hit = false;
};

class Reader {
 public:
    virtual ~Reader() = default;
    virtual PairRead read(std::size_t pair) = 0;
};

// The judge of one read: what was known before it, what may be known after it.
void check(KindCounts& counts, const char* kind, std::size_t pair, std::int64_t known_before,
           const PairRead& got) {
    const std::int64_t started = ledger->started[pair].load();
    const bool right = got.a == got.b && got.a % 2 == 0 && got.a >= known_before && got.a <= started;
    counts.reads.fetch_add(1);
    if (got.hit) counts.hits.fetch_add(1);
    if (right) {
        raise_to(ledger->known[pair], got.a);
        return;
    }
    if (counts.wrong.fetch_add(1) < 5) {
        std::fprintf(stderr, "wrong: %s, pair %zu: got (%lld, %lld)%s, known before %lld, started %lld\n",
                     kind, pair, static_cast<long long>(got.a), static_cast<long long>(got.b),
                     got.hit ? " by a hit" : "", static_cast<long long>(known_before),
                     static_cast<long long>(started));
    }
}

// Through tiercache.query_json, READ COMMITTED.
class L4Reader : public Reader {
 public:
    explicit L4Reader(const Settings& settings) : connection_(connect(settings)) {}

    PairRead read(std::size_t pair) override {
        const std::string sql = query_of(pair);

        const QueryResult r = run(connection_.get(), "SELECT tiercache.query_json($$" + sql + "$$)");
        return parse(PQgetvalue(r.get(), 0, 0));
    }

    PairRead read_uncached(std::size_t pair) {
        const QueryResult r = run(connection_.get(), query_of(pair));
        PairRead got;
        got.a = std::atoll(PQgetvalue(r.get(), 0, 0));
        got.b = std::atoll(PQgetvalue(r.get(), 0, 1));
        return got;
    }

    static PairRead parse(const char* json) {
        PairRead got;
        long long a = -1;
        long long b = -1;
        if (std::sscanf(json, " [ { \"a\" : %lld , \"b\" : %lld", &a, &b) != 2)
            die(std::string("no pair in ") + json);
        got.a = a;
        got.b = b;
        return got;
    }

 protected:
    Connection connection_;
};

// Through transparent mode, by prepared statements with generic plans: most hits are recalled.
class PreparedReader : public Reader {
 public:
    explicit PreparedReader(const Settings& settings) : connection_(connect(settings)) {
        run(connection_.get(), "SET tiercache.mode = auto");
        run(connection_.get(), "SET tiercache.min_cost = 0");
        run(connection_.get(), "SET plan_cache_mode = force_generic_plan");
        for (std::size_t pair = 0; pair < settings.pairs; ++pair) {
            const std::string sql = query_of(pair) + " WHERE a.v > $1";
            const QueryResult r(PQprepare(connection_.get(), name_of(pair).c_str(), sql.c_str(), 1, nullptr));
            if (PQresultStatus(r.get()) != PGRES_COMMAND_OK)
                die(sql + ": " + PQerrorMessage(connection_.get()));
        }
    }

    PairRead read(std::size_t pair) override {
        const char* const below_all = "-1";
        const QueryResult r(
            PQexecPrepared(connection_.get(), name_of(pair).c_str(), 1, &below_all, nullptr, nullptr, 0));
        if (PQresultStatus(r.get()) != PGRES_TUPLES_OK) die(PQerrorMessage(connection_.get()));
        PairRead got;
        got.a = std::atoll(PQgetvalue(r.get(), 0, 0));
        got.b = std::atoll(PQgetvalue(r.get(), 0, 1));
        return got;
    }

    // Not by tiercache.mode, which has every plan made anew.
    PairRead read_uncached(std::size_t pair) {
        run(connection_.get(), "SET LOCAL tiercache.enabled = off");
        const PairRead got = PreparedReader::read(pair);
        run(connection_.get(), "SET LOCAL tiercache.enabled = on");
        return got;
    }

 protected:
    static std::string name_of(std::size_t pair) { return "pair" + std::to_string(pair); }

    Connection connection_;
};

// The same in REPEATABLE READ: two cached reads and an uncached one of one transaction are equal.
template <class Cached>
class RepeatableReader : public Cached {
 public:
    using Cached::Cached;

    PairRead read(std::size_t pair) override {
        PGconn* c = this->connection_.get();
        run(c, "BEGIN ISOLATION LEVEL REPEATABLE READ");
        PairRead first = Cached::read(pair);
        const PairRead uncached = Cached::read_uncached(pair);
        const PairRead second = Cached::read(pair);
        run(c, "COMMIT");
        // A difference is reported as half a transaction.
        if (first.a != uncached.a) first.b = uncached.a;
        if (second.a != uncached.a || second.b != uncached.a) first.b = -uncached.a - 1;
        return first;
    }
};

// Through tiercache::Cache: L1 and L4, or L2 and L4.
class ClientReader : public Reader {
 public:
    ClientReader(const Settings& settings, bool l1, bool l2) : cache_(open(settings, l1, l2)) {}

    PairRead read(std::size_t pair) override {
        const tiercache::Status status = cache_.query_into(answer_, query_of(pair));
        if (!status.ok()) die(status.to_string());
        PairRead got;
        got.hit = answer_.tier() != tiercache::Tier::l4;
        for (const tiercache::Row& row : answer_) {
            got.a = row[0].int64().value_or(-1);
            got.b = row[1].int64().value_or(-2);
        }
        if (answer_.freshness() != tiercache::Freshness::fresh) die("an answer is not fresh");
        return got;
    }

 private:
    static Cache open(const Settings& settings, bool l1, bool l2) {
        tiercache::Options options;
        options.l4.conninfo = settings.conninfo;
        if (l1) options.l1.name = settings.segment;
        if (l2) options.l2.address = "unix:" + settings.redis;
        tiercache::Result<Cache> cache = Cache::open(options);
        if (!cache.ok()) die(cache.status().to_string());
        return std::move(cache).value();
    }

    Cache cache_;
    Answer answer_;
};

struct Kind {
    const char* name;
    std::unique_ptr<Reader> (*make)(const Settings&);
    bool hits_counted;  // by the reader itself
};

std::vector<Kind> kinds_of(const Settings& settings) {
    std::vector<Kind> kinds = {
        {"l4", [](const Settings& s) -> std::unique_ptr<Reader> { return std::make_unique<L4Reader>(s); },
         false},
        {"l4-rr",
         [](const Settings& s) -> std::unique_ptr<Reader> {
             return std::make_unique<RepeatableReader<L4Reader>>(s);
         },
         false},
        {"prepared",
         [](const Settings& s) -> std::unique_ptr<Reader> { return std::make_unique<PreparedReader>(s); },
         false},
        {"prepared-rr",
         [](const Settings& s) -> std::unique_ptr<Reader> {
             return std::make_unique<RepeatableReader<PreparedReader>>(s);
         },
         false},
        {"l1",
         [](const Settings& s) -> std::unique_ptr<Reader> {
             return std::make_unique<ClientReader>(s, true, false);
         },
         true},
        {"l1-other",
         [](const Settings& s) -> std::unique_ptr<Reader> {
             return std::make_unique<ClientReader>(s, true, false);
         },
         true},
    };
    if (!settings.redis.empty()) {
        kinds.push_back({"l2",
                         [](const Settings& s) -> std::unique_ptr<Reader> {
                             return std::make_unique<ClientReader>(s, false, true);
                         },
                         true});
    }
    return kinds;
}

void read_until_stopped(const Settings& settings, const Kind& kind, KindCounts& counts, std::uint64_t seed) {
    const std::unique_ptr<Reader> reader = kind.make(settings);
    std::mt19937_64 random(seed);
    while (!ledger->stop.load()) {
        const std::size_t pair = random() % settings.pairs;
        const std::int64_t known_before = ledger->known[pair].load();
        check(counts, kind.name, pair, known_before, reader->read(pair));
        // One kind must not take all the time: it naps when it is far ahead of its share.
        if (counts.reads.load() > settings.reads_per_kind) usleep(500);
    }
}

// --- the run
// --------------------------------------------------------------------------------------------------------

template <class F>
pid_t in_child(F&& body) {
    const pid_t pid = fork();
    if (pid < 0) die("fork failed");
    if (pid != 0) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    body();
    std::fflush(nullptr);
    _exit(0);
}

bool enough_reads(const Settings& settings, std::size_t kind_count) {
    for (std::size_t i = 0; i < kind_count; ++i) {
        if (ledger->kinds[i].reads.load() < settings.reads_per_kind) return false;
    }
    return true;
}

// True when a child has ended before it was told to.
bool child_failed(std::vector<pid_t>& children) {
    int status = 0;
    const pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid <= 0) return false;
    std::erase(children, pid);
    return true;
}

struct L4Hits {
    std::uint64_t all;
    std::uint64_t recalled;
};

L4Hits l4_hits(PGconn* c) {
    const QueryResult r = run(c, "SELECT hits, recalled_hits FROM tiercache.stats");
    return {std::strtoull(PQgetvalue(r.get(), 0, 0), nullptr, 10),
            std::strtoull(PQgetvalue(r.get(), 0, 1), nullptr, 10)};
}

int report(const std::vector<Kind>& kinds, const L4Hits& in_l4) {
    std::uint64_t reads = 0;
    std::uint64_t wrong = 0;
    bool meaningful = in_l4.all > 1000 && in_l4.recalled > 1000;
    for (std::size_t i = 0; i < kinds.size(); ++i) {
        const KindCounts& k = ledger->kinds[i];
        std::printf("%-9s %9llu reads", kinds[i].name, static_cast<unsigned long long>(k.reads.load()));
        if (kinds[i].hits_counted) {
            std::printf(" %9llu hits", static_cast<unsigned long long>(k.hits.load()));
            meaningful = meaningful && k.hits.load() * 20 > k.reads.load();
        }
        std::printf(" %6llu wrong\n", static_cast<unsigned long long>(k.wrong.load()));
        reads += k.reads.load();
        wrong += k.wrong.load();
    }
    std::printf("stress: %llu commits, %llu rollbacks, %llu hits in L4, %llu of them recalled\n",
                static_cast<unsigned long long>(ledger->commits.load()),
                static_cast<unsigned long long>(ledger->rollbacks.load()),
                static_cast<unsigned long long>(in_l4.all), static_cast<unsigned long long>(in_l4.recalled));
    std::printf("stress: %llu reads, %llu wrong\n", static_cast<unsigned long long>(reads),
                static_cast<unsigned long long>(wrong));
    if (!meaningful) std::printf("stress: too few hits, the run proves nothing\n");
    return wrong == 0 && meaningful ? 0 : 1;
}

int run_all(const Settings& settings) {
    void* memory = mmap(nullptr, sizeof(Ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) die("mmap failed");
    ledger = new (memory) Ledger{};
    make_tables(settings);
    const std::vector<Kind> kinds = kinds_of(settings);

    std::vector<pid_t> children;
    for (std::size_t i = 0; i < settings.writers; ++i) {
        children.push_back(in_child([&] { write_until_stopped(settings, i); }));
    }
    for (std::size_t i = 0; i < kinds.size(); ++i) {
        children.push_back(in_child([&] {
            read_until_stopped(settings, kinds[i], ledger->kinds[i], settings.seed * 1000 + 500 + i);
        }));
    }
    const Connection c = connect(settings);
    const L4Hits before = l4_hits(c.get());
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(settings.seconds_max);
    bool failed = false;
    while (!failed && !enough_reads(settings, kinds.size()) && std::chrono::steady_clock::now() < deadline) {
        usleep(20'000);
        failed = child_failed(children);
    }
    ledger->stop.store(true);
    for (const pid_t pid : children) {
        int status = 0;
        waitpid(pid, &status, 0);
        failed = failed || status != 0;
    }
    const L4Hits after = l4_hits(c.get());
    const int verdict = report(kinds, {after.all - before.all, after.recalled - before.recalled});
    if (failed) std::printf("stress: a process failed\n");
    if (!enough_reads(settings, kinds.size())) {
        std::printf("stress: not enough reads in %llu seconds\n",
                    static_cast<unsigned long long>(settings.seconds_max));
        failed = true;
    }
    return failed ? 1 : verdict;
}

}  // namespace

int main(int argc, char** argv) {
    Settings settings;
    tiercache::test::ProgramOptions given(
        "Concurrent writers and readers through all tiers, checked read by read.");
    given.required_text("--db", settings.conninfo, "libpq connection string");
    given.required_text("--segment", settings.segment, "name of an L1 segment to create and share");
    given.text("--redis", settings.redis, "unix socket of a Redis: adds a reader through L2");
    given.number("--pairs", settings.pairs, "", {2, max_pairs});
    given.number("--writers", settings.writers, "", {1, 16});
    given.number("--reads", settings.reads_per_kind, "reads for each kind of reader");
    given.number("--seconds", settings.seconds_max, "give up after this time");
    given.number("--nap-us", settings.writer_nap_us_max, "longest pause of a writer");
    given.number("--seed", settings.seed);
    given.parse(argc, argv);
    std::printf("stress: seed %llu\n", static_cast<unsigned long long>(settings.seed));
    std::fflush(stdout);
    return run_all(settings);
}
