// Data classes: how long a result lives in L4, and what makes room first.
//
// They are rows of tiercache.classes, which users edit. Each backend keeps a copy, and reads the table again
// after it changed. Without the table (the extension's first version, or a database without it) the defaults
// count.
#pragma once

#include <cstdint>

#include "pg_extension/pg.hpp"
#include "shm_cache/entry.hpp"

extern "C" {
#include <datatype/timestamp.h>
}

namespace tiercache {

struct ClassSettings {
    DataClass data_class;
    std::uint32_t ttl_ms;  // in L4
};

namespace classes {

// The class of that name; raises an error when there is none.
[[nodiscard]] ClassSettings find(const char* name);

// Of queries that name none: tiercache.default_class, or warm when there is no such class.
[[nodiscard]] ClassSettings of_session();

// Of an interval, with months of 30 days; never negative, and below ttl_never_ms.
[[nodiscard]] std::uint32_t milliseconds_of(const Interval* interval) noexcept;

// Chains the cache callback. Once a process.
void register_callbacks();

}  // namespace classes
}  // namespace tiercache
