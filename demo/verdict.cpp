#include "demo/verdict.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace tiercache::demo {

Judgement Verdict::judge(std::string_view query, std::string_view where, std::string_view got,
                         std::string_view expected, std::string_view before) {
    ++answers_;
    if (got == expected) return Judgement::correct;
    if (!before.empty() && got == before) {
        ++stale_;
        complain(query, fmt::format("{}: the answer from before the write", where));
        return Judgement::stale;
    }
    ++wrong_;
    const auto differ = std::ranges::mismatch(got, expected);
    complain(query,
             fmt::format("{}: {} bytes where PostgreSQL uncached gives {}; they differ from byte {} on",
                         where, got.size(), expected.size(), differ.in1 - got.begin()));
    return Judgement::wrong;
}

void Verdict::count(std::string_view query, std::string_view where, std::size_t answers, std::size_t wrong) {
    answers_ += answers;
    wrong_ += wrong;
    if (wrong > 0)
        complain(query, fmt::format("{}: {} of {} answers differ from the first", where, wrong, answers));
}

void Verdict::complain(std::string_view query, const std::string& what) {
    constexpr std::size_t complaints_max = 20;
    bad_queries_.emplace(query);
    if (complaints_.size() < complaints_max) complaints_.push_back(fmt::format("{}: {}", query, what));
}

}  // namespace tiercache::demo
