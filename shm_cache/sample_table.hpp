// A sample of the keys in use, chosen by hash, with what is known of each. It serves two questions: which
// eviction policy would do best (miniature_cache.hpp), and what more or less memory would do
// (miss_ratio_curve.hpp). A key is in the sample or is not, whoever uses it and whenever (spatial sampling,
// as in SHARDS: Waldspurger, Park, Garthwaite, Ahmad, FAST '15), so what is true of the sample's reuse is
// true of all keys, at the sample's scale.
//
// A key stays while the LRU stack or one of the caches under trial has it.
//
// A key is an entry of a fixed array and a member of several doubly linked lists by number; 0 is no entry.
// Only the holder of the sampler's lock is here (sampler.hpp). Still any word may have been overwritten with
// anything: every number is bounded when it is used, number 0 is a real entry that nobody misses, and
// damaged() says that the table is not to be believed.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

namespace tiercache {

inline constexpr std::size_t candidate_count = 6;  // policies under trial (miniature_cache.hpp)
inline constexpr std::size_t lru_list = candidate_count;
inline constexpr std::size_t links_per_key = candidate_count + 1;

using KeyNumber = std::uint16_t;

inline constexpr std::uint8_t outside_stack = 0xfe;
inline constexpr std::uint8_t free_entry = 0xff;

struct Link {
    KeyNumber next = 0;
    KeyNumber previous = 0;
};

struct SampledKey {
    std::uint32_t hash = 0;
    std::uint32_t units = 0;  // of memory
    KeyNumber chain = 0;      // the next of its bucket, or the next free entry
    std::uint8_t region = 0;  // of the LRU stack, or one of the two above
    std::uint8_t place[candidate_count] = {};
    Link links[links_per_key];
};

struct ListEnds {
    KeyNumber first = 0;
    KeyNumber last = 0;
};

class SampleTable {
 public:
    static constexpr std::size_t capacity_max = 8192;
    // Bytes that a table for this many keys takes.
    static constexpr std::size_t size_bytes(std::size_t capacity) noexcept {
        return (capacity + 1) * sizeof(SampledKey) + buckets_for(capacity) * sizeof(KeyNumber);
    }

    SampleTable() = default;
    // `free` and `used` are the table's own words in shared memory.
    SampleTable(std::byte* memory, std::size_t capacity, KeyNumber* free, std::uint32_t* used) noexcept;

    void reset() noexcept;

    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }
    [[nodiscard]] std::uint32_t used() const noexcept { return *used_; }
    // Has the number an entry? Any number.
    [[nodiscard]] bool in_use(KeyNumber number) noexcept { return (*this)[number].region != free_entry; }
    [[nodiscard]] bool damaged() const noexcept { return damaged_; }
    void set_damaged() noexcept { damaged_ = true; }

    // The entry of any number.
    [[nodiscard]] SampledKey& operator[](KeyNumber number) noexcept {
        if (number <= capacity_) return keys_[number];
        damaged_ = true;
        return keys_[0];
    }
    // A number from shared memory, read once.
    static KeyNumber load(const KeyNumber& from) noexcept { return __atomic_load_n(&from, __ATOMIC_RELAXED); }

    [[nodiscard]] KeyNumber find(std::uint32_t hash) noexcept;
    // Removes the key if nobody has it any more.
    void release(KeyNumber number) noexcept;
    // A new entry, in no list yet; 0 when the table is full.
    KeyNumber add(std::uint32_t hash, std::uint32_t units) noexcept;
    // The caller has taken it out of its lists.
    void remove(KeyNumber number) noexcept;

    void push_front(std::size_t list, ListEnds& ends, KeyNumber number) noexcept;
    void unlink(std::size_t list, ListEnds& ends, KeyNumber number) noexcept;

 private:
    static constexpr std::size_t buckets_for(std::size_t capacity) noexcept {
        return (capacity + 3) / 4 * 4;  // the entries after them are aligned
    }
    [[nodiscard]] KeyNumber& bucket(std::uint32_t hash) noexcept {
        const std::uint32_t mixed = hash * 0x9e3779b1U;  // the first bits say only that it is in the sample
        return buckets_[std::uint64_t{mixed} * bucket_count_ >> 32];
    }

    KeyNumber* buckets_ = nullptr;
    SampledKey* keys_ = nullptr;
    KeyNumber* free_ = nullptr;
    std::uint32_t* used_ = nullptr;
    std::size_t capacity_ = 0;
    std::size_t bucket_count_ = 0;
    bool damaged_ = false;
};

}  // namespace tiercache
