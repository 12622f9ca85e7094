// The physical floor of a lookup in memory: two dependent loads. The first is of a word of a random line
// among as many as our index has lines, the second of a line among the items' bytes, where the first says.
// Nothing is hashed, compared or copied. The next pair begins when the last one is there. Memory from where
// our segment's is, with the same pages.
#include <unistd.h>

#include <atomic>
#include <optional>

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
            index_[spread(i, footprint_.index_words)].store(i * footprint_.item_words,
                                                            std::memory_order_relaxed);
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

 private:
    SharedMemory memory_;
    Word* index_;
    Word* items_;
    Footprint footprint_;
};

class TwoLoads : public Store {
 public:
    explicit TwoLoads(const Workload& workload)
        : Store("two dependent loads", workload),
          name_("/tiercache.bench." + std::to_string(getpid()) + ".floor") {
        const Result<Geometry> geometry = plan_geometry(segment_options(workload), tiercache::Fit::exact);
        require(geometry.status());
        footprint_.index_words = geometry->bucket_count * tiercache::cache_line_bytes / sizeof(Word);
        // What an item can't do without: key, value and the 32 bytes that a packed header takes.
        footprint_.item_words = (32 + Key::length + workload.value_bytes() + sizeof(Word) - 1) / sizeof(Word);
    }

    [[nodiscard]] bool has_writes() const override { return false; }

    void start() override {
        const std::size_t words = footprint_.index_words + footprint_.item_words * workload().key_count();
        Result<SharedMemory> memory = SharedMemory::create(name_, words * sizeof(Word), {0600});
        require(memory.status());
        memory_.emplace(std::move(memory).value());
    }
    std::unique_ptr<Access> open() override {
        Result<SharedMemory> memory = SharedMemory::open(name_, true);
        require(memory.status());
        return std::make_unique<Chase>(std::move(memory).value(), footprint_);
    }
    void remove_names() noexcept override { (void)SharedMemory::remove(name_); }

 private:
    std::string name_;
    Footprint footprint_{};
    std::optional<SharedMemory> memory_;
};

}  // namespace

StorePointer make_two_loads(const Workload& workload) { return std::make_unique<TwoLoads>(workload); }

}  // namespace bench
