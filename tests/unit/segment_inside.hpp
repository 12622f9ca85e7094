// A look at the inside of a segment, for tests of its invariants.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "shm_cache/block.hpp"
#include "shm_cache/layout.hpp"

namespace tiercache::test {

// Where entries of the default class go at first.
inline constexpr Stream new_items{Queue::small, DataClass::warm};

inline BlockLife open_block(const std::byte* base, Stream stream = new_items) {
    const auto* header = reinterpret_cast<const SegmentHeader*>(base);
    return BlockLife::unpack(header->open_blocks[stream.index()].load());
}

// Empty, or what is wrong: each block is FREE, SEALED, or OPEN and named by its stream.
inline std::string check_blocks(const std::byte* base, const BlockTable& blocks) {
    for (std::uint32_t b = 0; b < blocks.count(); ++b) {
        const BlockState state = blocks.state(b);
        const std::string block = "block " + std::to_string(b);
        if (state.generation % 2 != 0) return block + " has an odd generation";
        switch (state.phase) {
            case BlockPhase::free:
            case BlockPhase::sealed:
                break;
            case BlockPhase::open:
                if (open_block(base, state.stream) != BlockLife{b, state.generation}) {
                    return block + " is open for nobody";
                }
                break;
            default:
                return block + " was left behind in phase " + std::to_string(static_cast<int>(state.phase));
        }
    }
    return {};
}

}  // namespace tiercache::test
