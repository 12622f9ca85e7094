// The `tiercache` command.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <exception>

#include "tools/common.hpp"

namespace {

using namespace tiercache::tools;

// One sentence on one line.
int fail(std::string_view message, ExitCode code) {
    fmt::print(stderr, "tiercache: {}\n", message);
    return code;
}

int run(int argc, char** argv) {
    CLI::App app("Query, watch and manage tiercache, the tiered cache for query results of PostgreSQL.",
                 "tiercache");
    app.set_version_flag("--version", "tiercache 1.0.0");
    app.footer(
        "Environment: TIERCACHE_DB, TIERCACHE_L1, TIERCACHE_L2, TIERCACHE_CLOCK and TIERCACHE_CONFIG stand "
        "for the\n"
        "options of those names; libpq's PGHOST, PGDATABASE and so on work too.\n"
        "Exit status: 0 done; 1 failed, with one sentence on standard error; 2 wrong usage.\n"
        "`tiercache COMMAND --help` tells each command's options.");
    app.require_subcommand(1);
    Run command;
    add_query(app, command);
    add_stats(app, command);
    add_entries(app, command);
    add_segment(app, command);
    add_clock(app, command);
    try {
        app.parse(argc, argv);
    } catch (const CLI::Success& e) {
        return app.exit(e);  // --help, --version
    } catch (const CLI::ParseError& e) {
        return fail(std::string(e.what()) + "; see tiercache --help", exit_usage);
    }
    const tiercache::Status status = command();
    if (status.ok()) return exit_ok;
    return fail(status.to_string(), exit_failure);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        return run(argc, argv);
    } catch (const std::exception& e) {
        return fail(e.what(), exit_failure);
    }
}
