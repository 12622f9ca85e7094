// A store that is measured: a peer, or ourselves.
//
// A Store is made in the measuring program and lives on in a process of its own, its host, which loads it and
// makes its workers: processes, or threads where the store is of one process only. Each worker opens the
// store for itself and gets its own Access.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "bench/l1/workload.hpp"
#include "shm_cache/status.hpp"

namespace bench {

// On measured paths too: takes no string apart.
inline void require(bool condition, const char* what) {
    if (!condition) [[unlikely]] {
        throw std::runtime_error(what);
    }
}
inline void require(const tiercache::Status& status) {
    if (!status.ok()) [[unlikely]] {
        throw std::runtime_error(status.to_string());
    }
}

// One worker's way into a store.
class Access {
 public:
    Access() = default;
    virtual ~Access() = default;
    Access(const Access&) = delete;
    Access& operator=(const Access&) = delete;

    // Stores all items.
    virtual void load(const Workload& workload) = 0;
    // Throws unless `samples` of the items are what was stored.
    virtual void check(const Workload& workload, std::uint32_t samples) = 0;
    // Does what is measured. A read that misses stores the item again, as a cache's user does. Returns the
    // number of misses.
    virtual std::size_t run(const Workload& workload, std::span<const Operation> operations) = 0;
};

// An Access over a Peer, whose functions are called without indirection:
//   Peer(value_bytes, ...)
//   std::span<const std::byte> get(std::string_view key)      a private copy of the value; empty: not there
//   void put(std::string_view key, std::span<const std::byte> value)
//   void load(const Workload&)                                where the store has a quicker way than put()
template <class Peer>
class AccessOf : public Access {
 public:
    template <class... Arguments>
    explicit AccessOf(Arguments&&... arguments) : peer_(std::forward<Arguments>(arguments)...) {}

    void load(const Workload& workload) override {
        if constexpr (requires { peer_.load(workload); }) {
            peer_.load(workload);
        } else {
            for (std::uint32_t i = 0; i < workload.key_count(); ++i) {
                peer_.put(workload.key(i).text(), workload.value(i));
            }
        }
    }

    void check(const Workload& workload, std::uint32_t samples) override {
        std::uint32_t found = 0;
        for (std::uint32_t i = 0; i < samples; ++i) {
            const auto number = static_cast<std::uint32_t>(std::uint64_t{i} * workload.key_count() / samples);
            const std::span<const std::byte> value = peer_.get(workload.key(number).text());
            if (value.empty()) continue;
            ++found;
            require(std::ranges::equal(value, workload.value(number)), "a value is not what was stored");
        }
        require(found * std::uint64_t{100} >= samples * std::uint64_t{99},
                "more than one item in a hundred is not there");
    }

    std::size_t run(const Workload& workload, std::span<const Operation> operations) override {
        std::size_t misses = 0;
        unsigned sum = 0;
        for (const Operation& operation : operations) {
            if (!operation.write) [[likely]] {
                const std::span<const std::byte> value = peer_.get(operation.key.text());
                if (!value.empty()) [[likely]] {
                    // Something that depends on the copy.
                    sum += static_cast<unsigned>(value.back());
                    continue;
                }
                ++misses;
            }
            peer_.put(operation.key.text(), workload.value(operation.number));
        }
        seen_ = sum;
        return misses;
    }

 private:
    Peer peer_;
    volatile unsigned seen_ = 0;
};

class Store {
 public:
    Store(std::string name, const Workload& workload) : name_(std::move(name)), workload_(workload) {}
    virtual ~Store() = default;
    Store(const Store&) = delete;
    Store& operator=(const Store&) = delete;

    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] const Workload& workload() const { return workload_; }

    // Operations between two looks at the clock: less than the scheduler's time slice, so that on a machine
    // that does other things as well the median batch is one that was not interrupted.
    [[nodiscard]] virtual std::size_t batch() const { return 1000; }
    [[nodiscard]] virtual bool threads() const { return false; }
    [[nodiscard]] virtual bool has_writes() const { return true; }
    // The process that it is behind; 0: none, it is within reach of loads.
    [[nodiscard]] virtual pid_t server() const { return 0; }

    // In the host, before any worker is there.
    virtual void start() = 0;
    // In a worker, and in the host for loading.
    virtual std::unique_ptr<Access> open() = 0;
    // In the host at its end.
    virtual void stop() {}
    // In the measuring program, at the end: names that would outlive everybody. The host may have been
    // killed.
    virtual void remove_names() noexcept {}

 private:
    std::string name_;
    const Workload& workload_;
};

}  // namespace bench
