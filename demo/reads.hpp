// First part of the demo: every query without a cache and from each tier, how long it takes, and whether the
// answers are equal.
#pragma once

#include <cstddef>
#include <string>

#include "demo/latency.hpp"
#include "demo/sql_files.hpp"
#include "demo/stage.hpp"
#include "demo/verdict.hpp"

namespace tiercache::demo {

// How often a query is read, at most: the time may run out before.
inline constexpr std::size_t uncached_runs_max = 50;
inline constexpr std::size_t psql_runs = 300;
inline constexpr std::size_t l1_samples_max = 20'000;
inline constexpr std::size_t l2_samples_max = 3'000;

struct QueryLatencies {
    std::string query;
    std::size_t rows = 0;
    std::size_t bytes = 0;  // of the answer on the wire
    Latency uncached;
    Latency l4;      // tiercache.query() from psql
    Latency l1;      // an app that asked PostgreSQL for it once
    Latency second;  // an app that never did
    Latency l2;      // an app with a segment of its own, empty before each read
};

[[nodiscard]] QueryLatencies measure_query(Stage& stage, const SqlFile& query, double seconds,
                                           Verdict& verdict);

// What PostgreSQL gives for the query without a cache, in the two forms that answers are compared in.
struct Uncached {
    std::string wire;
    std::string json;
};
[[nodiscard]] Uncached run_uncached(Database& database, const std::string& sql);

// Calls of the extension's functions, as SQL.
[[nodiscard]] std::string query_call(Database& database, const std::string& sql, const PGresult* shape);
[[nodiscard]] std::string query_json_call(const std::string& sql);

}  // namespace tiercache::demo
