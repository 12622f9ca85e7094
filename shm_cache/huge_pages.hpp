// Huge pages that the system has set aside (hugetlbfs): whether a segment is to lie in them.
#pragma once

#include <cstdint>
#include <string_view>

namespace tiercache {

// As PostgreSQL's huge_pages says it: `attempt` (its "try") takes ordinary ones where there are none to be
// had, `on` is an error then.
enum class HugePages : std::uint8_t { off, attempt, on };

// "off", "try" or "on". False, and `out` is left alone, for anything else.
constexpr bool parse_huge_pages(std::string_view text, HugePages& out) noexcept {
    if (text == "off")
        out = HugePages::off;
    else if (text == "try")
        out = HugePages::attempt;
    else if (text == "on")
        out = HugePages::on;
    else
        return false;
    return true;
}

}  // namespace tiercache
