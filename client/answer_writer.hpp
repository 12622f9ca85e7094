// How the tiers fill an Answer.
#pragma once

#include <cstddef>
#include <span>

#include "shm_cache/entry.hpp"
#include "shm_cache/segment.hpp"
#include "tiercache/answer.hpp"

namespace tiercache {

class AnswerWriter {
 public:
    explicit AnswerWriter(Answer& answer) noexcept : answer_(answer) { clear(); }

    // Room for the key of the query; nullptr when there is no memory.
    [[nodiscard]] std::byte* key_room(std::size_t bytes) noexcept { return answer_.key_.reserve(bytes); }
    // Where an entry is put.
    [[nodiscard]] detail::Buffer& entry_buffer() noexcept { return answer_.entry_; }
    [[nodiscard]] CopyTarget entry_target() noexcept {
        return {[](void* context, std::size_t bytes) noexcept {
                    return static_cast<detail::Buffer*>(context)->reserve(bytes);
                },
                &answer_.entry_};
    }

    // Unpacks the payload of an entry that lies in the entry buffer and checks it from end to end. False, and
    // an empty Answer, when it is not what pg_wire promises.
    [[nodiscard]] bool accept(const EntryView& entry) noexcept {
        clear();
        if (entry.fields.format != PayloadFormat::pg_wire) return false;
        std::span<const std::byte> payload = entry.stored_payload;
        if (entry.compressed()) {
            // LZ4 can't make more of so few bytes: do not reserve what a liar says.
            constexpr std::size_t lz4_ratio_max = 255;
            if (entry.raw_length > lz4_ratio_max * payload.size() + 64) return false;
            std::byte* room = answer_.unpacked_.reserve(entry.raw_length);
            if (room == nullptr) return false;
            const std::span<std::byte> unpacked(room, entry.raw_length);
            if (read_payload(entry, unpacked) != StatusCode::ok) return false;
            payload = unpacked;
        }
        if (!detail::WireRows::parse(payload, answer_.rows_)) return false;
        answer_.payload_ = payload;
        answer_.stamp_ = entry.fields.stamp;
        return true;
    }

    void label(Tier tier, Freshness freshness, std::uint32_t age_ms) noexcept {
        answer_.tier_ = tier;
        answer_.freshness_ = freshness;
        answer_.age_ms_ = age_ms;
    }

    void clear() noexcept {
        answer_.rows_ = {};
        answer_.payload_ = {};
        answer_.stamp_ = 0;
        label(Tier::none, Freshness::stale, 0);
    }

 private:
    Answer& answer_;
};

}  // namespace tiercache
