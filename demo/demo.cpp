// The demo: dashboard queries without a cache and from every tier, then writes that must show up in the next
// read. demo/run.sh starts the servers and loads the data.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <string>
#include <vector>

#include "demo/cleanup.hpp"
#include "demo/reader.hpp"
#include "demo/report.hpp"
#include "demo/sql_files.hpp"
#include "demo/stage.hpp"
#include "demo/terminal.hpp"

namespace tiercache::demo {

namespace {

struct Settings {
    std::string host;
    std::string port = "5432";
    std::string user;
    std::string database = "postgres";
    std::string redis;
    std::string psql = "psql";
    std::string segments = fmt::format("/tiercache_demo_{}", getpid());
    std::filesystem::path queries;
    std::filesystem::path writes;
    double seconds = 1;
};

std::string quoted_setting(const std::string& name, const std::string& value) {
    if (value.empty()) return "";
    std::string quoted;
    for (const char c : value) {
        if (c == '\'' || c == '\\') quoted += '\\';
        quoted += c;
    }
    return fmt::format("{}='{}' ", name, quoted);
}

StageOptions stage_options(const Settings& settings) {
    return {.conninfo = quoted_setting("host", settings.host) + quoted_setting("port", settings.port) +
                        quoted_setting("user", settings.user) + quoted_setting("dbname", settings.database) +
                        "application_name=tiercache_demo",
            .redis = settings.redis,
            .psql = settings.psql,
            .shm_prefix = settings.segments};
}

void show_reads(Stage& stage, const std::vector<SqlFile>& queries, double seconds, Verdict& verdict) {
    print_latency_head();
    std::size_t number = 0;
    for (const SqlFile& query : queries) {
        show_progress(fmt::format("measuring {} of {}: {}", ++number, queries.size(), query.name));
        const QueryLatencies latencies = measure_query(stage, query, seconds, verdict);
        show_progress("");
        print_latencies(latencies);
    }
    print_latency_notes();
}

void show_writes(Stage& stage, const std::vector<SqlFile>& queries, const std::vector<SqlFile>& writes,
                 Verdict& verdict) {
    print_write_head();
    std::size_t number = 0;
    for (const SqlFile& write : writes) {
        show_progress(fmt::format("write {} of {}: {}", number + 1, writes.size(), write.title));
        const Reader first = all_readers[number++ % all_readers.size()];
        const WriteRound round = commit_write(stage, queries, write, first, verdict);
        show_progress("");
        print_write(round);
    }
}

void check_again(Stage& stage, const std::vector<SqlFile>& queries, Verdict& verdict) {
    std::size_t number = 0;
    for (const SqlFile& query : queries) {
        show_progress(fmt::format("after all writes, {} of {}: {}", ++number, queries.size(), query.name));
        check_in_all_tiers(stage, query, verdict);
    }
    show_progress("");
}

int run(const Settings& settings) {
    const std::vector<SqlFile> queries = read_sql_folder(settings.queries);
    const std::vector<SqlFile> writes = read_sql_folder(settings.writes);
    Stage stage(stage_options(settings));
    Verdict verdict;
    print_header(stage.database);
    show_reads(stage, queries, settings.seconds, verdict);
    show_writes(stage, queries, writes, verdict);
    check_again(stage, queries, verdict);
    print_verdict(verdict, queries.size());
    return verdict.bad_queries().empty() ? 0 : 1;
}

void define_options(CLI::App& app, Settings& settings) {
    app.add_option("queries", settings.queries, "folder of the queries, *.sql")->required();
    app.add_option("writes", settings.writes,
                   "folder of the writes; each changes the answer of the query of its name")
        ->required();
    app.add_option("--host", settings.host, "PostgreSQL's host, or the folder of its socket")
        ->envname("TC_PGHOST");
    app.add_option("--port", settings.port, "PostgreSQL's port")->envname("TC_PGPORT")->capture_default_str();
    app.add_option("--user", settings.user, "PostgreSQL's user")->envname("TC_PGUSER");
    app.add_option("--dbname", settings.database, "the database with the flights and the extension")
        ->envname("TC_PGDATABASE")
        ->capture_default_str();
    app.add_option("--redis", settings.redis, "Redis: a socket's path, or host:port")
        ->envname("TC_REDIS_SOCKET")
        ->required();
    app.add_option("--psql", settings.psql, "the psql to use")->envname("TC_PSQL")->capture_default_str();
    app.add_option("--segments", settings.segments, "the shared-memory segments' names begin with this");
    app.add_option("--seconds", settings.seconds, "bound of each measurement; uncached: of twice that")
        ->check(CLI::Range(0.01, 3600.0))
        ->capture_default_str();
}

}  // namespace

}  // namespace tiercache::demo

int main(int argc, char** argv) {
    using namespace tiercache::demo;
    // A reader process is this program again; its standard input is the socket to the demo.
    if (argc == 2 && std::string(argv[1]) == "reader") return serve_as_reader(STDIN_FILENO);
    Settings settings;
    CLI::App app(
        "Shows and checks what tiercache does for dashboard queries; `make demo` runs it with all it needs.");
    define_options(app, settings);
    CLI11_PARSE(app, argc, argv);
    Cleanup::on_signals();
    try {
        return run(settings);
    } catch (const std::exception& failure) {
        show_progress("");
        std::fflush(stdout);
        fmt::print(stderr, "demo: {}\n", failure.what());
        return 1;
    }
}
