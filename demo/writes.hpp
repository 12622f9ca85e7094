// Second part of the demo: writes are committed, and the very next read through each tier must have the new
// state.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "demo/sql_files.hpp"
#include "demo/stage.hpp"
#include "demo/verdict.hpp"

namespace tiercache::demo {

// Who reads after a write. The first one turns with each write, so that each of them meets the outdated
// entries of its tiers.
enum class Reader { l4_json, l1, second, l2 };
inline constexpr std::array all_readers = {Reader::l4_json, Reader::l1, Reader::second, Reader::l2};

struct WriteRound {
    std::string query;  // whose answer the write changes
    std::string title;
    Reader first = Reader::l4_json;
    struct NextRead {
        Judgement judgement = Judgement::correct;
        Tier tier = Tier::l4;  // that answered
    };
    std::array<NextRead, all_readers.size()> reads;  // indexed by Reader
};

// Commits the write. It belongs to the query of the same name; throws std::runtime_error when it doesn't
// change its answer.
[[nodiscard]] WriteRound commit_write(Stage& stage, const std::vector<SqlFile>& queries, const SqlFile& write,
                                      Reader first, Verdict& verdict);

// The query once through each tier.
void check_in_all_tiers(Stage& stage, const SqlFile& query, Verdict& verdict);

}  // namespace tiercache::demo
