// Decoding of pg_wire payloads: what PostgreSQL sends, and what a hostile tier may send.
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "tests/unit/client_wire.hpp"
#include "tiercache/answer.hpp"

namespace tiercache {
namespace {

using test::bytes_of;
using test::WirePayload;

std::string small_payload() {
    return WirePayload({{"id", 23}, {"name", 25}, {"ok", 16}})
        .row({"1", "one", "t"})
        .row({"-2", std::nullopt, "f"})
        .row({"", "", std::nullopt})
        .take();
}

TEST(ClientAnswer, ReadsRowsColumnsAndNulls) {
    Answer answer;
    ASSERT_TRUE(test::fill(answer, small_payload()));
    EXPECT_EQ(answer.row_count(), 3U);
    ASSERT_EQ(answer.column_count(), 3U);
    EXPECT_EQ(answer.column(0).name, "id");
    EXPECT_EQ(answer.column(0).type_oid, 23U);
    EXPECT_EQ(answer.column(0).type_modifier, -1);
    EXPECT_EQ(answer.column(1).name, "name");
    EXPECT_EQ(answer.column(3).name, "");
    EXPECT_EQ(answer.find_column("ok"), 2U);
    EXPECT_EQ(answer.find_column("no"), std::nullopt);

    auto row = answer.begin();
    EXPECT_EQ((*row)[0].int64(), 1);
    EXPECT_EQ((*row)["name"].text(), "one");
    EXPECT_EQ((*row)[2].boolean(), true);
    ++row;
    EXPECT_EQ((*row)["id"].int64(), -2);
    EXPECT_TRUE((*row)["name"].is_null());
    EXPECT_EQ((*row)["name"].text(), "");
    EXPECT_EQ((*row)["ok"].boolean(), false);
    ++row;
    EXPECT_FALSE((*row)[1].is_null());
    EXPECT_EQ((*row)[1].text(), "");
    EXPECT_TRUE((*row)[2].is_null());
    EXPECT_TRUE((*row)[3].is_null()) << "no such column";
    EXPECT_TRUE((*row)["no such column"].is_null());
    EXPECT_EQ(++row, answer.end());
}

TEST(ClientAnswer, ReadsNoRowsAndNoColumns) {
    Answer answer;
    ASSERT_TRUE(test::fill(answer, WirePayload({{"a", 25}}).take()));
    EXPECT_TRUE(answer.empty());
    EXPECT_EQ(answer.begin(), answer.end());
    ASSERT_TRUE(test::fill(answer, WirePayload({}).row({}).row({}).take()));
    EXPECT_EQ(answer.row_count(), 2U);
    EXPECT_EQ(answer.column_count(), 0U);
    EXPECT_EQ(std::distance(answer.begin(), answer.end()), 2);
}

TEST(ClientAnswer, AnEmptyAnswerHasNothing) {
    const Answer answer;
    EXPECT_EQ(answer.row_count(), 0U);
    EXPECT_EQ(answer.column_count(), 0U);
    EXPECT_EQ(answer.begin(), answer.end());
    EXPECT_EQ(answer.find_column("a"), std::nullopt);
    EXPECT_TRUE(answer.payload().empty());
}

TEST(ClientAnswer, MovesWithItsBytes) {
    Answer first;
    ASSERT_TRUE(test::fill(first, small_payload()));
    Answer second = std::move(first);
    EXPECT_EQ(second.row_count(), 3U);
    EXPECT_EQ((*second.begin())["name"].text(), "one");
    ASSERT_TRUE(test::fill(first, small_payload())) << "a moved-from Answer can be filled again";
    EXPECT_EQ((*first.begin())["name"].text(), "one");
}

TEST(ClientAnswer, UnpacksCompressedPayloads) {
    WirePayload payload({{"text", 25}});
    for (int i = 0; i < 200; ++i) payload.row({"the same words again and again"});
    const std::string bytes = payload.take();
    Answer answer;
    ASSERT_TRUE(test::fill(answer, bytes));
    EXPECT_EQ(answer.row_count(), 200U);
    EXPECT_TRUE(std::ranges::equal(answer.payload(), bytes_of(bytes)));
}

TEST(ClientField, ConvertsOnlyWhatFits) {
    const auto field = [](std::string_view text) { return Field(text); };
    EXPECT_EQ(field("9223372036854775807").int64(), std::numeric_limits<std::int64_t>::max());
    EXPECT_EQ(field("9223372036854775808").int64(), std::nullopt);
    EXPECT_EQ(field("12x").int64(), std::nullopt);
    EXPECT_EQ(field(" 1").int64(), std::nullopt);
    EXPECT_EQ(field("").int64(), std::nullopt);
    EXPECT_EQ(field("1.5").float64(), 1.5);
    EXPECT_EQ(field("1e-3").float64(), 1e-3);
    EXPECT_EQ(field("Infinity").float64(), std::numeric_limits<double>::infinity());
    EXPECT_EQ(field("-Infinity").float64(), -std::numeric_limits<double>::infinity());
    EXPECT_TRUE(std::isnan(field("NaN").float64().value_or(0)));
    EXPECT_EQ(field("yes").boolean(), std::nullopt);
    EXPECT_EQ(Field().int64(), std::nullopt);
    EXPECT_EQ(Field().boolean(), std::nullopt);
}

TEST(ClientWire, RefusesEveryTruncation) {
    const std::string whole = small_payload();
    const std::vector<std::size_t> ends = test::message_ends(whole);
    for (std::size_t size = 0; size < whole.size(); ++size) {
        // An exact copy, so that a sanitizer sees a read past its end.
        const std::vector<std::byte> cut(bytes_of(whole).begin(),
                                         bytes_of(whole).begin() + static_cast<std::ptrdiff_t>(size));
        detail::WireRows rows;
        const bool at_message_end = std::ranges::find(ends, size) != ends.end();
        EXPECT_EQ(detail::WireRows::parse(cut, rows), at_message_end) << size;
    }
}

TEST(ClientAnswer, SaysNothingWhereThereIsNoAnswer) {
    Answer answer;
    EXPECT_EQ(answer.tier(), Tier::none);
    EXPECT_NE(answer.freshness(), Freshness::fresh);
    ASSERT_TRUE(test::fill(answer, small_payload()));
    AnswerWriter(answer).label(Tier::l1, Freshness::fresh, 7);
    const Answer moved = std::move(answer);
    EXPECT_EQ(moved.tier(), Tier::l1);
    EXPECT_EQ(answer.tier(), Tier::none);  // NOLINT(bugprone-use-after-move): what is left is what is asked
    EXPECT_NE(answer.freshness(), Freshness::fresh);
    EXPECT_EQ(to_string(Tier::none), "none");
}

// Few bytes that claim to be many when unpacked cost no memory.
TEST(ClientAnswer, ReservesNothingForWhatLz4CantBe) {
    const std::string payload = WirePayload({{"a", 25}}).row({std::string(100'000, 'x')}).take();
    std::vector<std::byte> bomb = test::wire_entry_of(payload);
    ASSERT_LT(bomb.size(), payload.size() / 50) << "compressed";
    Answer answer;
    EXPECT_TRUE(test::fill(answer, payload)) << "the best there is";
    constexpr std::size_t at_raw_length = 60;
    const std::uint32_t claimed = max_entry_payload_bytes;
    std::memcpy(bomb.data() + at_raw_length, &claimed, sizeof(claimed));
    EntryView view;
    ASSERT_EQ(decode_entry(bomb, view), StatusCode::ok);
    Answer victim;
    const std::size_t before = mallinfo2().hblkhd;
    EXPECT_FALSE(AnswerWriter(victim).accept(view));
    EXPECT_LT(mallinfo2().hblkhd, before + (std::size_t{1} << 20));
}

TEST(ClientWire, RefusesWhatIsNotRows) {
    detail::WireRows rows;
    const auto refused = [&](std::string bytes) { return !detail::WireRows::parse(bytes_of(bytes), rows); };
    const std::string good = small_payload();
    EXPECT_TRUE(refused(good + "x"));
    EXPECT_TRUE(refused(good + WirePayload({{"a", 25}}).take())) << "a second RowDescription";
    EXPECT_TRUE(refused(WirePayload({{"a", 25}}).row({"1", "2"}).take())) << "more values than columns";
    EXPECT_TRUE(refused(WirePayload({{"a", 25}, {"b", 25}}).row({"1"}).take()));
    std::string binary = WirePayload({{"a", 25}}).take();
    binary.back() = 1;  // the column's format
    EXPECT_TRUE(refused(binary));
    std::string negative = good;
    negative[1] = static_cast<char>(0xff);  // the first length
    EXPECT_TRUE(refused(negative));
}

// Whatever the bytes: refused, or walked from end to end within bounds.
TEST(ClientWire, SurvivesRandomDamage) {
    const std::string good = small_payload();
    std::minstd_rand random(1);
    for (int round = 0; round < 20'000; ++round) {
        std::vector<std::byte> damaged(bytes_of(good).begin(), bytes_of(good).end());
        const auto hits = 1 + random() % 4;
        for (unsigned i = 0; i < hits; ++i)
            damaged[random() % damaged.size()] = static_cast<std::byte>(random());
        Answer answer;
        std::string text(reinterpret_cast<const char*>(damaged.data()), damaged.size());
        if (!test::fill(answer, text)) continue;
        std::size_t seen = 0;
        for (const Row& row : answer) {
            for (std::size_t i = 0; i < row.size(); ++i) seen += row[i].text().size();
        }
        EXPECT_LE(seen, damaged.size());
    }
}

}  // namespace
}  // namespace tiercache
