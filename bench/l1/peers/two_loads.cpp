// The physical floor of a lookup in memory: two dependent loads. The first is of a word of a random line
// among as many as our index has lines, the second of a line among the items' bytes, where the first says.
// Nothing is hashed, compared or copied. The next pair begins when the last one is there. Memory from where
// our segment's is, with the same pages.
//
// And with copies, the floor of reads and writes: a read copies the value, a write puts it in the next place
// of its own and exchanges the word. Places are written anew in turn, whoever reads them: values may be torn.
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <optional>
#include <vector>

#include "bench/l1/peers/peers.hpp"
#include "shm_cache/layout.hpp"
#include "shm_cache/shared_memory.hpp"
#include "shm_cache/words.hpp"

namespace bench {

namespace {

using tiercache::Geometry;
using tiercache::Result;
using tiercache::SharedMemory;
using tiercache::Word;

constexpr std::size_t header_words = 32 / sizeof(Word);

struct Footprint {
    std::uint64_t index_words;
    std::uint64_t item_words;
};

class Chase : public Access {
 public:
    Chase(SharedMemory memory, Footprint footprint)
        : memory_(std::move(memory)),
          index_(reinterpret_cast<Word*>(memory_.bytes().data())),
          items_(index_ + footprint.index_words),
          footprint_(footprint) {}

    void load(const Workload& workload) override {
        for (std::uint32_t i = 0; i < workload.key_count(); ++i) {
            word_of(i).store(i * footprint_.item_words, std::memory_order_relaxed);
        }
    }
    void check(const Workload& workload, std::uint32_t /*samples*/) override {
        for (std::uint32_t i = 0; i < workload.key_count(); ++i) {
            const std::uint64_t item = i * footprint_.item_words;
            require(items_[item].load(std::memory_order_relaxed) == 0, "an item's bytes are not zeros");
        }
    }
    std::size_t run(const Workload& /*workload*/, std::span<const Operation> operations) override {
        std::uint64_t last = 0;  // items are zeros, which the compiler can't know
        for (const Operation& operation : operations) {
            const Word& word = index_[spread(operation.number, footprint_.index_words) + last];
            // Relaxed: nobody writes.
            last = items_[word.load(std::memory_order_relaxed)].load(std::memory_order_relaxed);
        }
        require(last == 0, "an item's bytes are not zeros");
        return 0;
    }

 protected:
    [[nodiscard]] Word& word_of(std::uint64_t number) const {
        return index_[spread(number, footprint_.index_words)];
    }
    [[nodiscard]] Word& item(std::uint64_t place) const { return items_[place]; }
    [[nodiscard]] std::uint64_t item_words() const { return footprint_.item_words; }

 private:
    SharedMemory memory_;
    Word* index_;
    Word* items_;
    Footprint footprint_;
};

class ChaseWithCopies : public Chase {
 public:
    // The places of all items, and then as many of each writer's own.
    ChaseWithCopies(SharedMemory memory, Footprint footprint, std::uint64_t items, std::size_t value_bytes)
        : Chase(std::move(memory), footprint), items_(items), value_(value_bytes) {
        // Whoever opens it first is the host, which writes nothing.
        first_own_ = items_ * item(items_ * item_words()).fetch_add(1, std::memory_order_relaxed);
    }

    std::size_t run(const Workload& workload, std::span<const Operation> operations) override {
        unsigned sum = 0;
        for (const Operation& operation : operations) {
            Word& word = word_of(operation.number);
            if (operation.write) [[unlikely]] {
                const std::uint64_t place = (first_own_ + own_) * item_words();
                own_ = (own_ + 1) % items_;
                std::memcpy(value_at(place), workload.value(operation.number).data(), value_.size());
                // Release: pairs with a reader's acquire; the value comes before it.
                word.exchange(place, std::memory_order_acq_rel);
                continue;
            }
            const std::uint64_t place = word.load(std::memory_order_acquire);
            std::memcpy(value_.data(), value_at(place), value_.size());
            sum += static_cast<unsigned>(value_.back());
        }
        seen_ = sum;
        return 0;
    }

 private:
    [[nodiscard]] std::byte* value_at(std::uint64_t place) const {
        return reinterpret_cast<std::byte*>(&item(place + header_words));
    }

    std::uint64_t items_;
    std::uint64_t first_own_ = 0;
    std::uint64_t own_ = 0;
    std::vector<std::byte> value_;
    volatile unsigned seen_ = 0;
};

class TwoLoads : public Store {
 public:
    TwoLoads(const Workload& workload, bool copies)
        : Store(copies ? "two loads and copies" : "two dependent loads", workload),
          copies_(copies),
          name_("/tiercache.bench." + std::to_string(getpid()) + (copies ? ".copies" : ".floor")) {
        const Result<Geometry> geometry = plan_geometry(segment_options(workload), tiercache::Fit::exact);
        require(geometry.status());
        footprint_.index_words = geometry->bucket_count * tiercache::cache_line_bytes / sizeof(Word);
        // What an item can't do without: key, value and the 32 bytes that a packed header takes.
        footprint_.item_words =
            (header_words * sizeof(Word) + Key::length + workload.value_bytes() + sizeof(Word) - 1) /
            sizeof(Word);
    }

    [[nodiscard]] bool has_writes() const override { return copies_; }

    void start() override {
        const std::size_t places = workload().key_count() * (copies_ ? 1 + workers_max : 1);
        const std::size_t words = footprint_.index_words + footprint_.item_words * places;
        Result<SharedMemory> memory = SharedMemory::create(name_, words * sizeof(Word), {0600});
        require(memory.status());
        memory_.emplace(std::move(memory).value());
    }
    std::unique_ptr<Access> open() override {
        Result<SharedMemory> memory = SharedMemory::open(name_, true);
        require(memory.status());
        if (!copies_) return std::make_unique<Chase>(std::move(memory).value(), footprint_);
        return std::make_unique<ChaseWithCopies>(std::move(memory).value(), footprint_,
                                                 workload().key_count(), workload().value_bytes());
    }
    void remove_names() noexcept override { (void)SharedMemory::remove(name_); }

 private:
    bool copies_;
    std::string name_;
    Footprint footprint_{};
    std::optional<SharedMemory> memory_;
};

}  // namespace

StorePointer make_two_loads(const Workload& workload) { return std::make_unique<TwoLoads>(workload, false); }
StorePointer make_two_loads_and_copies(const Workload& workload) {
    return std::make_unique<TwoLoads>(workload, true);
}

}  // namespace bench
