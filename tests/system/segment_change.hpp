// What an instruction did to a segment, in words: the name of the first word that it changed, and what is
// half done now. Two deaths of one name left the same kind of thing behind.
#pragma once

#include <algorithm>
#include <cstring>
#include <span>
#include <string>

#include "shm_cache/block.hpp"
#include "shm_cache/index.hpp"
#include "shm_cache/layout.hpp"
#include "shm_cache/lease.hpp"
#include "shm_cache/local_authority.hpp"
#include "shm_cache/process_table.hpp"
#include "tests/unit/segment_inside.hpp"

namespace tiercache::test {

// Looks at private copies of a segment's bytes, which are aligned as the segment is.
class ChangeNames {
 public:
    using View = std::span<const std::byte>;

    explicit ChangeNames(const Geometry& geometry) : geometry_(geometry) {}

    // Empty when nothing changed. `own` is the tag of the key that is being put.
    [[nodiscard]] std::string name(View before, View after, std::uint16_t own) const {
        const auto at = static_cast<std::uint64_t>(std::ranges::mismatch(before, after).in1 - before.begin());
        if (at == before.size()) return {};
        const std::uint64_t word = at / word_bytes * word_bytes;
        std::string name = name_word(word, load(before, word), load(after, word), own);
        const std::string half = half_done(after);
        return half.empty() ? name : name + ", while " + half;
    }

    // The blocks that are neither FREE nor SEALED nor what a stream has open; empty when there are none.
    [[nodiscard]] std::string half_done(View bytes) const {
        std::string names;
        for (std::uint32_t b = 0; b < geometry_.block_count; ++b) {
            const BlockState state =
                BlockState::unpack(load(bytes, geometry_.block_states_at + b * word_bytes));
            const bool whole = state.phase == BlockPhase::free || state.phase == BlockPhase::sealed ||
                               (state.phase == BlockPhase::open &&
                                open_block(bytes.data(), state.stream) == BlockLife{b, state.generation});
            if (!whole) names += (names.empty() ? "" : " and ") + name_state(state);
        }
        return names;
    }

 private:
    static std::uint64_t load(View bytes, std::uint64_t at) {
        std::uint64_t word = 0;
        std::memcpy(&word, &bytes[at], sizeof(word));
        return word;
    }

    static std::string name_state(const BlockState& state) {
        static constexpr const char* names[] = {"invalid", "free", "open", "sealed", "reclaiming"};
        const auto phase = static_cast<std::size_t>(state.phase);
        return std::string(phase < std::size(names) ? names[phase] : "unknown") +
               (state.generation % 2 != 0 ? " (odd)" : "");
    }
    static std::string name_pin(std::uint64_t before) { return before == 0 ? "set" : "dropped"; }

    static std::string name_slot(std::uint64_t before, std::uint64_t after, std::uint16_t own) {
        if (after == 0) return "slot emptied";
        const Slot from = Slot::unpack(before);
        const Slot to = Slot::unpack(after);
        if (to.pending()) return before == 0 ? "slot pending" : "slot pending in another's place";
        if (from.pending()) return "slot made visible";
        if (from.tag != to.tag) return "slot of another key";
        if (from.block == to.block && from.offset == to.offset) return "frequency";
        return to.tag == own ? "value replaced" : "item moved";
    }

    [[nodiscard]] std::string name_word(std::uint64_t at, std::uint64_t before, std::uint64_t after,
                                        std::uint16_t own) const {
        const Geometry& g = geometry_;
        if (at >= g.blocks_at) return "item";
        if (at >= g.index_at) {
            const bool ghosts = (at - g.index_at) % sizeof(Bucket) / word_bytes == slots_per_bucket;
            return ghosts ? "ghosts" : name_slot(before, after, own);
        }
        if (at >= g.touched_at) return "touched";
        if (at >= g.block_notes_at) {
            if ((at - g.block_notes_at) % g.block_note_bytes == 0) {
                return after == 0 ? "reservations cleared" : "place reserved";
            }
            return after == 0 ? "starts cleared" : "start marked";
        }
        if (at >= g.block_records_at) {
            static constexpr const char* names[] = {"order", "expiry", "claimed", "kept"};
            const char* name = names[(at - g.block_records_at) % block_record_bytes / word_bytes];
            return std::string(name) + (after == 0 ? " cleared" : "");
        }
        if (at >= g.block_states_at) {
            return "block " + name_state(BlockState::unpack(before)) + " to " +
                   name_state(BlockState::unpack(after));
        }
        return at >= sizeof(SegmentHeader) ? name_process_word(at, before) : name_header_word(at);
    }

    [[nodiscard]] std::string name_process_word(std::uint64_t at, std::uint64_t before) const {
        const Geometry& g = geometry_;
        if (at >= g.sampler_at) return "sampler";
        if (at >= g.local_clock_at) return "local clock";
        if (at >= g.leases_at) {
            static constexpr const char* names[] = {"state", "deadline", "cost"};
            const std::uint64_t word = (at - g.leases_at) % sizeof(LeaseWords) / word_bytes;
            return std::string("lease's ") + names[std::min<std::uint64_t>(word, 2)];
        }
        if (at >= g.statistics_at) return "statistics";
        const std::uint64_t word = (at - g.process_slots_at) % process_slot_bytes / word_bytes;
        if (word == 0) return "process slot";
        return (word <= pins_per_process ? "pin " : "view's pin ") + name_pin(before);
    }

    static std::string name_header_word(std::uint64_t at) {
        if (at >= offsetof(SegmentHeader, emptied_units)) return "what was emptied";
        if (at >= offsetof(SegmentHeader, scrub_cursor)) return "scrub cursor";
        if (at >= offsetof(SegmentHeader, policy)) return "policy";
        if (at >= offsetof(SegmentHeader, opened)) return "opened";
        if (at >= offsetof(SegmentHeader, victim)) return "victim";
        return "stream's open block";
    }

    Geometry geometry_;
};

}  // namespace tiercache::test
