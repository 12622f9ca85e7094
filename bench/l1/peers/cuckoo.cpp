// libcuckoo's cuckoohash_map, within one process.
#include <cstring>
#include <libcuckoo/cuckoohash_map.hh>
#include <string>
#include <vector>

#include "bench/l1/peers/peers.hpp"
#include "bench/l1/peers/string_hash.hpp"

namespace bench {

namespace {

using Map = libcuckoo::cuckoohash_map<std::string, std::string, StringHash, StringEqual>;

class Peer {
 public:
    Peer(std::size_t value_bytes, Map& map) : value_(value_bytes), map_(map) {}

    std::span<const std::byte> get(std::string_view key) {
        std::size_t bytes = 0;
        map_.find_fn(key, [&](const std::string& value) {
            if (value.size() > value_.size()) return;
            bytes = value.size();
            std::memcpy(value_.data(), value.data(), bytes);
        });
        return std::span(value_).first(bytes);
    }
    void put(std::string_view key, std::span<const std::byte> value) {
        const auto* chars = reinterpret_cast<const char*>(value.data());
        if (map_.update_fn(key, [&](std::string& item) { item.assign(chars, value.size()); })) return;
        map_.insert_or_assign(std::string(key), std::string(chars, value.size()));
    }

 private:
    std::vector<std::byte> value_;
    Map& map_;
};

class Cuckoo : public Store {
 public:
    explicit Cuckoo(const Workload& workload) : Store("libcuckoo (threads)", workload) {}
    [[nodiscard]] bool threads() const override { return true; }
    void start() override { map_ = std::make_unique<Map>(workload().key_count()); }
    std::unique_ptr<Access> open() override {
        return std::make_unique<AccessOf<Peer>>(workload().value_bytes(), *map_);
    }

 private:
    std::unique_ptr<Map> map_;
};

}  // namespace

StorePointer make_cuckoo(const Workload& workload) { return std::make_unique<Cuckoo>(workload); }

}  // namespace bench
