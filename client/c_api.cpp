// The C ABI: handles around Cache, Options and Answer, and no exception beyond this file.
#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "client/answer_writer.hpp"
#include "client/c_status.hpp"
#include "tiercache/cache.hpp"
#include "tiercache/tiercache.h"

using tiercache::Answer;
using tiercache::Cache;
using tiercache::CacheStats;
using tiercache::Counter;
using tiercache::DataClass;
using tiercache::Options;
using tiercache::QueryOptions;
using tiercache::QueryParam;
using tiercache::Result;
using tiercache::Row;
using tiercache::Status;
using tiercache::StatusCode;
using tiercache::c_abi::give;
using tiercache::c_abi::guarded;
using tiercache::c_abi::missing;
using tiercache::c_abi::out_of_memory;

struct tc_options {
    Options options;
};
struct tc_cache {
    Cache cache;
};
struct tc_result {
    Answer answer;
    // Values with a zero byte after each, made when they are first asked for.
    struct Cell {
        std::size_t offset = 0;
        std::size_t size = 0;
        bool null = true;
    };
    std::vector<char> text;
    std::vector<Cell> cells;  // row by row
    bool cells_made = false;
};

namespace {

static_assert(static_cast<int>(StatusCode::internal) == TC_INTERNAL);
static_assert(static_cast<int>(StatusCode::query_failed) == TC_QUERY_FAILED);
static_assert(static_cast<int>(StatusCode::unavailable) == TC_UNAVAILABLE);
static_assert(static_cast<int>(DataClass::reference) == TC_REFERENCE);

Status read_query_options(const tc_query_options* given, QueryOptions& options) {
    using std::chrono::milliseconds;
    if (given == nullptr) return Status();
    if (given->struct_size < sizeof(tc_query_options)) {
        return {StatusCode::invalid_argument, "begin query options with TC_QUERY_OPTIONS_INIT"};
    }
    if (given->data_class < -1 || given->data_class > TC_REFERENCE) {
        return {StatusCode::invalid_argument, "data_class must be a tc_class, or -1"};
    }
    constexpr std::int64_t ms_max = std::numeric_limits<std::int32_t>::max();
    if (given->data_class >= 0) options.data_class = static_cast<DataClass>(given->data_class);
    if (given->max_staleness_ms >= 0) {
        options.max_staleness = milliseconds(std::min(given->max_staleness_ms, ms_max));
    }
    if (given->timeout_ms >= 0) {
        options.deadline =
            std::chrono::steady_clock::now() + milliseconds(std::min(given->timeout_ms, ms_max));
    }
    options.token = given->token;
    return Status();
}

// Keeps its memory.
void empty(tc_result& result) noexcept {
    tiercache::AnswerWriter(result.answer).clear();
    result.text.clear();
    result.cells.clear();
    result.cells_made = false;
}

void append_text(std::vector<char>& out, std::string_view text) {
    out.insert(out.end(), text.begin(), text.end());
    out.push_back('\0');
}

void make_cells(tc_result& result) {
    const std::size_t columns = result.answer.column_count();
    result.cells.clear();
    result.text.clear();
    result.cells.reserve(result.answer.row_count() * columns);
    result.text.reserve(result.answer.payload().size());
    for (const Row& row : result.answer) {
        for (std::size_t i = 0; i < columns; ++i) {
            const tiercache::Field field = row[i];
            result.cells.push_back({result.text.size(), field.text().size(), field.is_null()});
            append_text(result.text, field.text());
        }
    }
    result.cells_made = true;
}

}  // namespace

extern "C" {

tc_code tc_status_code(const tc_status* status) {
    return status == nullptr ? TC_OK : static_cast<tc_code>(status->status.code());
}

const char* tc_status_message(const tc_status* status) {
    return status == nullptr ? "ok" : status->text.c_str();
}

void tc_status_free(tc_status* status) {
    if (status != &out_of_memory) delete status;
}

tc_options* tc_options_new(void) {
    try {
        return new tc_options{};
    } catch (...) {
        return nullptr;
    }
}

tc_status* tc_options_load(const char* toml_path, tc_options** options) {
    return guarded([&]() -> tc_status* {
        if (toml_path == nullptr || options == nullptr) return missing("toml_path and options");
        Result<Options> loaded = Options::from_toml(toml_path);
        if (!loaded.ok()) return give(loaded.status());
        *options = new tc_options{std::move(loaded).value()};
        return nullptr;
    });
}

tc_status* tc_options_set(tc_options* options, const char* key, const char* value) {
    return guarded([&]() -> tc_status* {
        if (options == nullptr || key == nullptr || value == nullptr) {
            return missing("options, key and value");
        }
        return give(options->options.set(key, value));
    });
}

void tc_options_free(tc_options* options) { delete options; }

tc_status* tc_open(const char* toml_path, tc_cache** cache) {
    return guarded([&]() -> tc_status* {
        if (toml_path == nullptr || cache == nullptr) return missing("toml_path and cache");
        Result<Options> loaded = Options::from_toml(toml_path);
        if (!loaded.ok()) return give(loaded.status());
        Result<Cache> opened = Cache::open(*loaded);
        if (!opened.ok()) return give(opened.status());
        *cache = new tc_cache{std::move(opened).value()};
        return nullptr;
    });
}

tc_status* tc_open_with(const tc_options* options, tc_cache** cache) {
    return guarded([&]() -> tc_status* {
        if (options == nullptr || cache == nullptr) return missing("options and cache");
        Result<Cache> opened = Cache::open(options->options);
        if (!opened.ok()) return give(opened.status());
        *cache = new tc_cache{std::move(opened).value()};
        return nullptr;
    });
}

void tc_close(tc_cache* cache) { delete cache; }

tc_status* tc_query(tc_cache* cache, const char* sql, const char* const* params, size_t param_count,
                    const tc_query_options* options, tc_result** result) {
    return guarded([&]() -> tc_status* {
        if (result != nullptr && *result != nullptr) empty(**result);
        if (cache == nullptr || sql == nullptr || result == nullptr) return missing("cache, sql and result");
        if (param_count > 0 && params == nullptr) return missing("params");
        if (*result == nullptr) *result = new tc_result{};
        QueryOptions query_options;
        if (Status s = read_query_options(options, query_options); !s.ok()) return give(s);
        // Few queries have more parameters, so a hit does not allocate for them.
        std::array<QueryParam, 16> few;
        std::vector<QueryParam> many;
        if (param_count > few.size()) many.resize(param_count);
        const std::span<QueryParam> values =
            many.empty() ? std::span(few).first(param_count) : std::span(many);
        for (size_t i = 0; i < param_count; ++i) {
            if (params[i] != nullptr) values[i] = params[i];
        }
        return give(cache->cache.query_into((*result)->answer, sql, values, query_options));
    });
}

tc_status* tc_token(tc_cache* cache, uint64_t* token) {
    return guarded([&]() -> tc_status* {
        if (cache == nullptr || token == nullptr) return missing("cache and token");
        const Result<std::uint64_t> now = cache->cache.token();
        if (!now.ok()) return give(now.status());
        *token = *now;
        return nullptr;
    });
}

tc_status* tc_clock_status(const tc_cache* cache) {
    return guarded([&]() -> tc_status* {
        return cache == nullptr ? missing("cache") : give(cache->cache.clock_status());
    });
}

size_t tc_counter_count(void) { return CacheStats::counter_count; }

const char* tc_counter_name(size_t counter) {
    // The names are literals, so they end with a zero byte.
    return counter < CacheStats::counter_count ? to_string(static_cast<Counter>(counter)).data() : nullptr;
}

uint64_t tc_counter_value(const tc_cache* cache, size_t counter) {
    if (cache == nullptr || counter >= CacheStats::counter_count) return 0;
    return cache->cache.stats().counts[counter];
}

size_t tc_result_rows(const tc_result* result) { return result == nullptr ? 0 : result->answer.row_count(); }

size_t tc_result_columns(const tc_result* result) {
    return result == nullptr ? 0 : result->answer.column_count();
}

const char* tc_result_column_name(const tc_result* result, size_t column) {
    if (result == nullptr || column >= result->answer.column_count()) return nullptr;
    // In the payload a name ends with a zero byte.
    return result->answer.column(column).name.data();
}

uint32_t tc_result_column_type(const tc_result* result, size_t column) {
    return result == nullptr ? 0 : result->answer.column(column).type_oid;
}

const char* tc_result_value(tc_result* result, size_t row, size_t column, size_t* size) {
    if (size != nullptr) *size = 0;
    if (result == nullptr || row >= result->answer.row_count() || column >= result->answer.column_count()) {
        return nullptr;
    }
    try {
        if (!result->cells_made) make_cells(*result);
    } catch (...) {
        return nullptr;
    }
    const tc_result::Cell& cell = result->cells[row * result->answer.column_count() + column];
    if (cell.null) return nullptr;
    if (size != nullptr) *size = cell.size;
    return result->text.data() + cell.offset;
}

int tc_result_tier(const tc_result* result) {
    return result == nullptr ? 0 : static_cast<int>(result->answer.tier());
}

int tc_result_is_fresh(const tc_result* result) {
    return result != nullptr && result->answer.freshness() == tiercache::Freshness::fresh ? 1 : 0;
}

int64_t tc_result_age_ms(const tc_result* result) {
    return result == nullptr ? 0 : result->answer.age().count();
}

const void* tc_result_payload(const tc_result* result, size_t* size) {
    if (size != nullptr) *size = result == nullptr ? 0 : result->answer.payload().size();
    return result == nullptr ? nullptr : result->answer.payload().data();
}

void tc_result_free(tc_result* result) { delete result; }

const char* tc_version(void) { return "1.0.0"; }

}  // extern "C"
