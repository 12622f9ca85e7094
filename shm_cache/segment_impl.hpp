// What a Segment is made of; shared by the segment's source files.
#pragma once

#include "shm_cache/block.hpp"
#include "shm_cache/index.hpp"
#include "shm_cache/item.hpp"
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
// `no_pin`: this process holds all the views it may. `copy_only`: it can't be viewed. `closed`: what was
// found does not count, another segment has taken this one's place.
enum class ReadResult { whole, torn, other, no_room, no_pin, copy_only, closed };

struct Segment::Impl {
    Impl(std::byte* base, const Geometry& g, ProcessTable table)
        : geometry(g),
          header(reinterpret_cast<SegmentHeader*>(base)),
          lineage(read_lineage(base)),
          blocks(base, g),
          index(base, g, blocks),
          sampler(base, g),
          processes(std::move(table)),
          leases(base, g, processes),
          authority(LocalAuthority::attach({base + g.local_clock_at, g.local_clock_bytes}, g.clock_slots)),
          streams(base, blocks, processes),
          reclaimer(base, g, blocks, index, streams, processes) {}

    Geometry geometry;
    SegmentHeader* header;
    Lineage lineage;
    BlockTable blocks;
    Index index;
    Sampler sampler;
    // Unmapped after the process table has left: declared before it.
    SharedMemory memory;    // empty for caller-owned memory
    std::string name;       // empty for caller-owned memory
    std::string file_name;  // under which it was opened: the name, or the one from before it was renamed
    gid_t trusted_group = no_group;  // by which it is trusted; none: by its owner
    std::shared_ptr<LockFile> lock_file;
    ProcessTable processes;
    LeaseTable leases;
    LocalAuthority authority;  // none where the segment has no local clock
    Streams streams;
    Reclaimer reclaimer;

    // ---- being followed by another segment (segment_resize.cpp) ----
    // What took this one's place, by its mark, or 0. From then on no change that is made here counts.
    [[nodiscard]] std::uint64_t successor() const noexcept {
        // Sequentially consistent: after a change, pairs with the store in resize(). Caller-owned memory has
        // no successor: its word was overwritten.
        return name.empty() ? 0 : header->successor.load(std::memory_order_seq_cst);
    }
    [[nodiscard]] bool closed() const noexcept { return successor() != 0; }
    // What took its place, once this process has that open; it is destroyed with this.
    std::atomic<Impl*> next = nullptr;
    // When a read may try again to open it.
    std::atomic<std::uint64_t> next_try_ns = 0;
    // Of those whose place was taken: the memory was given back, or somebody is about to.
    std::atomic<bool> retired = false;
    ~Impl() { delete next.load(std::memory_order_relaxed); }  // NOLINT(cppcoreguidelines-owning-memory)
    // Gives the memory, the process slot and the descriptor back; not while a view is held. False: later.
    bool retire() noexcept;

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
    void prefetch(const KeyHash& hash) const noexcept;
    // The same in one try, of a plain value: take(PlainItem) answers whether it took it. `other`: there is no
    // item of the key, which is still to be counted. Neither that nor `whole`: only find() knows.
    // segment_find_plain.hpp.
    template <class Take>
    ReadResult find_plain(const KeyHash& hash, std::span<const std::byte> key, Take&& take) noexcept;
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
    [[nodiscard]] bool has_part(const PartKey& key) noexcept;
    struct FoundPart {
        Word* word = nullptr;
        std::uint64_t seen = 0;
    };
    template <class Take>
    FoundPart find_part(const PartKey& key, const Take& take) noexcept;
    // Counts a miss and says what its caller is told; `unavailable` when the segment is closed.
    StatusCode missed(ReadResult result) noexcept;
    ReadResult copy_entry(const Slot& slot, CopyTarget target, std::span<std::byte>& entry) noexcept;
    // A hit on the item that `word` was `seen` to name; false when it does not count.
    [[nodiscard]] bool note_hit(const KeyHash& hash, Word& word, std::uint64_t seen) noexcept;
    // The rest of it, of a key in the sample.
    void sample_hit(KeyHash hash, std::uint64_t seen) noexcept;

    // ---- writing ----
    Status store(const KeyHash& hash, const ItemContent& content) noexcept;
    [[nodiscard]] bool fits_item(const ItemHeader& header) const noexcept {
        return header.entry_bytes() <= entry_bytes_max(geometry);
    }
    // A copy of a predecessor's item: where it lay, how often it was used lately.
    struct Copied {
        Stream stream;
        std::uint32_t frequency;
    };
    // already_exists where something was changed since this segment was made.
    Status store_copy(const KeyHash& hash, const ItemContent& content, const Copied& copied) noexcept;
    // `header` is content.header(), and fits.
    Status store_item(const KeyHash& hash, const ItemContent& content, ItemHeader header, Stream stream,
                      const Copied* copied = nullptr, bool copied_part = false) noexcept;
    Status store_parts(const KeyHash& hash, const ItemContent& content,
                       const Copied* copied = nullptr) noexcept;
    // A value on its way into parts.
    struct PartsPut {
        const PartsNote& note;
        const ItemContent& whole;
        Stream stream;
        bool is_copy;
    };
    Status store_part(const PartsPut& put, const PartKey& key) noexcept;
    Status store_all_parts(const PartsPut& put) noexcept;
    Status store_missing_parts(const PartsPut& put, bool has_head, std::size_t& missing) noexcept;
    // A put of so many units: for the sampler, and what it has to say.
    void learn(const KeyHash& hash, std::uint64_t units) noexcept;
    // Where a new item of this key belongs; `units` as in Index::recall().
    Stream admit(const KeyHash& hash, DataClass data_class, std::uint64_t units) noexcept;
    std::optional<Place> reserve(Stream stream, std::uint64_t units) noexcept;
};

inline Segment::Impl& Segment::latest() const noexcept {
    // Acquire: pairs with follow().
    return *current_.load(std::memory_order_acquire);
}

inline Segment::Impl& Segment::current() const noexcept {
    Impl& at = latest();
    if (!at.closed()) [[likely]]
        return at;
    Impl* next = follow(at, Urgency::now_and_then);
    return next == nullptr ? at : *next;
}

// Makes a change where it counts: change(impl), and should the segment have been closed meanwhile, late(impl)
// in what took its place. That must leave nothing which the change was to replace; what the change itself was
// to leave need not be there.
template <class Change, class Late>
Status Segment::change(Change change, Late late) noexcept {
    settle();
    Impl* at = &latest();
    if (at->closed()) [[unlikely]] {
        at = follow(*at, Urgency::at_once);
        if (at == nullptr) return cannot_follow();
    }
    Status status = change(*at);
    while (at->closed()) [[unlikely]] {
            at = follow(*at, Urgency::at_once);
            if (at == nullptr) return cannot_follow();
            (void)late(*at);
            full_fence();
        }
    return status;
}

// Reads where it counts: read(impl), which answers `unavailable` when it found out that the segment is
// closed.
template <class Read>
[[gnu::always_inline]] inline StatusCode Segment::read(Read read) const noexcept {
    Impl* at = &latest();
    while (true) {
        const StatusCode code = read(*at);
        if (code != StatusCode::unavailable) [[likely]]
            return code;
        at = follow(*at, Urgency::now_and_then);
        if (at == nullptr) return StatusCode::not_found;
    }
}

// Calls visit(header) for each item that the index names, parts among them. What the header says may have
// changed meanwhile, but lies within the block.
template <class Visit>
void for_each_item(const Geometry& geometry, const BlockTable& blocks, const Index& index, Visit visit) {
    index.for_each([&](const Slot& slot) {
        if (!header_fits_block(geometry, slot.offset)) return true;
        const ItemHeader header = load_item_header(blocks.item(slot.block, slot.offset));
        if (fits_block(geometry, slot.offset, header.bytes())) visit(header);
        return true;
    });
}

SegmentStats read_segment_stats(const Geometry& geometry, const BlockTable& blocks, const Index& index,
                                const Sampler& sampler, const Statistics& statistics,
                                ProcessTable::Holders holders) noexcept;

}  // namespace tiercache
