#include "pg_extension/changed_slots.hpp"

namespace tiercache {

void ChangedSlots::add(Tag tag) {
    const std::uint32_t slot = slot_of(tag);
    if (contains(slot)) return;
    if (count_ == allocated_) {
        constexpr std::uint32_t first_allocation = 64;
        const std::uint32_t wanted = allocated_ == 0 ? first_allocation : allocated_ * 2;
        void* grown = list_ == nullptr ? MemoryContextAlloc(TopMemoryContext, wanted * sizeof(*list_))
                                       : repalloc(list_, wanted * sizeof(*list_));
        list_ = static_cast<std::uint32_t*>(grown);
        allocated_ = wanted;
    }
    bits_[slot / 64] |= std::uint64_t{1} << (slot % 64);
    list_[count_++] = slot;
}

bool ChangedSlots::contains(Tag tag) const noexcept {
    const std::uint32_t slot = slot_of(tag);
    return (bits_[slot / 64] >> (slot % 64) & 1) != 0;
}

void ChangedSlots::clear() noexcept {
    for (const std::uint32_t slot : slots()) bits_[slot / 64] = 0;
    count_ = 0;
}

}  // namespace tiercache
