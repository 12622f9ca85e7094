// Deaths at every instruction of what a process does to a segment, and of what its heir does then.
//
// A process that is killed leaves the segment's bytes as they are at that instruction, and lets go of its
// file locks. So an operation is stepped through once, with ptrace; wherever an instruction changed the
// segment, a twin gets its bytes, and a survivor opens the twin and judges it (segment_survivor.hpp). Where
// nothing changed, a death is the one before. Those who are killed for good, in the middle of others, are in
// segment_step.cpp.
//
//   put      puts of a process: into the open block, opening one, emptying a victim, copying forward,
//            replacing a value
//   parts    the same of values in parts
//   erase    get    view    lease (claimed and given back)
//   recover  of these, one death of each kind (segment_change.hpp); then the deaths of the process that puts
//            next, at every instruction until nothing is half done any more
//
// Prints `ok` or `not ok` lines. The seed is printed; the same seed and geometry give the same run.
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <optional>

#include "tests/lib/program_options.hpp"
#include "tests/system/requirement.hpp"
#include "tests/system/segment_change.hpp"
#include "tests/system/segment_survivor.hpp"
#include "tests/system/segment_twin.hpp"
#include "tests/system/stepped_process.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache {
namespace {

using namespace test;

// Who dies last has the lower slot, so that a dead one's slot is nobody's; at times a survivor takes it.
constexpr std::uint32_t victims_slot = 2;
constexpr std::uint32_t heirs_slot = 1;
constexpr std::uint64_t operations_max = 1000;
constexpr std::uint64_t heirs_puts_min = 2;
constexpr std::uint64_t heirs_puts_max = 12;
constexpr std::uint64_t survivors_that_take_the_slot = 4;  // one in so many

// ---- what is done --------------------------------------------------------------------------------------

struct Habits {
    Doing doing = Doing::put;
    std::size_t length_min = 16;
    std::size_t length_spread = 500;
    int reads = 3;  // of random keys between two actions: what was read is copied forward
    std::optional<std::uint64_t> first_key = std::nullopt;
};

// The actions of a process, one after the other.
class Script {
 public:
    Script(const Habits& habits, std::uint64_t seed) : habits_(habits), random_(seed) {}
    Action next() {
        const bool first = sequence_ == 0;
        sequence_ += 2;
        Action action{habits_.doing, some_key(), sequence_ + (random_() % 1000 << 20),
                      habits_.length_min + random_() % habits_.length_spread};
        if (first && habits_.first_key) action.key = *habits_.first_key;
        return action;
    }
    std::uint64_t some_key() { return first_dead_ones_key + random_() % (sweep_keys - first_dead_ones_key); }
    [[nodiscard]] const Habits& habits() const { return habits_; }

 private:
    Habits habits_;
    std::mt19937_64 random_;
    std::uint64_t sequence_ = 0;
};

// Does what a script says, in the process that is stepped through.
class Performer {
 public:
    Performer(std::string name, std::uint32_t slot, const Script& script)
        : name_(std::move(name)), slot_(slot), script_(script), random_(slot) {}
    bool operator()(bool prepared) {
        if (!holder_) holder_.emplace(name_, slot_);
        return prepared ? perform(holder_->segment()) : prepare(holder_->segment());
    }

 private:
    bool prepare(Segment& segment) {
        action_ = script_.next();
        key_ = key_of(action_.key);
        hash_ = hash_key(key_);
        entry_ = oracle_entry(action_.key, action_.sequence, action_.length);
        for (int i = 0; i < script_.habits().reads; ++i) {
            if (!look_up(segment, first_dead_ones_key + random_() % (sweep_keys - first_dead_ones_key)).ok) {
                return false;
            }
        }
        if (action_.doing == Doing::put || look_up(segment, action_.key).hit) return true;
        return segment.put(oracle_entry(action_.key, action_.sequence + 1, action_.length)).ok();
    }

    bool perform(Segment& segment) {
        switch (action_.doing) {
            case Doing::put:
                return segment.put(entry_).ok();
            case Doing::erase:
                return segment.erase(hash_, key_).ok();
            case Doing::get:
                return segment.get_value(hash_, key_, tags_, std::span(buffer_), read_) == StatusCode::ok;
            case Doing::view:
                if (segment.get_view(hash_, key_, tags_, view_) != StatusCode::ok) return false;
                view_.release();
                return true;
            case Doing::lease: {
                Lease mine;
                HeldLease theirs;
                if (segment.leases().claim(hash_, 1000, mine, theirs) != LeaseTable::Claim::mine)
                    return false;
                mine.note_cost(500);
                return mine.held();
            }
        }
        return false;
    }

    std::string name_;
    std::uint32_t slot_;
    Script script_;
    std::mt19937_64 random_;
    std::optional<SlotHolder> holder_;
    Action action_;
    Bytes key_;
    KeyHash hash_;
    Bytes entry_;
    std::array<Tag, max_entry_tags> tags_{};
    std::array<std::byte, 1024> buffer_{};
    ValueRead read_;
    ValueView view_;
};

// ---- who dies ------------------------------------------------------------------------------------------

// What a death leaves to an heir.
struct Legacy {
    std::string kind;
    std::uint64_t key;
    Bytes bytes;
};

// Some of each kind, any of them equally likely.
class Legacies {
 public:
    explicit Legacies(std::size_t of_a_kind) : of_a_kind_(of_a_kind) {}
    void offer(Legacy legacy, std::uint64_t random) {
        Kind& kind = kinds_[legacy.kind];
        const std::uint64_t place = random % ++kind.offered;
        if (kind.kept.size() < of_a_kind_) {
            kind.kept.push_back(std::move(legacy));
        } else if (place < of_a_kind_) {
            kind.kept[place] = std::move(legacy);
        }
    }
    // A kind whose name begins like this.
    [[nodiscard]] bool has(const std::string& beginning) const {
        const auto kind = kinds_.lower_bound(beginning);
        return kind != kinds_.end() && kind->first.starts_with(beginning);
    }
    [[nodiscard]] std::size_t kinds() const { return kinds_.size(); }
    template <class Visit>
    void for_each(Visit visit) const {
        for (const auto& [name, kind] : kinds_) {
            for (const Legacy& legacy : kind.kept) visit(legacy);
        }
    }

 private:
    struct Kind {
        std::uint64_t offered = 0;
        std::vector<Legacy> kept;
    };
    std::size_t of_a_kind_;
    std::map<std::string, Kind> kinds_;
};

struct Tally {
    std::uint64_t operations = 0;
    std::uint64_t deaths = 0;    // one at each instruction
    std::uint64_t survived = 0;  // those that left other bytes than the one before
    Tally& operator+=(const Tally& other) {
        operations += other.operations;
        deaths += other.deaths;
        survived += other.survived;
        return *this;
    }
};

// A process that dies at each instruction of what it does in `home`; what it leaves is judged in `grave`.
class Mortal {
 public:
    Mortal(const SegmentTwin& home, std::uint32_t slot, const Script& script, SegmentTwin& grave,
           std::uint64_t seed, Legacies* legacies = nullptr)
        : home_(home),
          slot_(slot),
          grave_(grave),
          legacies_(legacies),
          names_(home.geometry()),
          random_(seed),
          script_(script),
          process_([performer = std::make_shared<Performer>(home.name(), slot, script)](bool prepared) {
              return (*performer)(prepared);
          }) {}

    // One operation.
    void operate() {
        if (tally_.operations++ > 0) process_.run();
        last_.assign(home_.bytes().begin(), home_.bytes().end());
        grave_.become(last_);
        Outcome outcome(script_.next(), values_of(SlotHolder(grave_.name(), 0).segment()));
        std::uint64_t instruction = 0;
        for (bool goes_on = true; goes_on; ++instruction) {
            goes_on = process_.step();
            if (std::memcmp(last_.data(), home_.data(), last_.size()) != 0) survive(outcome, instruction);
        }
        tally_.deaths += instruction;
        outcome.check_done();
    }

    [[nodiscard]] const Tally& tally() const { return tally_; }
    [[nodiscard]] std::string half_done() const { return names_.half_done(home_.bytes()); }

 private:
    void survive(Outcome& outcome, std::uint64_t instruction) {
        const std::uint16_t own_tag = slot_tag(hash_key(key_of(outcome.action().key)));
        const std::string kind = names_.name(last_, home_.bytes(), own_tag);
        std::memcpy(last_.data(), home_.data(), last_.size());
        grave_.become(last_);
        ++tally_.survived;
        if (legacies_ != nullptr) legacies_->offer({kind, outcome.action().key, last_}, random_());
        const std::uint32_t slot = random_() % survivors_that_take_the_slot == 0 ? slot_ : 0;
        try {
            Survivor(grave_, slot, random_()).judge(outcome);
        } catch (const Failure& failure) {
            throw Failure(std::string(failure.what()) + ", after a death at instruction " +
                          std::to_string(instruction) + " of operation " + std::to_string(tally_.operations) +
                          ", a " + outcome.action().text() + ": " + kind);
        }
    }

    const SegmentTwin& home_;
    std::uint32_t slot_;
    SegmentTwin& grave_;
    Legacies* legacies_;
    ChangeNames names_;
    std::mt19937_64 random_;
    Script script_;
    SteppedProcess process_;
    Bytes last_;
    Tally tally_;
};

// ---- sweeps --------------------------------------------------------------------------------------------

class Sweeps {
 public:
    Sweeps(const SegmentOptions& options, std::uint64_t seed, std::size_t heirs)
        : options_(options), seed_(seed), grave_(options), legacies_(heirs) {}

    void sweep(const char* name, const Habits& habits, std::uint64_t operations) {
        const SegmentTwin home(options_);
        fill(home);
        Mortal mortal(home, victims_slot, Script(habits, seed_), grave_, seed_, &legacies_);
        const auto unfinished = [&] { return habits.doing == Doing::put && !missing_paths().empty(); };
        for (std::uint64_t i = 0; i < operations || (i < operations_max && unfinished()); ++i)
            mortal.operate();
        require(!unfinished(), "no put went this way: " + missing_paths());
        say(name, mortal.tally(), "");
    }

    // What the sweeps before left.
    void recover() {
        SegmentTwin home(options_);
        Tally tally;
        std::uint64_t first_deaths = 0;
        legacies_.for_each([&](const Legacy& legacy) {
            home.become(legacy.bytes);
            ++first_deaths;
            try {
                tally += inherit(home, legacy.key, seed_ + first_deaths);
            } catch (const Failure& failure) {
                throw Failure(std::string(failure.what()) + "; the one before had died at: " + legacy.kind);
            }
        });
        say("recover", tally,
            "; after " + std::to_string(first_deaths) + " first deaths of " +
                std::to_string(legacies_.kinds()) + " kinds");
    }

 private:
    // Twice around all blocks.
    void fill(const SegmentTwin& home) const {
        SlotHolder holder(home.name(), 0);
        std::mt19937_64 random(seed_);
        const auto* header = reinterpret_cast<const SegmentHeader*>(home.data());
        for (std::uint64_t sequence = 1; header->opened.load() < std::uint64_t{2} * home.blocks().count();
             ++sequence) {
            const Bytes entry = oracle_entry(random() % sweep_keys, sequence, 16 + random() % 500);
            require(holder.segment().put(entry).ok(), "a put failed");
        }
    }

    // Puts of an heir, from its first instruction until nothing is half done.
    Tally inherit(const SegmentTwin& home, std::uint64_t first_key, std::uint64_t seed) {
        const Habits habits{.length_min = 400, .length_spread = 100, .reads = 0, .first_key = first_key};
        Mortal heir(home, heirs_slot, Script(habits, seed), grave_, seed);
        do heir.operate();
        while (heir.tally().operations < heirs_puts_min ||
               (heir.tally().operations < heirs_puts_max && !heir.half_done().empty()));
        return heir.tally();
    }

    // A put() has several ways; those that were not seen yet.
    [[nodiscard]] std::string missing_paths() const {
        std::vector<std::string> paths{
            "slot pending",        "slot made visible",          "value replaced",
            "stream's open block", "block sealed to reclaiming", "block reclaiming (odd) to free"};
        if (grave_.blocks().count() >= 8) paths.emplace_back("item moved");
        std::string missing;
        for (const std::string& path : paths) {
            if (!legacies_.has(path)) missing += (missing.empty() ? "" : ", ") + path;
        }
        return missing;
    }

    void say(const char* name, const Tally& tally, const std::string& more) const {
        printf("ok %s: %llu operations, %llu deaths, of which %llu left the segment changed%s (seed %llu)\n",
               name, static_cast<unsigned long long>(tally.operations),
               static_cast<unsigned long long>(tally.deaths), static_cast<unsigned long long>(tally.survived),
               more.c_str(), static_cast<unsigned long long>(seed_));
    }

    SegmentOptions options_;
    std::uint64_t seed_;
    SegmentTwin grave_;
    Legacies legacies_;
};

}  // namespace
}  // namespace tiercache

int main(int argc, char** argv) {
    std::uint64_t seed = 1;
    std::uint64_t puts = 40;
    std::uint64_t others = 8;
    std::size_t heirs = 1;
    std::string only;
    tiercache::SegmentOptions options = tiercache::test::tiny_segment();
    tiercache::test::ProgramOptions given(
        "Deaths at every instruction of what is done to a segment, and of its recovery.");
    given.number("--seed", seed);
    given.number("--puts", puts, "that somebody dies in");
    given.number("--others", others, "operations of each other kind");
    given.number("--size", options.size_bytes, "of the segment, in bytes");
    given.number("--block", options.block_bytes, "of the segment, in bytes");
    given.text("--only", only, "one sweep of these");
    given.number("--heirs", heirs, "deaths of each kind that are recovered from");
    given.parse(argc, argv);
    int failures = 0;
    const auto run = [&](const char* name, const std::function<void()>& sweep) {
        if (!only.empty() && only != name) return;
        try {
            sweep();
        } catch (const std::exception& e) {
            printf("not ok %s: %s (seed %llu)\n", name, e.what(), static_cast<unsigned long long>(seed));
            ++failures;
        }
        fflush(stdout);
    };
    using tiercache::test::Doing;
    tiercache::Sweeps sweeps(options, seed, heirs);
    run("erase", [&] { sweeps.sweep("erase", {.doing = Doing::erase}, others); });
    run("get", [&] { sweeps.sweep("get", {.doing = Doing::get}, others); });
    run("view", [&] { sweeps.sweep("view", {.doing = Doing::view}, others); });
    run("lease", [&] { sweeps.sweep("lease", {.doing = Doing::lease}, others); });
    run("put", [&] { sweeps.sweep("put", {}, puts); });
    run("parts", [&] { sweeps.sweep("parts", {.length_min = 5000, .length_spread = 3000}, others / 4); });
    run("recover", [&] { sweeps.recover(); });
    return failures == 0 ? 0 : 1;
}
