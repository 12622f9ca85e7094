#include "shm_cache/item.hpp"

namespace tiercache {

ItemContent ItemContent::of(const EntryView& entry) noexcept {
    // The tags lie right before the key.
    const std::size_t tag_bytes = entry.tags.size() * sizeof(Tag);
    ItemContent content;
    content.fields = entry.fields;
    content.tags = entry.bytes.subspan(entry_header_bytes, tag_bytes);
    content.key = entry.key;
    content.stored = entry.stored_payload;
    content.raw_length = entry.raw_length;
    content.sealed = true;
    content.checksum = entry.checksum;
    return content;
}

bool ItemContent::storable() const noexcept {
    return key.size() <= item_key_bytes_max && stored.size() <= item_stored_bytes_max;
}

ItemHeader ItemContent::header() const noexcept {
    const EntryLifetime& lifetime = fields.lifetime;
    ItemHeader h;
    h.hard_ttl_ms = lifetime.hard_ttl_ms;
    h.received_at_ns = lifetime.received_at_ns;
    h.key_length = static_cast<std::uint32_t>(key.size());
    h.stored_length = static_cast<std::uint32_t>(stored.size());
    h.tag_count = static_cast<std::uint8_t>(tags.size() / sizeof(Tag));
    h.flags = static_cast<std::uint8_t>(fields.flags | kind);
    h.format = static_cast<std::uint8_t>(fields.format);
    h.data_class = static_cast<std::uint8_t>(fields.data_class);
    unsigned extras = 0;
    if (fields.epoch != 0) extras |= item_epoch;
    if (fields.stamp != 0) extras |= item_stamp;
    if (lifetime.soft_ttl_ms != ttl_never_ms || fields.fill_cost_us != 0) extras |= item_refresh;
    if (lifetime.age_ms != 0 || raw_length != stored.size()) extras |= item_age;
    if (sealed) extras |= item_checksum;
    h.extras = static_cast<std::uint8_t>(extras);
    return h;
}

void store_item(Word* item, const ItemHeader& header, const ItemContent& content) noexcept {
    const EntryFields& fields = content.fields;
    item[0].store(std::uint64_t{header.generation} << 32 | header.hard_ttl_ms, word_store_order);
    item[1].store(header.place_hash << 16 | header.offset, word_store_order);
    item[2].store(std::uint64_t{header.key_length} << 44 | std::uint64_t{header.stored_length} << 22 |
                      std::uint64_t{header.tag_count} << 14 | std::uint64_t{header.flags} << 10 |
                      std::uint64_t{header.format} << 8 | std::uint64_t{header.data_class} << 6 |
                      header.extras,
                  word_store_order);
    item[3].store(header.received_at_ns, word_store_order);
    Word* extra = item + item_header_words;
    const auto add = [&](ItemExtra which, std::uint64_t word) {
        if ((header.extras & which) != 0) (extra++)->store(word, word_store_order);
    };
    add(item_epoch, fields.epoch);
    add(item_stamp, fields.stamp);
    add(item_refresh, std::uint64_t{fields.lifetime.soft_ttl_ms} << 32 | fields.fill_cost_us);
    add(item_age, std::uint64_t{fields.lifetime.age_ms} << 32 | content.raw_length);
    add(item_checksum, content.checksum);
    // The last word first: the bytes after the item's end are zeros.
    if (header.bytes() % word_bytes != 0) item[header.units() - 1].store(0, word_store_order);
    write_bytes(content.tags, item, header.tags_at());
    write_bytes(content.key, item, header.key_at());
    write_bytes(content.stored, item, header.value_at());
}

}  // namespace tiercache
