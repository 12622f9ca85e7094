// tiercache::Cache against a real PostgreSQL and a real Redis: what each tier gives, what a commit, a hostile
// Redis, a deadline or a missing right does, and what a hit in L1 costs. Prints ok / not ok lines.
//
//   client_tiers CONNINFO REDIS SEGMENT_PREFIX      (client_tiers.sh sets it all up)
#include <fmt/format.h>
#include <hiredis/hiredis.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "client/pg_connection.hpp"
#include "client/pg_pool.hpp"
#include "shm_cache/entry.hpp"
#include "shm_cache/segment.hpp"
#include "tiercache/cache.hpp"
#include "tiercache/tiercache.h"

// Counts the allocations of the thread that asks.
namespace {
thread_local std::uint64_t allocations = 0;
}
void* operator new(std::size_t bytes) {
    ++allocations;
    if (void* p = std::malloc(bytes)) return p;
    throw std::bad_alloc();
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    ++allocations;
    return std::malloc(bytes);
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace {

using namespace tiercache;
using std::chrono::milliseconds;
using std::chrono::seconds;

int failures = 0;

void check(bool ok, const std::string& what) {
    fmt::print("{} - {}\n", ok ? "ok" : "not ok", what);
    std::fflush(stdout);
    failures += ok ? 0 : 1;
}

struct Setup {
    std::string conninfo;
    std::string redis;
    std::string segment_prefix;
};

// Statements of other sessions.
class Session {
 public:
    explicit Session(const std::string& conninfo)
        : connection_(PgConnection::connect(conninfo, deadline_in(seconds(60))).value()) {}

    std::string run(const std::string& sql) {
        const Result<PgResult> result = connection_.execute(sql.c_str(), deadline_in(seconds(60)));
        if (!result.ok()) {
            fmt::print("# {}: {}\n", sql, result.status().message());
            std::exit(1);
        }
        return result->row_count() > 0 ? std::string(result->text(0, 0)) : "";
    }

 private:
    PgConnection connection_;
};

class Redis {
 public:
    explicit Redis(const std::string& address) : context_(redisConnectUnix(address.substr(5).c_str())) {}
    Redis(const Redis&) = delete;
    Redis& operator=(const Redis&) = delete;
    Redis(Redis&&) = delete;
    Redis& operator=(Redis&&) = delete;
    ~Redis() { redisFree(context_); }

    std::vector<std::string> keys() { return ask({"KEYS", "tc:*"}); }
    std::string get(const std::string& key) { return ask({"GET", key}).at(0); }
    void run(const std::vector<std::string>& words) { (void)ask(words); }

 private:
    std::vector<std::string> ask(const std::vector<std::string>& words) {
        std::vector<const char*> texts;
        std::vector<std::size_t> sizes;
        for (const std::string& w : words) {
            texts.push_back(w.data());
            sizes.push_back(w.size());
        }
        auto* reply = static_cast<redisReply*>(
            redisCommandArgv(context_, static_cast<int>(words.size()), texts.data(), sizes.data()));
        std::vector<std::string> out;
        if (reply->type == REDIS_REPLY_STRING) out.emplace_back(reply->str, reply->len);
        for (std::size_t i = 0; i < reply->elements; ++i) {
            out.emplace_back(reply->element[i]->str, reply->element[i]->len);
        }
        freeReplyObject(reply);
        return out;
    }
    redisContext* context_;
};

Options options_of(const Setup& setup, const std::string& segment, bool l2) {
    Options options;
    options.l4.conninfo = setup.conninfo;
    if (!segment.empty()) options.l1.name = setup.segment_prefix + segment;
    options.l1.size_bytes = std::size_t{8} << 20;
    if (l2) options.l2.address = setup.redis;
    options.l2.timeout = seconds(10);  // a busy machine is no failing Redis
    return options;
}

Cache open(const Options& options) {
    Result<Cache> cache = Cache::open(options);
    if (cache.ok()) return std::move(cache).value();
    fmt::print("# {}\n", cache.status().message());
    std::exit(1);
}

// "TIER FRESHNESS value", or the error's code.
std::string ask(Cache& cache, const std::string& sql, std::vector<QueryParam> params = {},
                const QueryOptions& options = {}) {
    const Result<Answer> answer = cache.query(sql, params, options);
    if (!answer.ok()) return std::string(to_string(answer.status().code()));
    const std::string value = answer->empty() ? "" : std::string((*answer->begin())[0].text());
    return fmt::format("{} {} {}", to_string(answer->tier()), to_string(answer->freshness()), value);
}

void is(const std::string& got, const std::string& expected, const std::string& what) {
    check(got == expected, what);
    if (got != expected) fmt::print("#   got:      {}\n#   expected: {}\n", got, expected);
}

QueryOptions staleness(milliseconds limit, std::uint64_t token = 0) {
    QueryOptions options;
    options.max_staleness = limit;
    options.token = token;
    return options;
}

// ---- what each tier gives ----

void test_tiers(const Setup& setup) {
    Session session(setup.conninfo);
    session.run("CREATE TABLE tiers(id int, name text, score float8, note text)");
    session.run(
        "INSERT INTO tiers SELECT i, 'name ' || i, i / 7.0, CASE WHEN i % 3 = 0 THEN NULL ELSE repeat('x', "
        "i) "
        "END FROM generate_series(1, 200) i");
    const std::string sql = "SELECT * FROM tiers WHERE id > $1 ORDER BY id";
    const std::vector<QueryParam> params = {"10"};
    Cache first = open(options_of(setup, "tiers1", true));
    Cache second = open(options_of(setup, "tiers1", true));
    Cache elsewhere = open(options_of(setup, "tiers2", true));
    const Result<Answer> l4 = first.query(sql, params);
    const Result<Answer> l1 = first.query(sql, params);
    const Result<Answer> other_process = second.query(sql, params);
    const Result<Answer> l2 = elsewhere.query(sql, params);
    const Result<Answer> l1_from_l2 = elsewhere.query(sql, params);
    const std::array<std::pair<const Result<Answer>*, Tier>, 5> all = {{{&l4, Tier::l4},
                                                                        {&l1, Tier::l1},
                                                                        {&other_process, Tier::l1},
                                                                        {&l2, Tier::l2},
                                                                        {&l1_from_l2, Tier::l1}}};
    for (const auto& [answer, tier] : all) {
        check(answer->ok() && (*answer)->tier() == tier && (*answer)->row_count() == 190 &&
                  (*answer)->freshness() == Freshness::fresh,
              fmt::format("an answer from {}", to_string(tier)));
        check(answer->ok() && std::ranges::equal((*answer)->payload(), l4->payload()),
              "is the same byte for byte");
    }
    check(l4->column(2).type_oid == 701 && l4->column(0).name == "id" && l4->column(0).table_oid != 0,
          "columns say name, type and table");
    // Against libpq itself.
    const Result<PgResult> raw = [&] {
        Result<PgConnection> c = PgConnection::connect(setup.conninfo, deadline_in(seconds(60)));
        return c->execute("SELECT * FROM tiers WHERE id > 10 ORDER BY id", deadline_in(seconds(60)));
    }();
    bool equal = raw->row_count() == 190;
    int r = 0;
    for (const Row& row : *l1) {
        for (int c = 0; c < 4; ++c) {
            const Field field = row[static_cast<std::size_t>(c)];
            equal = equal && field.text() == raw->text(r, c) && field.is_null() == raw->is_null(r, c);
        }
        ++r;
    }
    check(equal, "a hit has the values that the query has");
    check(first.stats()[Counter::l1_hits] == 1 && first.stats()[Counter::l1_absent] == 1 &&
              first.stats()[Counter::l2_absent] == 1 && first.stats()[Counter::l4_answers] == 1 &&
              elsewhere.stats()[Counter::l2_hits] == 1,
          "the counters say so");
}

void test_commits(const Setup& setup) {
    Session session(setup.conninfo);
    session.run("CREATE TABLE commits(v int)");
    session.run("INSERT INTO commits VALUES (1)");
    const std::string sql = "SELECT v FROM commits";
    Cache l1_cache = open(options_of(setup, "commits", false));
    Cache l2_cache = open(options_of(setup, "", true));
    is(ask(l1_cache, sql), "l4 fresh 1", "the first answer");
    is(ask(l1_cache, sql), "l1 fresh 1", "then from L1");
    is(ask(l2_cache, sql), "l4 fresh 1", "another client fills L2");
    is(ask(l2_cache, sql), "l2 fresh 1", "and hits there");
    session.run("BEGIN");
    session.run("UPDATE commits SET v = 2");
    is(ask(l1_cache, sql), "l1 fresh 1", "an open transaction changes nothing");
    session.run("ROLLBACK");
    is(ask(l1_cache, sql), "l1 fresh 1", "nor does a rollback");
    bool all_new = true;
    for (int v = 2; v < 200; ++v) {
        session.run(fmt::format("UPDATE commits SET v = {}", v));
        const std::string value = std::to_string(v);
        all_new =
            all_new && ask(l1_cache, sql).ends_with(" " + value) && ask(l2_cache, sql).ends_with(" " + value);
    }
    check(all_new, "after each of 198 commits the next read has the new value, through L1 and through L2");
    check(l1_cache.stats()[Counter::l1_changed] >= 198, "because the clock said that L1's entry had changed");
}

void test_staleness(const Setup& setup) {
    Session session(setup.conninfo);
    session.run("CREATE TABLE stale(v int)");
    session.run("INSERT INTO stale VALUES (1)");
    const std::string sql = "SELECT v FROM stale";
    Cache cache = open(options_of(setup, "stale", true));
    is(ask(cache, sql), "l4 fresh 1", "filled");
    session.run("UPDATE stale SET v = 2");
    const std::uint64_t token = std::stoull(session.run("SELECT tiercache.token()"));
    is(ask(cache, sql, {}, staleness(seconds(60))), "l1 stale 1", "a stale hit says that it is one");
    std::this_thread::sleep_for(milliseconds(10));
    is(ask(cache, sql, {}, staleness(milliseconds(10))), "l4 fresh 2", "but not beyond the limit");
    session.run("UPDATE stale SET v = 3");
    const std::uint64_t later = std::stoull(session.run("SELECT tiercache.token()"));
    is(ask(cache, sql, {}, staleness(seconds(60), token)), "l1 stale 2", "an older token does not forbid it");
    is(ask(cache, sql, {}, staleness(seconds(60), later)), "l4 fresh 3",
       "read your writes: a newer token does");
    session.run("UPDATE stale SET v = 4");
    QueryOptions hot;
    hot.data_class = DataClass::hot;
    is(ask(cache, sql, {}, hot), "l1 stale 3", "class hot allows 5 s by default");
    is(ask(cache, sql), "l4 fresh 4", "the others nothing");
    check(cache.token().ok() && *cache.token() >= later, "token() gives the clock");

    // A cache without a clock table, as on another host.
    Options remote_options = options_of(setup, "stale", true);
    remote_options.clock_name = "none";
    Cache remote = open(remote_options);
    is(ask(remote, sql), "l4 fresh 4", "without a clock table strict reads go to PostgreSQL");
    is(ask(remote, sql, {}, staleness(seconds(60))), "l1 stale 4", "others are served by age");
    check(remote.clock_status().code() == StatusCode::unavailable && cache.clock_status().ok(),
          "clock_status() tells which");
}

void test_ages(const Setup& setup) {
    Options options = options_of(setup, "ages1", true);
    options.policy(DataClass::warm).l1_ttl = milliseconds(50);
    Cache cache = open(options);
    Cache elsewhere = open(options_of(setup, "ages2", true));
    const std::string sql = "SELECT 'ages'";
    (void)cache.query(sql);
    const auto filled = std::chrono::steady_clock::now();
    while (ask(cache, sql).starts_with("l1") && std::chrono::steady_clock::now() - filled < seconds(60)) {
    }
    check(cache.stats()[Counter::l1_expired] == 1, "L1's TTL ends an entry");
    std::this_thread::sleep_for(milliseconds(120));
    const Result<Answer> l2 = elsewhere.query(sql);
    const auto real = std::chrono::duration_cast<milliseconds>(std::chrono::steady_clock::now() - filled);
    check(l2.ok() && l2->tier() == Tier::l2 && l2->age() >= milliseconds(120) &&
              l2->age() <= real + milliseconds(2000),
          "age goes on counting in Redis");
    const Result<Answer> l1 = elsewhere.query(sql);
    check(l1.ok() && l1->tier() == Tier::l1 && l1->age() >= milliseconds(120), "and comes along into L1");
}

// ---- what goes wrong ----

void test_errors(const Setup& setup) {
    Session session(setup.conninfo);
    session.run("CREATE TABLE secret(v int)");
    session.run("CREATE ROLE guest LOGIN");
    Cache cache = open(options_of(setup, "errors", true));
    const auto error = [&](const std::string& sql, std::vector<QueryParam> params = {}) {
        return cache.query(sql, params).status();
    };
    const auto says = [](const Status& s, StatusCode code, std::string_view part) {
        const bool ok = s.code() == code && s.message().find(part) != std::string::npos &&
                        s.message().find('\n') == std::string::npos;
        if (!ok) fmt::print("#   got: {}: {}\n", to_string(s.code()), s.message());
        return ok;
    };
    check(says(error("SELEC 1"), StatusCode::query_failed, "42601"), "wrong SQL");
    check(says(error("SELECT 1; SELECT 2"), StatusCode::query_failed, "SQLSTATE"), "two statements");
    check(says(error("SELECT * FROM no_such_table"), StatusCode::query_failed, "42P01"), "no such table");
    check(says(error("SELECT $1::int"), StatusCode::query_failed, "SQLSTATE"), "too few parameters");
    check(says(error("SELECT 1", {"1"}), StatusCode::query_failed, "SQLSTATE"), "too many parameters");
    check(says(error("SELECT $1::int", {"one"}), StatusCode::query_failed, "22P02"),
          "a parameter of another type");
    check(says(error(std::string("SELECT 'a\0b'", 12)), StatusCode::query_failed, "SQLSTATE"), "a zero byte");
    check(says(error("SELECT '\xff\xfe'"), StatusCode::query_failed, "22021"), "text that is not UTF-8");
    check(says(error("DELETE FROM secret"), StatusCode::query_failed, "SQLSTATE"), "not a SELECT");
    check(says(error(""), StatusCode::query_failed, "SQLSTATE"), "no query at all");
    check(says(error("SELECT '" + std::string(2'000'000, 'x') + "'"), StatusCode::invalid_argument, "1 MiB"),
          "a query of 2 MB");
    check(says(error("SELECT 1 / (v - v) FROM (VALUES (1)) t(v)"), StatusCode::query_failed, "22012"),
          "an error while it runs");
    is(ask(cache, "SELECT $1 || $2 || $3", {"it's", "", "\"\\ ünï {}"}), "l4 fresh it's\"\\ ünï {}",
       "any text is a parameter");
    check(cache.query("SELECT $1::text", std::vector<QueryParam>{std::nullopt})
              ->begin()
              ->
              operator[](0)
              .is_null(),
          "so is NULL");
    is(ask(cache, "SELECT v FROM secret"), "l4 fresh ", "the owner may read");
    Cache guest = [&] {
        Options options = options_of(setup, "errors", true);
        options.l4.conninfo += " user=guest";
        return open(options);
    }();
    check(says(guest.query("SELECT v FROM secret").status(), StatusCode::permission_denied, "42501"),
          "a hit of another role gives no right");
    session.run("GRANT SELECT ON secret TO guest");
    is(ask(guest, "SELECT v FROM secret"), "l4 fresh ", "a GRANT does");
    is(ask(guest, "SELECT v FROM secret"), "l1 fresh ", "for hits too");
    session.run("REVOKE SELECT ON secret FROM guest");
    check(says(guest.query("SELECT v FROM secret").status(), StatusCode::permission_denied, "42501"),
          "and after a REVOKE there is no hit");
    session.run("CREATE DATABASE bare");
    Options bare = options_of(setup, "", false);
    bare.l4.conninfo += " dbname=bare";
    Cache no_extension = open(bare);
    check(
        says(no_extension.query("SELECT 1").status(), StatusCode::query_failed, "CREATE EXTENSION tiercache"),
        "a database without the extension: what to do");
}

void test_settings(const Setup& setup) {
    Session session(setup.conninfo);
    session.run("CREATE ROLE traveller LOGIN");
    Options options = options_of(setup, "settings", false);
    options.l4.conninfo += " user=traveller";
    const std::string sql = "SELECT TIMESTAMPTZ '2001-01-01 00:00:00+00'";
    Cache cache = open(options);
    is(ask(cache, sql), "l4 fresh 2001-01-01 00:00:00+00", "in UTC");
    is(ask(cache, sql), "l1 fresh 2001-01-01 00:00:00+00", "a hit");
    session.run("ALTER ROLE traveller SET TimeZone = 'Asia/Tokyo'");
    session.run("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'traveller'");
    is(ask(cache, "SELECT 1"), "l4 fresh 1", "a new connection");
    is(ask(cache, sql), "l4 fresh 2001-01-01 09:00:00+09", "brings the new session's key");
    is(ask(cache, sql), "l1 fresh 2001-01-01 09:00:00+09", "by which L1 hits");
    check(cache.stats()[Counter::l4_connects] == 2, "with two connections in all");
}

// How many of tiercache.fetch() run.
std::string running(Session& session) {
    return session.run(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%tiercache.fetch%' AND "
        "pid <> "
        "pg_backend_pid()");
}

void test_lost_connection(const Setup& setup) {
    Session session(setup.conninfo);
    session.run("CREATE TABLE lengths(n bigint)");
    session.run("INSERT INTO lengths VALUES (2000000000)");
    Cache cache = open(options_of(setup, "", false));
    is(ask(cache, "SELECT 1"), "l4 fresh 1", "a connection goes back to the pool");
    std::string got;
    std::thread reader(
        [&] { got = ask(cache, "SELECT count(*) FROM generate_series(1, (SELECT n FROM lengths))"); });
    while (running(session) == "0") std::this_thread::sleep_for(milliseconds(5));
    session.run("UPDATE lengths SET n = 10");
    session.run(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE '%tiercache.fetch%' "
        "AND pid "
        "<> pg_backend_pid()");
    reader.join();
    is(got, "l4 fresh 10", "when it breaks in use, the query runs again on a new one");
    check(cache.stats()[Counter::l4_connects] == 2, "and only then");
}

void test_deadlines(const Setup& setup) {
    Session session(setup.conninfo);
    Cache cache = open(options_of(setup, "", false));
    const std::string slow = "SELECT count(*) FROM generate_series(1, 2000000000) /* slow */";
    QueryOptions options;
    const auto start = std::chrono::steady_clock::now();
    options.deadline = start + milliseconds(300);
    is(ask(cache, slow, {}, options), "timeout", "a deadline ends a call");
    const auto took = std::chrono::steady_clock::now() - start;
    check(took >= milliseconds(300) && took < seconds(20), "in time");
    while (running(session) != "0" && std::chrono::steady_clock::now() - start < seconds(60)) {
        std::this_thread::sleep_for(milliseconds(20));
    }
    is(running(session), "0", "and the query in PostgreSQL");
    is(ask(cache, "SELECT 1"), "l4 fresh 1", "the cache goes on");

    Options one = options_of(setup, "", false);
    one.l4.pool_size = 1;
    Cache narrow = open(one);
    std::thread busy([&] {
        QueryOptions until;
        until.deadline = std::chrono::steady_clock::now() + seconds(2);
        (void)ask(narrow, slow, {}, until);
    });
    while (running(session) == "0") std::this_thread::sleep_for(milliseconds(5));
    options.deadline = std::chrono::steady_clock::now() + milliseconds(50);
    const Status full = narrow.query("SELECT 1", {}, options).status();
    check(full.code() == StatusCode::timeout && full.message().find("in use") != std::string::npos,
          "a pool whose connections are all in use");
    busy.join();
}

void flip_bit(char& byte, unsigned bit) {
    byte = static_cast<char>(static_cast<unsigned char>(byte) ^ (1U << bit));
}

void test_hostile_redis(const Setup& setup) {
    Redis redis(setup.redis);
    Cache cache = open(options_of(setup, "", true));
    const std::string sql = "SELECT repeat('redis', 10)";
    const std::string value = "redisredisredisredisredisredisredisredisredisredis";
    redis.run({"FLUSHALL"});
    is(ask(cache, sql), "l4 fresh " + value, "stored in Redis");
    is(ask(cache, sql), "l2 fresh " + value, "found there");
    const std::string key = redis.keys().at(0);
    const std::string good = redis.get(key);
    std::minstd_rand random(3);
    int served = 0;
    bool right = true;
    for (int round = 0; round < 300; ++round) {
        std::string bad = good;
        if (round % 3 == 0)
            bad.resize(random() % bad.size());
        else
            flip_bit(bad[random() % bad.size()], random() % 8);
        redis.run({"SET", key, bad, "PX", "60000"});
        const std::string got = ask(cache, sql);
        right = right && got.ends_with("fresh " + value);
        served += got.starts_with("l2") ? 1 : 0;
    }
    check(right, "300 damaged values: every answer is right");
    check(served == 0, "and none came from a damaged value");
    redis.run({"SET", key, good});
    is(ask(cache, sql), "l4 fresh " + value, "a value without a TTL is a miss");
    redis.run({"SET", key, good, "PX", "999999999"});
    is(ask(cache, sql), "l4 fresh " + value, "one with too long a TTL as well");
    redis.run({"DEL", key});
    redis.run({"LPUSH", key, "a list"});
    is(ask(cache, sql), "l4 fresh " + value, "so is a list");
    is(ask(cache, sql), "l2 fresh " + value, "which is overwritten");
    (void)ask(cache, "SELECT 'another'");
    for (const std::string& other : redis.keys()) {
        if (other != key) redis.run({"RENAME", other, key});
    }
    is(ask(cache, sql), "l4 fresh " + value, "another query's entry under this key is a miss");
    check(cache.stats()[Counter::l2_failures] == 0, "none of it was taken for a failing Redis");
}

// ---- what a hit in L1 costs ----

// Lets a process do nothing but end.
bool forbid_system_calls() {
    std::array<sock_filter, 4> program = {{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    }};
    const sock_fprog filter = {4, program.data()};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

void test_hit_path(const Setup& setup) {
    const std::string sql =
        "SELECT i, repeat('long text ', 20) FROM generate_series(1, 50) i WHERE i > $1::int";
    const std::vector<QueryParam> params = {"3"};
    Cache cache = open(options_of(setup, "hits", false));
    Answer answer;
    for (int i = 0; i < 3; ++i) (void)cache.query_into(answer, sql, params);
    check(answer.tier() == Tier::l1 && answer.row_count() == 47, "warm");
    const std::uint64_t before = allocations;
    bool hits = true;
    for (int i = 0; i < 1000; ++i)
        hits = hits && cache.query_into(answer, sql, params).ok() && answer.tier() == Tier::l1;
    const bool none = allocations == before;
    check(hits && none, "1000 hits into one Answer allocate nothing");

    // In a child of its own, which the kernel kills at the first system call.
    std::fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        Cache own = open(options_of(setup, "hits", false));
        Answer mine;
        for (int i = 0; i < 3; ++i) (void)own.query_into(mine, sql, params);
        if (!forbid_system_calls()) _exit(3);
        for (int i = 0; i < 1000; ++i) {
            if (!own.query_into(mine, sql, params).ok() || mine.tier() != Tier::l1) _exit(4);
        }
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "1000 hits make no system call");
    if (status != 0) fmt::print("#   wait status {:#x}\n", status);
}

void test_threads(const Setup& setup) {
    Session session(setup.conninfo);
    session.run("CREATE TABLE threads(v int)");
    session.run("INSERT INTO threads VALUES (0)");
    Cache cache = open(options_of(setup, "threads", true));
    std::atomic<int> acknowledged{0};
    std::atomic<bool> stop{false};
    std::atomic<int> wrong{0};
    std::atomic<int> reads{0};
    std::vector<std::thread> readers;
    readers.reserve(6);
    for (int t = 0; t < 6; ++t) {
        readers.emplace_back([&, t] {
            Answer answer;
            const std::string sql = fmt::format("SELECT v, {} FROM threads", t % 3);
            while (!stop) {
                const int at_least = acknowledged.load();
                const Status s = cache.query_into(answer, sql);
                const auto v = s.ok() ? (*answer.begin())[0].int64() : std::nullopt;
                if (!v || *v < at_least || (*answer.begin())[1].int64() != t % 3) ++wrong;
                ++reads;
            }
        });
    }
    for (int v = 1; v <= 300 || reads < 3000; ++v) {
        session.run(fmt::format("UPDATE threads SET v = {}", v));
        acknowledged = v;
    }
    stop = true;
    for (std::thread& r : readers) r.join();
    check(wrong == 0, fmt::format("6 threads share a cache beside a writer: {} reads, {} wrong", reads.load(),
                                  wrong.load()));
    check(cache.stats()[Counter::l4_connects] <= 4, "over at most pool_size connections");
}

// More session keys than a server's life has, one after the other: each has answers of its own.
void test_session_keys(const Setup& setup) {
    Session session(setup.conninfo);
    session.run("CREATE ROLE nomad LOGIN");
    session.run("CREATE TABLE journeys(at timestamptz)");
    session.run("INSERT INTO journeys VALUES ('2026-01-01 00:00:00Z')");
    session.run("GRANT SELECT ON journeys TO nomad");
    Options options = options_of(setup, "keys", false);
    options.l4.conninfo += " user=nomad";
    Cache cache = open(options);
    const std::string sql = "SELECT extract(epoch FROM at::timestamp - '2025-12-31')::int / 60 FROM journeys";
    int wrong = 0;
    int hits = 0;
    int misses = 0;
    for (int minutes = 0; minutes < 300; ++minutes) {
        session.run(
            fmt::format("ALTER ROLE nomad SET timezone TO '<x>-{}:{:02}'", minutes / 60, minutes % 60));
        const std::uint64_t connects = cache.stats()[Counter::l4_connects];
        session.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'nomad'");
        // Misses, until one needs a new connection, which has the new key.
        while (cache.stats()[Counter::l4_connects] == connects && misses < 100'000) {
            (void)ask(cache, fmt::format("SELECT {}", ++misses));
        }
        const std::string value = fmt::format(" fresh {}", 24 * 60 + minutes);
        for (int i = 0; i < 2; ++i) {
            const std::string got = ask(cache, sql);
            wrong += got.ends_with(value) ? 0 : 1;
            hits += got.starts_with("l1") ? 1 : 0;
        }
    }
    check(wrong == 0, fmt::format("300 session keys: {} answers of another's", wrong));
    check(hits == 300, fmt::format("and L1 serves the last as the first: {} hits", hits));
}

// A connection that throws while it is set up leaves its place to the next.
void test_pool_exceptions(const Setup& setup) {
    Options::L4 options;
    options.conninfo = setup.conninfo;
    options.pool_size = 1;
    bool fail = true;
    PgPool pool(options, [&fail](const PgConnection&, std::string_view) {
        if (fail) throw std::bad_alloc();
    });
    bool thrown = false;
    try {
        (void)pool.acquire(deadline_in(seconds(60)), PgPool::Want::any_connection);
    } catch (const std::bad_alloc&) {
        thrown = true;
    }
    fail = false;
    check(thrown && pool.acquire(deadline_in(seconds(60)), PgPool::Want::any_connection).ok(),
          "a connection that ran out of memory leaves its place in the pool");
}

void test_endless_timeout(const Setup& setup) {
    Options options = options_of(setup, "", false);
    options.l4.query_timeout = milliseconds::max();
    options.l4.connect_timeout = milliseconds::max();
    Cache cache = open(options);
    is(ask(cache, "SELECT 1"), "l4 fresh 1", "a timeout without end is none");
}

void test_large_answers(const Setup& setup) {
    Cache cache = open(options_of(setup, "large", true));
    const std::string sql = "SELECT i, md5(i::text) FROM generate_series(1, 200000) i";
    const Result<Answer> l4 = cache.query(sql);
    const Result<Answer> again = cache.query(sql);
    check(l4.ok() && again.ok() && l4->row_count() == 200'000 && again->row_count() == 200'000,
          "an answer that is too large for the segment");
    check(again.ok() && std::ranges::equal(l4->payload(), again->payload()),
          "is right from wherever it comes");
    check(cache.stats()[Counter::l1_put_failures] >= 1, "and L1 did not take it");
}

void test_c_api(const Setup& setup) {
    tc_options* options = tc_options_new();
    tc_options_set(options, "l4.conninfo", setup.conninfo.c_str());
    tc_options_set(options, "l1.name", (setup.segment_prefix + "c").c_str());
    tc_cache* cache = nullptr;
    check(tc_open_with(options, &cache) == nullptr, "C: opens");
    tc_options_free(options);
    tc_result* result = nullptr;
    const std::array<const char*, 2> params = {"2", nullptr};
    const char* sql = "SELECT i, $2::text AS nothing, 'x' || i AS x FROM generate_series(1, $1::int) i";
    for (const int tier : {4, 1}) {
        check(tc_query(cache, sql, params.data(), params.size(), nullptr, &result) == nullptr, "C: queries");
        check(tc_result_tier(result) == tier && tc_result_is_fresh(result) == 1,
              fmt::format("C: from tier {}", tier));
    }
    std::size_t size = 0;
    check(tc_result_rows(result) == 2 && tc_result_columns(result) == 3, "C: rows and columns");
    check(std::string(tc_result_value(result, 1, 2, &size)) == "x2" && size == 2, "C: a value");
    check(tc_result_value(result, 0, 1, nullptr) == nullptr, "C: NULL");
    check(tc_result_value(result, 2, 0, nullptr) == nullptr &&
              tc_result_value(result, 0, 3, nullptr) == nullptr,
          "C: no such row or column");
    check(
        std::string(tc_result_column_name(result, 1)) == "nothing" && tc_result_column_type(result, 0) == 23,
        "C: a column");
    tc_status* status = tc_query(cache, "SELEC", nullptr, 0, nullptr, &result);
    check(tc_status_code(status) == TC_QUERY_FAILED && tc_result_rows(result) == 0 &&
              tc_result_tier(result) == 0 && tc_result_is_fresh(result) == 0,
          "C: an error empties the result, which is of no tier and not fresh");
    tc_status_free(status);
    std::uint64_t token = 0;
    check(tc_token(cache, &token) == nullptr && token > 0, "C: a token");
    check(tc_clock_status(cache) == nullptr, "C: the clock");
    check(tc_counter_value(cache, static_cast<std::size_t>(Counter::l1_hits)) == 1 &&
              std::string(tc_counter_name(0)) == "l1_hits",
          "C: counters");
    tc_close(cache);
    check(tc_result_columns(result) == 0, "C: a result outlives its cache");
    tc_result_free(result);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) {
        fmt::print(stderr, "usage: client_tiers CONNINFO REDIS SEGMENT_PREFIX\n");
        return 2;
    }
    const Setup setup{argv[1], argv[2], argv[3]};
    for (const auto test :
         {test_tiers, test_commits, test_staleness, test_ages, test_errors, test_settings,
          test_lost_connection, test_deadlines, test_hostile_redis, test_hit_path, test_threads,
          test_session_keys, test_pool_exceptions, test_endless_timeout, test_large_answers, test_c_api}) {
        test(setup);
    }
    return failures == 0 ? 0 : 1;
}
