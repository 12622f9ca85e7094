#include "demo/writes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <stdexcept>

#include "demo/reads.hpp"

namespace tiercache::demo {

namespace {

struct Got {
    std::string answer;
    Tier tier = Tier::l4;
};

Got read_through(Stage& stage, Reader reader, const std::string& sql) {
    if (reader == Reader::l4_json) return {.answer = stage.database.value(query_json_call(sql))};
    ReaderProcess& process = reader == Reader::l1       ? stage.app
                             : reader == Reader::second ? stage.second
                                                        : stage.remote;
    Read read = process.read(sql);
    return {.answer = std::move(read.payload), .tier = read.tier};
}

std::string_view name_of(const Stage& stage, Reader reader) {
    switch (reader) {
        case Reader::l4_json:
            return "L4, query_json()";
        case Reader::l1:
            return stage.app.name();
        case Reader::second:
            return stage.second.name();
        case Reader::l2:
            return stage.remote.name();
    }
    return "";
}

const std::string& form_for(Reader reader, const Uncached& uncached) {
    return reader == Reader::l4_json ? uncached.json : uncached.wire;
}

// Afterwards each tier holds the answer as it is now.
void compare_all_tiers(Stage& stage, const SqlFile& query, const Uncached& expected, Verdict& verdict) {
    for (const Reader reader : all_readers) {
        const Got got = read_through(stage, reader, query.sql);
        verdict.judge(query.name, name_of(stage, reader), got.answer, form_for(reader, expected));
    }
}

const SqlFile& query_of(const SqlFile& write, const std::vector<SqlFile>& queries) {
    const auto found = std::ranges::find(queries, write.name, &SqlFile::name);
    if (found == queries.end())
        throw std::runtime_error(fmt::format("no query belongs to the write {}.sql", write.name));
    return *found;
}

// One read through each tier, beginning with `first`.
std::array<Got, all_readers.size()> read_all(Stage& stage, Reader first, const std::string& sql) {
    std::array<Got, all_readers.size()> got;
    for (std::size_t turn = 0; turn < got.size(); ++turn) {
        const std::size_t reader = (static_cast<std::size_t>(first) + turn) % got.size();
        got[reader] = read_through(stage, all_readers[reader], sql);
    }
    return got;
}

}  // namespace

WriteRound commit_write(Stage& stage, const std::vector<SqlFile>& queries, const SqlFile& write, Reader first,
                        Verdict& verdict) {
    const SqlFile& query = query_of(write, queries);
    const Uncached before = run_uncached(stage.database, query.sql);
    compare_all_tiers(stage, query, before, verdict);

    (void)stage.writer.run(write.sql);
    const auto got = read_all(stage, first, query.sql);

    const Uncached after = run_uncached(stage.database, query.sql);
    if (after.wire == before.wire || after.json == before.json) {
        throw std::runtime_error(
            fmt::format("the write {}.sql does not change the answer of its query and so shows nothing; load "
                        "more rows (DEMO_ROWS)",
                        write.name));
    }
    WriteRound round{.query = query.name, .title = write.title, .first = first, .reads = {}};
    for (const Reader reader : all_readers) {
        const auto index = static_cast<std::size_t>(reader);
        const std::string where = fmt::format("{} after the write", name_of(stage, reader));
        round.reads[index] = {.judgement = verdict.judge(query.name, where, got[index].answer,
                                                         form_for(reader, after), form_for(reader, before)),
                              .tier = got[index].tier};
    }
    return round;
}

void check_in_all_tiers(Stage& stage, const SqlFile& query, Verdict& verdict) {
    compare_all_tiers(stage, query, run_uncached(stage.database, query.sql), verdict);
}

}  // namespace tiercache::demo
