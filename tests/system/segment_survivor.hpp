// What a process that survives the death of all others must find in the segment, and be able to do with it.
#pragma once

#include <array>
#include <random>
#include <span>
#include <string>

#include "shm_cache/lease.hpp"
#include "shm_cache/segment.hpp"
#include "tests/system/requirement.hpp"
#include "tests/system/segment_twin.hpp"
#include "tests/unit/segment_inside.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache::test {

// Of oracle entries: survivors put those below the first one that others put.
inline constexpr std::uint64_t sweep_keys = 140;
inline constexpr std::uint64_t first_dead_ones_key = 100;

// The sequence number of each key's value; 0: it has none.
using Values = std::array<std::uint64_t, sweep_keys>;

// Every value is one that somebody put, and a key has one. What a walk finds, a look-up does.
inline Values values_of(Segment& segment) {
    struct Walk {
        Values values{};
        std::string wrong;
        bool visit(std::span<const std::byte> entry) {
            EntryView view;
            std::uint64_t key = sweep_keys;
            if (decode_entry(entry, view) == StatusCode::ok && view.key.size() >= sizeof(key)) {
                std::memcpy(&key, view.key.data(), sizeof(key));
            }
            const Lookup found = check_entry(entry, key);
            if (key >= sweep_keys || !found.ok) {
                wrong = "a damaged entry is in the index, of key " + std::to_string(key);
            } else if (values[key] != 0) {
                wrong = "key " + std::to_string(key) + " has two values";
            } else {
                values[key] = found.sequence;
            }
            return wrong.empty();
        }
    } walk;
    segment.for_each(
        [](void* context, std::span<const std::byte> entry) {
            return static_cast<Walk*>(context)->visit(entry);
        },
        &walk);
    require(walk.wrong.empty(), walk.wrong);
    for (std::uint64_t key = 0; key < sweep_keys; ++key) {
        const Lookup found = look_up(segment, key);
        require(found.ok && found.sequence == walk.values[key],
                "key " + std::to_string(key) + " came back damaged, or is not what it is in a walk");
    }
    return walk.values;
}

enum class Doing { put, erase, get, view, lease };

struct Action {
    Doing doing = Doing::put;
    std::uint64_t key = 0;
    std::uint64_t sequence = 0;
    std::size_t length = 0;
    [[nodiscard]] std::string text() const {
        static constexpr const char* names[] = {"put", "erase", "get", "get_view", "lease"};
        return std::string(names[static_cast<std::size_t>(doing)]) + " of key " + std::to_string(key);
    }
};

// What may be found after deaths in the middle of an action, from its first instruction to its last.
class Outcome {
 public:
    Outcome(const Action& action, const Values& before) : action_(action), before_(before) {}

    void check(const Values& found) {
        for (std::uint64_t key = 0; key < sweep_keys; ++key) {
            const bool well = key == action_.key && changes()
                                  ? check_own(found[key])
                                  : found[key] == before_[key] || may_lose(found[key]);
            require(well, "key " + std::to_string(key) + " has value " + std::to_string(found[key]) +
                              "; before, it had " + std::to_string(before_[key]));
        }
    }
    // The action has come to its end.
    void check_done() const { require(done_ || !changes(), "what it did cannot be seen"); }

    [[nodiscard]] const Action& action() const { return action_; }

 private:
    [[nodiscard]] bool changes() const {
        return action_.doing == Doing::put || action_.doing == Doing::erase;
    }
    // Others' values fall victim to a put, and to nothing else.
    [[nodiscard]] bool may_lose(std::uint64_t found) const {
        return found == 0 && action_.doing == Doing::put;
    }
    // What was seen once stays; a value that is to be replaced may have been evicted before that.
    bool check_own(std::uint64_t found) {
        const std::uint64_t after = action_.doing == Doing::put ? action_.sequence : 0;
        if (done_ || found == after) return done_ = true, found == after;
        return found == before_[action_.key] || may_lose(found);
    }

    Action action_;
    Values before_;
    bool done_ = false;
};

// One life after: judges what it finds, then uses the segment until all of it was used once more.
class Survivor {
 public:
    Survivor(SegmentTwin& left, std::uint32_t slot, std::uint64_t seed)
        : left_(left), holder_(left.name(), slot), segment_(holder_.segment()), random_(seed) {}

    void judge(Outcome& outcome) {
        values_ = values_of(segment_);
        outcome.check(values_);
        const Action& action = outcome.action();
        if (action.doing == Doing::lease) take_lease(action.key);
        // The key of the dead one is the first or the last that is put: half of what a death leaves would
        // else never be met, or never be recovered by recycling alone.
        const bool early = random_() % 2 == 0;
        if (early) put_and_erase(action.key);
        go_around();
        if (!early) put_and_erase(action.key);
        check_values();
        check_order();
    }

 private:
    void put(std::uint64_t key, std::size_t length) {
        const Status status = segment_.put(oracle_entry(key, ++sequence_, length));
        require(status.ok(), "a survivor's put failed: " + status.to_string());
        values_[key] = sequence_;
    }

    void put_and_erase(std::uint64_t key) {
        put(key, 60);
        require(look_up(segment_, key).sequence == sequence_, "a survivor's value is not there");
        require(erase_key(segment_, key), "a survivor's value is gone at once");
        values_[key] = 0;
        require(!look_up(segment_, key).hit, "a dead one's value comes back when a newer one is erased");
    }

    // Puts, until each block was opened again.
    void go_around() {
        const auto opened = [this] {
            return reinterpret_cast<const SegmentHeader*>(left_.data())->opened.load();
        };
        const std::uint64_t end = opened() + left_.blocks().count() + 2;
        const std::uint64_t puts_max = left_.bytes().size() / 16;
        for (std::uint64_t puts = 0; opened() < end; ++puts) {
            require(puts < puts_max, "no more blocks are opened");
            put(random_() % first_dead_ones_key, 16 + random_() % 500);
        }
    }

    // A dead one's lease is there to be had at once, and to be given back.
    void take_lease(std::uint64_t key) {
        const KeyHash hash = hash_key(key_of(key));
        for (int i = 0; i < 2; ++i) {
            Lease mine;
            HeldLease theirs;
            const LeaseTable::Claim claim = segment_.leases().claim(hash, 1000, mine, theirs);
            require(claim == LeaseTable::Claim::mine && mine.held(), "a dead one's lease cannot be had");
        }
    }

    // Nothing older than what was put last.
    void check_values() {
        const Values found = values_of(segment_);
        for (std::uint64_t key = 0; key < sweep_keys; ++key) {
            require(found[key] == 0 || found[key] == values_[key],
                    "key " + std::to_string(key) + " has a value that was replaced or erased");
        }
    }

    // The dead hold nothing: what is open is open for a stream, nothing is in reclamation, and no pin of
    // theirs has outlived its block.
    void check_order() {
        const std::string wrong = check_blocks(left_.data(), left_.blocks());
        require(wrong.empty(), wrong);
        const auto* slots =
            reinterpret_cast<const ProcessSlot*>(left_.data() + left_.geometry().process_slots_at);
        for (std::uint32_t i = 0; i < left_.geometry().process_slots; ++i) {
            for (const Word& pin : slots[i].pins) check_pin(pin.load());
            for (const Word& view : slots[i].views) check_pin(view.load());
        }
    }

    void check_pin(std::uint64_t pin) {
        if (pin == 0) return;
        const BlockLife life = BlockLife::unpack(pin);
        require(life.block < left_.blocks().count() &&
                    left_.blocks().state(life.block).generation == life.generation,
                "a dead one's pin was not taken back when its block was recycled");
    }

    SegmentTwin& left_;
    SlotHolder holder_;
    Segment& segment_;
    std::mt19937_64 random_;
    std::uint64_t sequence_ = std::uint64_t{1} << 40;
    Values values_{};
};

}  // namespace tiercache::test
