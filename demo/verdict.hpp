// Which answers were right: each is compared with what PostgreSQL computes without a cache.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace tiercache::demo {

enum class Judgement { correct, stale, wrong };

class Verdict {
 public:
    // `before`: the answer until a write changed it; "" when there was no write. It is stale to get that one.
    Judgement judge(std::string_view query, std::string_view where, std::string_view got,
                    std::string_view expected, std::string_view before = {});
    // Many answers at once, of which some were wrong.
    void count(std::string_view query, std::string_view where, std::size_t answers, std::size_t wrong);
    // Something is wrong that no bytes show.
    void complain(std::string_view query, const std::string& what);

    [[nodiscard]] std::size_t answers() const { return answers_; }
    [[nodiscard]] std::size_t stale() const { return stale_; }
    [[nodiscard]] std::size_t wrong() const { return wrong_; }
    [[nodiscard]] const std::set<std::string>& bad_queries() const { return bad_queries_; }
    // One sentence each, the first ones only.
    [[nodiscard]] const std::vector<std::string>& complaints() const { return complaints_; }

 private:
    std::size_t answers_ = 0;
    std::size_t stale_ = 0;
    std::size_t wrong_ = 0;
    std::set<std::string> bad_queries_;
    std::vector<std::string> complaints_;
};

}  // namespace tiercache::demo
