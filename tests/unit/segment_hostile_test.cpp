// Any byte of the mapping may be anything at any time: calls return, touch nothing outside, and what they
// return is an entry of the key or nothing. The memory lies between forbidden pages (OwnMemory).
#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <random>
#include <thread>

#include "shm_cache/layout.hpp"
#include "shm_cache/shared_cache.hpp"
#include "shm_cache/words.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;

constexpr std::uint64_t keys = 120;
constexpr std::uint64_t plain_keys = 40;

#if defined(__SANITIZE_THREAD__)
constexpr std::uint64_t damage_rounds = 30;
#else
constexpr std::uint64_t damage_rounds = 300;
#endif

class HostileTest : public ::testing::Test {
 public:
    HostileTest() : memory_(tiny_segment().size_bytes) {}

    // A full segment, some generations old.
    Segment fresh_segment() {
        (void)Segment::format(memory_.span(), tiny_segment()).value();
        Segment segment = Segment::attach(memory_.span(), 2).value();
        for (std::uint64_t i = 0; i < 4 * keys; ++i)
            (void)segment.put(oracle_entry(i % keys, i, 16 + i % 600));
        plain_values_.emplace(Segment::attach(memory_.span(), 3).value());
        for (std::uint64_t i = 0; i < plain_keys; ++i) put_plain(i, 16 + 12 * i);
        std::uint64_t lock_file = 0;
        geometry_ = read_geometry(memory_.span().data(), memory_.span().size(), lock_file).value();
        return segment;
    }

    static std::string plain_key(std::uint64_t number) { return "a plain value: " + std::to_string(number); }
    void put_plain(std::uint64_t number, std::size_t size) {
        (void)plain_values_->put(plain_key(number), std::string(size, 'v'), {.ttl = std::chrono::hours(1)});
    }
    void use_plain(std::mt19937_64& random) {
        std::vector<std::byte> buffer(500);
        std::string text;
        for (std::uint64_t i = 0; i < plain_keys; ++i) {
            const Hit hit = plain_values_->get(plain_key(i), buffer);
            if (hit.found == Found::fresh) {
                EXPECT_LE(hit.size, buffer.size());
            }
            if (plain_values_->get(plain_key(i), text)) {
                EXPECT_LE(text.size(), memory_.span().size());
            }
            if (i % 4 == 0) put_plain(random() % plain_keys, random() % 700);
        }
    }

    // Everything a user can call. Damaged payloads are allowed here: they are what checksums are for.
    void use(Segment& segment, std::mt19937_64& random) {
        use_plain(random);
        Bytes buffer;
        for (int i = 0; i < 60; ++i) {
            const std::uint64_t number = random() % keys;
            const Bytes key = key_of(number);
            const auto found = segment.get(hash_key(key), key, copy_to(buffer));
            if (!found.empty()) {
                EXPECT_TRUE(is_entry_of(found, key));
            }
            if (i % 2 == 0) (void)segment.put(oracle_entry(number, random(), 16 + random() % 900));
            if (i % 16 == 0) erase_key(segment, number);
        }
        segment.for_each(
            [](void*, std::span<const std::byte> bytes) {
                EntryView view;
                EXPECT_EQ(decode_entry(bytes, view), StatusCode::ok);
                return true;
            },
            nullptr);
        (void)segment.stats();
    }

    void damage_and_use(const char* what, std::uint64_t count,
                        const std::function<void(std::mt19937_64&)>& damage) {
        for (std::uint64_t seed = 0; seed < count; ++seed) {
            SCOPED_TRACE(std::string(what) + ", seed " + std::to_string(seed));
            std::mt19937_64 random(seed);
            Segment segment = fresh_segment();
            damage(random);
            use(segment, random);
            damage(random);
            use(segment, random);
            // Formatting it again heals it.
            Segment healed = fresh_segment();
            ASSERT_TRUE(healed.put(oracle_entry(1, 1, 50)).ok());
            ASSERT_TRUE(look_up(healed, 1).ok);
        }
    }

    void scribble(std::mt19937_64& random, std::uint64_t from, std::uint64_t to, int words) {
        auto* all = reinterpret_cast<Word*>(memory_.span().data());
        for (int i = 0; i < words; ++i) {
            const std::uint64_t at = from / 8 + random() % ((to - from) / 8);
            const std::uint64_t old = all[at].load(std::memory_order_relaxed);
            std::uint64_t next = 0;
            switch (random() % 5) {
                case 0:
                    next = random();
                    break;
                case 1:
                    next = old ^ (std::uint64_t{1} << random() % 64);
                    break;
                case 2:
                    next = UINT64_MAX;
                    break;
                case 3:
                    next = 0;
                    break;
                default:
                    // Plausible: a word from elsewhere in the same region.
                    next = all[from / 8 + random() % ((to - from) / 8)].load(std::memory_order_relaxed);
            }
            all[at].store(next, std::memory_order_relaxed);
        }
    }

    OwnMemory memory_;
    Geometry geometry_;
    std::optional<SharedCache> plain_values_;  // of the same segment
};

TEST_F(HostileTest, TheIndex) {
    damage_and_use("index", damage_rounds,
                   [this](auto& random) { scribble(random, geometry_.index_at, geometry_.blocks_at, 40); });
}
TEST_F(HostileTest, TheItems) {
    damage_and_use("items", damage_rounds,
                   [this](auto& random) { scribble(random, geometry_.blocks_at, geometry_.end, 400); });
}
TEST_F(HostileTest, TheBlockStates) {
    damage_and_use("block states", damage_rounds, [this](auto& random) {
        scribble(random, geometry_.block_states_at, geometry_.block_notes_at, 4);
    });
}
TEST_F(HostileTest, TheBlockNotes) {
    damage_and_use("block notes", damage_rounds, [this](auto& random) {
        scribble(random, geometry_.block_notes_at, geometry_.index_at, 30);
    });
}
TEST_F(HostileTest, TheProcessSlots) {
    damage_and_use("process slots", damage_rounds, [this](auto& random) {
        scribble(random, geometry_.process_slots_at, geometry_.block_states_at, 30);
    });
}
TEST_F(HostileTest, TheHeaderOfAnAttachedSegment) {
    damage_and_use("header", damage_rounds,
                   [this](auto& random) { scribble(random, 0, sizeof(SegmentHeader), 6); });
}
TEST_F(HostileTest, AllOfIt) {
    damage_and_use("all", damage_rounds, [this](auto& random) { scribble(random, 0, geometry_.end, 4000); });
}

TEST_F(HostileTest, AHeaderThatLiesIsNotAttached) {
    Segment segment = fresh_segment();
    Bytes header(memory_.span().begin(), memory_.span().begin() + cache_line_bytes);
    for (std::size_t at = 0; at < cache_line_bytes; ++at) {
        for (const int bit : {0, 3, 7}) {
            memory_.span()[at] ^= static_cast<std::byte>(1 << bit);
            EXPECT_FALSE(Segment::attach(memory_.span(), 1).ok()) << at << " " << bit;
            std::ranges::copy(header, memory_.span().begin());
        }
    }
    EXPECT_TRUE(Segment::attach(memory_.span(), 1).ok());
}

TEST_F(HostileTest, ACutMappingIsNotAttached) {
    Segment segment = fresh_segment();
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{8}, std::size_t{4096}, std::size_t{65535}}) {
        EXPECT_EQ(Segment::attach(memory_.span().first(bytes), 1).status().code(), StatusCode::corrupt);
    }
}

TEST_F(HostileTest, AnotherLayoutVersionIsNamed) {
    Segment segment = fresh_segment();
    memory_.span()[8] = std::byte{9};
    const Status status = Segment::attach(memory_.span(), 1).status();
    EXPECT_EQ(status.code(), StatusCode::version_mismatch);
    EXPECT_NE(status.message().find("version 9"), std::string::npos);
}

// The key is compared where it lies, and may be another's when it is copied.
TEST_F(HostileTest, AKeyThatChangesAfterItWasCompared) {
    Segment segment = fresh_segment();
    ASSERT_TRUE(segment.put(oracle_entry(1, 1, 50)).ok());
    struct Context {
        HostileTest* test;
        Bytes buffer;
    } context{this, {}};
    const CopyTarget target{[](void* c, std::size_t bytes) noexcept {
                                auto& self = *static_cast<Context*>(c);
                                self.buffer.resize(bytes);
                                const Geometry& map = self.test->geometry_;
                                auto* all = reinterpret_cast<Word*>(self.test->memory_.span().data());
                                for (std::uint64_t at = map.blocks_at / 8; at < map.end / 8; ++at) {
                                    all[at].fetch_xor(1, std::memory_order_relaxed);
                                }
                                return self.buffer.data();
                            },
                            &context};
    const Bytes key = key_of(1);
    EXPECT_TRUE(segment.get(hash_key(key), key, target).empty());
    EXPECT_FALSE(context.buffer.empty());
}

// The damage happens while the calls run.
TEST_F(HostileTest, WhileItIsUsed) {
    Segment segment = fresh_segment();
    std::atomic<bool> stop{false};
    std::thread vandal([&] {
        std::mt19937_64 random(99);
        while (!stop.load(std::memory_order_relaxed)) {
            scribble(random, geometry_.process_slots_at, geometry_.end, 20);
            std::this_thread::yield();
        }
    });
    std::mt19937_64 random(7);
    for (int i = 0; i < static_cast<int>(damage_rounds); ++i) use(segment, random);
    stop.store(true, std::memory_order_relaxed);
    vandal.join();
}

}  // namespace
}  // namespace tiercache
