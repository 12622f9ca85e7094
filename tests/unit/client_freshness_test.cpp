// The client's judgement of an entry: every way to be not fresh, and what a staleness limit allows.
#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "client/circuit_breaker.hpp"
#include "client/freshness.hpp"
#include "client/published.hpp"
#include "client/rate_limit.hpp"
#include "tests/unit/client_wire.hpp"

namespace tiercache {
namespace {

constexpr std::uint64_t second_ns = 1'000'000'000;
constexpr Tag tag = 7;

class ClientFreshness : public ::testing::Test {
 protected:
    void SetUp() override {
        memory_.resize(ClockTable::size_bytes(64) / sizeof(Line));
        table_ = *ClockTable::format(std::as_writable_bytes(std::span(memory_)), 64);
        table_.restart(/*epoch=*/3, /*floor=*/100);
        table_.renew_lease(monotonic_ns() + 3600 * second_ns);
        fields_.epoch = 3;
        fields_.stamp = 200;
        fields_.lifetime = {.received_at_ns = monotonic_ns(), .age_ms = 40, .hard_ttl_ms = 60'000};
    }

    Judged judged(const ReadRules& rules = {}) {
        const std::array<Tag, 1> tags = {tag};
        bytes_ = test::wire_entry_of("payload", fields_, tags);
        EntryView view;
        EXPECT_EQ(decode_entry(bytes_, view), StatusCode::ok);
        return judge(view, table_, rules);
    }

    struct alignas(64) Line {
        std::array<std::byte, 64> bytes{};
    };
    std::vector<Line> memory_;
    std::vector<std::byte> bytes_;
    ClockTable table_;
    EntryFields fields_;
};

TEST_F(ClientFreshness, FreshUntilItsTagChanges) {
    EXPECT_EQ(judged().judgement, Judgement::fresh);
    EXPECT_GE(judged().age_ms, 40U);
    table_.begin_write(tag);
    EXPECT_EQ(judged().judgement, Judgement::being_written);
    table_.cancel_write(tag);
    EXPECT_EQ(judged().judgement, Judgement::fresh) << "a rollback changes nothing";
    table_.begin_write(tag);
    table_.end_write(tag, 201);
    EXPECT_EQ(judged().judgement, Judgement::changed);
    fields_.stamp = 201;
    EXPECT_EQ(judged().judgement, Judgement::fresh) << "computed after the change";
}

TEST_F(ClientFreshness, DeadAfterARestartOfTheAuthority) {
    table_.raise_floor(201);
    EXPECT_EQ(judged().judgement, Judgement::outdated);
    fields_.stamp = 300;
    EXPECT_EQ(judged().judgement, Judgement::fresh);
    fields_.epoch = 4;
    EXPECT_EQ(judged().judgement, Judgement::outdated) << "another authority";
}

TEST_F(ClientFreshness, NothingIsFreshWithoutAVouchedForTable) {
    table_.renew_lease(monotonic_ns() - 1);
    EXPECT_EQ(judged().judgement, Judgement::unvouched);
    table_ = ClockTable();
    EXPECT_EQ(judged().judgement, Judgement::unvouched);
}

TEST_F(ClientFreshness, StaleOnlyBelowTheLimitAndNotBeforeTheToken) {
    table_.begin_write(tag);
    table_.end_write(tag, 300);
    EXPECT_EQ(judged({.max_staleness_ms = 0}).judgement, Judgement::changed);
    EXPECT_EQ(judged({.max_staleness_ms = 40}).judgement, Judgement::changed)
        << "40 ms old is not below 40 ms";
    const Judged stale = judged({.max_staleness_ms = 30'000});
    EXPECT_EQ(stale.judgement, Judgement::stale);
    EXPECT_GE(stale.age_ms, 40U);
    EXPECT_EQ(judged({.max_staleness_ms = 30'000, .token = 200}).judgement, Judgement::stale);
    EXPECT_EQ(judged({.max_staleness_ms = 30'000, .token = 201}).judgement, Judgement::changed);
    fields_.lifetime.age_ms = 30'000;
    EXPECT_EQ(judged({.max_staleness_ms = 30'000}).judgement, Judgement::changed)
        << "age came with the entry";
}

TEST_F(ClientFreshness, AFreshEntrySatisfiesAToken) {
    EXPECT_EQ(judged({.token = 250}).judgement, Judgement::fresh);
}

TEST_F(ClientFreshness, ItsTimeEndsWhateverIsAllowed) {
    fields_.lifetime.received_at_ns = monotonic_ns() - 61 * second_ns;
    EXPECT_EQ(judged({.max_staleness_ms = UINT32_MAX}).judgement, Judgement::expired);
    fields_.lifetime.received_at_ns = monotonic_ns() + 3600 * second_ns;
    EXPECT_EQ(judged({.max_staleness_ms = UINT32_MAX}).judgement, Judgement::expired) << "from the future";
}

TEST(ClientCircuitBreaker, PausesGrowAndEnd) {
    constexpr std::uint64_t ms = 1'000'000;
    CircuitBreaker breaker;
    std::uint64_t now = 1'000 * ms;
    EXPECT_TRUE(breaker.allow(now));
    breaker.failed(now);
    breaker.failed(now);  // another call that was under way
    EXPECT_FALSE(breaker.allow(now + 99 * ms));
    now += 100 * ms;
    EXPECT_TRUE(breaker.allow(now)) << "one trial";
    EXPECT_FALSE(breaker.allow(now)) << "and only one";
    breaker.failed(now);
    EXPECT_FALSE(breaker.allow(now + 199 * ms)) << "the second pause is longer";
    EXPECT_TRUE(breaker.allow(now + 200 * ms));
    breaker.succeeded();
    EXPECT_TRUE(breaker.closed());
    EXPECT_TRUE(breaker.allow(now));
    EXPECT_EQ(CircuitBreaker::pause_ns(1'000), 30'000 * ms) << "bounded";
}

TEST(ClientPublished, KeepsWhatReadersMayStillHold) {
    Published<const int> published;
    EXPECT_EQ(published.get(), nullptr);
    ASSERT_TRUE(published.publish(std::make_unique<const int>(1)));
    const int* first = published.get();
    ASSERT_TRUE(published.publish(std::make_unique<const int>(2)));
    EXPECT_EQ(*first, 1);
    EXPECT_EQ(*published.get(), 2);
    EXPECT_TRUE(published.republish([](int v) { return v == 1; }));
    EXPECT_EQ(published.get(), first);
    EXPECT_FALSE(published.republish([](int v) { return v == 3; }));
    published.withdraw();
    EXPECT_EQ(published.get(), nullptr);
    for (std::size_t i = 2; i < Published<const int>::versions_max; ++i) {
        ASSERT_TRUE(published.publish(std::make_unique<const int>(0)));
    }
    EXPECT_FALSE(published.publish(std::make_unique<const int>(0)));
}

TEST(ClientRateLimit, LetsOneThroughAnInterval) {
    RateLimit limit{std::chrono::hours(1)};
    EXPECT_TRUE(limit.pass());
    EXPECT_FALSE(limit.pass());
}

}  // namespace
}  // namespace tiercache
