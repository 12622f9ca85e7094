// L4: what a hit costs beside the cheapest statement there is, and beside running the query.
//
//   RESULT l4_query_json_vs_select1   latency of SELECT tiercache.query_json(...), a hit / latency of SELECT
//   1 RESULT l4_uncached_vs_hit         latency of a GROUP BY over a million rows / latency of its hit
//
// All over one connection to one server, in turns, by the simple protocol; medians of the rounds.
#include <libpq-fe.h>
#include <sched.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
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

QueryResult run(PGconn* c, const std::string& sql) {
    QueryResult r(PQexec(c, sql.c_str()));
    const ExecStatusType status = PQresultStatus(r.get());
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) die(sql + ": " + PQerrorMessage(c));
    return r;
}

double mean_us(PGconn* c, const std::string& sql, int times) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < times; ++i) run(c, sql);
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
    return took.count() / times;
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

long hits(PGconn* c) { return std::atol(PQgetvalue(run(c, "SELECT hits FROM tiercache.stats").get(), 0, 0)); }

// Client and server on one core: what is compared is work, not the scheduler's choices.
void share_one_core(PGconn* c) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    if (sched_setaffinity(0, sizeof(one), &one) != 0 ||
        sched_setaffinity(PQbackendPID(c), sizeof(one), &one) != 0) {
        std::fprintf(stderr, "l4_bench: could not pin client and server to one core; going on\n");
    }
}

void make_table(PGconn* c) {
    run(c, "SET client_min_messages = warning");
    run(c, "DROP TABLE IF EXISTS bench_l4");
    run(c,
        "CREATE UNLOGGED TABLE bench_l4 AS "
        "SELECT i % 100 AS region, i % 7 AS day, (i % 1000) * 7919 % 1000 AS amount FROM generate_series(1, "
        "1000000) i");
    run(c, "VACUUM ANALYZE bench_l4");
}

std::string cached(const std::string& sql) { return "SELECT tiercache.query_json($$" + sql + "$$)"; }

}  // namespace

int main(int argc, char** argv) {
    std::string conninfo;
    int rounds = 15;
    CLI::App app{"Cost of L4 hits"};
    app.add_option("--db", conninfo, "libpq connection string")->required();
    app.add_option("--rounds", rounds, "turns of each statement")->check(CLI::Range(1, 1000));
    CLI11_PARSE(app, argc, argv);

    const Connection connection(PQconnectdb(conninfo.c_str()));
    PGconn* c = connection.get();
    if (PQstatus(c) != CONNECTION_OK) die(PQerrorMessage(c));
    share_one_core(c);
    make_table(c);
    const std::string small = "SELECT 1 AS one FROM bench_l4 LIMIT 1";
    const std::string heavy =
        "SELECT region, day, count(*), sum(amount) FROM bench_l4 GROUP BY region, day ORDER BY region, day";
    run(c, cached(small));
    run(c, cached(heavy));

    constexpr int batch = 2000;
    std::vector<double> select1;
    std::vector<double> hit;
    std::vector<double> uncached;
    std::vector<double> heavy_hit;
    const long before = hits(c);
    for (int i = 0; i < rounds; ++i) {
        select1.push_back(mean_us(c, "SELECT 1", batch));
        hit.push_back(mean_us(c, cached(small), batch));
        uncached.push_back(mean_us(c, heavy, 1));
        heavy_hit.push_back(mean_us(c, cached(heavy), 20));
    }
    if (hits(c) - before < static_cast<long>(rounds) * (batch + 20)) die("not all cached reads were hits");
    run(c, "DROP TABLE bench_l4");

    std::printf(
        "SELECT 1 %.1f us, query_json hit %.1f us; GROUP BY of a million rows %.0f us, its hit %.1f us\n",
        median(select1), median(hit), median(uncached), median(heavy_hit));
    std::printf("RESULT l4_query_json_vs_select1 %.3f x\n", median(hit) / median(select1));
    std::printf("RESULT l4_uncached_vs_hit %.0f x\n", median(uncached) / median(heavy_hit));
    return 0;
}
