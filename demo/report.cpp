#include "demo/report.hpp"

#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "demo/latency.hpp"
#include "demo/terminal.hpp"

namespace tiercache::demo {

namespace {

constexpr int name_width = 24;
constexpr int cell_width = 13;
constexpr int title_width = 58;
constexpr int write_cell_width = 10;

using Cells = std::array<std::string, 5>;

void print_row(std::string_view left, std::string_view label, const Cells& cells) {
    fmt::print("{:<{}}{:<8}", left, name_width, label);
    for (const std::string& cell : cells) fmt::print("{:>{}}", cell, cell_width);
    fmt::print("\n");
}

struct Cell {
    std::string text;
    std::optional<Colour> colour;
};

void print_write_row(std::string_view left, const std::array<Cell, all_readers.size()>& cells) {
    fmt::print("{:<{}}", left, title_width);
    for (const Cell& cell : cells) {
        const std::string padded = fmt::format("{:>{}}", cell.text, write_cell_width);
        fmt::print("{}", cell.colour ? coloured(*cell.colour, padded) : padded);
    }
    fmt::print("\n");
}

Cell verdict_cell(const WriteRound& round, Reader reader) {
    const WriteRound::NextRead& read = round.reads[static_cast<std::size_t>(reader)];
    const std::string_view mark = reader == round.first ? "*" : "";
    switch (read.judgement) {
        case Judgement::correct:
            return {fmt::format("{}new, L{}", mark, static_cast<int>(read.tier)), Colour::green};
        case Judgement::stale:
            return {fmt::format("{}STALE", mark), Colour::red};
        case Judgement::wrong:
            return {fmt::format("{}WRONG", mark), Colour::red};
    }
    return {};
}

void print_note(std::string_view term, std::string_view text) { fmt::print("{:<12}{}\n", term, text); }

// The first `width` characters; titles are ASCII.
std::string shortened(const std::string& text, std::size_t width) {
    return text.size() <= width ? text : text.substr(0, width - 3) + "...";
}

}  // namespace

void print_header(Database& database) {
    const auto rows = [&](const char* table) {
        return human_count(std::stoul(database.value(fmt::format("SELECT count(*) FROM {}", table))));
    };
    fmt::print("{}\n\n", coloured(Colour::bold, fmt::format("{} flights, {} airports; PostgreSQL {}; {} CPUs",
                                                            rows("flights"), rows("airports"),
                                                            database.value("SHOW server_version"),
                                                            std::thread::hardware_concurrency())));
}

void print_latency_head() {
    print_row("", "", {"uncached", "L4", "L1", "L1", "L2"});
    print_row("query", "", {"", "psql", "app", "second app", "own segment"});
}

void print_latencies(const QueryLatencies& q) {
    const std::array<Latency, 5> tiers = {q.uncached, q.l4, q.l1, q.second, q.l2};
    Cells medians;
    Cells tails;
    Cells factors;
    for (std::size_t tier = 0; tier < tiers.size(); ++tier) {
        medians[tier] = human_duration(tiers[tier].median_ns);
        tails[tier] = human_duration(tiers[tier].p99_ns);
        if (tier > 0) factors[tier] = human_factor(q.uncached.median_ns / tiers[tier].median_ns);
    }
    print_row(q.query, "median", medians);
    print_row(
        fmt::format("  {} row{}, {}", human_count(q.rows), q.rows == 1 ? "" : "s", human_bytes(q.bytes)),
        "p99", tails);
    print_row("", "speed-up", factors);
    std::fflush(stdout);
}

void print_latency_notes() {
    fmt::print("\n");
    print_note("uncached", fmt::format("a plain connection; up to {} runs, so the p99 is the slowest",
                                       uncached_runs_max));
    print_note(
        "L4", fmt::format("SELECT * FROM tiercache.query(...) in psql, by its \\timing; {} runs", psql_runs));
    print_note("L1", "tiercache::Cache on the database's host; median of the means of batches of 100 calls,");
    print_note("", fmt::format("p99 of up to {} single calls with the {:.0f} ns of reading the clock",
                               human_count(l1_samples_max), clock_cost_ns()));
    print_note("second app",
               "another process on the same segment, which never asked PostgreSQL for the query");
    print_note("L2", "Redis, from a process with a segment of its own, as on another host; it is emptied");
    print_note("", fmt::format("before each of up to {} reads. This host's clock table is the judge",
                               human_count(l2_samples_max)));
    print_note("speed-up", "over uncached, by the medians");
    fmt::print("\n");
    std::fflush(stdout);
}

void print_write_head() {
    fmt::print("Each write is committed, then read through each tier, the one with * first:\n\n");
    const auto plain = [](const char* text) { return Cell{text, std::nullopt}; };
    print_write_row("", {plain("L4 json"), plain("L1"), plain("L1"), plain("L2")});
    print_write_row("write", {plain(""), plain("app"), plain("second"), plain("own")});
}

void print_write(const WriteRound& round) {
    std::array<Cell, all_readers.size()> cells;
    for (const Reader reader : all_readers)
        cells[static_cast<std::size_t>(reader)] = verdict_cell(round, reader);
    print_write_row(shortened(round.title, title_width - 2), cells);
    std::fflush(stdout);
}

void print_verdict(const Verdict& verdict, std::size_t queries) {
    fmt::print("\n");
    for (const std::string& complaint : verdict.complaints())
        fmt::print("{}\n", coloured(Colour::red, complaint));
    fmt::print("{} answers compared with PostgreSQL's own, byte for byte: {} wrong, {} stale\n",
               human_count(verdict.answers()), verdict.wrong(), verdict.stale());
    const std::string last = fmt::format("demo: {} queries, {} correct, {} stale", queries,
                                         queries - verdict.bad_queries().size(), verdict.stale());
    fmt::print("{}\n", coloured(verdict.bad_queries().empty() ? Colour::green : Colour::red, last));
}

}  // namespace tiercache::demo
