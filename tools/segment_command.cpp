// tiercache segment: the shared-memory segments of this host.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <charconv>
#include <csignal>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "shm_cache/layout.hpp"
#include "shm_cache/segment.hpp"
#include "shm_cache/shared_cache.hpp"
#include "tools/common.hpp"
#include "tools/segment_output.hpp"
#include "tools/segment_watch.hpp"

namespace tiercache::tools {

namespace {

struct SegmentCommand {
    std::string name;
    std::string size = "64MiB";
    std::string block_size;
    std::string item_size;
    std::string mode;
    std::string group;
    HugePages huge_pages = HugePages::off;
    std::string huge_page_mount;
    std::uint32_t processes = 256;
    double interval_s = 1;
    std::uint64_t count = 0;
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

Result<SegmentOptions> segment_options(const SegmentCommand& command) {
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
    const Result<gid_t> group = parse_group(command.group);
    if (!group.ok()) return group.status();
    options.group = *group;
    const std::string usual = command.group.empty() ? "0600" : "0660";
    const Result<mode_t> mode = parse_mode(command.mode.empty() ? usual : command.mode);
    if (!mode.ok()) return mode.status();
    options.mode = *mode;
    options.process_slots = command.processes;
    options.huge_pages = command.huge_pages;
    options.huge_page_mount = command.huge_page_mount;
    return options;
}

Status print_segment(const SegmentStats& stats, const SegmentCommand& command) {
    if (!command.json) return print(segment_table(stats));
    nlohmann::ordered_json json = {{"name", command.name}};
    json.update(segment_json(stats));
    return print_json(json);
}

Status create_segment(const SegmentCommand& command) {
    Result<SegmentOptions> options = segment_options(command);
    if (!options.ok()) return options.status();
    // Here and not by `attempt`, to be able to say why there are none.
    const bool attempt = options->huge_pages == HugePages::attempt;
    if (attempt) options->huge_pages = HugePages::on;
    Result<Segment> segment = Segment::create(command.name, *options);
    if (attempt && !segment.ok() && segment.status().code() != StatusCode::already_exists) {
        const std::string why = segment.status().message();
        options->huge_pages = HugePages::off;
        segment = Segment::create(command.name, *options);
        if (segment.ok()) fmt::print(stderr, "tiercache: ordinary pages: {}\n", why);
    }
    if (!segment.ok()) return segment.status();
    return print_segment(segment->stats(), command);
}

Status show_segment(const SegmentCommand& command) {
    Result<SegmentStats> stats = inspect_segment(command.name, command.group);
    return stats.ok() ? print_segment(*stats, command) : stats.status();
}

Status clear_segment(const SegmentCommand& command) {
    Result<Segment> segment = open_segment(command.name, command.group);
    if (!segment.ok()) return segment.status();
    // What is being loaded at this moment goes, too: SharedCache::clear().
    if (Status s = SharedCache(std::move(segment).value()).clear(); !s.ok()) return s;
    return command.json ? print_json({{"cleared", command.name}}) : Status();
}

// SIGINT and SIGTERM end the copying, not the program: until the new segment is in use nothing has happened,
// and from then on it stays, with what was copied so far.
volatile std::sig_atomic_t interrupted = 0;

bool report_resize(void* context, const Segment::ResizeProgress& progress) {
    const auto& command = *static_cast<const SegmentCommand*>(context);
    if (!command.json && isatty(STDERR_FILENO) != 0) {
        fmt::print(stderr, "\r{} of {} entries looked at, {} copied, {} ", progress.items_seen,
                   progress.items_total, progress.items_copied, human_bytes(progress.bytes_copied));
    }
    return interrupted == 0;
}

Status resize_segment(const SegmentCommand& command) {
    const Result<std::size_t> size = parse_size(command.size);
    if (!size.ok()) return size.status();
    struct sigaction note {};
    note.sa_handler = [](int) { interrupted = 1; };
    sigaction(SIGINT, &note, nullptr);
    sigaction(SIGTERM, &note, nullptr);
    const Result<SegmentStats> before = inspect_segment(command.name, command.group);
    if (!before.ok()) return before.status();
    SegmentCommand told = command;
    const auto resize = [&](HugePages pages) {
        return Segment::resize(command.name, *size, report_resize, &told, pages);
    };
    // As in create_segment().
    Result<Segment::ResizeProgress> done = resize(HugePages::on);
    if (before->huge_page_bytes != 0 && done.status().code() == StatusCode::no_space) {
        const std::string why = done.status().message();
        done = resize(HugePages::off);
        if (done.ok()) fmt::print(stderr, "tiercache: ordinary pages: {}\n", why);
    }
    if (!command.json && isatty(STDERR_FILENO) != 0) fmt::print(stderr, "\n");
    if (!done.ok()) return done.status();
    if (interrupted != 0) {
        fmt::print(stderr, "interrupted: the segment has its new size, and {} of {} entries\n",
                   done->items_copied, done->items_total);
    }
    return show_segment(command);
}

Status watch(const SegmentCommand& command) {
    return watch_segment(command.name, command.group, command.interval_s, command.count, command.json);
}

Status remove_segment(const SegmentCommand& command) {
    if (Status s = Segment::remove(command.name); !s.ok()) return s;
    return command.json ? print_json({{"removed", command.name}}) : Status();
}

CLI::App* add_command(CLI::App& group, Run& run, const char* name, const char* what, const char* example,
                      const std::shared_ptr<SegmentCommand>& command, Status (*body)(const SegmentCommand&)) {
    CLI::App* sub = group.add_subcommand(name, what);
    sub->add_option("name", command->name, example)->required()->type_name("NAME");
    add_json(*sub, command->json);
    sub->callback([&run, command, body] { run = [command, body] { return body(*command); }; });
    return sub;
}

// A variable that is empty in a script, say: not the default instead of it.
std::string not_empty(const std::string& text) {
    return text.empty() ? "it is empty; leave the option out for the default" : "";
}

void add_trusted_group(CLI::App& sub, SegmentCommand& command) {
    sub.add_option("--group", command.group, "A group whose members are trusted, should one of them own it")
        ->type_name("GROUP");
}

}  // namespace

void add_segment(CLI::App& app, Run& run) {
    constexpr const char* name_help = "Its name, such as /tiercache.app";
    CLI::App* group =
        app.add_subcommand("segment", "Create, examine, change or remove a shared-memory segment (L1)");
    group->require_subcommand(1);
    auto create = std::make_shared<SegmentCommand>();
    CLI::App* sub = add_command(*group, run, "create", "Create a segment", name_help, create, create_segment);
    sub->add_option("--size", create->size, "Of the whole segment, such as 64MiB or 1G")
        ->capture_default_str()
        ->type_name("SIZE")
        ->check(not_empty);
    sub->add_option("--block-size", create->block_size, "A power of two up to 2M; 256K to 2M by the size")
        ->type_name("SIZE")
        ->check(not_empty);
    sub->add_option("--item-size", create->item_size, "Expected mean size of an entry; sizes the index")
        ->type_name("SIZE")
        ->check(not_empty);
    sub->add_option("--processes", create->processes, "How many processes may use it at once")
        ->capture_default_str()
        ->type_name("N")
        ->check(CLI::Range(1U, process_slots_max));
    sub->add_option("--mode", create->mode,
                    "Who may use it, as of a file, in octal; 0600, or 0660 with a group")
        ->type_name("MODE")
        ->check(not_empty);
    sub->add_option("--group", create->group, "The group whose members share it, by name or number")
        ->type_name("GROUP");
    sub->add_option("--huge-pages", create->huge_pages, "Pages that the system has set aside (hugetlbfs)")
        ->transform(CLI::CheckedTransformer(std::map<std::string, HugePages>{
            {"off", HugePages::off}, {"try", HugePages::attempt}, {"on", HugePages::on}}))
        ->type_name("off|try|on");
    sub->add_option("--huge-page-mount", create->huge_page_mount,
                    "A hugetlbfs mount; else the one that you may write to, with the smallest pages")
        ->type_name("FOLDER");
    auto shown = std::make_shared<SegmentCommand>();
    sub = add_command(*group, run, "show", "Show a segment's size, contents and counters", name_help, shown,
                      show_segment);
    sub->alias("info");
    add_trusted_group(*sub, *shown);
    auto watched = std::make_shared<SegmentCommand>();
    sub = add_command(*group, run, "watch", "Show what happens in a segment, line by line, until Ctrl-C",
                      name_help, watched, watch);
    add_trusted_group(*sub, *watched);
    sub->add_option("--interval", watched->interval_s, "Seconds from line to line")
        ->capture_default_str()
        ->type_name("SECONDS")
        ->check(CLI::Range(0.1, 3600.0));
    sub->add_option("--count", watched->count, "End after so many lines")->type_name("N");
    auto resized = std::make_shared<SegmentCommand>();
    sub = add_command(*group, run, "resize",
                      "Give a segment another size while it is used; what is used most is copied first",
                      name_help, resized, resize_segment);
    sub->add_option("--size", resized->size,
                    "Of the whole segment, such as 2G. For a while both sizes are taken")
        ->required()
        ->type_name("SIZE");
    auto cleared = std::make_shared<SegmentCommand>();
    sub = add_command(*group, run, "clear", "Take everything out of a segment", name_help, cleared,
                      clear_segment);
    add_trusted_group(*sub, *cleared);
    add_command(*group, run, "remove", "Remove a segment; processes that use it keep theirs until they end",
                name_help, std::make_shared<SegmentCommand>(), remove_segment);
}

}  // namespace tiercache::tools
