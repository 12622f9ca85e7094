// What a Segment is made of; shared by segment_read.cpp, segment_write.cpp, segment.cpp and segment_file.cpp.
#pragma once

#include "shm_cache/block.hpp"
#include "shm_cache/index.hpp"
#include "shm_cache/layout.hpp"
#include "shm_cache/lease.hpp"
#include "shm_cache/local_authority.hpp"
#include "shm_cache/process_table.hpp"
#include "shm_cache/reclaim.hpp"
#include "shm_cache/segment.hpp"
#include "shm_cache/shared_memory.hpp"

namespace tiercache {

struct Segment::Impl {
    Impl(std::byte* base, const Geometry& g, ProcessTable table)
        : geometry(g),
          blocks(base, g),
          index(base, g, blocks),
          processes(std::move(table)),
          leases(base, g, processes),
          authority(LocalAuthority::attach({base + g.local_clock_at, g.local_clock_bytes}, g.clock_slots)) {}

    Geometry geometry;
    BlockTable blocks;
    Index index;
    // Unmapped after the process table has left: declared before it.
    SharedMemory memory;  // empty for caller-owned memory
    std::string name;
    ProcessTable processes;
    LeaseTable leases;
    LocalAuthority authority;  // none where the segment has no local clock

    // ---- reading ----
    enum class Copy { whole, torn, other, no_room };
    // Copies the entry of the item that `slot` names. `whole`: it is what a put() left there; with a
    // `placed`, also of a key with that place hash. `other`: there is no such item.
    Copy copy_item(const Slot& slot, const std::uint64_t* placed, CopyTarget target,
                   std::span<std::byte>& entry) const noexcept;
    Copy find(const KeyHash& hash, std::span<const std::byte> key, CopyTarget target,
              std::span<std::byte>& entry) noexcept;
    // The same of a value: the item's fields, tags and stored bytes.
    template <class Reserve>
    Copy copy_value(const Slot& slot, std::uint64_t placed, std::span<const std::byte> key,
                    std::span<Tag, max_entry_tags> tags, Reserve reserve, ValueRead& read) const noexcept;
    template <class Reserve>
    Copy find_value(const KeyHash& hash, std::span<const std::byte> key, std::span<Tag, max_entry_tags> tags,
                    Reserve reserve, ValueRead& read) noexcept;
    template <class Reserve>
    StatusCode get_value(const KeyHash& hash, std::span<const std::byte> key,
                         std::span<Tag, max_entry_tags> tags, Reserve reserve, ValueRead& read) noexcept;
    void note_hit(Word& word, std::uint64_t seen) noexcept;

    // ---- writing ----
    Status store(const KeyHash& hash, const EntryView& entry) noexcept;
    // The block that takes new items; pinned, OPEN, with `units` reserved at `offset`.
    struct Place {
        Pin pin;
        BlockLife life;
        std::uint32_t offset;
    };
    std::optional<Place> reserve(std::uint64_t units) noexcept;
    std::optional<Place> reserve_in(BlockLife open, std::uint64_t units) noexcept;
};

}  // namespace tiercache
