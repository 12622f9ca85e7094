// A dashboard's backend: the same few queries again and again, from the nearest tier that has them fresh.
//
//   dashboard "dbname=shop" [/tiercache.shop]
//
//   g++ -std=c++20 dashboard.cpp $(pkg-config --cflags --libs tiercache)
#include <cstdio>
#include <string>
#include <tiercache/cache.hpp>

namespace {

int fail(const tiercache::Status& status) {
    std::fprintf(stderr, "%s\n", status.message().c_str());
    return 1;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: %s CONNINFO [SEGMENT]\n", argv[0]);
        return 2;
    }
    tiercache::Options options;
    options.l4.conninfo = argv[1];
    if (argc > 2) options.l1.name = argv[2];

    tiercache::Result<tiercache::Cache> cache = tiercache::Cache::open(options);
    if (!cache.ok()) return fail(cache.status());

    // One Answer for all queries: once its buffers have grown, a hit allocates nothing.
    tiercache::Answer answer;
    for (int refresh = 0; refresh < 3; ++refresh) {
        const tiercache::QueryParam params[] = {"5"};
        const tiercache::Status status =
            cache->query_into(answer,
                              "SELECT n % 2 = 0 AS even, count(*) AS numbers, sum(n) AS total "
                              "FROM generate_series(1, $1::int) n GROUP BY 1 ORDER BY 1",
                              params);
        if (!status.ok()) return fail(status);
        for (const tiercache::Row& row : answer) {
            std::printf("%-5s %3lld %5s\n", row["even"].boolean().value_or(false) ? "even" : "odd",
                        static_cast<long long>(row["numbers"].int64().value_or(0)),
                        std::string(row["total"].text()).c_str());
        }
        std::printf("from %s\n", std::string(to_string(answer.tier())).c_str());
    }
    return 0;
}
