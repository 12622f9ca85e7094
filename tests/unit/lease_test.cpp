// Leases: one holder at a time, waiters that wait a bounded time, and a successor for the dead and the late.
#include "shm_cache/lease.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "shm_cache/monotonic_time.hpp"
#include "shm_cache/shared_memory.hpp"
#include "tests/unit/child_process.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;
using Claim = LeaseTable::Claim;

constexpr std::uint64_t long_us = 20'000'000;
constexpr std::uint64_t forever = UINT64_MAX;

double ms_since(std::uint64_t start_ns) { return static_cast<double>(monotonic_ns() - start_ns) / 1e6; }

class LeaseTest : public ::testing::Test {
 protected:
    LeaseTest() : segment_(Segment::create(name_, tiny_segment()).value()) {}

    static KeyHash key(std::uint64_t number) { return hash_key(key_of(number)); }

    // The words of all leases, as anybody who has the segment mapped may change them.
    std::span<LeaseWords> words() {
        if (!memory_) memory_ = SharedMemory::open(name_, true).value();
        std::uint64_t lock_file = 0;
        std::byte* base = memory_->bytes().data();
        const Geometry g = read_geometry(base, memory_->bytes().size(), lock_file).value();
        return {reinterpret_cast<LeaseWords*>(base + g.leases_at), g.lease_count};
    }

    // A process that claims the lease of key 1, says so, and sleeps with it.
    [[nodiscard]] ChildProcess holder(const Signal& holding, std::uint64_t cost_us) const {
        return ChildProcess([this, &holding, cost_us] {
            Result<Segment> segment = Segment::open(name_);
            Lease mine;
            HeldLease theirs;
            if (!segment.ok() || segment->leases().claim(key(1), cost_us, mine, theirs) != Claim::mine)
                return 1;
            holding.send();
            pause();
            return 0;
        });
    }

    // Waits for the lease of key 1 as the shared cache does; how many milliseconds it took.
    double claim_after_waiting(Lease& mine, std::uint64_t cost_us) {
        const std::uint64_t start = monotonic_ns();
        HeldLease theirs;
        while (segment_.leases().claim(key(1), cost_us, mine, theirs) == Claim::theirs) {
            LeaseTable::wait(theirs, forever);
        }
        return ms_since(start);
    }

    SegmentName name_;
    Segment segment_;
    std::optional<SharedMemory> memory_;
};

TEST_F(LeaseTest, OneHoldsItUntilItLetsGo) {
    Lease mine;
    Lease other;
    HeldLease theirs;
    LeaseTable& leases = segment_.leases();
    ASSERT_EQ(leases.claim(key(1), long_us, mine, theirs), Claim::mine);
    EXPECT_TRUE(mine.held());
    EXPECT_EQ(leases.claim(key(1), long_us, other, theirs), Claim::theirs);
    EXPECT_FALSE(other.held());
    EXPECT_EQ(leases.claim(key(2), long_us, other, theirs), Claim::mine);
    const std::uint32_t sequence = mine.sequence();
    mine.release();
    EXPECT_FALSE(mine.held());
    ASSERT_EQ(leases.claim(key(1), long_us, mine, theirs), Claim::mine);
    EXPECT_GT(mine.sequence(), sequence);
}

TEST_F(LeaseTest, MovingALeaseLetsGoOfItOnce) {
    Lease first;
    HeldLease theirs;
    ASSERT_EQ(segment_.leases().claim(key(1), long_us, first, theirs), Claim::mine);
    {
        const Lease second(std::move(first));
        EXPECT_TRUE(second.held());
        Lease third;
        EXPECT_EQ(segment_.leases().claim(key(1), long_us, third, theirs), Claim::theirs);
    }
    EXPECT_EQ(segment_.leases().claim(key(1), long_us, first, theirs), Claim::mine);
}

TEST_F(LeaseTest, AReleaseWakesWhoWaits) {
    Lease mine;
    HeldLease theirs;
    ASSERT_EQ(segment_.leases().claim(key(1), long_us, mine, theirs), Claim::mine);
    // Each wait is one slice at most: many rounds, each woken well before it.
    int woken_early = 0;
    constexpr int rounds = 50;
    for (int round = 0; round < rounds; ++round) {
        Signal ready;
        std::thread waiter([&] {
            Lease own;
            HeldLease held;
            ASSERT_EQ(segment_.leases().claim(key(1), long_us, own, held), Claim::theirs);
            ready.send();
            const std::uint64_t start = monotonic_ns();
            LeaseTable::wait(held, forever);
            if (ms_since(start) < 15) ++woken_early;
        });
        ready.wait();
        std::this_thread::sleep_for(std::chrono::milliseconds(3));
        mine.release();
        waiter.join();
        ASSERT_EQ(segment_.leases().claim(key(1), long_us, mine, theirs), Claim::mine);
    }
    EXPECT_GT(woken_early, rounds / 2);
}

TEST_F(LeaseTest, AKilledHolderIsReplacedLongBeforeItsDeadline) {
    const Signal holding;
    ChildProcess child = holder(holding, long_us);
    holding.wait();
    Lease mine;
    HeldLease theirs;
    ASSERT_EQ(segment_.leases().claim(key(1), long_us, mine, theirs), Claim::theirs);
    child.kill_and_wait();
    EXPECT_LT(claim_after_waiting(mine, long_us), 2000);
    EXPECT_TRUE(mine.held());
}

TEST_F(LeaseTest, AStoppedHolderIsReplacedAtItsDeadlineAndNotBefore) {
    const Signal holding;
    const ChildProcess child = holder(holding, 100'000);
    holding.wait();
    child.stop();
    Lease mine;
    const double waited = claim_after_waiting(mine, 100'000);
    EXPECT_GT(waited, 100);  // the bound is 200 ms, and the child had it for a while
    EXPECT_LT(waited, 2000);
    EXPECT_TRUE(mine.held());
    child.go_on();
}

TEST_F(LeaseTest, AHolderStoppedBeforeItCouldSetADeadlineIsLateAllTheSame) {
    const Signal holding;
    const ChildProcess child = holder(holding, long_us);
    holding.wait();
    child.stop();
    for (LeaseWords& lease : words()) lease.deadline.store(0);
    Lease mine;
    EXPECT_LT(claim_after_waiting(mine, 100'000), 2000);
    EXPECT_TRUE(mine.held());
}

TEST_F(LeaseTest, ALateHolderFindsThatItIsNoLongerOne) {
    Lease late;
    Lease mine;
    HeldLease theirs;
    ASSERT_EQ(segment_.leases().claim(key(1), 1, late, theirs), Claim::mine);
    (void)claim_after_waiting(mine, 1);
    EXPECT_FALSE(late.held());
    EXPECT_TRUE(mine.held());
    EXPECT_EQ(mine.sequence(), late.sequence() + 1);
    late.release();  // not its to give back
    EXPECT_TRUE(mine.held());
    // It counts as slow now: the next deadline is farther off.
    ASSERT_EQ(segment_.leases().claim(key(1), 1, late, theirs), Claim::theirs);
    EXPECT_GT(theirs.deadline_ms * 1'000'000, monotonic_ns() + lease_bound_ms_min * 1'000'000);
}

TEST_F(LeaseTest, TheDeadlineFollowsWhatTheValueCost) {
    Lease mine;
    Lease other;
    HeldLease theirs;
    const auto bound_ms = [&] {
        EXPECT_EQ(segment_.leases().claim(key(1), long_us, mine, theirs), Claim::mine);
        EXPECT_EQ(segment_.leases().claim(key(1), long_us, other, theirs), Claim::theirs);
        return static_cast<double>(theirs.deadline_ms) - static_cast<double>(monotonic_ns()) / 1e6;
    };
    EXPECT_NEAR(bound_ms(), 40'000, 200);
    mine.note_cost(1'000'000);
    mine.release();
    EXPECT_NEAR(bound_ms(), 2'000, 200);
    mine.note_cost(3'000'000);  // the average moves a quarter of the way
    mine.release();
    EXPECT_NEAR(bound_ms(), 3'000, 200);
}

TEST_F(LeaseTest, WhenAllPlacesAreHeldThereIsNone) {
    std::vector<Lease> held;
    for (std::uint64_t k = 0; k < 1000; ++k) {
        Lease mine;
        HeldLease theirs;
        if (segment_.leases().claim(key(k), long_us, mine, theirs) == Claim::mine) {
            held.push_back(std::move(mine));
        }
    }
    EXPECT_EQ(held.size(), words().size());
    Lease mine;
    HeldLease theirs;
    EXPECT_EQ(segment_.leases().claim(key(5000), long_us, mine, theirs), Claim::none);
    held.clear();
    EXPECT_EQ(segment_.leases().claim(key(5000), long_us, mine, theirs), Claim::mine);
}

TEST_F(LeaseTest, PlacesOfTheDeadAreUsedAgain) {
    ChildProcess child([this] {
        Result<Segment> segment = Segment::open(name_);
        std::vector<Lease> held(1000);
        HeldLease theirs;
        for (std::uint64_t k = 0; k < 1000; ++k) {
            (void)segment->leases().claim(key(k), long_us, held[k], theirs);
        }
        raise(SIGKILL);
        return 0;
    });
    EXPECT_EQ(child.wait(), 128 + SIGKILL);
    Lease mine;
    HeldLease theirs;
    EXPECT_EQ(segment_.leases().claim(key(5000), long_us, mine, theirs), Claim::mine);
}

TEST_F(LeaseTest, AForkedChildDoesNotGiveBackItsParentsLease) {
    Lease mine;
    HeldLease theirs;
    ASSERT_EQ(segment_.leases().claim(key(1), long_us, mine, theirs), Claim::mine);
    ChildProcess child([&] {
        if (mine.held()) return 1;
        mine.release();
        Lease own;
        return segment_.leases().claim(key(1), long_us, own, theirs) == Claim::theirs ? 0 : 2;
    });
    EXPECT_EQ(child.wait(), 0);
    EXPECT_TRUE(mine.held());
}

// I8: at most one holder a sequence, with processes that die and are late all the time.
TEST_F(LeaseTest, NoTwoProcessesHoldOneSequence) {
    struct Shared {
        std::array<std::atomic<std::uint32_t>, 1U << 16> holders;
        std::atomic<std::uint64_t> claims;
    };
    void* mapped = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(mapped, MAP_FAILED);
    auto* shared = new (mapped) Shared{};
    const auto work = [&](unsigned seed) {
        Result<Segment> segment = Segment::open(name_);
        if (!segment.ok()) return 1;
        std::mt19937 random(seed);
        for (int i = 0; i < 1500; ++i) {
            Lease mine;
            HeldLease theirs;
            switch (segment->leases().claim(key(1), 1, mine, theirs)) {
                case Claim::none:
                    return 2;
                case Claim::theirs:
                    LeaseTable::wait(theirs, forever);
                    break;
                case Claim::mine:
                    if (shared->holders[mine.sequence() & 0xffff].fetch_add(1) != 0) return 3;
                    shared->claims.fetch_add(1);
                    if (random() % 200 == 0) usleep(lease_bound_ms_min * 2000);  // late
                    if (random() % 400 == 0) raise(SIGKILL);
                    break;
            }
        }
        return 0;
    };
    std::vector<ChildProcess> children;
    for (unsigned seed = 0; seed < 12; ++seed) children.emplace_back([&, seed] { return work(seed); });
    for (ChildProcess& child : children) {
        const int status = child.wait();
        EXPECT_TRUE(status == 0 || status == 128 + SIGKILL) << status;
    }
    EXPECT_GT(shared->claims.load(), 500U);
    ASSERT_LT(shared->claims.load(), shared->holders.size());
    munmap(mapped, sizeof(Shared));
}

TEST_F(LeaseTest, AnyBytesCostABoundedWaitAtMost) {
    std::mt19937_64 random(7);
    const std::uint64_t start = monotonic_ns();
    Lease own;
    HeldLease theirs;
    ASSERT_EQ(segment_.leases().claim(key(1), 1, own, theirs), Claim::mine);
    std::uint64_t held_by_me = 0;
    for (const LeaseWords& lease : words()) held_by_me |= lease.state.load();
    for (int round = 0; round < 500; ++round) {
        for (LeaseWords& lease : words()) {
            // Half of them are held by the living.
            const std::uint64_t state = random();
            lease.state.store(random() % 2 == 0 ? state : (state & ~0xfffffffULL) | (held_by_me & 0xfffffff));
            lease.deadline.store(random() % 4 == 0 ? monotonic_ns() / 1'000'000 : random());
            lease.cost.store(random());
        }
        Lease mine;
        if (segment_.leases().claim(key(static_cast<std::uint64_t>(round)), 1, mine, theirs) ==
            Claim::theirs) {
            EXPECT_LE(theirs.deadline_ms, monotonic_ns() / 1'000'000 + lease_bound_ms_max);
            LeaseTable::wait(theirs, forever);
        }
        mine.note_cost(random());
    }
    EXPECT_LT(ms_since(start), 60'000);
}

}  // namespace
}  // namespace tiercache
