// The key of a query: different questions have different keys.
#include "shm_cache/query_key.hpp"

#include <gtest/gtest.h>

#include <set>

#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;

Bytes key(std::string_view session, std::string_view sql, const std::vector<QueryParam>& params,
          PayloadFormat format = PayloadFormat::pg_wire) {
    Bytes out(query_key_bytes(bytes_of(session), sql, params));
    const auto written = write_query_key(format, bytes_of(session), sql, params, out);
    EXPECT_EQ(written.size(), out.size());
    EXPECT_EQ(written.data(), out.data());
    return out;
}

TEST(QueryKey, BytesAreWhereTheFormatSaysTheyAre) {
    const Bytes actual = key("se", "sql", {std::nullopt, "", "xy"}, PayloadFormat::json);
    const std::string expected(
        "\1\1\0\0"
        "\2\0\0\0se"
        "\3\0\0\0sql"
        "\3\0\0\0"
        "\xff\xff\xff\xff"
        "\0\0\0\0"
        "\2\0\0\0xy",
        35);
    EXPECT_TRUE(std::ranges::equal(actual, bytes_of(expected)));
}

TEST(QueryKey, EverythingCounts) {
    const std::set<Bytes> keys = {
        key("s", "q", {}),         key("s", "q", {}, PayloadFormat::json),
        key("sq", "", {}),         key("", "sq", {}),
        key("s", "q", {""}),       key("s", "q", {std::nullopt}),
        key("s", "q", {"", ""}),   key("s", "q", {"a", "b"}),
        key("s", "q", {"b", "a"}), key("s", "q", {"ab"}),
        key("s", "q", {"ab", ""}), key("s", "q", {"", "ab"}),
        key("s", "q ", {}),        key("t", "q", {}),
    };
    EXPECT_EQ(keys.size(), 14U);
}

}  // namespace
}  // namespace tiercache
