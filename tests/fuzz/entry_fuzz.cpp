// Any bytes are an entry or an error. An entry reads its payload within bounds, and encodes to itself again.
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "shm_cache/entry.hpp"

namespace {

using namespace tiercache;

void require(bool condition) {
    if (!condition) std::abort();
}

// What a hostile entry may claim is up to 1 GiB; the fuzzer looks at less of it.
constexpr std::uint32_t payload_bytes_max = 1U << 20;

// The same fields, tags, key and payload make an entry that says the same.
void encode_again(const EntryView& view, std::span<const std::byte> payload) {
    std::array<Tag, max_entry_tags> room;
    const std::span<const Tag> tags = view.tags.copy_to(room);
    std::vector<std::byte> out(encoded_entry_bound(tags.size(), view.key.size(), payload.size()));
    const Result<std::size_t> size = encode_entry(view.fields, tags, view.key, payload, out);
    require(size.ok() && *size <= out.size());
    out.resize(*size);

    EntryView again;
    require(decode_entry(out, again) == StatusCode::ok);
    require(entry_checksum_ok(again));
    require(again.bytes.size() == out.size());
    require(is_entry_of(out, view.key));
    require(again.raw_length == payload.size());
    // All but the choice to compress, which is the encoder's.
    require((again.fields.flags | entry_lz4) == (view.fields.flags | entry_lz4));
    require(again.fields.format == view.fields.format && again.fields.data_class == view.fields.data_class);
    require(again.fields.epoch == view.fields.epoch && again.fields.stamp == view.fields.stamp);
    require(again.fields.fill_cost_us == view.fields.fill_cost_us);
    require(again.fields.lifetime == view.fields.lifetime);
    require(again.tags.size() == tags.size());
    for (std::size_t i = 0; i < tags.size(); ++i) require(again.tags[i] == tags[i]);
    std::vector<std::byte> read(payload.size());
    require(read_payload(again, read) == StatusCode::ok);
    require(read.empty() || std::memcmp(read.data(), payload.data(), read.size()) == 0);

    if (view.compressed() == again.compressed() && !view.compressed() && entry_checksum_ok(view)) {
        require(out.size() == view.bytes.size() &&
                std::memcmp(out.data(), view.bytes.data(), out.size()) == 0);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
    EntryView view;
    if (decode_entry(bytes, view) != StatusCode::ok) return 0;
    require(view.bytes.data() == bytes.data() && view.bytes.size() <= size);
    require(is_entry_of(view.bytes, view.key));

    if (view.raw_length > payload_bytes_max) return 0;
    // Exactly as long as it says: AddressSanitizer sees the first byte too many.
    const auto payload = std::make_unique<std::byte[]>(view.raw_length);
    const StatusCode read = read_payload(view, {payload.get(), view.raw_length});
    require(read == StatusCode::ok || (read == StatusCode::corrupt && view.compressed()));
    if (read == StatusCode::ok) encode_again(view, {payload.get(), view.raw_length});

    std::vector<std::byte> touched(view.bytes.begin(), view.bytes.end());
    set_entry_lifetime(touched, {.received_at_ns = 1, .age_ms = 2, .soft_ttl_ms = 3, .hard_ttl_ms = 4},
                       DataClass::cold);
    EntryView changed;
    require(decode_entry(touched, changed) == StatusCode::ok && entry_checksum_ok(changed));
    require(changed.fields.lifetime.hard_ttl_ms == 4 && changed.fields.data_class == DataClass::cold);
    return 0;
}
