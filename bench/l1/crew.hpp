// A store at work: its host process and its workers, commanded by the measuring program.
//
// Between rounds all of them sleep. In a round the chosen workers do batch after batch; before each they
// meet, so that all of them run when the clock starts.
#pragma once

#include <sys/types.h>

#include <memory>
#include <span>
#include <vector>

#include "bench/l1/store.hpp"

namespace bench {

// Ctrl-C and SIGTERM become an exception in the measuring program, so that everything is cleaned up.
void throw_on_signals();
// Throws when there was one.
void check_signals();

struct Batch {
    std::uint64_t begin_ns = 0;
    std::uint64_t end_ns = 0;
    std::uint64_t misses = 0;
    [[nodiscard]] double ns() const { return static_cast<double>(end_ns - begin_ns); }
};

inline constexpr std::size_t batches_max = 1000;

class Crew {
 public:
    // Starts, loads and checks the store; throws when that fails.
    explicit Crew(std::unique_ptr<Store> store);
    ~Crew();
    Crew(const Crew&) = delete;
    Crew& operator=(const Crew&) = delete;

    [[nodiscard]] const Store& store() const { return *store_; }

    // Each of `workers` does `batches` batches of `mix`, from place `begin` of its sequence on. The batches
    // of each, in the order of `workers`; valid until the next round.
    std::vector<std::span<const Batch>> round(const Mix& mix, std::span<const std::size_t> workers,
                                              std::size_t begin, std::size_t batches);

 private:
    struct Control;
    [[noreturn]] void host();
    void host_processes();
    void host_threads();
    void work(std::size_t worker);
    void work_batches(std::size_t worker, Access& access, std::vector<Operation>& operations);
    void fail(const char* what) noexcept;
    void wait_for(std::size_t reports);
    void stop() noexcept;

    std::unique_ptr<Store> store_;
    Control* control_ = nullptr;
    pid_t host_ = -1;
};

}  // namespace bench
