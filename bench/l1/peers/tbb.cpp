// oneTBB's concurrent_hash_map, within one process: what a map costs that shares nothing with anybody.
#include <tbb/concurrent_hash_map.h>

#include <cstring>
#include <string>
#include <vector>

#include "bench/l1/peers/peers.hpp"
#include "bench/l1/peers/string_hash.hpp"

namespace bench {

namespace {

struct HashCompare {
    using is_transparent = void;
    [[nodiscard]] std::size_t hash(std::string_view key) const { return hash_of(key); }
    [[nodiscard]] bool equal(std::string_view a, std::string_view b) const { return a == b; }
};
using Map = tbb::concurrent_hash_map<std::string, std::string, HashCompare>;

class Peer {
 public:
    Peer(std::size_t value_bytes, Map& map) : value_(value_bytes), map_(map) {}

    std::span<const std::byte> get(std::string_view key) {
        Map::const_accessor found;
        if (!map_.find(found, key) || found->second.size() > value_.size()) return {};
        std::memcpy(value_.data(), found->second.data(), found->second.size());
        return std::span(value_).first(found->second.size());
    }
    void put(std::string_view key, std::span<const std::byte> value) {
        Map::accessor item;
        map_.insert(item, key);
        item->second.assign(reinterpret_cast<const char*>(value.data()), value.size());
    }

 private:
    std::vector<std::byte> value_;
    Map& map_;
};

class Tbb : public Store {
 public:
    explicit Tbb(const Workload& workload) : Store("TBB (threads)", workload) {}
    [[nodiscard]] bool threads() const override { return true; }
    void start() override { map_ = std::make_unique<Map>(workload().key_count()); }
    std::unique_ptr<Access> open() override {
        return std::make_unique<AccessOf<Peer>>(workload().value_bytes(), *map_);
    }

 private:
    std::unique_ptr<Map> map_;
};

}  // namespace

StorePointer make_tbb(const Workload& workload) { return std::make_unique<Tbb>(workload); }

}  // namespace bench
