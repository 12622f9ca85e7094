#include "tools/common.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <system_error>

namespace tiercache::tools {

Result<Options> Places::options() const {
    Options options;
    if (!config.empty()) {
        Result<Options> loaded = Options::from_toml(config);
        if (!loaded.ok()) return loaded.status();
        options = std::move(loaded).value();
    }
    // A name that is mistyped here should not take memory: only a file, or --create, makes segments.
    if (config.empty() || !l1.empty()) options.l1.create = false;
    if (create) options.l1.create = true;
    if (!db.empty()) options.l4.conninfo = db;
    if (!l1.empty()) options.l1.name = l1;
    if (!l2.empty()) options.l2.address = l2;
    if (!clock.empty()) options.clock_name = clock;
    for (const std::string& setting : settings) {
        const std::size_t equals = setting.find('=');
        if (equals == std::string::npos) {
            return Status(StatusCode::invalid_argument,
                          "--set takes KEY=VALUE, such as l4.pool_size=8, not \"" + setting + "\"");
        }
        Status s = options.set(setting.substr(0, equals), setting.substr(equals + 1));
        if (!s.ok()) return s;
    }
    if (Status s = options.check(); !s.ok()) return s;
    return options;
}

void add_config(CLI::App& command, Places& places) {
    command.add_option("--config", places.config, "TOML file with the cache's options")
        ->envname("TIERCACHE_CONFIG")
        ->type_name("FILE");
    command
        .add_option("--set", places.settings,
                    "One option of the file, as in --set l4.pool_size=8; repeatable")
        ->type_name("KEY=VALUE")
        ->expected(1)
        ->take_all();
}

void add_db(CLI::App& command, Places& places) {
    command
        .add_option("--db", places.db,
                    "PostgreSQL, as libpq takes it: \"host=/run/postgresql dbname=shop\" or a URI")
        ->envname("TIERCACHE_DB")
        ->type_name("CONNINFO");
}

void add_l1(CLI::App& command, Places& places) {
    command.add_option("--l1", places.l1, "Shared-memory segment, such as /tiercache.app")
        ->envname("TIERCACHE_L1")
        ->type_name("NAME");
}

void add_create(CLI::App& command, Places& places) {
    command.add_flag("--create", places.create, "Create the segment of --l1 when there is none");
}

void add_l2_and_clock(CLI::App& command, Places& places) {
    command.add_option("--l2", places.l2, "Redis: unix:/path/redis.sock or host:port")
        ->envname("TIERCACHE_L2")
        ->type_name("ADDRESS");
    command
        .add_option("--clock", places.clock,
                    "Clock table on this host; asked of PostgreSQL when not given; \"none\" for none")
        ->envname("TIERCACHE_CLOCK")
        ->type_name("NAME");
}

void add_json(CLI::App& command, bool& json) {
    command.add_flag("--json", json, "Print JSON instead of a table");
}

namespace {

// Control characters, which would move the cursor about, as escapes.
std::string printable(const std::string& text) {
    std::string out;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '\n')
            out += "\\n";
        else if (c == '\t')
            out += "\\t";
        else if (c == '\r')
            out += "\\r";
        else if (byte < 0x20 || byte == 0x7f)
            out += fmt::format("\\x{:02x}", byte);
        else
            out += c;
    }
    return out;
}

// Characters of UTF-8 text: bytes that do not continue one.
std::size_t width(const std::string& text) {
    return static_cast<std::size_t>(
        std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string padded(const std::string& text, std::size_t to, bool right) {
    const std::string spaces(to - std::min(to, width(text)), ' ');
    return right ? spaces + text : text + spaces;
}

}  // namespace

void Table::add(std::vector<std::string> row) {
    for (std::string& cell : row) cell = printable(cell);
    row.resize(columns_.size());
    rows_.push_back(std::move(row));
}

std::string Table::to_string() const {
    std::vector<std::size_t> widths;
    for (const Column& column : columns_) widths.push_back(width(column.name));
    for (const std::vector<std::string>& row : rows_) {
        for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width(row[i]));
    }
    std::string out;
    const auto end_line = [&out] {
        while (out.ends_with(' ')) out.pop_back();
        out += '\n';
    };
    for (std::size_t i = 0; i < columns_.size(); ++i) {
        out += (i > 0 ? "  " : "") + padded(columns_[i].name, widths[i], columns_[i].right);
    }
    end_line();
    for (std::size_t i = 0; i < columns_.size(); ++i)
        out += (i > 0 ? "  " : "") + std::string(widths[i], '-');
    end_line();
    for (const std::vector<std::string>& row : rows_) {
        for (std::size_t i = 0; i < row.size(); ++i) {
            out += (i > 0 ? "  " : "") + padded(row[i], widths[i], columns_[i].right);
        }
        end_line();
    }
    return out;
}

namespace {

Status say_how_to_create(const Status& status, const std::string& name) {
    if (status.code() != StatusCode::not_found) return status;
    return Status(StatusCode::not_found, "there is no segment \"" + name +
                                             "\" on this host; create it with: tiercache segment create " +
                                             name);
}

}  // namespace

Result<Segment> open_segment(const std::string& name, const std::string& group) {
    const Result<gid_t> trusted = parse_group(group);
    if (!trusted.ok()) return trusted.status();
    Result<Segment> segment = Segment::open(name, *trusted);
    return segment.ok() ? std::move(segment) : say_how_to_create(segment.status(), name);
}

Result<SegmentStats> inspect_segment(const std::string& name, const std::string& group) {
    const Result<gid_t> trusted = parse_group(group);
    if (!trusted.ok()) return trusted.status();
    Result<SegmentStats> stats = Segment::inspect(name, *trusted);
    return stats.ok() ? stats : say_how_to_create(stats.status(), name);
}

Status print(const std::string& text) {
    if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0)
        return Status();
    return {StatusCode::internal,
            "could not write to standard output: " + std::generic_category().message(errno)};
}

Status print_json(const nlohmann::ordered_json& json) {
    // Text that is not UTF-8, as an SQL_ASCII database may send, is shown with replacement characters.
    return print(json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
}

std::string human_bytes(std::uint64_t bytes) {
    constexpr double kib = 1024;
    const auto amount = static_cast<double>(bytes);
    if (amount < kib) return fmt::format("{} B", bytes);
    if (amount < kib * kib) return fmt::format("{:.1f} KiB", amount / kib);
    if (amount < kib * kib * kib) return fmt::format("{:.1f} MiB", amount / (kib * kib));
    return fmt::format("{:.1f} GiB", amount / (kib * kib * kib));
}

std::string human_duration_us(double microseconds) {
    if (microseconds < 1e3) return fmt::format("{:.1f} us", microseconds);
    if (microseconds < 1e6) return fmt::format("{:.1f} ms", microseconds / 1e3);
    return fmt::format("{:.1f} s", microseconds / 1e6);
}

}  // namespace tiercache::tools
