// How many statements have run in this session, so that a portal can tell whether others came in between its
// start and its first row: PostgreSQL takes settings and role of the moment when rows are computed. And
// whether one runs now.
#pragma once

#include <cstdint>

namespace tiercache::statement_count {

// Of all levels, utility statements too. A statement counts when its run begins, not when its portal starts,
// and once more for each further call of its portal. Functions count when they are called by the protocol's
// message, and when a plan that calls them starts: more is counted than need be, never less.
[[nodiscard]] std::uint64_t now() noexcept;

// Of the run that began last: was it asked for some rows only, and by whom?
enum class Limit : unsigned char { none, of_client, of_spi };
[[nodiscard]] Limit limit() noexcept;

// Inside how many statements that run, their triggers included.
[[nodiscard]] int running() noexcept;

void install_hooks();

}  // namespace tiercache::statement_count
