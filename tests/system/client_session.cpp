// A long-lived client for shell tests: one Cache, one request a line on standard input, one line of answer.
//
//   client_session OPTIONS.toml
//   query LIMIT SQL     -> "TIER FRESHNESS first row's values separated by |"; LIMIT: max_staleness in ms
//   token               -> the token
//   count NAME          -> a counter
//   clock               -> "ok", or why there is no clock table
// An error is "error CODE: MESSAGE".
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>

#include "tiercache/cache.hpp"

namespace {

using namespace tiercache;

std::string error(const Status& status) {
    return "error " + std::string(to_string(status.code())) + ": " + status.message();
}

std::string query(Cache& cache, std::istringstream& words) {
    long long limit_ms = 0;
    std::string sql;
    words >> limit_ms;
    std::getline(words, sql);
    QueryOptions options;
    options.max_staleness = std::chrono::milliseconds(limit_ms);
    const Result<Answer> answer = cache.query(sql, {}, options);
    if (!answer.ok()) return error(answer.status());
    std::string line =
        std::string(to_string(answer->tier())) + " " + std::string(to_string(answer->freshness()));
    for (const Row& row : *answer) {
        for (std::size_t i = 0; i < row.size(); ++i) {
            line += (i == 0 ? " " : "|") + std::string(row[i].text());
        }
        break;
    }
    return line;
}

std::string count(const Cache& cache, std::istringstream& words) {
    std::string name;
    words >> name;
    const CacheStats stats = cache.stats();
    for (std::size_t i = 0; i < CacheStats::counter_count; ++i) {
        if (to_string(static_cast<Counter>(i)) == name) return std::to_string(stats.counts[i]);
    }
    return "error: no such counter";
}

std::string answer_to(Cache& cache, const std::string& line) {
    std::istringstream words(line);
    std::string verb;
    words >> verb;
    if (verb == "query") return query(cache, words);
    if (verb == "count") return count(cache, words);
    if (verb == "clock") return cache.clock_status().ok() ? "ok" : cache.clock_status().message();
    if (verb == "token") {
        const Result<std::uint64_t> token = cache.token();
        return token.ok() ? std::to_string(*token) : error(token.status());
    }
    return "error: no such request";
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 2) return 2;
    const Result<Options> options = Options::from_toml(argv[1]);
    if (!options.ok()) {
        std::cout << error(options.status()) << std::endl;
        return 1;
    }
    Result<Cache> cache = Cache::open(*options);
    if (!cache.ok()) {
        std::cout << error(cache.status()) << std::endl;
        return 1;
    }
    std::cout << "ready" << std::endl;
    for (std::string line; std::getline(std::cin, line);) std::cout << answer_to(*cache, line) << std::endl;
    return 0;
}
