// What a Segment is made of; shared by the segment's source files.
#pragma once

#include "shm_cache/block.hpp"
#include "shm_cache/index.hpp"
#include "shm_cache/layout.hpp"
#include "shm_cache/lease.hpp"
#include "shm_cache/local_authority.hpp"
#include "shm_cache/parts.hpp"
#include "shm_cache/process_table.hpp"
#include "shm_cache/reclaim.hpp"
#include "shm_cache/sampler.hpp"
#include "shm_cache/segment.hpp"
#include "shm_cache/shared_memory.hpp"
#include "shm_cache/stream.hpp"

namespace tiercache {

// `whole`: it is what a put() left there. `torn`: its block was recycled meanwhile. `other`: no such item.
// `no_pin`: this process holds all the views it may. `copy_only`: it can't be viewed.
enum class ReadResult { whole, torn, other, no_room, no_pin, copy_only };

struct Segment::Impl {
    Impl(std::byte* base, const Geometry& g, ProcessTable table)
        : geometry(g),
          blocks(base, g),
          index(base, g, blocks),
          sampler(base, g),
          processes(std::move(table)),
          leases(base, g, processes),
          authority(LocalAuthority::attach({base + g.local_clock_at, g.local_clock_bytes}, g.clock_slots)),
          streams(base, blocks, processes),
          reclaimer(base, g, blocks, index, streams, processes),
          header(reinterpret_cast<SegmentHeader*>(base)) {}

    Geometry geometry;
    BlockTable blocks;
    Index index;
    Sampler sampler;
    // Unmapped after the process table has left: declared before it.
    SharedMemory memory;  // empty for caller-owned memory
    std::string name;
    ProcessTable processes;
    LeaseTable leases;
    LocalAuthority authority;  // none where the segment has no local clock
    Streams streams;
    Reclaimer reclaimer;
    SegmentHeader* header;

    // ---- following (segment_resize.cpp) ----
    // Has another segment taken this one's place? From then on nothing that is written here counts.
    [[nodiscard]] bool closed() const noexcept {
        // Acquire: pairs with the store in resize(); after what one did here it must not come early, see
        // closed_after_write().
        return header->successor.load(std::memory_order_acquire) != 0;
    }
    // The look after a change. Sequentially consistent, as are the change and the closing: either this sees
    // that it was closed, or whoever copies sees the change.
    [[nodiscard]] bool closed_after_write() const noexcept {
        full_fence();
        return header->successor.load(std::memory_order_seq_cst) != 0;
    }
    // What took its place, once this process has it open. Freed with this.
    std::atomic<Impl*> next = nullptr;
    std::atomic<std::uint64_t> next_try_ns = 0;
    ~Impl() { delete next.load(std::memory_order_relaxed); }  // NOLINT(cppcoreguidelines-owning-memory)
    // Stores a copy of a predecessor's item.
    // Gives the memory of what nobody holds back to the system. Of a closed segment.
    void give_back() noexcept;
    bool store_copy(const KeyHash& hash, const ItemContent& content, Stream stream,
                    std::uint8_t frequency) noexcept;

    // ---- reading (segment_find.hpp) ----
    struct Wanted {
        std::uint64_t place_hash;
        std::span<const std::byte> key;
    };
    // Looks at the item that `slot` names, of the key that is wanted or of any, and has `take` copy what it
    // needs of it: take(item, words), which answers other for what is no item after all. What was taken
    // counts only when this answers whole.
    template <class Take>
    ReadResult read_item(const Slot& slot, const Wanted* wanted, Take&& take) const noexcept;
    // The same for the item that the index has of a key; counts hits and misses.
    template <class Take>
    ReadResult find_once(const KeyHash& hash, const Wanted& wanted, Take&& take) noexcept;
    template <class Take>
    StatusCode find(const KeyHash& hash, std::span<const std::byte> key, Take&& take) noexcept;
    template <class Reserve>
    StatusCode find_value(const KeyHash& hash, std::span<const std::byte> key,
                          std::span<Tag, max_entry_tags> tags, Reserve&& reserve, ValueRead& read) noexcept;
    // What get_view() does; values that are stored compressed only where that is allowed.
    StatusCode find_view(const KeyHash& hash, std::span<const std::byte> key,
                         std::span<Tag, max_entry_tags> tags, bool compressed_too, ValueView& view) noexcept;
    // Copies the value of an item that is one, its parts when it lies in parts, to where reserve(bytes) says.
    template <class Reserve>
    ReadResult take_value(const Word* item, const ItemWords& words, std::span<Tag, max_entry_tags> tags,
                          Reserve&& reserve, ValueRead& read) noexcept;
    // segment_parts.cpp. Counts no hits. `torn` when the value was replaced or dropped meanwhile.
    ReadResult read_parts(const PartsNote& note, std::span<std::byte> to) noexcept;
    bool read_part(const PartKey& key, std::span<std::byte> to) noexcept;
    // Counts a miss and says what its caller is told.
    StatusCode missed(ReadResult result) noexcept;
    ReadResult copy_entry(const Slot& slot, CopyTarget target, std::span<std::byte>& entry) noexcept;
    // A hit on the item that `word` was `seen` to name.
    void note_hit(const KeyHash& hash, Word& word, std::uint64_t seen) noexcept;
    // The rest of it, of a key in the sample.
    void sample_hit(const KeyHash& hash, std::uint64_t seen) noexcept;

    // ---- writing ----
    Status store(const KeyHash& hash, const ItemContent& content) noexcept;
    [[nodiscard]] bool fits_item(const ItemHeader& header) const noexcept {
        return header.entry_bytes() <= entry_bytes_max(geometry);
    }
    // `header` is content.header(), and fits.
    Status store_item(const KeyHash& hash, const ItemContent& content, ItemHeader header,
                      Stream stream) noexcept;
    Status store_parts(const KeyHash& hash, const ItemContent& content) noexcept;
    // A put of so many units: for the sampler, and what it has to say.
    void learn(const KeyHash& hash, std::uint64_t units) noexcept;
    // Where a new item of this key belongs.
    Stream admit(const KeyHash& hash, DataClass data_class) noexcept;
    std::optional<Place> reserve(Stream stream, std::uint64_t units) noexcept;
};

inline Segment::Impl& Segment::current() const noexcept {
    // Acquire: pairs with follow().
    Impl* at = current_.load(std::memory_order_acquire);
    if (at->closed()) [[unlikely]]
        return follow(*at);
    return *at;
}

inline Segment::Impl* Segment::readable() const noexcept {
    Impl* at = current_.load(std::memory_order_acquire);  // as in current()
    if (at->closed()) [[unlikely]] {
        at = &follow(*at);
        if (at->closed()) return nullptr;
    }
    return at;
}

template <class Change>
auto Segment::change_current(Change change) noexcept {
    constexpr int attempts = 8;  // resized that often meanwhile
    for (int attempt = 0;; ++attempt) {
        Impl& at = current();
        auto result = change(at);
        if (!at.closed_after_write() || attempt == attempts || &current() == &at) return result;
    }
}

SegmentStats read_segment_stats(const Geometry& geometry, const BlockTable& blocks, const Index& index,
                                const Sampler& sampler, const Statistics& statistics,
                                ProcessTable::Holders holders) noexcept;

}  // namespace tiercache
