#include "shm_cache/sample_table.hpp"

#include <algorithm>

namespace tiercache {

namespace {

// With as many buckets as keys a longer chain does not happen.
constexpr int chain_max = 64;

}  // namespace

SampleTable::SampleTable(std::byte* memory, std::size_t capacity, KeyNumber* free,
                         std::uint32_t* used) noexcept
    : buckets_(reinterpret_cast<KeyNumber*>(memory)),
      keys_(reinterpret_cast<SampledKey*>(memory + buckets_for(capacity) * sizeof(KeyNumber))),
      free_(free),
      used_(used),
      capacity_(capacity),
      bucket_count_(capacity) {}

void SampleTable::reset() noexcept {
    damaged_ = false;
    std::fill_n(buckets_, bucket_count_, KeyNumber{0});
    for (std::size_t i = 0; i <= capacity_; ++i) {
        keys_[i] = SampledKey{};
        keys_[i].region = free_entry;
        keys_[i].chain = i == 0 || i == capacity_ ? KeyNumber{0} : static_cast<KeyNumber>(i + 1);
    }
    *free_ = capacity_ == 0 ? KeyNumber{0} : KeyNumber{1};
    *used_ = 0;
}

KeyNumber SampleTable::find(std::uint32_t hash) noexcept {
    KeyNumber number = load(bucket(hash));
    for (int i = 0; i < chain_max && number != 0; ++i) {
        const SampledKey& key = (*this)[number];
        if (key.hash == hash) return number;
        number = load(key.chain);
    }
    damaged_ = damaged_ || number != 0;
    return 0;
}

KeyNumber SampleTable::add(std::uint32_t hash, std::uint32_t units) noexcept {
    const KeyNumber number = load(*free_);
    if (number == 0) return 0;
    SampledKey& key = (*this)[number];
    *free_ = load(key.chain);
    key = SampledKey{};
    key.hash = hash;
    key.units = units;
    key.region = outside_stack;
    KeyNumber& first = bucket(hash);
    key.chain = load(first);
    first = number;
    ++*used_;
    return number;
}

void SampleTable::remove(KeyNumber number) noexcept {
    SampledKey& key = (*this)[number];
    KeyNumber* at = &bucket(key.hash);
    for (int i = 0; i < chain_max && load(*at) != number; ++i) at = &(*this)[load(*at)].chain;
    if (load(*at) != number) {
        damaged_ = true;
        return;
    }
    *at = load(key.chain);
    key.region = free_entry;
    key.chain = load(*free_);
    *free_ = number;
    --*used_;
}

void SampleTable::release(KeyNumber number) noexcept {
    const SampledKey& key = (*this)[number];
    if (key.region != outside_stack) return;
    if (std::ranges::all_of(key.place, [](std::uint8_t place) { return place == 0; })) remove(number);
}

void SampleTable::push_front(std::size_t list, ListEnds& ends, KeyNumber number) noexcept {
    const KeyNumber first = load(ends.first);
    (*this)[number].links[list] = {first, 0};
    if (first != 0) {
        (*this)[first].links[list].previous = number;
    } else {
        ends.last = number;
    }
    ends.first = number;
}

void SampleTable::unlink(std::size_t list, ListEnds& ends, KeyNumber number) noexcept {
    Link& link = (*this)[number].links[list];
    const KeyNumber next = load(link.next);
    const KeyNumber previous = load(link.previous);
    (previous == 0 ? ends.first : (*this)[previous].links[list].next) = next;
    (next == 0 ? ends.last : (*this)[next].links[list].previous) = previous;
    link = {};
}

}  // namespace tiercache
