// tiercache segment and tiercache clock: objects in this host's shared memory.
#include <fmt/format.h>

#include <charconv>
#include <memory>
#include <nlohmann/json.hpp>

#include "shm_cache/clock_file.hpp"
#include "shm_cache/monotonic_time.hpp"
#include "shm_cache/segment.hpp"
#include "tools/common.hpp"
#include "tools/segment_output.hpp"

namespace tiercache::tools {

namespace {

struct ShmCommand {
    std::string name;
    std::string size = "64MiB";
    std::string block_size;
    std::string item_size;
    std::string mode = "0600";
    std::uint32_t processes = 256;
    bool json = false;
};

Result<mode_t> parse_mode(const std::string& text) {
    unsigned mode = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
    if (error != std::errc() || end != text.data() + text.size() || mode > 0777) {
        return Status(StatusCode::invalid_argument,
                      "\"" + text + "\" is not a file mode; write it in octal, as in 0660");
    }
    return static_cast<mode_t>(mode);
}

Result<SegmentOptions> segment_options(const ShmCommand& command) {
    SegmentOptions options;
    const auto read = [](const std::string& text, std::size_t& out) {
        if (text.empty()) return Status();
        Result<std::size_t> size = parse_size(text);
        if (size.ok()) out = *size;
        return size.status();
    };
    if (Status s = read(command.size, options.size_bytes); !s.ok()) return s;
    if (Status s = read(command.block_size, options.block_bytes); !s.ok()) return s;
    if (Status s = read(command.item_size, options.item_bytes_mean); !s.ok()) return s;
    Result<mode_t> mode = parse_mode(command.mode);
    if (!mode.ok()) return mode.status();
    options.mode = *mode;
    options.process_slots = command.processes;
    return options;
}

Status print_segment(const Segment& segment, const ShmCommand& command) {
    const SegmentStats stats = segment.stats();
    if (!command.json) return print(segment_table(stats));
    nlohmann::ordered_json json = {{"name", command.name}};
    json.update(segment_json(stats));
    return print_json(json);
}

Status create_segment(const ShmCommand& command) {
    Result<SegmentOptions> options = segment_options(command);
    if (!options.ok()) return options.status();
    Result<Segment> segment = Segment::create(command.name, *options);
    if (!segment.ok()) return segment.status();
    return print_segment(*segment, command);
}

Status show_segment(const ShmCommand& command) {
    Result<Segment> segment = open_segment(command.name);
    if (!segment.ok()) return segment.status();
    return print_segment(*segment, command);
}

Status remove_segment(const ShmCommand& command) {
    if (Status s = Segment::remove(command.name); !s.ok()) return s;
    return command.json ? print_json({{"removed", command.name}}) : Status();
}

Status show_clock(const ShmCommand& command) {
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

CLI::App* add_command(CLI::App& group, Run& run, const char* name, const char* what, const char* example,
                      const std::shared_ptr<ShmCommand>& command, Status (*body)(const ShmCommand&)) {
    CLI::App* sub = group.add_subcommand(name, what);
    sub->add_option("name", command->name, example)->required()->type_name("NAME");
    add_json(*sub, command->json);
    sub->callback([&run, command, body] { run = [command, body] { return body(*command); }; });
    return sub;
}

}  // namespace

void add_segment(CLI::App& app, Run& run) {
    constexpr const char* name_help = "Its name, such as /tiercache.app";
    CLI::App* group = app.add_subcommand("segment", "Create, examine or remove a shared-memory segment (L1)");
    group->require_subcommand(1);
    auto create = std::make_shared<ShmCommand>();
    CLI::App* sub = add_command(*group, run, "create", "Create a segment", name_help, create, create_segment);
    sub->add_option("--size", create->size, "Of the whole segment, such as 64MiB")
        ->capture_default_str()
        ->type_name("SIZE");
    sub->add_option("--block-size", create->block_size, "A power of two; 2 MiB, or less in a small segment")
        ->type_name("SIZE");
    sub->add_option("--item-size", create->item_size, "Expected mean size of an entry; sizes the index")
        ->type_name("SIZE");
    sub->add_option("--processes", create->processes, "How many processes may use it at once")
        ->capture_default_str()
        ->type_name("N")
        ->check(CLI::Range(1U, 65536U));
    sub->add_option("--mode", create->mode, "Who may use it, as of a file, in octal")
        ->capture_default_str()
        ->type_name("MODE");
    add_command(*group, run, "info", "Show a segment's size and counters", name_help,
                std::make_shared<ShmCommand>(), show_segment);
    add_command(*group, run, "remove", "Remove a segment; processes that use it keep theirs until they end",
                name_help, std::make_shared<ShmCommand>(), remove_segment);
}

void add_clock(CLI::App& app, Run& run) {
    CLI::App* group = app.add_subcommand("clock", "Examine the clock table that answers are judged by");
    group->require_subcommand(1);
    add_command(*group, run, "info", "Show a clock table's state",
                "Its name: SHOW tiercache.clock_name prints it", std::make_shared<ShmCommand>(), show_clock);
}

}  // namespace tiercache::tools
