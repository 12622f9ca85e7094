// What a caller of the SQL functions asks for besides the query: class, time to live, labels, staleness.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "pg_extension/classes.hpp"
#include "pg_extension/l4_cache.hpp"
#include "pg_extension/pg.hpp"

namespace tiercache {

inline constexpr int labels_max = 16;

struct QueryOptions {
    std::optional<ClassSettings> named_class;  // else the session's
    std::uint32_t ttl_ms = 0;                  // 0: the class's
    l4_cache::Demand demand;                   // its labels are kept below
    Tag labels[labels_max] = {};
    int label_count = 0;

    [[nodiscard]] ClassSettings data_class() const {
        ClassSettings settings = named_class ? *named_class : classes::of_session();
        if (ttl_ms != 0) settings.ttl_ms = ttl_ms;
        return settings;
    }
    [[nodiscard]] std::span<const Tag> label_tags() const noexcept {
        return {labels, static_cast<std::size_t>(label_count)};
    }
};

// The arguments class, ttl, tags and max_staleness of a function's call, from number `first` on; NULL is not
// given. Raises an error for what makes no sense. `options` stays where it is: the demand points into it.
void read_options(FunctionCallInfo fcinfo, int first, QueryOptions& options);

}  // namespace tiercache
