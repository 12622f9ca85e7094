// What the commands share: the options that say where the tiers are, output, and exit codes.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "shm_cache/segment.hpp"
#include "shm_cache/status.hpp"
#include "tiercache/options.hpp"

namespace tiercache::tools {

enum ExitCode : int { exit_ok = 0, exit_failure = 1, exit_usage = 2 };

// Where the tiers are. Each may also come from the environment, or from --config.
struct Places {
    std::string config;
    std::string db;
    std::string l1;
    std::string l2;
    std::string clock;
    bool create = false;
    std::vector<std::string> settings;  // KEY=VALUE

    [[nodiscard]] Result<Options> options() const;
};

void add_config(CLI::App& command, Places& places);
void add_db(CLI::App& command, Places& places);
void add_l1(CLI::App& command, Places& places);
void add_create(CLI::App& command, Places& places);
void add_l2_and_clock(CLI::App& command, Places& places);
void add_json(CLI::App& command, bool& json);

// Each adds one command. The function that runs it is kept in `run`.
using Run = std::function<Status()>;
void add_query(CLI::App& app, Run& run);
void add_stats(CLI::App& app, Run& run);
void add_entries(CLI::App& app, Run& run);
void add_segment(CLI::App& app, Run& run);
void add_clock(CLI::App& app, Run& run);

// A table for people: columns as wide as their widest value, control characters escaped.
class Table {
 public:
    struct Column {
        std::string name;
        bool right = false;  // aligned, as numbers are
    };
    explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
    void add(std::vector<std::string> row);
    [[nodiscard]] std::string to_string() const;

 private:
    std::vector<Column> columns_;
    std::vector<std::vector<std::string>> rows_;
};

// As Segment::open(); when there is none the error says what to do. `group` is as in parse_group().
Result<Segment> open_segment(const std::string& name, const std::string& group);
// As Segment::inspect(), likewise.
Result<SegmentStats> inspect_segment(const std::string& name, const std::string& group);

// Writes to standard output. Error: internal, when that fails (a full disk, a closed pipe).
Status print(const std::string& text);
Status print_json(const nlohmann::ordered_json& json);

[[nodiscard]] std::string human_bytes(std::uint64_t bytes);
[[nodiscard]] std::string human_duration_us(double microseconds);

}  // namespace tiercache::tools
