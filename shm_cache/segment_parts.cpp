// Values that are too large for one item: up to a quarter of the segment, 64 MiB at most.
//
//   L1  the parts, each an item of its own under a key {nonce, number} that no user's key can be mistaken for
//   L2  the head, an item under the value's key, with the nonce and the length
//
// Whoever finds the head reads the parts one by one, each proven by its block's generation as any item. One
// that is missing makes it a miss. The nonce is unique to the put, so what comes together is one put's value,
// whoever replaces it meanwhile. A writer that dies before L2 leaves parts that nobody finds and that are
// evicted in their time, as are those of a value that was replaced.
#include <atomic>

#include "shm_cache/monotonic_time.hpp"
#include "shm_cache/segment_impl.hpp"

namespace tiercache {

namespace {

// Of the largest value: a 32nd of the segment.
constexpr std::size_t past_small_queue = 8;

// The owner's slot has one process at a time; its lives are told apart by the time.
void make_nonce(const Owner& self, std::uint64_t (&nonce)[2]) noexcept {
    static std::atomic<std::uint32_t> puts{0};
    nonce[0] = std::uint64_t{self.slot} << 48 | std::uint64_t{self.incarnation} << 32 |
               puts.fetch_add(1, std::memory_order_relaxed);
    nonce[1] = monotonic_ns();
}

}  // namespace

Status Segment::Impl::store_parts(const KeyHash& hash, const ItemContent& content) noexcept {
    const std::size_t entry_bytes =
        encoded_entry_bound(content.tags.size() / sizeof(Tag), content.key.size(), content.stored.size());
    if (entry_bytes > largest_entry_bytes(geometry)) return Status(StatusCode::too_large);
    if (!processes.claim_slot()) return Status(StatusCode::no_space);
    PartsNote note{};
    make_nonce(processes.self(), note.nonce);
    note.stored_length = content.stored.size();
    ItemContent head = content;
    head.stored = std::as_bytes(std::span(&note, 1));
    head.kind = item_head;
    // Key and tags alone may be too much.
    if (!fits_item(head)) return Status(StatusCode::too_large);

    // All of it goes where its head does; but a value that would push its own first parts out of the small
    // queue, before the last are written, goes past it.
    const DataClass data_class = content.fields.data_class;
    const Stream stream = content.stored.size() > parted_bytes_max(geometry) / past_small_queue
                              ? Stream{Queue::main, data_class}
                              : admit(hash, data_class);
    PartKey key{{note.nonce[0], note.nonce[1]}, 0};
    const auto key_bytes = std::as_bytes(std::span(&key, 1));
    ItemContent part;
    part.key = key_bytes;
    part.kind = item_part;
    part.fields.data_class = data_class;
    part.fields.lifetime.received_at_ns = content.fields.lifetime.received_at_ns;
    part.fields.lifetime.hard_ttl_ms = content.fields.lifetime.hard_ttl_ms;
    Status status;
    for (std::size_t at = 0; at < content.stored.size() && status.ok(); ++key.number) {
        part.stored = content.stored.subspan(at, std::min(part_bytes(geometry), content.stored.size() - at));
        part.raw_length = static_cast<std::uint32_t>(part.stored.size());
        status = store_item(hash_key(key_bytes), part, stream);
        at += part.stored.size();
    }
    if (status.ok()) status = store_item(hash, head, stream);
    if (status.ok()) return status;
    while (key.number-- > 0) (void)index.erase(hash_key(key_bytes), key_bytes);
    return status;
}

bool Segment::Impl::read_parts(const Assembly& assembly) const noexcept {
    PartKey key{{assembly.note.nonce[0], assembly.note.nonce[1]}, 0};
    const std::size_t size = part_bytes(geometry);
    for (std::size_t at = 0; at < assembly.to.size(); at += size, ++key.number) {
        if (!read_part(key, assembly.to.subspan(at, std::min(size, assembly.to.size() - at)))) return false;
    }
    return true;
}

}  // namespace tiercache
