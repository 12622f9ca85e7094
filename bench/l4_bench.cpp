// L4: what a hit costs beside the cheapest statement there is, beside running the query, and beside
// pgpool-II's memory cache; and what the extension costs where it caches nothing.
//
//   RESULT l4_<what>_vs_select1     latency of a hit / latency of SELECT 1 by the same protocol
//   RESULT l4_uncached_vs_hit       latency of a GROUP BY of a million rows into 7 / latency of its hit
//   RESULT l4_uncached_vs_hit_700   the same, into 700 rows: most of its hit is sending them
//   RESULT l4_scan_vs_rows_hit      latency of a scan of 1,000 rows / latency of the hit with the same rows
//   RESULT l4_vs_pgpool_<protocol>  latency of a hit / latency of pgpool-II's hit
//   RESULT l4_uncacheable_tps_ratio queries a second with the extension and mode = auto / on a server without
//   it
//
// All is measured in turns of a few milliseconds, so that whatever else the machine does meets all alike; the
// median turn of each is compared.
#include <libpq-fe.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace {

struct Finish {
    void operator()(PGconn* c) const { PQfinish(c); }
    void operator()(PGresult* r) const { PQclear(r); }
};
using Connection = std::unique_ptr<PGconn, Finish>;
using QueryResult = std::unique_ptr<PGresult, Finish>;

[[noreturn]] void die(const std::string& message) {
    std::fprintf(stderr, "l4_bench: %s\n", message.c_str());
    std::exit(1);
}

Connection connect(const std::string& conninfo) {
    Connection connection(PQconnectdb(conninfo.c_str()));
    if (PQstatus(connection.get()) != CONNECTION_OK) die(PQerrorMessage(connection.get()));
    return connection;
}

QueryResult checked(PGconn* c, PGresult* result, const std::string& what) {
    QueryResult r(result);
    const ExecStatusType status = PQresultStatus(r.get());
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) die(what + ": " + PQerrorMessage(c));
    return r;
}

QueryResult run(PGconn* c, const std::string& sql) { return checked(c, PQexec(c, sql.c_str()), sql); }

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

// What the kernel says that the connection's backend ran so far; 0 where it does not say it (and pgpool does
// not tell which backend). Steadier than the time on a machine that others use, but without the switches to
// and fro.
double backend_cpu_us(PGconn* c) {
    std::ifstream file("/proc/" + std::to_string(PQbackendPID(c)) + "/schedstat");
    double ns = 0;
    file >> ns;
    return ns / 1000;
}

// ---- what is measured ----

enum class Protocol : unsigned char { simple, extended, prepared };
constexpr std::array protocols = {Protocol::simple, Protocol::extended, Protocol::prepared};
constexpr std::array protocol_names = {"simple", "extended", "prepared"};

// One statement on one connection, run again and again.
struct Subject {
    std::string name;
    PGconn* connection;
    Protocol protocol;
    std::string sql;
    int batch;  // runs a turn
    std::vector<double> us = {};
    std::vector<double> cpu_us = {};  // of the backend

    [[nodiscard]] double latency() const { return median(us); }

    void prepare() const {
        if (protocol != Protocol::prepared) return;
        checked(connection, PQprepare(connection, name.c_str(), sql.c_str(), 0, nullptr), sql);
    }
    QueryResult once() const {
        switch (protocol) {
            case Protocol::simple:
                return run(connection, sql);
            case Protocol::extended:
                return checked(
                    connection,
                    PQexecParams(connection, sql.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 0), sql);
            case Protocol::prepared:
                break;
        }
        return checked(connection, PQexecPrepared(connection, name.c_str(), 0, nullptr, nullptr, nullptr, 0),
                       sql);
    }
    void take_turn() {
        const double cpu = backend_cpu_us(connection);
        const auto start = std::chrono::steady_clock::now();
        for (int i = 0; i < batch; ++i) (void)once();
        const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
        us.push_back(took.count() / batch);
        cpu_us.push_back((backend_cpu_us(connection) - cpu) / batch);
    }
};

// Every subject in turn, again and again; once before, to fill what there is to fill.
void measure(std::vector<Subject>& subjects, int rounds) {
    for (const Subject& s : subjects) {
        s.prepare();
        // A prepared statement gets its generic plan after five.
        for (int i = 0; i < 8; ++i) (void)s.once();
    }
    for (int round = 0; round < rounds; ++round) {
        for (Subject& s : subjects) s.take_turn();
    }
    for (const Subject& s : subjects) {
        std::printf("  %-20s %10.2f us, of which the backend's CPU %10.2f us\n", s.name.c_str(), s.latency(),
                    median(s.cpu_us));
    }
}

double latency_of(const std::vector<Subject>& subjects, const std::string& name) {
    const auto found =
        std::find_if(subjects.begin(), subjects.end(), [&](const Subject& s) { return s.name == name; });
    if (found == subjects.end()) die("nothing was measured as " + name);
    return found->latency();
}

void report(const std::vector<Subject>& subjects, const char* result, const std::string& of,
            const std::string& by) {
    std::printf("RESULT %s %.3f x\n", result, latency_of(subjects, of) / latency_of(subjects, by));
}

long hits(PGconn* c) { return std::atol(PQgetvalue(run(c, "SELECT hits FROM tiercache.stats").get(), 0, 0)); }

// ---- the data and the queries ----

void make_tables(PGconn* c) {
    run(c, "SET client_min_messages = warning");
    run(c, "DROP TABLE IF EXISTS bench_sales, bench_regions, bench_days, bench_rows");
    run(c,
        "CREATE UNLOGGED TABLE bench_sales AS SELECT i % 100 AS region, i % 7 AS day, "
        "(i % 1000) * 7919 % 1000 AS amount FROM generate_series(1, 1000000) i");
    run(c,
        "CREATE TABLE bench_regions AS SELECT i AS region, 'region ' || i AS name FROM generate_series(0, "
        "99) i");
    run(c, "CREATE TABLE bench_days AS SELECT i AS day, 'day ' || i AS name FROM generate_series(0, 6) i");
    run(c,
        "CREATE TABLE bench_rows AS SELECT i AS id, i * 7 AS amount, 'row ' || i AS name "
        "FROM generate_series(1, 1000) i");
    run(c, "VACUUM ANALYZE bench_sales, bench_regions, bench_days, bench_rows");
}

void drop_tables(PGconn* c) { run(c, "DROP TABLE bench_sales, bench_regions, bench_days, bench_rows"); }

const std::string one_table = "SELECT amount FROM bench_rows WHERE name = 'row 500'";
const std::string join =
    "SELECT r.name, d.name, sum(s.amount) FROM bench_sales s JOIN bench_regions r USING (region) "
    "JOIN bench_days d USING (day) WHERE r.region = 7 AND d.day = 3 GROUP BY r.name, d.name";
const std::string heavy = "SELECT day, count(*), sum(amount) FROM bench_sales GROUP BY day ORDER BY day";
const std::string heavy_700 =
    "SELECT region, day, count(*), sum(amount) FROM bench_sales GROUP BY region, day ORDER BY region, day";
const std::string all_rows = "SELECT id, amount, name FROM bench_rows";
const std::string uncacheable = "SELECT amount FROM bench_rows WHERE name = 'row 500' AND random() < 2";

std::string quoted(const std::string& sql) { return "$$" + sql + "$$"; }

// ---- the comparisons ----

void hits_beside_select1(PGconn* c, int rounds) {
    constexpr int batch = 100;
    std::vector<Subject> subjects;
    for (std::size_t i = 0; i < protocols.size(); ++i) {
        const std::string name = protocol_names[i];
        subjects.push_back({"select1_" + name, c, protocols[i], "SELECT 1", batch});
        subjects.push_back({"hit_" + name, c, protocols[i], one_table, batch});
    }
    subjects.push_back({"hit_join", c, Protocol::simple, join, batch});
    subjects.push_back({"hit_query_json", c, Protocol::simple,
                        "SELECT tiercache.query_json(" + quoted(one_table) + ")", batch});
    subjects.push_back({"hit_query", c, Protocol::simple,
                        "SELECT * FROM tiercache.query(" + quoted(one_table) + ") AS t(amount integer)",
                        batch});
    const long before = hits(c);
    measure(subjects, rounds);
    const long kinds = 6;
    if (hits(c) - before < kinds * rounds * batch) die("not all cached reads were hits");
    report(subjects, "l4_simple_vs_select1", "hit_simple", "select1_simple");
    report(subjects, "l4_extended_vs_select1", "hit_extended", "select1_extended");
    report(subjects, "l4_prepared_vs_select1", "hit_prepared", "select1_prepared");
    report(subjects, "l4_query_json_vs_select1", "hit_query_json", "select1_simple");
    report(subjects, "l4_srf_vs_select1", "hit_query", "select1_simple");
    report(subjects, "l4_join_simple_vs_select1", "hit_join", "select1_simple");
}

void hits_beside_running(PGconn* automatic, PGconn* off, int rounds) {
    std::vector<Subject> subjects = {
        {"uncached", off, Protocol::simple, heavy, 1},
        {"hit_heavy", automatic, Protocol::simple, heavy, 50},
        {"uncached_700", off, Protocol::simple, heavy_700, 1},
        {"hit_heavy_700", automatic, Protocol::simple, heavy_700, 50},
    };
    measure(subjects, std::clamp(rounds / 20, 3, 20));
    report(subjects, "l4_uncached_vs_hit", "uncached", "hit_heavy");
    report(subjects, "l4_uncached_vs_hit_700", "uncached_700", "hit_heavy_700");
    std::vector<Subject> rows = {
        {"scan_rows", off, Protocol::simple, all_rows, 10},
        {"hit_rows", automatic, Protocol::simple, all_rows, 10},
    };
    measure(rows, rounds);
    report(rows, "l4_scan_vs_rows_hit", "scan_rows", "hit_rows");
}

void beside_pgpool(PGconn* automatic, PGconn* pgpool, int rounds) {
    std::vector<Subject> subjects;
    for (std::size_t i = 0; i < protocols.size(); ++i) {
        const std::string name = protocol_names[i];
        subjects.push_back({"pgpool_" + name, pgpool, protocols[i], one_table, 100});
        subjects.push_back({"l4_" + name, automatic, protocols[i], one_table, 100});
    }
    measure(subjects, rounds);
    report(subjects, "l4_vs_pgpool_simple", "l4_simple", "pgpool_simple");
    report(subjects, "l4_vs_pgpool_extended", "l4_extended", "pgpool_extended");
    report(subjects, "l4_vs_pgpool_prepared", "l4_prepared", "pgpool_prepared");
}

void uncacheable_queries(PGconn* automatic, PGconn* plain, int rounds) {
    std::vector<Subject> subjects = {
        {"uncacheable_plain", plain, Protocol::simple, uncacheable, 20},
        {"uncacheable_auto", automatic, Protocol::simple, uncacheable, 20},
    };
    measure(subjects, 2 * rounds);
    report(subjects, "l4_uncacheable_tps_ratio", "uncacheable_plain", "uncacheable_auto");
}

}  // namespace

int main(int argc, char** argv) {
    std::string db;
    std::string plain_db;
    std::string pgpool_db;
    int rounds = 200;
    CLI::App app{"Cost of L4's hits, and of L4 where nothing is cached"};
    app.add_option("--db", db, "a server with the extension")->required();
    app.add_option("--plain", plain_db, "a server without it");
    app.add_option("--pgpool", pgpool_db, "pgpool-II in front of the first");
    app.add_option("--rounds", rounds, "turns of each statement")->check(CLI::Range(1, 100000));
    CLI11_PARSE(app, argc, argv);

    const Connection automatic = connect(db);
    const Connection off = connect(db);
    make_tables(off.get());
    run(automatic.get(), "SET tiercache.mode = auto");
    run(automatic.get(), "SET tiercache.min_cost = 0");
    hits_beside_select1(automatic.get(), rounds);
    hits_beside_running(automatic.get(), off.get(), rounds);
    if (!pgpool_db.empty()) {
        const Connection pgpool = connect(pgpool_db);
        beside_pgpool(automatic.get(), pgpool.get(), rounds);
    }
    if (!plain_db.empty()) {
        const Connection plain = connect(plain_db);
        make_tables(plain.get());
        uncacheable_queries(automatic.get(), plain.get(), rounds);
        drop_tables(plain.get());
    }
    drop_tables(off.get());
    return 0;
}
