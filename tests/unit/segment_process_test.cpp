// Several processes on one named segment: shared work, death at any moment, stops at any moment, fork.
#include <gtest/gtest.h>

#include <array>
#include <thread>

#include "shm_cache/layout.hpp"
#include "shm_cache/lock_file.hpp"
#include "shm_cache/process_table.hpp"
#include "shm_cache/shared_memory.hpp"
#include "tests/unit/child_process.hpp"
#include "tests/unit/segment_inside.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
constexpr int rounds = 20;
constexpr int steps = 3'000;
constexpr int races = 1'000;
#else
constexpr int rounds = 120;
constexpr int steps = 30'000;
constexpr int races = 5'000;
#endif

class ProcessTest : public ::testing::Test {
 public:
    ProcessTest() : segment_(Segment::create(name_, tiny_segment()).value()) {}

    // Another look at the same bytes, as some process has them mapped.
    struct Inside {
        SharedMemory memory;
        Geometry geometry;
        BlockTable blocks;
        [[nodiscard]] BlockLife open() const { return open_block(memory.bytes().data()); }
    };
    [[nodiscard]] Inside inside() const {
        Inside in{SharedMemory::open(name_, true).value(), {}, {}};
        std::uint64_t lock_file = 0;
        std::byte* base = in.memory.bytes().data();
        in.geometry = read_geometry(base, in.memory.bytes().size(), lock_file).value();
        in.blocks = BlockTable(base, in.geometry);
        return in;
    }
    static ProcessTable join(const Inside& in, const std::string& name) {
        return ProcessTable::join(in.memory.bytes().data(), in.geometry,
                                  std::make_shared<LockFile>(LockFile::open(name).value()), 0);
    }

    void fill(std::uint64_t blocks) {
        const Inside in = inside();
        for (std::uint64_t moved = 0; moved < blocks;) {
            const BlockLife before = in.open();
            ASSERT_TRUE(segment_.put(oracle_entry(next_key_, next_key_, 300)).ok());
            ++next_key_;
            if (!(in.open() == before)) ++moved;
        }
    }

    // After the living went around once, nothing is left of the dead.
    void expect_nothing_left_behind() {
        const Inside in = inside();
        fill(std::uint64_t{2} * in.blocks.count());
        EXPECT_EQ(check_blocks(in.memory.bytes().data(), in.blocks), "");
        EXPECT_GE(segment_.stats().free_blocks, 1U);
    }

    SegmentName name_;
    Segment segment_;
    std::uint64_t next_key_ = 1'000'000;
};

TEST_F(ProcessTest, OneProcessSeesWhatAnotherPut) {
    ChildProcess child([this] {
        Segment mine = Segment::open(name_).value();
        return mine.put(oracle_entry(1, 5, 100)).ok() ? 0 : 1;
    });
    ASSERT_EQ(child.wait(), 0);
    const Lookup found = look_up(segment_, 1);
    EXPECT_TRUE(found.hit && found.ok);
    EXPECT_EQ(found.sequence, 5U);
    EXPECT_EQ(segment_.stats().puts, 1U);
}

TEST_F(ProcessTest, ManyProcessesAtOnce) {
    std::vector<ChildProcess> children;
    for (std::uint64_t c = 0; c < 5; ++c) {
        children.emplace_back([this, c] {
            // Half of them open it themselves, half go on with what they inherited.
            std::optional<Segment> own;
            if (c % 2 == 0) own.emplace(Segment::open(name_).value());
            Segment& mine = own ? *own : segment_;
            Actor actor(c, 1000 * (c + 1));
            for (int i = 0; i < steps; ++i) {
                if (const std::string wrong = actor.step(mine); !wrong.empty()) {
                    fprintf(stderr, "seed %d: %s\n", static_cast<int>(c), wrong.c_str());
                    return 1;
                }
            }
            return 0;
        });
    }
    for (ChildProcess& child : children) EXPECT_EQ(child.wait(), 0);
    expect_nothing_left_behind();
    EXPECT_GT(segment_.stats().reclaimed_blocks, 100U);
}

TEST_F(ProcessTest, WritersKilledAtAnyMomentLeaveNothingBehind) {
    std::mt19937_64 random(20260101);
    Actor actor(1, 500'000);
    for (int round = 0; round < rounds; ++round) {
        const std::uint64_t seed = random();
        Signal begun;
        ChildProcess child([&] {
            Segment mine = Segment::open(name_).value();
            Actor victim(seed, 900'000);
            begun.send();
            for (;;) {
                if (!victim.step(mine).empty()) return 1;
            }
        });
        begun.wait();
        for (std::uint64_t i = 0, n = random() % 400; i < n; ++i)
            ASSERT_EQ(actor.step(segment_), "") << round;
        ASSERT_EQ(child.kill_and_wait(), 128 + SIGKILL) << "seed " << seed;
        for (int i = 0; i < 200; ++i) ASSERT_EQ(actor.step(segment_), "") << round;
    }
    expect_nothing_left_behind();
}

// A stopped process holds at most one block, and writes nothing into one that was recycled meanwhile.
TEST_F(ProcessTest, WritersStoppedAtAnyMomentHarmNobody) {
    std::mt19937_64 random(20260102);
    Actor actor(1, 500'000);
    Signal begun;
    ChildProcess child([&] {
        Segment mine = Segment::open(name_).value();
        Actor stopped(2, 900'000);
        begun.send();
        for (;;) {
            if (!stopped.step(mine).empty()) return 1;
        }
    });
    begun.wait();
    for (int round = 0; round < rounds; ++round) {
        child.stop();
        const SegmentStats before = segment_.stats();
        for (int i = 0; i < 1000; ++i) ASSERT_EQ(actor.step(segment_), "") << round;
        const SegmentStats after = segment_.stats();
        EXPECT_GE(after.reclaimed_blocks, before.reclaimed_blocks + 10);
        EXPECT_EQ(after.put_failures, before.put_failures);
        child.go_on();
        for (std::uint64_t i = 0, n = random() % 300; i < n; ++i)
            ASSERT_EQ(actor.step(segment_), "") << round;
    }
    ASSERT_EQ(child.kill_and_wait(), 128 + SIGKILL);
    expect_nothing_left_behind();
}

TEST_F(ProcessTest, APinLivesAsLongAsItsProcess) {
    ASSERT_TRUE(segment_.put(oracle_entry(next_key_++, 1, 200)).ok());
    Signal pinned;
    const BlockLife open = inside().open();
    ChildProcess child([&] {
        const Inside in = inside();
        ProcessTable table = join(in, name_);
        const std::optional<Pin> pin = table.pin(open);
        pinned.send();
        for (;;) pause();
        return 0;
    });
    pinned.wait();
    const Inside in = inside();
    fill(std::uint64_t{3} * in.blocks.count());
    EXPECT_EQ(in.blocks.state(open.block).generation, open.generation);
    child.stop();
    fill(std::uint64_t{3} * in.blocks.count());
    EXPECT_EQ(in.blocks.state(open.block).generation, open.generation);
    child.kill_and_wait();
    fill(std::uint64_t{2} * in.blocks.count());
    EXPECT_GT(in.blocks.state(open.block).generation, open.generation);
}

// A process does not see its own lock: its threads' pins hold all the same.
TEST_F(ProcessTest, APinOfOnesOwnHoldsToo) {
    ASSERT_TRUE(segment_.put(oracle_entry(next_key_++, 1, 200)).ok());
    const Inside in = inside();
    ProcessTable table = join(in, name_);
    const BlockLife open = in.open();
    std::optional<Pin> pin = table.pin(open);
    ASSERT_TRUE(pin);
    EXPECT_TRUE(table.pinned(open));
    EXPECT_FALSE(table.dead(table.self()));
    pin.reset();
    EXPECT_FALSE(table.pinned(open));
}

TEST_F(ProcessTest, ABlockInReclamationChangesHandsWhenItsOwnerDies) {
    fill(inside().blocks.count() - 3);
    const Inside in = inside();
    std::uint32_t block = 0;
    while (in.blocks.state(block).phase != BlockPhase::sealed) ++block;
    const BlockState state = in.blocks.state(block);
    Signal taken;
    ChildProcess child([&] {
        Inside mine = inside();
        ProcessTable table = join(mine, name_);
        if (!mine.blocks.change(block, state,
                                {state.generation, BlockPhase::reclaiming, table.self(), state.stream}))
            return 1;
        taken.send();
        for (;;) pause();
        return 0;
    });
    taken.wait();
    fill(std::uint64_t{3} * in.blocks.count());
    EXPECT_EQ(in.blocks.state(block).phase, BlockPhase::reclaiming);
    EXPECT_EQ(in.blocks.state(block).generation, state.generation);
    child.kill_and_wait();
    fill(std::uint64_t{2} * in.blocks.count());
    EXPECT_GT(in.blocks.state(block).generation, state.generation);
    expect_nothing_left_behind();
}

// ---- the process table ---------------------------------------------------------------------------

// With all slots taken a process still looks; it puts as soon as a slot is free.
TEST_F(ProcessTest, SlotsAreTakenOnceAndGivenBack) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 50)).ok());
    const std::uint32_t slots = inside().geometry.process_slots;
    std::vector<Segment> segments;
    while (segments.size() + 1 < slots) {
        segments.push_back(Segment::open(name_).value());
        ASSERT_TRUE(segments.back().put(oracle_entry(1, 1, 50)).ok());
    }
    Result<Segment> late = Segment::open(name_);
    ASSERT_TRUE(late.ok()) << late.status().to_string();
    EXPECT_TRUE(look_up(*late, 1).hit);
    EXPECT_EQ(late->stats().items, 1U);
    EXPECT_EQ(late->put(oracle_entry(2, 1, 50)).code(), StatusCode::no_space);
    EXPECT_TRUE(erase_key(*late, 1));
    segments.pop_back();
    EXPECT_TRUE(late->put(oracle_entry(2, 1, 50)).ok());
    EXPECT_EQ(Segment::open(name_)->put(oracle_entry(3, 1, 50)).code(), StatusCode::no_space);
    segments.clear();
    // And those of the killed.
    for (std::uint32_t i = 0; i < 2 * slots; ++i) {
        Signal opened;
        ChildProcess child([&] {
            const Segment mine = Segment::open(name_).value();
            opened.send();
            for (;;) pause();
            return 0;
        });
        opened.wait();
    }
    EXPECT_TRUE(Segment::open(name_)->put(oracle_entry(4, 1, 50)).ok());
}

// One thread claims a slot while another buries whoever had it before.
TEST_F(ProcessTest, ASlotJustClaimedIsNotBuried) {
    const Inside in = inside();
    const std::uint32_t slots = in.geometry.process_slots;
    std::vector<Segment> others;
    while (others.size() + 2 < slots) others.push_back(Segment::open(name_).value());
    const std::uint32_t last = slots - 1;
    ProcessSlot& slot =
        reinterpret_cast<ProcessSlot*>(in.memory.bytes().data() + in.geometry.process_slots_at)[last];
    const LockFile probe = LockFile::open(name_).value();
    const BlockLife life = in.open();
    for (int round = 0; round < races; ++round) {
        std::optional<Segment> holder = Segment::open(name_).value();
        ASSERT_TRUE(probe.slot_locked_by_other(last));
        ProcessTable late = join(in, name_);
        holder.reset();
        // Somebody who died with a pin.
        slot.pins[0].store(life.pack());
        slot.identity.store(slot.identity.load() | 0x7fffffff);
        std::atomic<bool> begun{false};
        std::atomic<bool> done{false};
        std::thread other([&] {
            while (!begun.load()) {
            }
            // Different moments of the claim.
            for (int i = 0; i < round % 64 * 16; ++i) (void)begun.load();
            while (!done.load()) (void)late.pinned(life);
            (void)late.pinned(life);
        });
        begun.store(true);
        const bool claimed = late.claim_slot();
        done.store(true);
        other.join();
        // A slot whose lock the other thread just held is not to be had: then there is nothing to see.
        if (!claimed) continue;
        ASSERT_TRUE(probe.slot_locked_by_other(last)) << round;
        ASSERT_EQ(static_cast<pid_t>(slot.identity.load() & UINT32_MAX), getpid()) << round;
    }
}

TEST_F(ProcessTest, AForkedChildGetsASlotOfItsOwn) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 50)).ok());
    Signal used;
    Signal checked;
    ChildProcess child([&] {
        const bool ok = look_up(segment_, 1).hit && segment_.put(oracle_entry(2, 2, 50)).ok();
        used.send();
        checked.wait();
        return ok ? 0 : 1;
    });
    used.wait();
    const Inside in = inside();
    const auto* slots =
        reinterpret_cast<const ProcessSlot*>(in.memory.bytes().data() + in.geometry.process_slots_at);
    EXPECT_EQ(static_cast<pid_t>(slots[0].identity.load() & UINT32_MAX), getpid());
    EXPECT_EQ(static_cast<pid_t>(slots[1].identity.load() & UINT32_MAX), child.pid());
    checked.send();
    EXPECT_EQ(child.wait(), 0);
    EXPECT_TRUE(look_up(segment_, 2).hit);
    // The child went without a word; this process's slot is its own as before.
    EXPECT_EQ(static_cast<pid_t>(slots[0].identity.load() & UINT32_MAX), getpid());
    LockFile probe = LockFile::open(name_).value();
    EXPECT_TRUE(probe.slot_locked_by_other(0));
    EXPECT_FALSE(probe.slot_locked_by_other(1));
}

// A child that outlives its parent does not keep the parent's slot alive.
TEST_F(ProcessTest, TheSlotOfADeadParentIsFree) {
    Signal forked;
    Signal finish;
    ChildProcess parent([&] {
        Segment mine = Segment::open(name_).value();
        const pid_t grandchild = fork();
        if (grandchild == 0) {
            forked.send();
            finish.wait();
            _exit(mine.put(oracle_entry(3, 3, 50)).ok() ? 0 : 1);
        }
        for (;;) pause();
        return 0;
    });
    forked.wait();
    LockFile probe = LockFile::open(name_).value();
    EXPECT_TRUE(probe.slot_locked_by_other(1));
    parent.kill_and_wait();
    EXPECT_FALSE(probe.slot_locked_by_other(1));
    finish.send();
    for (int i = 0; i < 10'000 && !look_up(segment_, 3).hit; ++i) usleep(1000);
    EXPECT_TRUE(look_up(segment_, 3).hit);
}

// A child that finds all slots taken reads, but can't put until one is free.
TEST_F(ProcessTest, AChildWithoutASlotReads) {
    ASSERT_TRUE(segment_.put(oracle_entry(1, 1, 50)).ok());
    const std::uint32_t slots = inside().geometry.process_slots;
    std::vector<Segment> others;
    while (others.size() + 1 < slots) others.push_back(Segment::open(name_).value());
    Signal tried;
    Signal freed;
    ChildProcess child([&] {
        if (!look_up(segment_, 1).ok || !look_up(segment_, 1).hit) return 1;
        if (segment_.put(oracle_entry(2, 1, 50)).code() != StatusCode::no_space) return 2;
        if (!look_up(segment_, 1).hit) return 3;
        tried.send();
        freed.wait();
        return segment_.put(oracle_entry(2, 1, 50)).ok() ? 0 : 4;
    });
    tried.wait();
    others.pop_back();
    freed.send();
    EXPECT_EQ(child.wait(), 0);
    EXPECT_TRUE(look_up(segment_, 2).hit);
}

// Also when the open block is full and a free one had to be made: that takes a name to reclaim under.
TEST_F(ProcessTest, WithoutASlotNothingIsReclaimed) {
    fill(inside().blocks.count());
    const std::uint32_t slots = inside().geometry.process_slots;
    std::vector<Segment> others;
    while (others.size() + 1 < slots) others.push_back(Segment::open(name_).value());
    // As writers leave it that die after they sealed a block.
    const Inside in = inside();
    BlockTable blocks = in.blocks;
    std::vector<std::uint64_t> sealed;
    for (std::uint32_t b = 0; b < blocks.count(); ++b) {
        const BlockState state = blocks.state(b);
        sealed.push_back(BlockState{state.generation, BlockPhase::sealed, {}, state.stream}.pack());
        ASSERT_TRUE(blocks.change(b, state, BlockState::unpack(sealed.back())));
    }
    for (const bool refused_before : {false, true}) {
        ChildProcess child([&] {
            if (refused_before) (void)look_up(segment_, 1);
            return segment_.put(oracle_entry(2, 1, 50)).code() == StatusCode::no_space ? 0 : 1;
        });
        EXPECT_EQ(child.wait(), 0) << refused_before;
        for (std::uint32_t b = 0; b < blocks.count(); ++b) EXPECT_EQ(blocks.state(b).pack(), sealed[b]) << b;
    }
    EXPECT_TRUE(segment_.put(oracle_entry(2, 1, 50)).ok());
    expect_nothing_left_behind();
}

}  // namespace
}  // namespace tiercache
