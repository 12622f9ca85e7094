// The segment by itself: a cache of any bytes for all processes of a host, without a server or a database.
//
//   shared_cache /tiercache.prices
//
//   g++ -std=c++20 shared_cache.cpp $(pkg-config --cflags --libs tiercache)
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <iostream>
#include <string>

#include "shm_cache/shared_cache.hpp"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
    if (argc != 2) return std::cerr << "usage: shared_cache /NAME\n", 2;
    auto cache = tiercache::SharedCache::open_or_create(argv[1], {.size_bytes = 16 << 20});
    if (!cache.ok()) return std::cerr << cache.status().message() << '\n', 1;

    // Four processes want the same value at the same moment: one computes it.
    for (int i = 0; i < 4; ++i) {
        if (fork() != 0) continue;
        const auto compute = [] {
            usleep(100'000);
            (void)!write(STDOUT_FILENO, "computing\n", 10);
            return std::string("4.20");
        };
        const auto price = cache->get_or_load("price:42", {.ttl = 60s, .tags = {"prices"}}, compute);
        _exit(price.ok() && *price == "4.20" ? 0 : 1);
    }
    bool all_well = true;
    for (int status = 0; wait(&status) > 0;) all_well = all_well && status == 0;
    std::cout << (all_well ? "all got it" : "something went wrong") << '\n';

    std::string price;
    if (cache->get("price:42", price)) std::cout << "price " << price << '\n';
    // A large value need not be copied: it is looked at where it lies, and stays there while `view` lives.
    const std::string report(200'000, 'r');
    tiercache::ValueView view;
    if (cache->put("report", report, {.ttl = 60s}).ok() && cache->get_view("report", view)) {
        std::cout << "a report of " << view.text().size() << " bytes ends with " << view.text().back()
                  << '\n';
    } else if (cache->get("report", price)) {  // no view is left: copy it
        std::cout << "copied\n";
    }
    view.release();

    (void)cache->invalidate("prices");
    if (!cache->get("price:42", price)) std::cout << "invalidated\n";

    const tiercache::Status removed = tiercache::SharedCache::remove(argv[1]);
    return removed.ok() && all_well ? 0 : 1;
}
