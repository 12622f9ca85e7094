// Options: defaults, the TOML file, and a sentence for each mistake.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>

#include "client/redis_connection.hpp"
#include "tiercache/options.hpp"

namespace tiercache {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class ClientOptions : public ::testing::Test {
 protected:
    void TearDown() override { std::filesystem::remove(path_); }

    Result<Options> read(const std::string& toml) {
        std::ofstream(path_) << toml;
        return Options::from_toml(path_);
    }
    // The message of what must fail.
    std::string mistake(const std::string& toml) {
        const Result<Options> options = read(toml);
        EXPECT_FALSE(options.ok()) << toml;
        EXPECT_EQ(options.status().code(), StatusCode::invalid_argument);
        EXPECT_NE(options.status().message().find(path_), std::string::npos) << options.status().message();
        return options.status().message();
    }

    std::string path_ =
        (std::filesystem::temp_directory_path() / ("tc_options_" + std::to_string(getpid()) + ".toml"))
            .string();
};

bool contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

TEST_F(ClientOptions, DefaultsAreThoseOfTheDesign) {
    const Options options;
    EXPECT_EQ(options.policy(DataClass::hot).l1_ttl, seconds(300));
    EXPECT_EQ(options.policy(DataClass::hot).max_staleness, seconds(5));
    EXPECT_EQ(options.policy(DataClass::warm).l2_ttl, seconds(1800));
    EXPECT_EQ(options.policy(DataClass::warm).max_staleness, seconds(0));
    EXPECT_EQ(options.policy(DataClass::cold).l1_ttl, seconds(30));
    EXPECT_EQ(options.policy(DataClass::reference).l2_ttl, seconds(86400));
    EXPECT_EQ(options.default_class, DataClass::warm);
    EXPECT_TRUE(options.check().ok());
}

TEST_F(ClientOptions, ReadsEveryKey) {
    const Result<Options> read_options = read(R"(
        [l1]
        name = "/tiercache.app"
        size = "128 MiB"
        create = false
        group = "root"
        huge_pages = "try"
        huge_page_mount = "/dev/hugepages"
        [l2]
        address = "unix:/run/redis.sock"
        prefix = "shop:"
        username = "app"
        password = "secret"
        database = 3
        timeout_ms = 20
        entry_size_max = 4096
        idle_connections_max = 2
        [l4]
        conninfo = "dbname=shop"
        pool_size = 9
        connect_timeout_ms = 1500
        query_timeout_ms = 2500.0
        [clock]
        name = "none"
        [defaults]
        class = "hot"
        ttl_jitter = 0
        [classes.hot]
        l1_ttl_s = 1.5
        l2_ttl_s = 7
        max_staleness_s = 0
    )");
    ASSERT_TRUE(read_options.ok()) << read_options.status().message();
    const Options& options = *read_options;
    EXPECT_EQ(options.l1.name, "/tiercache.app");
    EXPECT_EQ(options.l1.size_bytes, std::size_t{128} << 20);
    EXPECT_FALSE(options.l1.create);
    EXPECT_EQ(options.l1.group, "root");
    EXPECT_EQ(options.l1.huge_pages, HugePages::attempt);
    EXPECT_EQ(options.l1.huge_page_mount, "/dev/hugepages");
    EXPECT_EQ(options.l2.address, "unix:/run/redis.sock");
    EXPECT_EQ(options.l2.prefix, "shop:");
    EXPECT_EQ(options.l2.username, "app");
    EXPECT_EQ(options.l2.password, "secret");
    EXPECT_EQ(options.l2.database, 3);
    EXPECT_EQ(options.l2.timeout, milliseconds(20));
    EXPECT_EQ(options.l2.entry_bytes_max, 4096U);
    EXPECT_EQ(options.l2.idle_connections_max, 2U);
    EXPECT_EQ(options.l4.conninfo, "dbname=shop");
    EXPECT_EQ(options.l4.pool_size, 9U);
    EXPECT_EQ(options.l4.connect_timeout, milliseconds(1500));
    EXPECT_EQ(options.l4.query_timeout, milliseconds(2500));
    EXPECT_EQ(options.clock_name, "none");
    EXPECT_EQ(options.default_class, DataClass::hot);
    EXPECT_EQ(options.ttl_jitter, 0);
    EXPECT_EQ(options.policy(DataClass::hot).l1_ttl, milliseconds(1500));
    EXPECT_EQ(options.policy(DataClass::hot).l2_ttl, seconds(7));
    EXPECT_EQ(options.policy(DataClass::hot).max_staleness, seconds(0));
    EXPECT_EQ(options.policy(DataClass::cold).l1_ttl, seconds(30)) << "what is not named keeps its default";
}

TEST_F(ClientOptions, AnEmptyFileGivesTheDefaults) {
    const Result<Options> options = read("");
    ASSERT_TRUE(options.ok()) << options.status().message();
    EXPECT_EQ(options->l4.pool_size, 4U);
}

TEST_F(ClientOptions, EachMistakeIsNamed) {
    EXPECT_TRUE(contains(mistake("[l1\n"), "line 1"));
    EXPECT_TRUE(contains(mistake("\n[l1]\nnmae = \"/x.y\"\n"), "line 3: there is no option l1.nmae"));
    EXPECT_TRUE(contains(mistake("[l3]\n"), "there is no option l3"));
    EXPECT_TRUE(contains(mistake("[classes.lukewarm]\n"), "classes.lukewarm"));
    EXPECT_TRUE(contains(mistake("[l1]\nname = 7\n"), "l1.name must be a string"));
    EXPECT_TRUE(contains(mistake("[l1]\nsize = \"12 parsecs\"\n"), "l1.size must be"));
    EXPECT_TRUE(contains(mistake("[l1]\ncreate = 1\n"), "true or false"));
    EXPECT_TRUE(contains(mistake("[l1]\ngroup = \"no such\"\n"), "there is no group \"no such\""));
    for (const char* wrong : {"\"attempt\"", "\"ON\"", "true", "\"\""}) {
        EXPECT_TRUE(contains(mistake(std::string("[l1]\nhuge_pages = ") + wrong + "\n"),
                             "l1.huge_pages must be \"off\", \"try\" or \"on\""))
            << wrong;
    }
    EXPECT_TRUE(contains(mistake("[l1]\ngroup = 7\n"), "l1.group must be a string"));
    EXPECT_TRUE(contains(mistake("[l4]\npool_size = -1\n"), "l4.pool_size must be"));
    EXPECT_TRUE(contains(mistake("[l4]\npool_size = 0\n"), "at least 1"));
    EXPECT_TRUE(contains(mistake("[l2]\ntimeout_ms = -5\n"), "not negative"));
    EXPECT_TRUE(contains(mistake("[l2]\ntimeout_ms = nan\n"), "not negative"));
    EXPECT_TRUE(contains(mistake("l2 = 4\n"), "l2 must be a table"));
    EXPECT_TRUE(contains(mistake("[l1]\nname = \"app\"\n"), "shared-memory name"));
    EXPECT_TRUE(contains(mistake("[l2]\naddress = \"redis://\"\n"), "Redis address"));
    EXPECT_TRUE(contains(mistake("[l4]\nconninfo = \"nonsense\"\n"), "connection string"));
    EXPECT_TRUE(contains(mistake("[clock]\nname = \"x\"\n"), "shared-memory name"));
    EXPECT_TRUE(contains(mistake("[defaults]\nclass = \"tepid\"\n"), "defaults.class"));
    EXPECT_TRUE(contains(mistake("[defaults]\nttl_jitter = 1\n"), "jitter"));
}

TEST_F(ClientOptions, AFileThatCantBeReadIsNamed) {
    const Result<Options> missing = Options::from_toml("/nonexistent/tiercache.toml");
    EXPECT_EQ(missing.status().code(), StatusCode::not_found);
    EXPECT_TRUE(contains(missing.status().message(), "/nonexistent/tiercache.toml"));
    EXPECT_FALSE(Options::from_toml("/").ok()) << "a folder";
}

TEST(ParseGroup, TakesNamesAndNumbers) {
    EXPECT_EQ(*parse_group(""), no_group);
    EXPECT_EQ(*parse_group("root"), 0U);
    EXPECT_EQ(*parse_group("64321"), 64321U);
    // The number that means none is no group either.
    for (const char* wrong : {"4294967295", "4294967296", "-1", "7x", " ", "no such"}) {
        EXPECT_EQ(parse_group(wrong).status().code(), StatusCode::invalid_argument) << wrong;
    }
}

TEST_F(ClientOptions, SetsOneByName) {
    Options options;
    EXPECT_TRUE(options.set("l1.name", "/tiercache.x").ok());
    EXPECT_EQ(options.l1.name, "/tiercache.x");
    EXPECT_TRUE(options.set("l1.size", "1GiB").ok());
    EXPECT_EQ(options.l1.size_bytes, std::size_t{1} << 30);
    EXPECT_TRUE(options.set("l4.pool_size", "12").ok());
    EXPECT_EQ(options.l4.pool_size, 12U);
    EXPECT_TRUE(options.set("l1.create", "false").ok());
    EXPECT_FALSE(options.l1.create);
    for (const auto& [text, value] : {std::pair("on", HugePages::on), std::pair("off", HugePages::off)}) {
        EXPECT_TRUE(options.set("l1.huge_pages", text).ok());
        EXPECT_EQ(options.l1.huge_pages, value);
    }
    EXPECT_TRUE(options.set("classes.cold.l1_ttl_s", "0.25").ok());
    EXPECT_EQ(options.policy(DataClass::cold).l1_ttl, milliseconds(250));
    EXPECT_TRUE(options.set("l2.password", "12").ok()) << "a string that looks like a number";
    EXPECT_EQ(options.l2.password, "12");
    EXPECT_EQ(options.set("l4.pool_size", "many").code(), StatusCode::invalid_argument);
    EXPECT_EQ(options.set("l4.pool_size", "1\nother = 2").code(), StatusCode::invalid_argument);
    EXPECT_EQ(options.set("l9.x", "1").code(), StatusCode::invalid_argument);
    EXPECT_EQ(options.set("", "1").code(), StatusCode::invalid_argument);
    EXPECT_EQ(options.set("...", "1").code(), StatusCode::invalid_argument);
    EXPECT_EQ(options.l4.pool_size, 12U) << "nothing changed";
}

TEST_F(ClientOptions, SetSaysWhatIsWrongInOneSentence) {
    Options options;
    const Status unknown = options.set("foo", "1");
    EXPECT_EQ(unknown.code(), StatusCode::invalid_argument);
    EXPECT_TRUE(unknown.message().starts_with("there is no option foo")) << unknown.message();
    // Parts without end would be tables in tables without end.
    std::string deep = "a";
    for (int i = 0; i < 60'000; ++i) deep += ".a";
    const Status status = options.set(deep, "1");
    EXPECT_EQ(status.code(), StatusCode::invalid_argument);
    EXPECT_LT(status.message().size(), 200U);
}

TEST(ClientSizes, Parse) {
    EXPECT_EQ(*parse_size("4096"), 4096U);
    EXPECT_EQ(*parse_size("8kB"), 8192U);
    EXPECT_EQ(*parse_size("64 MiB"), std::size_t{64} << 20);
    EXPECT_EQ(*parse_size("2g"), std::size_t{2} << 30);
    for (const char* wrong :
         {"", "MiB", "-1", "1.5MiB", "1 TiBs", "18446744073709551615k", "99999999999999999999"}) {
        EXPECT_FALSE(parse_size(wrong).ok()) << wrong;
    }
}

TEST(ClientRedisAddress, Parses) {
    EXPECT_EQ(parse_redis_address("unix:/a/b.sock")->path, "/a/b.sock");
    EXPECT_EQ(parse_redis_address("/a/b.sock")->path, "/a/b.sock");
    EXPECT_EQ(parse_redis_address("localhost:7000")->port, 7000);
    EXPECT_EQ(parse_redis_address("localhost")->port, 6379);
    EXPECT_EQ(parse_redis_address("[::1]:7000")->host, "::1");
    for (const char* wrong : {"", "unix:", "unix:relative", ":6379", "host:", "host:0", "host:65536",
                              "host:6379x", "redis://host", "[::1", "[::1]7000"}) {
        EXPECT_FALSE(parse_redis_address(wrong)) << wrong;
    }
}

}  // namespace
}  // namespace tiercache
