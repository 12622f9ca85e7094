// tiercache query: one SELECT through the tiers.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "tiercache/cache.hpp"
#include "tools/common.hpp"

namespace tiercache::tools {

namespace {

// pg_type.oid of the types that have a form of their own in JSON or are aligned as numbers.
enum TypeOid : std::uint32_t {
    bool_oid = 16,
    int8_oid = 20,
    int2_oid = 21,
    int4_oid = 23,
    oid_oid = 26,
    float4_oid = 700,
    float8_oid = 701,
    numeric_oid = 1700,
};

struct QueryCommand {
    Places places;
    std::string sql;
    std::vector<std::string> texts;
    int nulls = 0;
    std::vector<std::optional<std::string>> params;
    std::string data_class;
    std::optional<double> max_staleness_s;
    std::optional<double> timeout_s;
    std::uint64_t token = 0;
    std::uint32_t repeat = 1;
    bool json = false;
};

struct Timing {
    std::map<Tier, std::vector<double>> by_tier_us;
};

bool is_integer(std::uint32_t type) {
    return type == int8_oid || type == int2_oid || type == int4_oid || type == oid_oid;
}
bool is_float(std::uint32_t type) { return type == float4_oid || type == float8_oid; }

nlohmann::ordered_json json_value(const Field& field, std::uint32_t type) {
    if (field.is_null()) return nullptr;
    if (type == bool_oid && field.boolean()) return *field.boolean();
    if (is_integer(type) && field.int64()) return *field.int64();
    if (is_float(type) && field.float64() && std::isfinite(*field.float64())) return *field.float64();
    return std::string(field.text());
}

double percentile(std::vector<double> values, double share) {
    std::ranges::sort(values);
    const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(values.size())));
    return values[std::clamp<std::size_t>(rank, 1, values.size()) - 1];
}

Result<Timing> ask(Cache& cache, const QueryCommand& command, const QueryOptions& options, Answer& answer) {
    using std::chrono::steady_clock;
    std::vector<QueryParam> params;
    for (const auto& p : command.params) {
        if (p)
            params.emplace_back(*p);
        else
            params.emplace_back(std::nullopt);
    }
    Timing timing;
    for (std::uint32_t i = 0; i < command.repeat; ++i) {
        QueryOptions now = options;
        if (command.timeout_s) {
            now.deadline =
                steady_clock::now() + std::chrono::milliseconds(std::llround(*command.timeout_s * 1000));
        }
        const auto start = steady_clock::now();
        if (Status s = cache.query_into(answer, command.sql, params, now); !s.ok()) return s;
        const std::chrono::duration<double, std::micro> took = steady_clock::now() - start;
        timing.by_tier_us[answer.tier()].push_back(took.count());
    }
    return timing;
}

Status print_as_json(const Answer& answer, const Timing& timing) {
    nlohmann::ordered_json out;
    std::vector<std::uint32_t> types;
    out["columns"] = nlohmann::ordered_json::array();
    for (std::size_t i = 0; i < answer.column_count(); ++i) {
        const Column column = answer.column(i);
        types.push_back(column.type_oid);
        out["columns"].push_back({{"name", std::string(column.name)}, {"type_oid", column.type_oid}});
    }
    out["rows"] = nlohmann::ordered_json::array();
    for (const Row& row : answer) {
        nlohmann::ordered_json values = nlohmann::ordered_json::array();
        for (std::size_t i = 0; i < row.size(); ++i) values.push_back(json_value(row[i], types[i]));
        out["rows"].push_back(std::move(values));
    }
    out["tier"] = to_string(answer.tier());
    out["freshness"] = to_string(answer.freshness());
    out["age_ms"] = answer.age().count();
    out["stamp"] = answer.stamp();
    for (const auto& [tier, us] : timing.by_tier_us) {
        out["latency_us"][std::string(to_string(tier))] = {
            {"calls", us.size()}, {"median", percentile(us, 0.5)}, {"p99", percentile(us, 0.99)}};
    }
    return print_json(out);
}

Status print_as_table(const Answer& answer, const Timing& timing) {
    std::vector<Table::Column> columns;
    for (std::size_t i = 0; i < answer.column_count(); ++i) {
        const Column column = answer.column(i);
        const std::uint32_t type = column.type_oid;
        columns.push_back(
            {std::string(column.name), is_integer(type) || is_float(type) || type == numeric_oid});
    }
    Table table(std::move(columns));
    for (const Row& row : answer) {
        std::vector<std::string> cells;
        for (std::size_t i = 0; i < row.size(); ++i) cells.emplace_back(row[i].text());
        table.add(std::move(cells));
    }
    std::string out = table.to_string();
    out += fmt::format("({} {})\n", answer.row_count(), answer.row_count() == 1 ? "row" : "rows");
    for (const auto& [tier, us] : timing.by_tier_us) {
        if (us.size() == 1) {
            out += fmt::format("{}: {}\n", to_string(tier), human_duration_us(us.front()));
        } else {
            out +=
                fmt::format("{}: {} calls, median {}, p99 {}\n", to_string(tier), us.size(),
                            human_duration_us(percentile(us, 0.5)), human_duration_us(percentile(us, 0.99)));
        }
    }
    out += fmt::format("last answer: {} from {}, age {}\n", to_string(answer.freshness()),
                       to_string(answer.tier()),
                       human_duration_us(static_cast<double>(answer.age().count()) * 1e3));
    return print(out);
}

// When this process ends before its query, by Ctrl-C say, PostgreSQL notices within a second and ends it too.
void let_server_notice_our_end() {
    const char* given = std::getenv("PGOPTIONS");
    const std::string options = (given == nullptr ? "" : std::string(given) + " ");
    (void)setenv("PGOPTIONS", (options + "-c client_connection_check_interval=1000").c_str(), 1);
}

Result<Cache> open_cache(const Options& options) {
    if (!options.l1.name.empty() && !options.l1.create) {
        const Status found = open_segment(options.l1.name, options.l1.group).status();
        if (found.code() == StatusCode::not_found) return found;
    }
    return Cache::open(options);
}

Status run_query(const QueryCommand& command) {
    let_server_notice_our_end();
    Result<Options> options = command.places.options();
    if (!options.ok()) return options.status();
    QueryOptions query_options;
    query_options.token = command.token;
    if (!command.data_class.empty()) {
        DataClass data_class = DataClass::warm;
        (void)parse_data_class(command.data_class, data_class);  // checked when it was parsed
        query_options.data_class = data_class;
    }
    if (command.max_staleness_s) {
        query_options.max_staleness =
            std::chrono::milliseconds(std::llround(*command.max_staleness_s * 1000));
    }
    if (command.timeout_s) {
        options->l4.connect_timeout =
            std::min(options->l4.connect_timeout,
                     std::chrono::milliseconds(std::max(1LL, std::llround(*command.timeout_s * 1000))));
    }
    Result<Cache> cache = open_cache(*options);
    if (!cache.ok()) return cache.status();
    Answer answer;
    Result<Timing> timing = ask(*cache, command, query_options, answer);
    if (!timing.ok()) return timing.status();
    return command.json ? print_as_json(answer, *timing) : print_as_table(answer, *timing);
}

// --param and --null in the order in which they were written.
void order_params(const CLI::App& app, const CLI::Option* param, const CLI::Option* null,
                  QueryCommand& command) {
    std::size_t next = 0;
    for (const CLI::Option* option : app.parse_order()) {
        if (option == param && next < command.texts.size())
            command.params.emplace_back(command.texts[next++]);
        if (option == null) command.params.emplace_back(std::nullopt);
    }
}

}  // namespace

void add_query(CLI::App& app, Run& run) {
    auto command = std::make_shared<QueryCommand>();
    CLI::App* sub = app.add_subcommand("query", "Run a SELECT through the tiers and print its rows");
    add_db(*sub, command->places);
    add_l1(*sub, command->places);
    add_create(*sub, command->places);
    add_l2_and_clock(*sub, command->places);
    add_config(*sub, command->places);
    add_json(*sub, command->json);
    sub->add_option("sql", command->sql, "The SELECT; its parameters are $1, $2 ...")
        ->required()
        ->type_name("SQL");
    CLI::Option* param =
        sub->add_option(
               "-p,--param", command->texts,
               "The next parameter, in text form (--param=-5 for what begins with a dash); repeatable")
            ->type_name("TEXT")
            ->expected(1)
            ->take_all();
    CLI::Option* null = sub->add_flag("--null", command->nulls, "The next parameter is NULL; repeatable");
    sub->add_option("--class", command->data_class, "Data class: gives TTLs and the default staleness limit")
        ->check(CLI::IsMember({"hot", "warm", "cold", "reference"}));
    sub->add_option("--max-staleness", command->max_staleness_s,
                    "Serve an answer that is not fresh up to this age; 0: only fresh ones")
        ->type_name("SECONDS")
        ->check(CLI::Range(0.0, 1e9));
    sub->add_option("--timeout", command->timeout_s, "Give up after this long")
        ->type_name("SECONDS")
        ->check(CLI::Range(0.001, 1e6));
    sub->add_option("--token", command->token,
                    "Serve nothing older than this, as SELECT tiercache.token() gave it");
    sub->add_option("--repeat", command->repeat, "Ask so many times, and tell the latency of each tier")
        ->type_name("N")
        ->check(CLI::Range(1U, 100'000'000U));
    sub->callback([&run, command, sub, param, null] {
        order_params(*sub, param, null, *command);
        run = [command] { return run_query(*command); };
    });
}

}  // namespace tiercache::tools
