// tiercache clock: the clock table that answers are judged by.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "shm_cache/clock_file.hpp"
#include "shm_cache/monotonic_time.hpp"
#include "tools/common.hpp"

namespace tiercache::tools {

namespace {

struct ClockCommand {
    std::string name;
    bool json = false;
};

Status show_clock(const ClockCommand& command) {
    Result<ClockFile> file = ClockFile::open(command.name);
    if (!file.ok()) return file.status();
    const ClockTable table = file->table();
    const auto now = static_cast<std::int64_t>(monotonic_ns());
    const std::int64_t lease_left_ms = (static_cast<std::int64_t>(table.valid_until_ns()) - now) / 1'000'000;
    std::uint64_t writers = 0;
    std::uint64_t newest = 0;
    for (Tag slot = 0; slot < table.slot_count(); ++slot) {
        writers += table.writers_of(slot) != 0 ? 1 : 0;
        newest = std::max(newest, table.version_of(slot));
    }
    if (command.json) {
        return print_json({{"name", command.name},
                           {"slot_count", table.slot_count()},
                           {"epoch", table.epoch()},
                           {"floor", table.floor()},
                           {"newest_version", newest},
                           {"slots_being_written", writers},
                           {"lease_left_ms", lease_left_ms},
                           {"vouched_for", lease_left_ms > 0}});
    }
    Table out({{"clock table"}, {"value", true}});
    out.add({"slot_count", std::to_string(table.slot_count())});
    out.add({"epoch", std::to_string(table.epoch())});
    out.add({"floor", std::to_string(table.floor())});
    out.add({"newest_version", std::to_string(newest)});
    out.add({"slots_being_written", std::to_string(writers)});
    out.add({"lease", lease_left_ms > 0 ? fmt::format("{} ms left", lease_left_ms)
                                        : std::string("run out: the server does not vouch for it")});
    return print(out.to_string());
}

}  // namespace

void add_clock(CLI::App& app, Run& run) {
    CLI::App* group = app.add_subcommand("clock", "Examine the clock table that answers are judged by");
    group->require_subcommand(1);
    auto command = std::make_shared<ClockCommand>();
    CLI::App* info = group->add_subcommand("info", "Show a clock table's state");
    info->add_option("name", command->name, "Its name: SHOW tiercache.clock_name prints it")
        ->required()
        ->type_name("NAME");
    add_json(*info, command->json);
    info->callback([&run, command] { run = [command] { return show_clock(*command); }; });
}

}  // namespace tiercache::tools
