// Asks the same question three times; the psql session of README.md makes the table.
#include <cstdio>
#include <string>
#include <tiercache/cache.hpp>

int main(int argc, char** argv) {
    tiercache::Options options;
    options.l1.name = "/tiercache.shop";                       // this host's segment, made when there is none
    options.l4.conninfo = argc > 1 ? argv[1] : "dbname=shop";  // as libpq takes it
    auto cache = tiercache::Cache::open(options);
    if (!cache.ok()) {
        std::fprintf(stderr, "%s\n", cache.status().message().c_str());
        return 1;
    }
    for (int time = 0; time < 3; ++time) {
        auto answer = cache->query("SELECT * FROM sales ORDER BY region");
        if (!answer.ok()) {
            std::fprintf(stderr, "%s\n", answer.status().message().c_str());
            return 1;
        }
        for (const tiercache::Row& row : *answer) {
            std::printf("%s: %.2f  ", std::string(row["region"].text()).c_str(),
                        row["total"].float64().value_or(0));
        }
        std::printf("from %s\n", std::string(to_string(answer->tier())).c_str());
    }
    return 0;
}
