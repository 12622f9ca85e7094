// The demo's side of a reader process (reader.hpp).
#pragma once

#include <tiercache/answer.hpp>

#include <cstddef>
#include <optional>
#include <string>

#include "demo/child_process.hpp"
#include "demo/latency.hpp"
#include "demo/message.hpp"

namespace tiercache::demo {

struct ReaderSetup {
    std::string name;     // for people
    std::string segment;  // "": no L1
    std::string redis;    // "": no L2
    std::string conninfo;
    bool empty_segment_first = false;  // before each measured read
};

struct Read {
    std::string payload;
    Tier tier = Tier::l4;
    bool fresh = false;
    double ns = 0;
};

struct Measurement {
    Latency latency;
    std::string payload;
    std::size_t reads = 0;
    std::size_t compared = 0;    // reads whose payload was looked at: all single ones, the last of a batch
    std::size_t differing = 0;   // of them: another payload, or not fresh
    std::size_t elsewhere = 0;   // reads that another tier answered
    std::size_t l4_answers = 0;  // reads that asked PostgreSQL for the query
};

// How much is measured.
struct Effort {
    std::size_t samples = 0;  // singly timed calls
    bool in_batches = false;  // also time batches of 100 calls: the median is that of their means
    double seconds = 1;       // ends it before
};

class ReaderProcess {
 public:
    // Starts this very program as a reader and opens its cache. Throws std::runtime_error, as all functions
    // do.
    explicit ReaderProcess(ReaderSetup setup);
    ReaderProcess(const ReaderProcess&) = delete;
    ReaderProcess& operator=(const ReaderProcess&) = delete;
    ~ReaderProcess();

    [[nodiscard]] const std::string& name() const { return setup_.name; }
    [[nodiscard]] Read read(const std::string& sql);
    [[nodiscard]] Measurement measure(const std::string& sql, Tier tier, const Effort& effort);

 private:
    Message ask(const Message& request);

    ReaderSetup setup_;
    int socket_ = -1;
    std::optional<ChildProcess> process_;
};

}  // namespace tiercache::demo
