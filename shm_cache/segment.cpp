// A segment as a whole. How it is read is in segment_read.cpp, how it is written in segment_write.cpp, its
// making in segment_file.cpp.
#include "shm_cache/segment.hpp"

#include <new>
#include <vector>

#include "shm_cache/entry.hpp"
#include "shm_cache/segment_impl.hpp"

namespace tiercache {

void Segment::for_each(bool (*visit)(void* context, std::span<const std::byte> entry), void* context) const {
    std::vector<std::byte> copy(entry_bytes_max(latest().geometry));
    // Room for a large value is made when one comes; one that finds none is passed over.
    const CopyTarget target{[](void* context, std::size_t bytes) noexcept -> std::byte* {
                                auto& buffer = *static_cast<std::vector<std::byte>*>(context);
                                try {
                                    if (bytes > buffer.size()) buffer.resize(bytes);
                                } catch (const std::bad_alloc&) {
                                    return nullptr;
                                }
                                return buffer.data();
                            },
                            &copy};
    const auto walk = [&](Impl& at) {
        StatusCode code = StatusCode::ok;
        at.index.for_each([&](const Slot& slot) {
            std::span<std::byte> bytes;
            EntryView view;
            const bool whole = at.copy_entry(slot, target, bytes) == ReadResult::whole &&
                               decode_entry(bytes, view) == StatusCode::ok &&
                               view.bytes.size() == bytes.size();
            // After the copy: what it is of counts only if nothing took the segment's place.
            if (at.closed()) {
                code = StatusCode::unavailable;
                return false;
            }
            return !whole || visit(context, bytes);
        });
        return code;
    };
    (void)read(walk);
}

LeaseTable& Segment::leases() noexcept { return current().leases; }

LocalAuthority& Segment::local_authority() noexcept { return current().authority; }

void Segment::note(Note note) noexcept {
    // In the order of Note.
    static constexpr Counter counters[] = {
        Counter::stale_hits,           Counter::misses_expired,   Counter::misses_changed,
        Counter::misses_being_written, Counter::misses_outdated,  Counter::misses_unvouched,
        Counter::misses_malformed,     Counter::misses_not_asked, Counter::misses_too_small};
    latest().processes.count(counters[static_cast<std::size_t>(note)]);
}

}  // namespace tiercache
