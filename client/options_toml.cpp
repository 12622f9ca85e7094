// Options from a TOML file.
#include <toml++/toml.h>
#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <set>
#include <sstream>
#include <string>
#include <system_error>

#include "tiercache/options.hpp"

namespace tiercache {

namespace {

// "line 7: ", or nothing where there are no lines.
std::string line_of(const toml::source_region& source) {
    return source.begin.line == 0 ? std::string() : "line " + std::to_string(source.begin.line) + ": ";
}

// Reads the keys of one table, and remembers which it was asked for. The first wrong one is kept.
class TableReader {
 public:
    TableReader(const toml::table* table, std::string name, Status& status)
        : table_(table), name_(std::move(name)), status_(status) {}

    void read(std::string_view key, std::string& out) {
        const toml::node* node = find(key);
        if (node == nullptr) return;
        if (const auto value = node->value_exact<std::string>())
            out = *value;
        else
            fail(key, "a string in quotes");
    }
    void read(std::string_view key, bool& out) {
        const toml::node* node = find(key);
        if (node == nullptr) return;
        if (const auto value = node->value_exact<bool>())
            out = *value;
        else
            fail(key, "true or false");
    }
    void read(std::string_view key, double& out) {
        const toml::node* node = find(key);
        if (node == nullptr) return;
        const auto value = node->value<double>();
        if (value && std::isfinite(*value))
            out = *value;
        else
            fail(key, "a number");
    }
    template <class Integer>
    void read_count(std::string_view key, Integer& out) {
        const toml::node* node = find(key);
        if (node == nullptr) return;
        const auto value = node->value_exact<std::int64_t>();
        if (value && *value >= 0 && *value <= std::numeric_limits<std::int32_t>::max()) {
            out = static_cast<Integer>(*value);
        } else {
            fail(key, "a whole number from 0 to 2147483647");
        }
    }
    void read_size(std::string_view key, std::size_t& out) {
        const toml::node* node = find(key);
        if (node == nullptr) return;
        if (const auto bytes = node->value_exact<std::int64_t>(); bytes && *bytes >= 0) {
            out = static_cast<std::size_t>(*bytes);
            return;
        }
        const auto text = node->value_exact<std::string>();
        const Result<std::size_t> size = parse_size(text.value_or(""));
        if (size.ok())
            out = *size;
        else
            fail(key, "a number of bytes, or a size such as \"64MiB\"");
    }
    void read_huge_pages(std::string_view key, HugePages& out) {
        const toml::node* node = find(key);
        if (node == nullptr) return;
        if (!parse_huge_pages(node->value_exact<std::string>().value_or(""), out)) {
            fail(key, "\"off\", \"try\" or \"on\"");
        }
    }
    void read_ms(std::string_view key, std::chrono::milliseconds& out) { read_duration(key, 1, out); }
    void read_s(std::string_view key, std::chrono::milliseconds& out) { read_duration(key, 1000, out); }

    [[nodiscard]] const toml::table* table(std::string_view key) {
        const toml::node* node = find(key);
        if (node == nullptr) return nullptr;
        if (node->as_table() == nullptr) fail(key, "a table");
        return node->as_table();
    }

    void refuse_other_keys() {
        if (table_ == nullptr || !status_.ok()) return;
        for (const auto& [key, node] : *table_) {
            if (known_.contains(key.str())) continue;
            std::string known;
            for (const std::string& k : known_) known += (known.empty() ? "" : ", ") + k;
            status_ =
                Status(StatusCode::invalid_argument, line_of(node.source()) + "there is no option " +
                                                         full_name(key.str()) + "; known here: " + known);
            return;
        }
    }

 private:
    const toml::node* find(std::string_view key) {
        known_.emplace(key);
        return table_ == nullptr ? nullptr : table_->get(key);
    }

    void read_duration(std::string_view key, double unit_ms, std::chrono::milliseconds& out) {
        constexpr double ms_max = 1e12;
        const toml::node* node = find(key);
        if (node == nullptr) return;
        const auto value = node->value<double>();
        if (value && *value >= 0 && *value * unit_ms <= ms_max) {
            out = std::chrono::milliseconds(std::llround(*value * unit_ms));
        } else {
            fail(key, "a number that is not negative");
        }
    }

    [[nodiscard]] std::string full_name(std::string_view key) const {
        return name_.empty() ? std::string(key) : name_ + "." + std::string(key);
    }

    void fail(std::string_view key, std::string_view expected) {
        if (!status_.ok()) return;
        status_ = Status(StatusCode::invalid_argument, line_of(table_->get(key)->source()) + full_name(key) +
                                                           " must be " + std::string(expected));
    }

    const toml::table* table_;
    std::string name_;
    Status& status_;
    std::set<std::string, std::less<>> known_;
};

void read_tiers(TableReader& root, Options& options, Status& status) {
    TableReader l1(root.table("l1"), "l1", status);
    l1.read("name", options.l1.name);
    l1.read_size("size", options.l1.size_bytes);
    l1.read("create", options.l1.create);
    l1.read("group", options.l1.group);
    l1.read_huge_pages("huge_pages", options.l1.huge_pages);
    l1.read("huge_page_mount", options.l1.huge_page_mount);
    l1.refuse_other_keys();

    TableReader l2(root.table("l2"), "l2", status);
    l2.read("address", options.l2.address);
    l2.read("prefix", options.l2.prefix);
    l2.read("username", options.l2.username);
    l2.read("password", options.l2.password);
    l2.read_count("database", options.l2.database);
    l2.read_ms("timeout_ms", options.l2.timeout);
    l2.read_size("entry_size_max", options.l2.entry_bytes_max);
    l2.read_count("idle_connections_max", options.l2.idle_connections_max);
    l2.refuse_other_keys();

    TableReader l4(root.table("l4"), "l4", status);
    l4.read("conninfo", options.l4.conninfo);
    l4.read_count("pool_size", options.l4.pool_size);
    l4.read_ms("connect_timeout_ms", options.l4.connect_timeout);
    l4.read_ms("query_timeout_ms", options.l4.query_timeout);
    l4.refuse_other_keys();

    TableReader clock(root.table("clock"), "clock", status);
    clock.read("name", options.clock_name);
    clock.refuse_other_keys();
}

void read_classes(TableReader& root, Options& options, Status& status) {
    TableReader defaults(root.table("defaults"), "defaults", status);
    std::string class_name(to_string(options.default_class));
    defaults.read("class", class_name);
    defaults.read("ttl_jitter", options.ttl_jitter);
    defaults.refuse_other_keys();
    if (status.ok() && !parse_data_class(class_name, options.default_class)) {
        status = Status(StatusCode::invalid_argument,
                        "defaults.class must be \"hot\", \"warm\", \"cold\" or \"reference\"");
    }

    TableReader classes(root.table("classes"), "classes", status);
    for (const DataClass c : {DataClass::hot, DataClass::warm, DataClass::cold, DataClass::reference}) {
        const std::string name(to_string(c));
        TableReader one(classes.table(name), "classes." + name, status);
        one.read_s("l1_ttl_s", options.policy(c).l1_ttl);
        one.read_s("l2_ttl_s", options.policy(c).l2_ttl);
        one.read_s("max_staleness_s", options.policy(c).max_staleness);
        one.refuse_other_keys();
    }
    classes.refuse_other_keys();
}

Result<std::string> read_file(const std::string& path) {
    errno = 0;
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    if (file.is_open()) text << file.rdbuf();
    // An empty file is one without options; rdbuf() of it fails `text`, not `file`.
    if (file.is_open() && !file.bad() && errno != EISDIR) return text.str();
    const int error = errno != 0 ? errno : EIO;
    const StatusCode code = error == ENOENT                     ? StatusCode::not_found
                            : error == EACCES || error == EPERM ? StatusCode::permission_denied
                                                                : StatusCode::invalid_argument;
    return Status(code, "could not read \"" + path + "\": " + std::generic_category().message(error));
}

Status read_root(const toml::table& root, Options& options) {
    Status status;
    TableReader reader(&root, "", status);
    read_tiers(reader, options, status);
    read_classes(reader, options, status);
    reader.refuse_other_keys();
    return status;
}

// A document of one key of few parts, such as "classes.hot.l1_ttl_s".
toml::table one_key(std::string_view key, const toml::node& value) {
    toml::table table;
    const std::size_t dot = key.find('.');
    if (dot == std::string_view::npos)
        table.insert(key, value);
    else
        table.insert(key.substr(0, dot), one_key(key.substr(dot + 1), value));
    return table;
}

}  // namespace

Result<Options> Options::from_toml(const std::string& path) {
    Result<std::string> text = read_file(path);
    if (!text.ok()) return text.status();
    Options options;
    Status status;
    try {
        status = read_root(toml::parse(*text), options);
    } catch (const toml::parse_error& e) {
        status = Status(StatusCode::invalid_argument, line_of(e.source()) + std::string(e.description()));
    }
    if (status.ok()) status = options.check();
    if (!status.ok()) return Status(status.code(), "\"" + path + "\": " + status.message());
    return options;
}

Status Options::set(std::string_view key, std::string_view value) {
    constexpr std::ptrdiff_t dots_max = 2;
    if (std::ranges::count(key, '.') > dots_max) {
        return {StatusCode::invalid_argument,
                "an option's name has at most three parts, as in classes.hot.l1_ttl_s"};
    }
    Options changed = *this;
    // A string, as most are; if it has to be something else, what the value says in TOML.
    Status status = read_root(one_key(key, toml::value(std::string(value))), changed);
    if (!status.ok()) {
        try {
            const toml::table parsed = toml::parse("value = " + std::string(value));
            Options again = *this;
            if (const toml::node* node = parsed.get("value"); node != nullptr && parsed.size() == 1) {
                const Status second = read_root(one_key(key, *node), again);
                if (second.ok()) {
                    changed = std::move(again);
                    status = Status();
                }
            }
        } catch (const toml::parse_error&) {
            // The first status says what is wanted.
        }
    }
    if (status.ok()) *this = std::move(changed);
    return status;
}

}  // namespace tiercache
