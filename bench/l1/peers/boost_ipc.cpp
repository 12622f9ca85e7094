// Boost.Interprocess: an unordered map in a managed shared-memory segment, under a sharable mutex.
#include <unistd.h>

#include <boost/interprocess/allocators/allocator.hpp>
#include <boost/interprocess/containers/string.hpp>
#include <boost/interprocess/managed_shared_memory.hpp>
#include <boost/interprocess/sync/interprocess_sharable_mutex.hpp>
#include <boost/interprocess/sync/scoped_lock.hpp>
#include <boost/interprocess/sync/sharable_lock.hpp>
#include <boost/unordered_map.hpp>
#include <cstring>
#include <vector>

#include "bench/l1/peers/peers.hpp"
#include "shm_cache/hash.hpp"

namespace bench {

namespace {

namespace ipc = boost::interprocess;

using Memory = ipc::managed_shared_memory;
template <class T>
using Allocator = ipc::allocator<T, Memory::segment_manager>;
using String = ipc::basic_string<char, std::char_traits<char>, Allocator<char>>;

std::string_view view(const String& s) { return {s.data(), s.size()}; }

// The same hash as ours; looks keys up without making a String.
struct Hash {
    std::size_t operator()(std::string_view s) const {
        return tiercache::hash_bytes(std::as_bytes(std::span(s)));
    }
    std::size_t operator()(const String& s) const { return (*this)(view(s)); }
};
struct Equal {
    bool operator()(const String& a, const String& b) const { return view(a) == view(b); }
    bool operator()(std::string_view a, const String& b) const { return a == view(b); }
    bool operator()(const String& a, std::string_view b) const { return view(a) == b; }
};
using Map = boost::unordered_map<String, String, Hash, Equal, Allocator<std::pair<const String, String>>>;

struct Shared {
    Shared(std::size_t items, const Allocator<char>& allocator) : map(items, Hash(), Equal(), allocator) {}
    ipc::interprocess_sharable_mutex mutex;
    Map map;
};

class Peer {
 public:
    Peer(std::size_t value_bytes, const std::string& name)
        : value_(value_bytes),
          memory_(ipc::open_only, name.c_str()),
          shared_(memory_.find<Shared>("shared").first) {
        require(shared_ != nullptr, "the map is not there");
    }

    std::span<const std::byte> get(std::string_view key) {
        const ipc::sharable_lock lock(shared_->mutex);
        const auto found = shared_->map.find(key, Hash(), Equal());
        if (found == shared_->map.end() || found->second.size() > value_.size()) return {};
        std::memcpy(value_.data(), found->second.data(), found->second.size());
        return std::span(value_).first(found->second.size());
    }

    void put(std::string_view key, std::span<const std::byte> value) {
        const auto* chars = reinterpret_cast<const char*>(value.data());
        const ipc::scoped_lock lock(shared_->mutex);
        const auto found = shared_->map.find(key, Hash(), Equal());
        if (found != shared_->map.end()) {
            found->second.assign(chars, value.size());
            return;
        }
        const Allocator<char> allocator(memory_.get_segment_manager());
        shared_->map.emplace(String(key.data(), key.size(), allocator),
                             String(chars, value.size(), allocator));
    }

 private:
    std::vector<std::byte> value_;
    Memory memory_;
    Shared* shared_;
};

class BoostIpc : public Store {
 public:
    explicit BoostIpc(const Workload& workload)
        : Store("Boost.Interprocess", workload),
          name_("tiercache.bench." + std::to_string(getpid()) + ".boost") {}

    void start() override {
        const std::size_t bytes =
            workload().key_count() * (workload().value_bytes() + 256) + (std::size_t{16} << 20);
        Memory memory(ipc::create_only, name_.c_str(), bytes);
        memory.construct<Shared>("shared")(workload().key_count(),
                                           Allocator<char>(memory.get_segment_manager()));
    }
    std::unique_ptr<Access> open() override {
        return std::make_unique<AccessOf<Peer>>(workload().value_bytes(), name_);
    }
    void remove_names() noexcept override { ipc::shared_memory_object::remove(name_.c_str()); }

 private:
    std::string name_;
};

}  // namespace

StorePointer make_boost_ipc(const Workload& workload) { return std::make_unique<BoostIpc>(workload); }

}  // namespace bench
