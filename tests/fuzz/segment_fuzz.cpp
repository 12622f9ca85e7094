// The bytes of a segment may be anything at any time. The input is a list of commands: damage to any part of
// the mapping, and every call that a user can make. Calls must return, touch nothing outside the memory (it
// is a heap allocation, so AddressSanitizer sees the first byte too many), and give an entry of the key or
// nothing. What is private to a process, the geometry that it read when it attached, is not damaged.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "shm_cache/layout.hpp"
#include "shm_cache/lease.hpp"
#include "shm_cache/local_authority.hpp"
#include "shm_cache/segment.hpp"
#include "shm_cache/shared_cache.hpp"
#include "tests/unit/segment_oracle.hpp"

namespace {

using namespace tiercache;
using namespace tiercache::test;

void require(bool condition) {
    if (!condition) std::abort();
}

constexpr std::size_t commands_max = 400;
constexpr std::uint64_t keys = 64;

std::string plain_key(std::uint64_t number) { return "a plain value: " + std::to_string(number); }

SegmentOptions fuzzed_segment() {
    SegmentOptions options = tiny_segment();
    options.clock_slots = 64;
    return options;
}

class Input {
 public:
    Input(const std::uint8_t* data, std::size_t size) : left_(data, size) {}
    [[nodiscard]] bool empty() const { return left_.empty(); }
    // Zeros after the end.
    std::uint64_t number(std::size_t bytes) {
        std::uint64_t value = 0;
        const std::size_t n = std::min(bytes, left_.size());
        std::memcpy(&value, left_.data(), n);
        left_ = left_.subspan(n);
        return value;
    }

 private:
    std::span<const std::uint8_t> left_;
};

// A segment that has been used for a while, made once; each input starts with a copy of it.
class Fixture {
 public:
    Fixture() : memory_(allocate()), pristine_(size()) {
        Segment segment = Segment::format(span(), fuzzed_segment()).value();
        for (std::uint64_t i = 0; i < 6 * keys; ++i) {
            (void)segment.put(oracle_entry(i % keys, i, 16 + i * 37 % 1400));
            (void)look_up(segment, i * 7 % keys);
        }
        (void)segment.put(oracle_entry(1, 1, 9000));
        SharedCache plain_values(std::move(segment));
        for (std::uint64_t i = 0; i < keys; ++i) {
            (void)plain_values.put(plain_key(i), std::string(16 + i * 12, 'v'),
                                   {.ttl = std::chrono::hours(1)});
        }
        std::uint64_t lock_file = 0;
        geometry_ = read_geometry(span().data(), size(), lock_file).value();
        std::ranges::copy(span(), pristine_.begin());
    }
    [[nodiscard]] static std::size_t size() { return fuzzed_segment().size_bytes; }
    [[nodiscard]] std::span<std::byte> span() const { return {memory_.get(), size()}; }
    void restore() { std::ranges::copy(pristine_, span().begin()); }

    // Overwrites a word somewhere in a part of the map.
    void damage(Input& input) {
        const std::uint64_t ends[] = {sizeof(SegmentHeader),
                                      geometry_.process_slots_at,
                                      geometry_.leases_at,
                                      geometry_.local_clock_at,
                                      geometry_.block_states_at,
                                      geometry_.block_notes_at,
                                      geometry_.index_at,
                                      geometry_.blocks_at,
                                      geometry_.end,
                                      size()};
        const std::uint64_t part = input.number(1);
        const std::uint64_t from = part == 0 ? 0 : ends[part % (std::size(ends) - 1)];
        const std::uint64_t to = part == 0 ? ends[0] : ends[part % (std::size(ends) - 1) + 1];
        const std::uint64_t place = input.number(3);
        if (to <= from) return;
        auto& word = reinterpret_cast<Word*>(memory_.get())[(from / 8) + place % ((to - from) / 8)];
        const std::uint64_t kind = input.number(1);
        const std::uint64_t old = word.load(std::memory_order_relaxed);
        std::uint64_t next = 0;
        switch (kind % 5) {
            case 0:
                next = input.number(8);
                break;
            case 1:
                next = old ^ (std::uint64_t{1} << (kind >> 3) % 64);
                break;
            case 2:
                next = UINT64_MAX;
                break;
            case 3:
                next = old + input.number(2) - 0x8000;
                break;
            default:
                break;
        }
        word.store(next, std::memory_order_relaxed);
    }

 private:
    struct Free {
        void operator()(std::byte* bytes) const { std::free(bytes); }
    };
    static std::unique_ptr<std::byte, Free> allocate() {
        return std::unique_ptr<std::byte, Free>(
            static_cast<std::byte*>(std::aligned_alloc(cache_line_bytes, size())));
    }

    std::unique_ptr<std::byte, Free> memory_;
    Bytes pristine_;
    Geometry geometry_;
};

void read(Segment& segment, std::uint64_t number) {
    static Bytes buffer;
    const Bytes key = key_of(number);
    const std::span<std::byte> found = segment.get(hash_key(key), key, copy_to(buffer));
    require(found.empty() || is_entry_of(found, key));
    EntryView view;
    if (!found.empty()) require(decode_entry(found, view) == StatusCode::ok);

    std::array<Tag, max_entry_tags> tags;
    ValueRead value;
    if (segment.get_value(hash_key(key), key, tags, copy_to(buffer), value) == StatusCode::ok) {
        require(value.tag_count <= tags.size());
        Bytes raw(std::min<std::size_t>(value.raw_length, 1U << 20));
        (void)read_value(value.stored, value.compressed(), value.raw_length, raw);
        (void)segment.local_authority().check({tags.data(), value.tag_count},
                                              {value.fields.epoch, value.fields.stamp});
    }
}

void read_plain(SharedCache& plain_values, std::uint64_t number) {
    // On the heap, with nothing behind it.
    std::vector<std::byte> buffer(600);
    const Hit hit = plain_values.get(plain_key(number), buffer);
    require(hit.found == Found::too_small || hit.size <= buffer.size());
    std::string text;
    (void)plain_values.get(plain_key(number), text);
}

// Bytes that are in view may change under damage; they are never anywhere else.
void look(Segment& segment, std::uint64_t number, std::span<const std::byte> memory, ValueView& view) {
    std::array<Tag, max_entry_tags> tags;
    const Bytes key = key_of(number);
    if (segment.get_view(hash_key(key), key, tags, view) != StatusCode::ok) {
        require(!view.held());
        return;
    }
    require(view.held() && view.tag_count <= tags.size());
    if (view.stored.empty()) return;
    require(view.stored.data() >= memory.data() &&
            view.stored.data() + view.stored.size() <= memory.data() + memory.size());
    Bytes raw(std::min<std::size_t>(view.raw_length, 1U << 20));
    const Bytes stored(view.stored.begin(), view.stored.end());
    (void)read_value(stored, view.compressed(), view.raw_length, raw);
}

void use_lease(Segment& segment, std::uint64_t number, std::optional<Lease>& kept) {
    Lease lease;
    HeldLease held;
    switch (segment.leases().claim(hash_key(key_of(number)), number, lease, held)) {
        case LeaseTable::Claim::mine:
            lease.note_cost(number);
            if (number % 2 == 0) kept.emplace(std::move(lease));
            break;
        case LeaseTable::Claim::theirs:
            LeaseTable::wait(held, 0);
            break;
        case LeaseTable::Claim::none:
            break;
    }
}

void walk(Segment& segment) {
    segment.for_each(
        [](void*, std::span<const std::byte> bytes) {
            EntryView view;
            require(decode_entry(bytes, view) == StatusCode::ok && view.bytes.size() == bytes.size());
            return true;
        },
        nullptr);
    (void)segment.stats();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static Fixture fixture;
    fixture.restore();
    Input input(data, size);
    std::optional<Segment> segment(Segment::attach(fixture.span(), 2).value());
    SharedCache plain_values(Segment::attach(fixture.span(), 3).value());
    std::optional<Lease> lease;
    std::array<ValueView, 3> views;
    for (std::size_t i = 0; i < commands_max && !input.empty(); ++i) {
        const std::uint64_t command = input.number(1);
        if (command >= 0xf8) {
            const std::uint64_t large = input.number(1) % keys;
            (void)segment->put(oracle_entry(large, command, 4096 + input.number(2) % 8192));
            continue;
        }
        if (command >= 0xf0) {
            look(*segment, input.number(1) % keys, fixture.span(), views[command % views.size()]);
            continue;
        }
        const std::uint64_t key = command < 0x80 ? input.number(1) % keys : 0;
        switch (command % 16) {
            case 0:
            case 1:
            case 2:
                (void)segment->put(oracle_entry(key, command, 16 + input.number(2) % 4096));
                break;
            case 3:
            case 4:
            case 5:
                read(*segment, key);
                read_plain(plain_values, key);
                break;
            case 6:
                erase_key(*segment, key);
                break;
            case 7:
                walk(*segment);
                break;
            case 8:
                use_lease(*segment, key, lease);
                break;
            case 9:
                lease.reset();
                for (ValueView& view : views) view.release();
                // Only one whose header is right is attached.
                if (Result<Segment> again = Segment::attach(fixture.span(), key % 8); again.ok()) {
                    segment.emplace(std::move(again.value()));
                }
                break;
            case 10:
                if (key == 1) (void)segment->clear();
                // One whose clock is damaged is attached without.
                if (LocalAuthority clock = segment->local_authority(); clock.valid()) {
                    (void)clock.stamp();
                    clock.invalidate(key);
                }
                break;
            default:
                fixture.damage(input);
        }
    }
    lease.reset();
    for (ValueView& view : views) view.release();
    for (std::uint64_t key = 0; key < keys; key += 5) {
        (void)segment->put(oracle_entry(key, 1, 16 + key * 40));
        read(*segment, key);
    }
    walk(*segment);
    return 0;
}
