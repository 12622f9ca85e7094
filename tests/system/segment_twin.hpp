// A segment that can be given another one's content of any moment: what those leave who die at that moment,
// all of them at once. Bytes and dropped file locks are all that is left of a killed process.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "shm_cache/block.hpp"
#include "shm_cache/layout.hpp"
#include "shm_cache/segment.hpp"
#include "shm_cache/shared_memory.hpp"
#include "tests/system/requirement.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace tiercache::test {

class SegmentTwin {
 public:
    explicit SegmentTwin(const SegmentOptions& options) {
        require(Segment::create(name_, options).ok(), "could not create a segment");
        memory_ = SharedMemory::open(name_, true).value();
        std::uint64_t lock_file = 0;
        geometry_ = read_geometry(base(), memory_.bytes().size(), lock_file).value();
        blocks_ = BlockTable(base(), geometry_);
    }

    // Nobody may have it open. `bytes` are of a segment of the same geometry. What is written once, the inode
    // of the lock file for one, stays this segment's own.
    void become(std::span<const std::byte> bytes) {
        constexpr std::size_t from = offsetof(SegmentHeader, successor);
        std::memcpy(base() + from, bytes.data() + from, bytes.size() - from);
    }

    [[nodiscard]] const std::string& name() const { return name_.text(); }
    [[nodiscard]] std::span<const std::byte> bytes() const { return memory_.bytes(); }
    [[nodiscard]] const std::byte* data() const { return memory_.bytes().data(); }
    [[nodiscard]] const Geometry& geometry() const { return geometry_; }
    [[nodiscard]] const BlockTable& blocks() const { return blocks_; }

 private:
    [[nodiscard]] std::byte* base() const { return memory_.bytes().data(); }

    SegmentName name_;
    SharedMemory memory_;
    Geometry geometry_;
    BlockTable blocks_;
};

// Has a segment open with the process slot of a given number, where those of higher numbers may be dead
// ones', and nobody else has one of lower numbers: it holds those too.
class SlotHolder {
 public:
    SlotHolder(const std::string& name, std::uint32_t slot) {
        for (std::uint32_t i = 0; i <= slot; ++i) {
            Result<Segment> opened = Segment::open(name);
            require(opened.ok(), "could not open a segment: " + opened.status().to_string());
            segments_.push_back(std::move(opened).value());
        }
    }
    [[nodiscard]] Segment& segment() { return segments_.back(); }

 private:
    std::vector<Segment> segments_;
};

}  // namespace tiercache::test
