// Reclamation: makes free blocks out of sealed ones, a little at each put.
//
//   E  the victim, a SEALED block that eviction.hpp chose, is evacuated: each put takes some words of the
//      block's bitmap of starts, and keeps or drops the items that start there
//   R1 SEALED -> RECLAIMING, with one's own name
//   R2 a living process pins the block: back to SEALED, take another
//   R3 generation to odd: readers that copy from the block find out
//   R4 reservations, start bits and the block's record forgotten
//   R5 generation to even, FREE
//
// Keeping an item: room in the open block of the class's main stream, reserved and pinned as by any writer; a
// copy of the whole item; its start bit; a CAS of the index slot from the old place to the new. Dropping: the
// slot to empty by CAS, and a ghost. Who evacuates pins the victim and saw it SEALED after the pin, so it can
// neither be recycled nor be anything else while he works, however long he is stopped. Whoever dies between
// the copy and the CAS leaves an item that no slot names; whoever dies with words of the bitmap in his hands
// leaves items in the victim that end with its generation.
//
// Where much of what is emptied is dead, because values are overwritten, erased or expire, memory is not
// short of live items but of tidying: then all that is alive is kept, used or not, so that a cache whose data
// would fit loses none of it to its writers.
//
// Nothing here calls itself: copies go to an open block or to a free one, never to one that would have to be
// reclaimed for them, and an item for which there is no room is dropped. Of a block that
// is chosen while no other is free at most kept_share is kept (but for parts of large values, which are kept
// once for each time around in which they are read), so it is a gain; and a put that finds no free block
// looks at emergency_bytes of victims at most, and then at one block more of which it keeps nothing; at
// last_rounds_max where readers pin each in between, and at all that room_attempts_max times where other
// writers take what it freed. Then it is refused: what one put does has a bound.
//
// R3 to R5 can be repeated by another process, which takes the block over when its owner is proven dead, or
// when its phase is none that anybody writes. Every loop is bounded by the number of blocks, or of items.
#pragma once

#include <cstdint>
#include <optional>

#include "shm_cache/block.hpp"
#include "shm_cache/eviction.hpp"
#include "shm_cache/index.hpp"
#include "shm_cache/process_table.hpp"
#include "shm_cache/stream.hpp"

namespace tiercache {

// All functions only after ProcessTable::claim_slot().
class Reclaimer {
 public:
    Reclaimer(std::byte* memory, const Geometry& geometry, BlockTable& blocks, Index& index, Streams& streams,
              ProcessTable& processes) noexcept
        : header_(reinterpret_cast<SegmentHeader*>(memory)),
          geometry_(geometry),
          blocks_(blocks),
          index_(index),
          streams_(streams),
          processes_(processes) {}

    [[nodiscard]] EvictionPolicy policy() const noexcept {
        // Relaxed: a number by itself.
        EvictionPolicy policy = EvictionPolicy::unpack(header_->policy.load(std::memory_order_relaxed));
        policy.copy_forward = policy.copy_forward && blocks_.count() >= copy_forward_blocks_min;
        return policy;
    }
    // The rules that missed least on the sample: for all processes from here on, unless the policy was fixed.
    void adapt(const EvictionPolicy& best) noexcept;
    // Is there room that was never used? What comes first is kept then: no item has proven better yet.
    [[nodiscard]] bool filling() const noexcept;

    // How many blocks are kept free.
    [[nodiscard]] static std::uint32_t reserve_of(std::uint32_t block_count) noexcept;

    // What a put of so many units owes to reclamation, where there is something to do.
    void advance(std::uint64_t units) noexcept;

    // The stream has no open block with room: sees to it that it gets another one, and that some more are
    // free for those who come next. False when there is none to be had.
    bool open_next(Stream stream, BlockLife full) noexcept;

 private:
    // With fewer blocks a main queue takes more than it gives.
    static constexpr std::uint32_t copy_forward_blocks_min = 8;

    enum class Keep { by_policy, nothing };
    struct Evacuation;
    struct Survey;

    [[nodiscard]] BlockLife victim() const noexcept;
    [[nodiscard]] bool much_is_dead() const noexcept;
    void note_emptied(std::uint64_t units, std::uint64_t live) noexcept;
    // Where none is sealed that nobody pins, the oldest open one, if any will do.
    enum class Victims { any, sealed };
    void choose_victim(BlockLife last, Victims victims) noexcept;
    void look_at(std::uint32_t block, Survey& survey) noexcept;
    // False: no block is free, and none could be emptied.
    bool make_room(std::uint32_t wanted) noexcept;

    // Both return how many words were looked at.
    std::uint32_t work_on(BlockLife life, std::uint32_t words, Keep keep) noexcept;
    std::uint32_t evacuate(const BlockState& sealed, BlockLife life, std::uint32_t words, Keep keep) noexcept;
    void evacuate_words(Evacuation& e, std::uint32_t first, std::uint32_t end) noexcept;
    void evacuate_item(Evacuation& e, std::uint32_t offset, const ItemHeader& header) noexcept;
    void drop_item(Evacuation& e, std::uint64_t place_hash, const Index::ItemSlot& slot, std::uint64_t units,
                   bool expired) noexcept;
    enum class Kept { yes, no, gone };
    Kept keep_item(Evacuation& e, const Index::ItemSlot& slot, std::uint32_t offset,
                   const ItemHeader& header) noexcept;
    std::optional<Place> reserve_main(DataClass data_class, std::uint64_t units) noexcept;

    bool finish(std::uint32_t block, const BlockState& sealed) noexcept;
    bool take(std::uint32_t block, const BlockState& from) noexcept;
    bool recycle(std::uint32_t block, BlockState state) noexcept;

    SegmentHeader* header_;
    Geometry geometry_;
    BlockTable& blocks_;
    Index& index_;
    Streams& streams_;
    ProcessTable& processes_;
};

}  // namespace tiercache
