// Entries whose bytes can be checked without knowing who put them: the payload is a function of the key's
// number, a sequence number and the length, and carries all three.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <new>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "shm_cache/entry.hpp"
#include "shm_cache/segment.hpp"
#include "shm_cache/shared_memory.hpp"
#include "tests/unit/bytes_of.hpp"

namespace tiercache::test {

using Bytes = std::vector<std::byte>;

// Keys of various lengths, 8 bytes and more. Not inlined: GCC 16 would see XXH3 read past the end of keys
// that are as long as that part of it wants, and they are not.
[[gnu::noinline]] inline Bytes key_of(std::uint64_t number) {
    Bytes key(8 + number % 41, std::byte{'k'});
    std::memcpy(key.data(), &number, sizeof(number));
    return key;
}

struct OraclePayload {
    std::uint64_t key;
    std::uint64_t sequence;
};

inline std::uint64_t mix(std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31);
}

// At least 16 bytes: key, sequence, then a stream of both and of the length.
inline Bytes payload_of(std::uint64_t key, std::uint64_t sequence, std::size_t length) {
    Bytes payload(std::max<std::size_t>(length, sizeof(OraclePayload)));
    const OraclePayload head{key, sequence};
    std::memcpy(payload.data(), &head, sizeof(head));
    const std::uint64_t seed = mix(key) ^ mix(sequence + 0x9e3779b9) ^ payload.size();
    for (std::size_t i = sizeof(head); i < payload.size(); ++i) {
        payload[i] = static_cast<std::byte>(mix(seed + i / 8) >> (i % 8 * 8));
    }
    return payload;
}

inline Bytes entry_of(std::span<const std::byte> key, std::span<const std::byte> payload,
                      const EntryFields& fields = {}, std::span<const Tag> tags = {}) {
    Bytes out(encoded_entry_bound(tags.size(), key.size(), payload.size()));
    const Result<std::size_t> size = encode_entry(fields, tags, key, payload, out);
    out.resize(size.ok() ? *size : 0);
    return out;
}

inline Bytes oracle_entry(std::uint64_t key, std::uint64_t sequence, std::size_t length) {
    return entry_of(key_of(key), payload_of(key, sequence, length));
}

inline CopyTarget copy_to(Bytes& buffer) {
    return {[](void* context, std::size_t bytes) noexcept {
                auto& to = *static_cast<Bytes*>(context);
                to.resize(bytes);
                return to.data();
            },
            &buffer};
}

// The key's payload, or nothing. Sets `ok` to false when an entry came that nobody can have put there.
struct Lookup {
    bool hit = false;
    bool ok = true;
    std::uint64_t sequence = 0;
    std::size_t length = 0;
};

inline Lookup check_entry(std::span<const std::byte> bytes, std::uint64_t key) {
    Lookup result{true, false, 0, 0};
    EntryView view;
    if (decode_entry(bytes, view) != StatusCode::ok || view.bytes.size() != bytes.size()) return result;
    if (!entry_checksum_ok(view)) return result;
    const Bytes expected_key = key_of(key);
    if (!std::ranges::equal(view.key, expected_key)) return result;
    Bytes payload(view.raw_length);
    if (read_payload(view, payload) != StatusCode::ok || payload.size() < sizeof(OraclePayload))
        return result;
    OraclePayload head;
    std::memcpy(&head, payload.data(), sizeof(head));
    result.sequence = head.sequence;
    result.length = payload.size();
    result.ok = head.key == key && payload == payload_of(key, head.sequence, payload.size());
    return result;
}

inline Lookup look_up(Segment& segment, std::uint64_t key) {
    thread_local Bytes buffer;
    const Bytes bytes = key_of(key);
    const std::span<std::byte> found = segment.get(hash_key(bytes), bytes, copy_to(buffer));
    return found.empty() ? Lookup{} : check_entry(found, key);
}

inline bool erase_key(Segment& segment, std::uint64_t key) {
    const Bytes bytes = key_of(key);
    return segment.erase(hash_key(bytes), bytes).ok();
}

inline SegmentOptions tiny_segment() {
    SegmentOptions options;
    options.size_bytes = std::size_t{64} << 10;
    options.block_bytes = std::size_t{4} << 10;
    options.item_bytes_mean = 256;
    options.process_slots = 16;
    return options;
}

// Caller-owned memory between two pages that nobody may touch: an access out of bounds is a crash.
class OwnMemory {
 public:
    explicit OwnMemory(std::size_t bytes)
        : bytes_(bytes), mapped_bytes_((bytes + 4095) / 4096 * 4096 + 8192) {
        void* mapped = mmap(nullptr, mapped_bytes_, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (mapped == MAP_FAILED) throw std::bad_alloc();
        mapped_ = static_cast<std::byte*>(mapped);
        mprotect(mapped_ + 4096, mapped_bytes_ - 8192, PROT_READ | PROT_WRITE);
    }
    ~OwnMemory() { munmap(mapped_, mapped_bytes_); }
    OwnMemory(const OwnMemory&) = delete;
    OwnMemory& operator=(const OwnMemory&) = delete;
    [[nodiscard]] std::span<std::byte> span() const { return {mapped_ + 4096, bytes_}; }

 private:
    std::size_t bytes_;
    std::size_t mapped_bytes_;
    std::byte* mapped_ = nullptr;
};

// What one process or thread does to a segment that others use too: puts, gets and erases of a few keys, in
// an order that follows from the seed. Keys that only it puts must never go back in time.
class Actor {
 public:
    Actor(std::uint64_t seed, std::uint64_t own_keys_from) : random_(seed), own_keys_from_(own_keys_from) {}

    static constexpr std::uint64_t shared_keys = 150;
    static constexpr std::uint64_t own_keys = 20;

    // Empty, or what was wrong.
    std::string step(Segment& segment) {
        const bool own = random_() % 4 == 0;
        const std::uint64_t key = own ? own_keys_from_ + random_() % own_keys : random_() % shared_keys;
        const std::uint64_t action = random_() % 100;
        if (action < 45) {
            ++sequence_;
            const Status status = segment.put(oracle_entry(key, sequence_, 16 + random_() % 900));
            if (status.ok() && own) last_[key - own_keys_from_] = sequence_;
        } else if (action < 47) {
            erase_key(segment, key);
        } else {
            const Lookup found = look_up(segment, key);
            if (!found.ok) return "key " + std::to_string(key) + " came back damaged";
            if (found.hit && own && found.sequence < last_[key - own_keys_from_]) {
                return "key " + std::to_string(key) + " went back in time";
            }
        }
        return {};
    }

 private:
    std::mt19937_64 random_;
    std::uint64_t own_keys_from_;
    std::uint64_t sequence_ = 0;
    std::array<std::uint64_t, own_keys> last_{};
};

// What most tests of a SharedCache need.
inline SegmentOptions small_cache() {
    SegmentOptions options;
    options.size_bytes = std::size_t{1} << 20;
    options.process_slots = 32;
    return options;
}

// A segment name that no other run uses; the segment is gone afterwards.
class SegmentName {
 public:
    SegmentName() : name_("/tiercache.test." + std::to_string(getpid()) + "." + std::to_string(next_++)) {}
    ~SegmentName() {
        // Not by Segment::remove(): a test may have left anything there, also under names made of it.
        shm_unlink(name_.c_str());
        const Result<std::vector<std::string>> made_of_it = SharedMemory::list(name_ + ".");
        if (!made_of_it.ok()) return;
        for (const std::string& file : *made_of_it) shm_unlink(file.c_str());
    }
    SegmentName(const SegmentName&) = delete;
    SegmentName& operator=(const SegmentName&) = delete;
    operator const std::string&() const { return name_; }  // NOLINT(google-explicit-constructor)
    [[nodiscard]] const std::string& text() const { return name_; }

 private:
    static inline std::atomic<int> next_{0};
    std::string name_;
};

}  // namespace tiercache::test
