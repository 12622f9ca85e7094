// tiercache stats and tiercache entries: what PostgreSQL's cache (L4) and a segment (L1) hold and did.
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

#include "client/pg_connection.hpp"
#include "shm_cache/entry.hpp"
#include "shm_cache/monotonic_time.hpp"
#include "shm_cache/segment.hpp"
#include "tools/common.hpp"
#include "tools/segment_output.hpp"

namespace tiercache::tools {

namespace {

struct ViewCommand {
    Places places;
    bool json = false;
    std::uint32_t limit = 100;
};

// PostgreSQL is asked when it is named, or when no segment is.
bool asks_server(const Options& options) { return !options.l4.conninfo.empty() || options.l1.name.empty(); }

bool is_number_type(Oid type) {
    constexpr std::array<Oid, 7> number_types = {20, 21, 23, 26, 700, 701, 1700};
    return std::ranges::find(number_types, type) != number_types.end();
}

Result<PgResult> read_view(const Options& options, const std::string& sql) {
    Result<PgConnection> connection =
        PgConnection::connect(options.l4.conninfo, deadline_in(options.l4.connect_timeout));
    if (!connection.ok()) return connection.status();
    Result<PgResult> result = connection->execute(sql.c_str(), deadline_in(options.l4.query_timeout));
    if (!result.ok()) return connection->explain(result.status());
    return result;
}

nlohmann::ordered_json json_rows(const PgResult& result) {
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    for (int r = 0; r < result.row_count(); ++r) {
        nlohmann::ordered_json row = nlohmann::ordered_json::object();
        for (int c = 0; c < result.column_count(); ++c) {
            nlohmann::ordered_json& value = row[result.column_name(c)];
            const std::string text(result.text(r, c));
            if (result.is_null(r, c)) continue;
            value = text;
            if (result.column_type(c) == 16) value = text == "t";  // boolean
            if (!is_number_type(result.column_type(c))) continue;
            // NaN and Infinity are no JSON numbers.
            nlohmann::ordered_json number = nlohmann::ordered_json::parse(text, nullptr, false);
            if (number.is_number()) value = std::move(number);
        }
        rows.push_back(std::move(row));
    }
    return rows;
}

std::string table_of(const PgResult& result) {
    std::vector<Table::Column> columns;
    columns.reserve(static_cast<std::size_t>(result.column_count()));
    for (int c = 0; c < result.column_count(); ++c) {
        columns.push_back({result.column_name(c), is_number_type(result.column_type(c))});
    }
    Table table(std::move(columns));
    for (int r = 0; r < result.row_count(); ++r) {
        std::vector<std::string> row;
        row.reserve(static_cast<std::size_t>(result.column_count()));
        for (int c = 0; c < result.column_count(); ++c) row.emplace_back(result.text(r, c));
        table.add(std::move(row));
    }
    return table.to_string();
}

// One wide row reads better as a list.
std::string list_of(const PgResult& result) {
    if (result.row_count() != 1 || result.column_count() <= 3) return table_of(result);
    Table table({{"postgresql"}, {"value", true}});
    for (int c = 0; c < result.column_count(); ++c)
        table.add({result.column_name(c), std::string(result.text(0, c))});
    return table.to_string();
}

Status run_stats(const ViewCommand& command) {
    Result<Options> options = command.places.options();
    if (!options.ok()) return options.status();
    nlohmann::ordered_json json;
    std::string text;
    if (asks_server(*options)) {
        Result<PgResult> rows = read_view(*options, "SELECT * FROM tiercache.stats");
        if (!rows.ok()) return rows.status();
        json["l4"] = json_rows(*rows);
        if (json["l4"].size() == 1) json["l4"] = nlohmann::ordered_json(json["l4"][0]);
        text += list_of(*rows);
    }
    if (!options->l1.name.empty()) {
        Result<SegmentStats> stats = inspect_segment(options->l1.name, options->l1.group);
        if (!stats.ok()) return stats.status();
        json["l1"] = segment_json(*stats);
        text += (text.empty() ? "" : "\n") + segment_table(*stats);
    }
    return command.json ? print_json(json) : print(text);
}

// What an entry in a segment is about.
struct LocalEntry {
    std::string sql;
    EntryFields fields;
    std::size_t params = 0;
    std::size_t tags = 0;
    std::size_t raw_bytes = 0;
    std::size_t stored_bytes = 0;
};

// The SQL in a query key (query_key.hpp), or the key's size where it is another kind of key.
std::string describe_key(std::span<const std::byte> key, std::size_t& params) {
    std::size_t at = 4;
    const auto take_u32 = [&](std::uint32_t& value) {
        if (key.size() < at + sizeof(value)) return false;
        std::memcpy(&value, key.data() + at, sizeof(value));
        at += sizeof(value);
        return true;
    };
    std::uint32_t session = 0;
    std::uint32_t sql = 0;
    std::uint32_t count = 0;
    if (take_u32(session) && session <= key.size() - at) {
        at += session;
        if (take_u32(sql) && sql <= key.size() - at) {
            std::string text(reinterpret_cast<const char*>(key.data()) + at, sql);
            at += sql;
            if (take_u32(count)) {
                params = count;
                return text;
            }
        }
    }
    return fmt::format("(key of {} bytes)", key.size());
}

Result<std::vector<LocalEntry>> local_entries(const Options::L1& l1) {
    Result<Segment> segment = open_segment(l1.name, l1.group);
    if (!segment.ok()) return segment.status();
    std::vector<LocalEntry> entries;
    segment->for_each(
        [](void* context, std::span<const std::byte> bytes) {
            EntryView view;
            if (decode_entry(bytes, view) != StatusCode::ok) return true;
            LocalEntry entry;
            entry.sql = describe_key(view.key, entry.params);
            entry.fields = view.fields;
            entry.tags = view.tags.size();
            entry.raw_bytes = view.raw_length;
            entry.stored_bytes = bytes.size();
            static_cast<std::vector<LocalEntry>*>(context)->push_back(std::move(entry));
            return true;
        },
        &entries);
    std::ranges::sort(entries, std::greater(), &LocalEntry::stored_bytes);
    return entries;
}

std::string shortened(const std::string& sql) {
    constexpr std::size_t shown_bytes = 60;
    if (sql.size() <= shown_bytes) return sql;
    std::size_t end = shown_bytes;
    // Not within a character of UTF-8.
    while (end > 0 && (static_cast<unsigned char>(sql[end]) & 0xc0) == 0x80) --end;
    return sql.substr(0, end) + "...";
}

nlohmann::ordered_json entry_json(const LocalEntry& e) {
    const std::uint64_t now = monotonic_ns();
    return {{"sql", e.sql},
            {"params", e.params},
            {"format", to_string(e.fields.format)},
            {"class", to_string(e.fields.data_class)},
            {"age_ms", e.fields.lifetime.age_ms_at(now)},
            {"expired", e.fields.lifetime.expired_at(now)},
            {"stamp", e.fields.stamp},
            {"tags", e.tags},
            {"payload_bytes", e.raw_bytes},
            {"entry_bytes", e.stored_bytes}};
}

std::string entries_table(const std::vector<LocalEntry>& entries) {
    const std::uint64_t now = monotonic_ns();
    Table table({{"bytes", true},
                 {"age", true},
                 {"class"},
                 {"stamp", true},
                 {"tags", true},
                 {"params", true},
                 {"sql"}});
    for (const LocalEntry& e : entries) {
        const std::uint32_t age_ms = e.fields.lifetime.age_ms_at(now);
        table.add({std::to_string(e.stored_bytes), human_duration_us(age_ms * 1e3),
                   std::string(to_string(e.fields.data_class)), std::to_string(e.fields.stamp),
                   std::to_string(e.tags), std::to_string(e.params), shortened(e.sql)});
    }
    return table.to_string();
}

Status run_entries(const ViewCommand& command) {
    Result<Options> options = command.places.options();
    if (!options.ok()) return options.status();
    nlohmann::ordered_json json;
    std::string text;
    if (asks_server(*options)) {
        Result<PgResult> rows =
            read_view(*options, fmt::format("SELECT * FROM tiercache.entries LIMIT {}", command.limit));
        if (!rows.ok()) return rows.status();
        json["l4"] = json_rows(*rows);
        text += table_of(*rows);
    }
    if (!options->l1.name.empty()) {
        Result<std::vector<LocalEntry>> entries = local_entries(options->l1);
        if (!entries.ok()) return entries.status();
        const std::size_t found = entries->size();
        if (found > command.limit) entries->resize(command.limit);
        json["l1"] = nlohmann::ordered_json::array();
        for (const LocalEntry& e : *entries) json["l1"].push_back(entry_json(e));
        text += (text.empty() ? "" : "\n") + entries_table(*entries);
        text += fmt::format("({} of {} entries)\n", entries->size(), found);
    }
    return command.json ? print_json(json) : print(text);
}

CLI::App* add_view(CLI::App& app, Run& run, const char* name, const char* what,
                   const std::shared_ptr<ViewCommand>& command, Status (*body)(const ViewCommand&)) {
    CLI::App* sub = app.add_subcommand(name, what);
    add_db(*sub, command->places);
    add_l1(*sub, command->places);
    add_config(*sub, command->places);
    add_json(*sub, command->json);
    sub->callback([&run, command, body] { run = [command, body] { return body(*command); }; });
    return sub;
}

}  // namespace

void add_stats(CLI::App& app, Run& run) {
    add_view(app, run, "stats", "Counters of PostgreSQL's cache (--db), of a segment (--l1), or of both",
             std::make_shared<ViewCommand>(), run_stats);
}

void add_entries(CLI::App& app, Run& run) {
    auto command = std::make_shared<ViewCommand>();
    add_view(app, run, "entries", "What PostgreSQL's cache (--db), a segment (--l1), or both hold", command,
             run_entries)
        ->add_option("--limit", command->limit, "Show so many of each at most, a segment's largest first")
        ->type_name("N")
        ->check(CLI::Range(1U, 1'000'000'000U));
}

}  // namespace tiercache::tools
