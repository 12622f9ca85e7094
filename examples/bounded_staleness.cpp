// A ticker that would rather show a number that is a few seconds old than wait, and a form that must show
// what the user has just saved.
//
//   bounded_staleness "dbname=shop" /tiercache.shop
#include <chrono>
#include <cstdio>
#include <string>
#include <tiercache/cache.hpp>

int main(int argc, char** argv) {
    if (argc < 3) {
        std::fprintf(stderr, "usage: %s CONNINFO SEGMENT\n", argv[0]);
        return 2;
    }
    tiercache::Options options;
    options.l4.conninfo = argv[1];
    options.l1.name = argv[2];
    auto cache = tiercache::Cache::open(options);
    if (!cache.ok()) {
        std::fprintf(stderr, "%s\n", cache.status().message().c_str());
        return 1;
    }

    constexpr const char* sql = "SELECT count(*) AS tables FROM generate_series(1, 7)";
    tiercache::QueryOptions ticker;
    ticker.max_staleness = std::chrono::seconds(5);
    tiercache::QueryOptions form;
    const auto token = cache->token();  // after the user's own commit
    if (token.ok()) form.token = *token;

    for (const tiercache::QueryOptions& how : {ticker, form}) {
        const auto answer = cache->query(sql, {}, how);
        if (!answer.ok()) {
            std::fprintf(stderr, "%s\n", answer.status().message().c_str());
            return 1;
        }
        std::printf("%s, %s, at most %lld s old\n",
                    std::string(answer->begin()->operator[](0).text()).c_str(),
                    std::string(to_string(answer->freshness())).c_str(),
                    static_cast<long long>(answer->age().count() / 1000));
    }
    return 0;
}
