// Kills and stops a process at single instructions of put(), reclamation included, with ptrace, while others
// that were there before go on. What a death at each and every instruction leaves is in segment_sweep.cpp;
// here are some of them, by SIGKILL.
//
//   kill   a writer dies after n instructions of a put(), for n = 0, stride, 2 stride ...; the others go on,
//          and after one trip around the blocks nothing of the dead one is left
//   parts  the same of a value in parts
//   view   a reader dies in get_view(), or while it holds what it got
//   erase  a process dies in erase()
//   stop   a writer is held at random instructions while others recycle every block they can, several times
//          over; then it goes on. What it does then must harm nobody
//   heir   a writer dies while a block is half opened or half recycled, then the one that recovers what it
//          left does; the next one recovers all of it
//   race   two writers put one absent key a few instructions at a time, in turns, while another key's item
//          comes and goes around it so that they take different slots; one of them may die anywhere. After
//          every turn the key has one visible item at most, and what a dead writer left does not come back
//
// Of N shards each takes every Nth death of a sweep, so that a sweep of every instruction (stride 1) is done
// by several processes, and in pieces.
//
// Prints `ok` or `not ok` lines. The seed is printed; the same seed and stride give the same run.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>

#include "shm_cache/block.hpp"
#include "shm_cache/index.hpp"
#include "shm_cache/layout.hpp"
#include "shm_cache/shared_memory.hpp"
#include "tests/lib/program_options.hpp"
#include "tests/system/requirement.hpp"
#include "tests/system/stepped_process.hpp"
#include "tests/unit/segment_inside.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;

class World {
 public:
    explicit World(std::uint64_t seed)
        : random_(seed),
          segment_(Segment::create(name_, tiny_segment()).value()),
          memory_(SharedMemory::open(name_, true).value()) {
        std::uint64_t lock_file = 0;
        geometry_ = read_geometry(memory_.bytes().data(), memory_.bytes().size(), lock_file).value();
        blocks_ = BlockTable(memory_.bytes().data(), geometry_);
    }

    // Puts of this process, until the open block has moved on `blocks` times.
    void recycle(std::uint32_t blocks) {
        for (std::uint32_t moved = 0; moved < blocks;) {
            const BlockLife before = open_block(memory_.bytes().data());
            const std::uint64_t key = random_() % 100;
            const Status status = segment_.put(oracle_entry(key, ++sequence_, 16 + random_() % 500));
            require(status.ok(), "a put failed: " + status.to_string());
            if (!(open_block(memory_.bytes().data()) == before)) ++moved;
        }
    }
    void put_some(std::uint64_t count) {
        for (std::uint64_t i = 0; i < count; ++i) {
            (void)segment_.put(oracle_entry(random_() % 100, ++sequence_, 16 + random_() % 500));
        }
    }

    // Each entry that can be read is one that somebody put.
    void check_entries() {
        for (std::uint64_t key = 0; key < 140; ++key) {
            require(look_up(segment_, key).ok, "key " + std::to_string(key) + " came back damaged");
        }
    }
    // The dead left nothing: what is open is open for a stream, nothing is in reclamation.
    void check_order() {
        const std::string wrong = check_blocks(memory_.bytes().data(), blocks_);
        require(wrong.empty(), wrong);
    }

    std::mt19937_64 random_;
    SegmentName name_;
    Segment segment_;
    SharedMemory memory_;
    Geometry geometry_;
    BlockTable blocks_;
    std::uint64_t sequence_ = 0;
};

// A put() of the child, which got its process slot by an earlier one.
class ChildPut {
 public:
    ChildPut(World& world, std::uint64_t seed, std::size_t length_min = 16, std::size_t length_spread = 500)
        : world_(world), random_(seed), length_min_(length_min), length_spread_(length_spread) {}
    bool operator()(bool prepared) {
        if (prepared) {
            // Overtaken in every one of its attempts, a put() may give up.
            const StatusCode code = world_.segment_.put(entry_).code();
            return code == StatusCode::ok || code == StatusCode::no_space;
        }
        if (!warm_) warm_ = world_.segment_.put(oracle_entry(139, 1, 30)).ok();
        const std::uint64_t key = 100 + random_() % 39;
        entry_ = oracle_entry(key, ++sequence_, length_min_ + random_() % length_spread_);
        return warm_ && look_up(world_.segment_, key).ok;
    }

 private:
    World& world_;
    std::mt19937_64 random_;
    std::size_t length_min_;
    std::size_t length_spread_;
    Bytes entry_;
    std::uint64_t sequence_ = 1;
    bool warm_ = false;
};

// A get_view() of the child, of something that it put just before.
class ChildView {
 public:
    explicit ChildView(World& world) : world_(world), view_(std::make_shared<ValueView>()) {}
    bool operator()(bool prepared) {
        if (!prepared) return world_.segment_.put(oracle_entry(139, ++sequence_, 300)).ok();
        std::array<Tag, max_entry_tags> tags{};
        const Bytes key = key_of(139);
        return world_.segment_.get_view(hash_key(key), key, tags, *view_) == StatusCode::ok;
    }

 private:
    World& world_;
    std::shared_ptr<ValueView> view_;  // copied along, as a std::function wants it
    std::uint64_t sequence_ = 0;
};

// An erase() of the child, of something that it put just before.
class ChildErase {
 public:
    explicit ChildErase(World& world) : world_(world) {}
    bool operator()(bool prepared) {
        if (!prepared) return world_.segment_.put(oracle_entry(139, ++sequence_, 300)).ok();
        return erase_key(world_.segment_, 139);
    }

 private:
    World& world_;
    std::uint64_t sequence_ = 0;
};

using Stepped = std::function<bool(bool prepared)>;

// Which instructions somebody dies at: every `stride`th, and of these every `shards`th.
struct Sweep {
    std::uint64_t seed;
    std::uint64_t stride;
    std::uint64_t shard = 0;
    std::uint64_t shards = 1;
    int ended_max;
    bool progress = false;
};

// Says now and then how far a long sweep is.
class Progress {
 public:
    explicit Progress(const Sweep& sweep) : sweep_(sweep) {}
    void show(const char* name, std::uint64_t deaths, std::uint64_t instruction) {
        if (!sweep_.progress || time(nullptr) < next_) return;
        next_ = time(nullptr) + 60;
        fprintf(stderr, "# %s, shard %llu of %llu: %llu deaths, now at instruction %llu\n", name,
                static_cast<unsigned long long>(sweep_.shard), static_cast<unsigned long long>(sweep_.shards),
                static_cast<unsigned long long>(deaths), static_cast<unsigned long long>(instruction));
    }

 private:
    const Sweep& sweep_;
    time_t next_ = 0;
};

// `child(world, random)` makes what is stepped through.
void kill_sweep(const char* name, const Sweep& sweep,
                const std::function<Stepped(World&, std::uint64_t)>& child) {
    World world(sweep.seed + sweep.shard);
    Progress progress(sweep);
    world.recycle(2 * world.blocks_.count());
    std::uint64_t deaths = 0;
    std::uint64_t longest = 0;
    // A put() that has to reclaim is longer than one that has not: go on until several in a row ended early.
    int ended_in_a_row = 0;
    const std::uint64_t first = sweep.seed % sweep.stride + sweep.shard * sweep.stride;
    for (std::uint64_t n = first; ended_in_a_row < sweep.ended_max; n += sweep.shards * sweep.stride) {
        progress.show(name, deaths, n);
        world.put_some(world.random_() % 8);
        bool ended = false;
        {
            SteppedProcess victim(child(world, world.random_()));
            for (std::uint64_t i = 0; i < n && !ended; ++i) ended = !victim.step();
            if (!ended) longest = n;
        }
        ++deaths;
        ended_in_a_row = ended ? ended_in_a_row + 1 : 0;
        world.recycle(world.blocks_.count() + 2);
        world.check_entries();
        world.check_order();
    }
    printf(
        "ok %s: %llu deaths, the longest had more than %llu instructions (seed %llu, stride %llu, shard %llu "
        "of %llu)\n",
        name, static_cast<unsigned long long>(deaths), static_cast<unsigned long long>(longest),
        static_cast<unsigned long long>(sweep.seed), static_cast<unsigned long long>(sweep.stride),
        static_cast<unsigned long long>(sweep.shard), static_cast<unsigned long long>(sweep.shards));
}

void stop_sweep(std::uint64_t seed, std::uint64_t puts) {
    World world(seed);
    world.recycle(2 * world.blocks_.count());
    std::uint64_t stops = 0;
    SteppedProcess held(ChildPut(world, seed));
    for (std::uint64_t i = 0; i < puts; ++i) {
        // Stops come in clusters: the interesting ones are a few instructions apart.
        const std::uint64_t rarity = 1 + (std::uint64_t{1} << world.random_() % 9);
        while (held.step()) {
            if (world.random_() % rarity != 0 || world.random_() % 8 != 0) continue;
            world.recycle(
                static_cast<std::uint32_t>(1 + world.random_() % (std::uint64_t{3} * world.blocks_.count())));
            if (world.random_() % 4 == 0) world.put_some(world.random_() % 8);
            world.check_entries();
            ++stops;
        }
        world.check_entries();
        held.run();
    }
    printf("ok stop: %llu stops in %llu puts (seed %llu)\n", static_cast<unsigned long long>(stops),
           static_cast<unsigned long long>(puts), static_cast<unsigned long long>(seed));
}

// Puts of a child that finds its block full: the first one opens the next block and recovers what the dead
// hold, the others empty a victim and recycle it.
class ChildHeir {
 public:
    ChildHeir(World& world, std::uint64_t seed) : world_(world), random_(seed) {}
    bool operator()(bool prepared) {
        if (prepared) {
            bool good = true;
            for (int i = 0; i < 8; ++i) good = put() && good;
            return good;
        }
        const std::uint64_t item_units_max = 80;
        for (int i = 0; i < 64; ++i) {
            const BlockLife open = open_block(world_.memory_.bytes().data());
            const std::uint64_t units = world_.geometry_.units_per_block();
            if (i > 0 && world_.blocks_.filled_units(open.block) + item_units_max > units) return true;
            (void)put();
        }
        return false;
    }

 private:
    bool put() {
        const StatusCode code =
            world_.segment_.put(oracle_entry(100 + random_() % 39, ++sequence_, 500)).code();
        return code == StatusCode::ok || code == StatusCode::no_space;
    }

    World& world_;
    std::mt19937_64 random_;
    std::uint64_t sequence_ = 1'000'000;
};

// Puts that open a block, until some instructions after one that changed a block that is half done; then
// its process dies. Is a block half done now?
bool die_half_way(World& world) {
    SteppedProcess victim(ChildHeir(world, world.random_()));
    const std::byte* base = world.memory_.bytes().data();
    const auto half_done = [&] {
        std::uint64_t sum = 0;
        for (std::uint32_t b = 0; b < world.blocks_.count(); ++b) {
            const BlockState state = world.blocks_.state(b);
            const bool whole = state.phase == BlockPhase::free || state.phase == BlockPhase::sealed ||
                               (state.phase == BlockPhase::open &&
                                open_block(base, state.stream) == BlockLife{b, state.generation});
            if (!whole) sum += state.pack();
        }
        return sum;
    };
    // In this order, if nobody died before: a block is open that its stream does not name yet; a victim is
    // being reclaimed; its generation is odd.
    std::uint64_t changes = 1 + world.random_() % 3;
    std::uint64_t last = half_done();
    bool goes_on = true;
    while (goes_on && changes > 0) {
        goes_on = victim.step();
        const std::uint64_t now = half_done();
        if (now != 0 && now != last) --changes;
        last = now;
    }
    for (std::uint64_t left = world.random_() % 32; goes_on && left > 0; --left) goes_on = victim.step();
    return half_done() != 0;
}

void heir_sweep(std::uint64_t seed, std::uint64_t heirs) {
    World world(seed);
    world.recycle(2 * world.blocks_.count());
    std::uint64_t deaths = 0;
    std::uint64_t left_something = 0;
    std::uint64_t left_again = 0;
    for (std::uint64_t i = 0; i < heirs; ++i) {
        left_something += die_half_way(world) ? 1 : 0;
        left_again += die_half_way(world) ? 1 : 0;
        deaths += 2;
        world.recycle(world.blocks_.count() + 2);
        world.check_entries();
        world.check_order();
    }
    printf("ok heir: %llu deaths, %llu left a block half done, %llu of their heirs did (seed %llu)\n",
           static_cast<unsigned long long>(deaths), static_cast<unsigned long long>(left_something),
           static_cast<unsigned long long>(left_again), static_cast<unsigned long long>(seed));
}

// ---- two writers of one absent key ---------------------------------------------------------------

class Race {
 public:
    explicit Race(std::uint64_t seed)
        : world_(seed), index_(world_.memory_.bytes().data(), world_.geometry_, world_.blocks_) {
        require(world_.segment_.put(oracle_entry(neighbour, 1, 30)).ok(), "a put failed");
        const Index::ItemSlot there = visible(neighbour);
        require(there.word != nullptr, "a value is gone at once");
        other_ = there.seen;
        other_.tag = static_cast<std::uint16_t>(slot_tag(hash_) ^ 0x5555);
    }

    void run(std::uint64_t rounds) {
        for (round_ = 1; round_ <= rounds; ++round_) {
            for (std::size_t i = 0; i < Index::Candidates::count; ++i) slots_[i].store(0);
            for (std::size_t w = 0; w < writers_.size(); ++w) {
                if (!writers_[w])
                    writers_[w].emplace([this, w](bool prepared) { return operate(w, prepared); });
            }
            play();
            judge();
            for (std::optional<SteppedProcess>& writer : writers_) {
                if (writer) writer->run();
            }
        }
        printf("ok race: %llu rounds, %llu deaths, %llu turns (seed as above)\n",
               static_cast<unsigned long long>(rounds), static_cast<unsigned long long>(deaths_),
               static_cast<unsigned long long>(turns_));
    }

 private:
    static constexpr std::uint64_t key = 1;
    static constexpr std::uint64_t neighbour = 2;

    // In a writer's process, where `item_` and `sequence_` are its own. Only publishing is stepped through:
    // the item is there before, by a put that is taken back.
    bool operate(std::size_t writer, bool prepared) {
        const Bytes name = key_of(key);
        Slot displaced;
        if (prepared) return index_.publish(hash_, name, item_, displaced);
        if (!world_.segment_.put(oracle_entry(key, ++sequence_ * 2 + writer, 50)).ok()) return false;
        const Index::ItemSlot there = visible(key);
        item_ = there.seen;
        return there.word != nullptr && Index::evict_item(there);
    }

    Index::ItemSlot visible(std::uint64_t number) {
        const KeyHash hash = hash_key(key_of(number));
        const Index::Candidates slots = index_.candidates(place_hash(hash));
        Index::ItemSlot found;
        for (std::size_t i = 0; i < Index::Candidates::count; ++i) {
            const Slot slot = Slot::unpack(slots[i].load());
            if (slot.tag != slot_tag(hash) || !index_.live(slot)) continue;
            require(found.word == nullptr, "two items of one key are visible");
            found = {&slots[i], slot};
        }
        return found;
    }

    void play() {
        std::array<bool, 2> ended{};
        // In half of the rounds the first writer dies, somewhere.
        std::uint64_t turns_to_live = world_.random_() % 2 == 0 ? UINT64_MAX : world_.random_() % 40;
        while (!ended[0] || !ended[1]) {
            std::size_t w = world_.random_() % 2;
            if (ended[w]) w = 1 - w;
            const std::uint64_t steps = 1 + world_.random_() % (std::uint64_t{1} << world_.random_() % 7);
            for (std::uint64_t i = 0; i < steps && !ended[w]; ++i) ended[w] = !writers_[w]->step();
            ++turns_;
            std::uint64_t from = world_.random_() % 2 == 0 ? 0 : other_.pack();
            slots_[world_.random_() % 4].compare_exchange_strong(from, from == 0 ? other_.pack() : 0);
            (void)visible(key);
            if (!ended[0] && turns_to_live-- == 0) {
                writers_[0].reset();
                ended[0] = true;
                ++deaths_;
            }
        }
    }

    void judge() {
        // Both have returned, or one has and the other is dead: a value of this round is there.
        const Index::ItemSlot there = visible(key);
        require(there.word != nullptr && look_up(world_.segment_, key).hit, "no value is left");
        require(look_up(world_.segment_, key).ok, "a value came back damaged");
        if (round_ % 2 == 0) {
            require(Index::evict_item(there), "nobody else can have changed the slot");
        } else {
            require(erase_key(world_.segment_, key), "the value was not to be erased");
        }
        require(!look_up(world_.segment_, key).hit, "an older value came back when the newer one went");
    }

    World world_;
    Index index_;
    KeyHash hash_ = hash_key(key_of(key));
    Index::Candidates slots_ = index_.candidates(place_hash(hash_));
    Slot other_;
    std::array<std::optional<SteppedProcess>, 2> writers_;
    Slot item_;
    std::uint64_t sequence_ = 0;
    std::uint64_t round_ = 0;
    std::uint64_t turns_ = 0;
    std::uint64_t deaths_ = 0;
};

}  // namespace
}  // namespace tiercache

int main(int argc, char** argv) {
    std::uint64_t seed = 1;
    std::uint64_t stride = 307;
    std::uint64_t puts = 6;
    std::uint64_t rounds = 40;
    std::uint64_t heirs = 4;
    std::uint64_t shard = 0;
    std::uint64_t shards = 1;
    bool progress = false;
    std::string only;
    tiercache::test::ProgramOptions given("Kills and stops a process at single instructions of put().");
    given.number("--seed", seed);
    given.number("--stride", stride, "instructions from one death to the next; 1 is every one", {.min = 1});
    given.number("--shard", shard, "which of the shards this is, from 0 on");
    given.number("--shards", shards, "", {.min = 1});
    given.flag("--progress", progress, "a line each minute");
    given.number("--puts", puts, "puts to stop in");
    given.number("--heirs", heirs, "deaths of who recovers from a death");
    given.number("--rounds", rounds, "of two writers of one key");
    given.text("--only", only, "one sweep of these");
    given.parse(argc, argv);
    int failures = 0;
    const auto run = [&](const char* name, const std::function<void()>& sweep) {
        if (!only.empty() && only != name) return;
        try {
            sweep();
        } catch (const std::exception& e) {
            printf("not ok %s: %s\n", name, e.what());
            ++failures;
        }
        fflush(stdout);
    };
    using tiercache::Sweep;
    using tiercache::World;
    const auto every = [&](std::uint64_t instructions, int ended_max) {
        return Sweep{seed, std::max<std::uint64_t>(1, instructions), shard, shards, ended_max, progress};
    };
    run("kill", [&] {
        tiercache::kill_sweep("kill", every(stride, 12), [](World& world, std::uint64_t random) {
            return tiercache::ChildPut(world, random);
        });
    });
    run("parts", [&] {
        tiercache::kill_sweep("parts", every(1000 * stride, 1), [](World& world, std::uint64_t random) {
            return tiercache::ChildPut(world, random, 5000, 5000);
        });
    });
    run("view", [&] {
        tiercache::kill_sweep("view", every(stride / 4, 20),
                              [](World& world, std::uint64_t) { return tiercache::ChildView(world); });
    });
    run("erase", [&] {
        tiercache::kill_sweep("erase", every(stride / 8, 20),
                              [](World& world, std::uint64_t) { return tiercache::ChildErase(world); });
    });
    run("stop", [&] { tiercache::stop_sweep(seed + shard, puts); });
    run("heir", [&] { tiercache::heir_sweep(seed + shard, heirs); });
    run("race", [&] { tiercache::Race(seed + shard).run(rounds); });
    return failures == 0 ? 0 : 1;
}
