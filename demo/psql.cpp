#include "demo/psql.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "demo/child_process.hpp"

namespace tiercache::demo {

namespace {

// Printed between the runs; no answer has such a line.
constexpr std::string_view separator = "=== tiercache demo: next run ===";

std::string contents(const std::filesystem::path& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void write_script(const std::filesystem::path& script, const std::filesystem::path& results,
                  const std::string& statement, std::size_t times) {
    std::ofstream out(script, std::ios::binary);
    out << "\\pset null NULL\n\\timing on\n\\o " << results.string() << '\n';
    for (std::size_t run = 0; run < times; ++run) out << statement << ";\n\\qecho '" << separator << "'\n";
    out.close();
    if (!out) throw std::runtime_error(fmt::format("{} can't be written", script.string()));
}

std::vector<std::string> split_runs(const std::string& results) {
    std::vector<std::string> runs;
    std::size_t from = 0;
    for (std::size_t at = results.find(separator); at != std::string::npos;
         at = results.find(separator, from)) {
        runs.push_back(results.substr(from, at - from));
        from = at + separator.size() + 1;
    }
    return runs;
}

// "Time: 0.123 ms", or with minutes and more behind it.
std::vector<double> parse_timings(const std::string& output) {
    constexpr std::string_view label = "Time: ";
    std::vector<double> ns;
    for (std::size_t at = output.find(label); at != std::string::npos; at = output.find(label, at + 1)) {
        ns.push_back(std::stod(output.substr(at + label.size(), 32)) * 1e6);
    }
    return ns;
}

}  // namespace

Psql::Psql(std::string program, std::string conninfo, std::filesystem::path folder)
    : program_(std::move(program)), conninfo_(std::move(conninfo)), folder_(std::move(folder)) {}

Psql::Session Psql::run(const std::string& statement, std::size_t times) {
    const std::filesystem::path script = folder_ / "script.sql";
    const std::filesystem::path results = folder_ / "results";
    const std::filesystem::path output = folder_ / "output";
    write_script(script, results, statement, times);
    run_script(script, output);
    Session session{.outputs = split_runs(contents(results)),
                    .latencies_ns = parse_timings(contents(output))};
    if (session.outputs.size() != times || session.latencies_ns.size() != times) {
        throw std::runtime_error(fmt::format("psql ran {} of {} times", session.outputs.size(), times));
    }
    return session;
}

void Psql::run_script(const std::filesystem::path& script, const std::filesystem::path& output) {
    const int file = open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0) throw std::runtime_error(fmt::format("{}: {}", output.string(), std::strerror(errno)));
    ChildProcess psql(
        {program_, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", conninfo_, "-f", script.string()},
        -1, file);
    close(file);
    if (const std::string failure = psql.wait(); !failure.empty()) {
        throw std::runtime_error(fmt::format("psql {}; what it said is above", failure));
    }
}

}  // namespace tiercache::demo
