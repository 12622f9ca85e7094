// What is learnt from a sample of accesses: the curve against exact LRU caches, the miniature caches against
// the patterns they are for, and the sampler after damage and death.
#include "shm_cache/sampler.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <numeric>

#include "shm_cache/lock_file.hpp"
#include "shm_cache/shared_memory.hpp"
#include "tests/unit/access_pattern.hpp"
#include "tests/unit/child_process.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;

struct FreeMemory {
    void operator()(std::byte* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<std::byte, FreeMemory>;

Memory memory_of(std::size_t bytes) {
    const std::size_t lines = (bytes + cache_line_bytes - 1) / cache_line_bytes;
    return Memory(static_cast<std::byte*>(std::aligned_alloc(cache_line_bytes, lines * cache_line_bytes)));
}

KeyHash hash_of(std::uint64_t key) { return hash_key(std::as_bytes(std::span(&key, 1))); }

// A table with the curve and the candidates on it, no sampling.
class Learning {
 public:
    explicit Learning(std::size_t keys)
        : memory_(memory_of(SampleTable::size_bytes(keys))), table_(memory_.get(), keys, &free_, &used_) {
        table_.reset();
    }
    void use(std::uint64_t key, std::uint64_t cache_units, std::uint32_t units = 1) {
        const auto hash = static_cast<std::uint32_t>(key * 2654435761U);
        KeyNumber number = table_.find(hash);
        if (number == 0) number = table_.add(hash, units);
        ASSERT_NE(number, 0);
        MissRatioCurve curve(table_, curve_);
        curve.use(number);
        for (std::size_t c = 0; c < candidate_count; ++c) {
            MiniatureCache cache(table_, c, miniatures_[c]);
            if (!cache.use(number, cache_units)) ++hits_[c];
        }
        while (const KeyNumber over = curve.overflow(cache_units)) {
            curve.forget(over);
            table_.release(over);
        }
        curve.expect_what_was_noted();
        ASSERT_FALSE(table_.damaged());
    }
    [[nodiscard]] const CurveState& curve() const { return curve_; }
    [[nodiscard]] std::size_t hits(std::size_t candidate) const { return hits_[candidate]; }
    [[nodiscard]] const SampleTable& table() const { return table_; }

 private:
    Memory memory_;
    KeyNumber free_ = 0;
    std::uint32_t used_ = 0;
    SampleTable table_;
    CurveState curve_;
    std::array<MiniatureState, candidate_count> miniatures_;
    std::array<std::size_t, candidate_count> hits_{};
};

TEST(MissRatioCurveTest, IsThatOfExactLruCaches) {
    Trace trace = zipf_trace(3000, 0.8, 60'000, 1);
    const Trace loop = loop_trace(700, 20'000, 10'000);
    trace.insert(trace.end(), loop.begin(), loop.end());
    constexpr std::size_t cache = 400;
    Learning learning(3701);
    for (const std::uint64_t key : trace) learning.use(key, cache);
    const std::array<double, curve_points> ratios = hit_ratios(learning.curve());
    for (std::size_t i = 0; i < curve_points; ++i) {
        EXPECT_NEAR(ratios[i], lru_hit_ratio(trace, static_cast<std::size_t>(cache * curve_scales[i])), 1e-9);
    }
}

TEST(MissRatioCurveTest, NothingCountedIsNothing) {
    EXPECT_EQ(hit_ratios(CurveState{}), (std::array<double, curve_points>{}));
}

TEST(MiniatureCacheTest, SmallQueueThatKeepsNothingHoldsALoop) {
    constexpr std::size_t cache = 500;
    Learning learning(4000);
    const Trace trace = loop_trace(1500, 60'000);
    for (const std::uint64_t key : trace) learning.use(key, cache);
    EXPECT_EQ(lru_hit_ratio(trace, cache), 0);
    // A third of the loop fits.
    EXPECT_GT(learning.hits(0), trace.size() * 30 / 100);
    EXPECT_GT(learning.hits(0), learning.hits(candidate_count - 1));
}

TEST(MiniatureCacheTest, KeepingUsedItemsSuitsReuseSoonAfterTheFirstUse) {
    constexpr std::size_t cache = 500;
    Learning learning(8000);
    // Each key is used twice within a few accesses, and again much later than a ghost lives.
    Trace trace;
    for (std::uint64_t i = 0; i < 40'000; ++i) {
        trace.push_back(i);
        if (i >= 60) trace.push_back(i - 60);
    }
    for (const std::uint64_t key : trace) learning.use(key, cache);
    // The small queue that has room for what comes between the two.
    EXPECT_GT(learning.hits(4), trace.size() * 45 / 100);
    EXPECT_LT(learning.hits(0), trace.size() / 10);
}

TEST(MiniatureCacheTest, AccountsForEachKeyOfAnySize) {
    constexpr std::uint64_t cache = 3000;
    Learning learning(1000);
    std::mt19937_64 random(3);
    for (int i = 0; i < 50'000; ++i) {
        learning.use(random() % 900, cache, 1 + static_cast<std::uint32_t>(random() % 200));
    }
    EXPECT_LE(learning.table().used(), 900U);
}

// ---- the sampler -----------------------------------------------------------------------------------

class SamplerTest : public ::testing::Test {
 public:
    static constexpr std::size_t segment_bytes = std::size_t{1} << 20;
    SamplerTest() : segment_(Segment::create(name_, options()).value()) {
        std::uint64_t lock_file = 0;
        geometry_ = read_geometry(base(), segment_bytes, lock_file).value();
    }
    ~SamplerTest() override { (void)Segment::remove(name_); }

    static SegmentOptions options() {
        SegmentOptions options;
        options.size_bytes = segment_bytes;
        options.process_slots = 8;
        return options;
    }
    [[nodiscard]] std::byte* base() const { return memory_.bytes().data(); }
    [[nodiscard]] ProcessTable join() const {
        return ProcessTable::join(base(), geometry_,
                                  std::make_shared<LockFile>(LockFile::open(name_).value()), 0);
    }
    // What a hit or a put does.
    static void access(Sampler& sampler, ProcessTable& processes, std::uint64_t key, std::uint64_t units) {
        const KeyHash hash = hash_of(key);
        if (sampler.samples(hash)) sampler.note(hash, units);
        processes.count(Counter::hits);
    }
    // What each put does.
    static std::optional<std::size_t> put_work(Sampler& sampler, ProcessTable& processes) {
        return sampler.wants_advance() ? sampler.advance(processes) : std::nullopt;
    }
    [[nodiscard]] SamplerState& state() const {
        return *reinterpret_cast<SamplerState*>(base() + geometry_.sampler_at);
    }

    std::string name_ = "/tiercache.sampler-test-" + std::to_string(getpid());
    Segment segment_;
    SharedMemory memory_ = SharedMemory::open(name_, true).value();
    Geometry geometry_;
};

TEST_F(SamplerTest, CurveOfASampleIsCloseToTheWholeTruth) {
    ProcessTable processes = join();
    // Room for 50,000 items of one unit, in an area that holds far fewer.
    constexpr std::size_t cache = 50'000;
    constexpr std::uint64_t area = 96 << 10;
    const Memory memory = memory_of(area);
    Sampler sampler(memory.get(), area, cache * unit_bytes);
    sampler.format();
    ASSERT_TRUE(processes.claim_slot());
    const Trace trace = zipf_trace(300'000, 0.7, 1'000'000, 7);
    for (const std::uint64_t key : trace) {
        access(sampler, processes, key, 1);
        (void)put_work(sampler, processes);
    }
    const SamplerReport report = sampler.report();
    EXPECT_LT(report.sampled_share, 0.05);
    EXPECT_GT(report.sampled_share, 0.002);
    for (std::size_t i = 0; i < curve_points; ++i) {
        const auto items = static_cast<std::size_t>(cache * curve_scales[i]);
        EXPECT_NEAR(report.hit_ratios[i], lru_hit_ratio(trace, items), 0.02) << "at " << curve_scales[i];
    }
}

TEST_F(SamplerTest, ChoosesByPatternAndChangesItsMind) {
    ProcessTable processes = join();
    constexpr std::size_t cache = 2000;
    constexpr std::uint64_t area = 64 << 10;
    const Memory memory = memory_of(area);
    Sampler sampler(memory.get(), area, cache * unit_bytes);
    sampler.format();
    ASSERT_TRUE(processes.claim_slot());
    std::optional<std::size_t> chosen;
    const auto use = [&](std::uint64_t key) {
        access(sampler, processes, key, 1);
        if (const auto now = put_work(sampler, processes)) chosen = now;
    };
    for (const std::uint64_t key : loop_trace(3000, 200'000)) use(key);
    ASSERT_TRUE(chosen);
    EXPECT_TRUE(candidates[*chosen].small_queue);
    EXPECT_EQ(candidates[*chosen].small_keep_from, keeps_nothing);
    for (std::uint64_t i = 10'000; i < 410'000; ++i) {
        use(i);
        use(i - 150);
    }
    EXPECT_EQ(candidates[*chosen].small_keep_from, 1);
}

TEST_F(SamplerTest, AHotKeyIsNotedFourTimesAndThenNoMore) {
    Sampler sampler(base(), geometry_);
    ProcessTable processes = join();
    ASSERT_TRUE(processes.claim_slot());
    for (int i = 0; i < 1000; ++i) sampler.note(hash_of(1), 10);
    EXPECT_EQ(state().head.load(), 4U);
    // Others come between: it is news again.
    for (std::uint64_t key = 100; key < 300; ++key) sampler.note(hash_of(key), 10);
    const std::uint64_t before = state().head.load();
    sampler.note(hash_of(1), 10);
    EXPECT_EQ(state().head.load(), before + 1);
}

// The hottest keys are noted too seldom, or are not in the sample: the count of all references makes up.
TEST_F(SamplerTest, TheCurveKnowsOfHitsThatWereNotNoted) {
    Sampler sampler(base(), geometry_);
    ProcessTable processes = join();
    ASSERT_TRUE(processes.claim_slot());
    const std::uint64_t units = geometry_.units_per_block();
    std::uint64_t next = 1000;
    for (int i = 0; i < 20'000; ++i) {
        // Nine hits on one key, and a key that is never seen again.
        access(sampler, processes, i % 10 == 0 ? next++ : 1, units / 8);
        (void)sampler.advance(processes);
    }
    for (const double ratio : sampler.report().hit_ratios) EXPECT_NEAR(ratio, 0.9, 0.02);
}

TEST_F(SamplerTest, FullRingDropsNotes) {
    ProcessTable processes = join();
    constexpr std::uint64_t area = 16 << 10;
    const Memory memory = memory_of(area);
    Sampler sampler(memory.get(), area, 1 << 20);
    sampler.format();
    for (std::uint64_t key = 0; key < 100'000; ++key) sampler.note(hash_of(key), 1);
    const auto& state = *reinterpret_cast<SamplerState*>(memory.get());
    const std::uint64_t noted = state.head.load();
    EXPECT_LE(noted, 1024U);
    for (int i = 0; i < 1024; ++i) (void)sampler.advance(processes);
    EXPECT_EQ(state.tail.load(), noted);
    EXPECT_EQ(state.used, noted);
}

// A sampler in memory of its own, for a cache of so many bytes.
struct OwnSampler {
    OwnSampler(std::uint64_t area, std::uint64_t data_bytes)
        : memory(memory_of(area)), sampler(memory.get(), area, data_bytes) {
        sampler.format();
    }
    [[nodiscard]] SamplerState& state() const { return *reinterpret_cast<SamplerState*>(memory.get()); }
    Memory memory;
    Sampler sampler;
};

TEST_F(SamplerTest, NotesOfALargeRingAreWorkedOffByTheBatch) {
    ProcessTable processes = join();
    ASSERT_TRUE(processes.claim_slot());
    OwnSampler own(256 << 10, 1 << 20);  // a ring of 1024
    Sampler& sampler = own.sampler;
    EXPECT_FALSE(sampler.wants_advance());  // nothing yet; the next 8 puts don't look
    for (std::uint64_t key = 0; key < 15; ++key) sampler.note(hash_of(key), 1);
    for (int put = 0; put < 9; ++put) EXPECT_FALSE(sampler.wants_advance());
    sampler.note(hash_of(15), 1);
    for (int put = 0; put < 8; ++put) EXPECT_FALSE(sampler.wants_advance());
    EXPECT_TRUE(sampler.wants_advance());
    (void)sampler.advance(processes);
    EXPECT_EQ(own.state().used, 16U);
    EXPECT_FALSE(sampler.wants_advance());
}

TEST_F(SamplerTest, ASmallRingIsLookedAtByEachPut) {
    ProcessTable processes = join();
    ASSERT_TRUE(processes.claim_slot());
    OwnSampler own(8 << 10, 1 << 16);  // a ring of 64
    Sampler& sampler = own.sampler;
    for (std::uint64_t key = 0; key < 20; ++key) {
        EXPECT_FALSE(sampler.wants_advance());
        sampler.note(hash_of(key), 1);
        EXPECT_TRUE(sampler.wants_advance());
        (void)sampler.advance(processes);
    }
}

// Keys that left the sample make room at the pace of the notes, however few batches these come in.
TEST_F(SamplerTest, ABatchSweepsAsManyKeysAsItsNotesAlone) {
    ProcessTable processes = join();
    ASSERT_TRUE(processes.claim_slot());
    std::array<std::uint32_t, 2> used{};
    for (const bool batched : {false, true}) {
        OwnSampler own(256 << 10, std::uint64_t{1} << 30);
        Sampler& sampler = own.sampler;
        std::uint64_t key = 0;
        // Full, so that the sample shrinks; then sixteen notes, of which the first sets off the sweep.
        while (sampler.samples(hash_of(key)) && key < 2 * sampler.capacity()) {
            sampler.note(hash_of(key++), 1);
            (void)sampler.advance(processes);
        }
        for (int note = 0; note < 16;) {
            if (!sampler.samples(hash_of(++key))) continue;
            sampler.note(hash_of(key), 1);
            ++note;
            if (!batched) (void)sampler.advance(processes);
        }
        if (batched) (void)sampler.advance(processes);
        used.at(batched ? 1 : 0) = own.state().used;
    }
    EXPECT_EQ(used[0], used[1]);
}

TEST_F(SamplerTest, DeadOwnerIsReplacedAndTheStateBeginsAnew) {
    Sampler sampler(base(), geometry_);
    ProcessTable processes = join();
    for (std::uint64_t key = 0; key < 20; ++key) sampler.note(hash_of(key), 10);
    for (int i = 0; i < 20; ++i) (void)sampler.advance(processes);
    ASSERT_EQ(state().used, 20U);
    ChildProcess child([&] {
        ProcessTable mine = join();
        if (!mine.claim_slot()) return 1;
        state().lock.store(Sampler::lock_word(mine.self()));
        // Half of a list, as if it had died there.
        state().curve.stack.first = 7;
        state().miniatures[2].main.last = 60'000;
        _exit(0);
    });
    ASSERT_EQ(child.wait(), 0);
    sampler.note(hash_of(1000), 10);
    for (int i = 0; i < 255; ++i) EXPECT_FALSE(sampler.advance(processes));
    EXPECT_EQ(state().used, 20U);
    for (int i = 0; i < 3; ++i) (void)sampler.advance(processes);
    EXPECT_EQ(state().lock.load(), 0U);
    EXPECT_EQ(state().used, 1U);
}

TEST_F(SamplerTest, LivingOwnerIsLeftAlone) {
    Sampler sampler(base(), geometry_);
    ProcessTable processes = join();
    ProcessTable other = join();
    ASSERT_TRUE(other.claim_slot());
    const std::uint64_t word = Sampler::lock_word(other.self());
    state().lock.store(word);
    sampler.note(hash_of(1), 10);
    for (int i = 0; i < 2000; ++i) (void)sampler.advance(processes);
    EXPECT_EQ(state().lock.load(), word);
    state().lock.store(0);
}

TEST_F(SamplerTest, AnyBytesAreHarmless) {
    ProcessTable processes = join();
    std::mt19937_64 random(11);
    for (int round = 0; round < 200; ++round) {
        constexpr std::uint64_t area = 8 << 10;
        const Memory memory = memory_of(area);  // of its own, so that AddressSanitizer sees its ends
        Sampler sampler(memory.get(), area, 1 << 16);
        sampler.format();
        for (std::uint64_t key = 0; key < 500; ++key) {
            access(sampler, processes, key % 150, 1 + key % 100);
            (void)sampler.advance(processes);
        }
        // All of it, or a few words of it.
        const std::size_t changes = round % 2 == 0 ? area / word_bytes : 1 + random() % 8;
        for (std::size_t i = 0; i < changes; ++i) {
            const std::uint64_t noise = random() % 3 == 0 ? random() % 256 : random();
            std::memcpy(memory.get() + random() % (area / word_bytes) * word_bytes, &noise, word_bytes);
        }
        reinterpret_cast<SamplerState*>(memory.get())->lock.store(0);
        for (std::uint64_t key = 0; key < 2000; ++key) {
            access(sampler, processes, key % 300, 1 + key % 100);
            (void)sampler.advance(processes);
        }
        (void)sampler.report();
    }
}

TEST_F(SamplerTest, TakesLittleOfASegment) {
    EXPECT_EQ(Sampler::size_bytes(128 << 10), 0U);
    for (std::uint64_t bytes = 256 << 10; bytes <= std::uint64_t{8} << 30; bytes *= 2) {
        EXPECT_LE(Sampler::size_bytes(bytes), bytes / (bytes < 2 << 20 ? 16 : 32) + cache_line_bytes);
        EXPECT_LE(Sampler::size_bytes(bytes), 420'000U);
    }
}

TEST_F(SamplerTest, SegmentReportsItsCurve) {
    EXPECT_EQ(segment_.stats().hit_ratio_fourfold, 0);
    for (const std::uint64_t key : zipf_trace(500, 0.9, 20'000, 5)) {
        if (look_up(segment_, key).hit) continue;
        ASSERT_TRUE(segment_.put(oracle_entry(key, 1, 200)).ok());
    }
    const SegmentStats stats = segment_.stats();
    EXPECT_GT(stats.hit_ratio_once, 0.5);
    EXPECT_LE(stats.hit_ratio_quarter, stats.hit_ratio_once);
    EXPECT_LE(stats.hit_ratio_once, stats.hit_ratio_fourfold);
}

}  // namespace
}  // namespace tiercache
