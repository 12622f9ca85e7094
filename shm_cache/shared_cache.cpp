// How a SharedCache finds, judges and stores values; loading is in shared_cache_load.cpp.
#include "shm_cache/shared_cache.hpp"

#include <algorithm>
#include <vector>

#include "shm_cache/monotonic_time.hpp"
#include "shm_cache/segment_find_plain.hpp"

namespace tiercache {

namespace {

constexpr std::size_t lz4_ratio_max = 255;
// A thread keeps its buffer for the next put() up to this.
constexpr std::size_t kept_buffer_bytes = std::size_t{1} << 20;

SegmentOptions with_clock(SegmentOptions options) noexcept {
    if (options.clock_slots == 0) options.clock_slots = default_clock_slots(options.size_bytes);
    return options;
}

std::uint32_t ttl_ms(std::chrono::milliseconds ttl) noexcept {
    const auto count = std::max<std::chrono::milliseconds::rep>(ttl.count(), 0);
    return count >= ttl_never_ms ? ttl_never_ms : static_cast<std::uint32_t>(count);
}

using TagArray = std::array<Tag, max_entry_tags>;

// Room for a value in a string; no memory: nothing is found.
auto room_in(std::string& value) noexcept {
    return [&value](std::size_t bytes) noexcept -> std::byte* {
        try {
            value.resize(bytes);
        } catch (...) {
            return nullptr;
        }
        return reinterpret_cast<std::byte*>(value.data());
    };
}

auto room_in(std::span<std::byte> buffer) noexcept {
    return [buffer](std::size_t bytes) noexcept { return bytes <= buffer.size() ? buffer.data() : nullptr; };
}

// Decompresses what `read` found in `value`, in place of it.
bool decompress(const ValueRead& read, std::string& value) noexcept {
    if (read.raw_length / lz4_ratio_max > read.stored.size()) return false;  // damaged
    try {
        std::string raw(read.raw_length, '\0');
        if (read_value(read.stored, true, read.raw_length, std::as_writable_bytes(std::span(raw))) !=
            StatusCode::ok) {
            return false;
        }
        value = std::move(raw);
        return true;
    } catch (...) {
        return false;
    }
}

// The coarse clock lags, so a little future is the past.
constexpr std::uint64_t future_max_ns = 100 * coarse_error_ns;

// Nothing when the value is from the future, so would never grow old.
std::optional<std::uint64_t> age_ns(std::uint64_t received_at_ns) noexcept {
    const std::uint64_t now = monotonic_coarse_ns();
    if (received_at_ns > now + future_max_ns) return std::nullopt;
    return now > received_at_ns ? now - received_at_ns : 0;
}

// judge()'s answer for a plain value, in one comparison: what is from the future has a huge age.
bool fresh_at(std::uint64_t now, std::uint64_t received_at_ns, std::uint32_t hard_ttl_ms) noexcept {
    if (hard_ttl_ms - 1 >= ttl_never_ms - 1) [[unlikely]]
        return hard_ttl_ms == ttl_never_ms;
    return now - received_at_ns + future_max_ns < hard_ttl_ms * ns_per_ms + future_max_ns;
}

Note note_of(Verdict verdict) noexcept {
    switch (verdict) {
        case Verdict::changed:
            return Note::changed;
        case Verdict::being_written:
            return Note::being_written;
        case Verdict::below_floor:
        case Verdict::other_epoch:
            return Note::outdated;
        default:
            return Note::unvouched;
    }
}

Result<SharedCache> over(Result<Segment> segment) {
    if (!segment.ok()) return segment.status();
    return SharedCache(std::move(segment).value());
}

}  // namespace

std::chrono::milliseconds Hit::age() const noexcept {
    const std::uint64_t now = monotonic_ns();
    return std::chrono::milliseconds(now > made_at_ns ? (now - made_at_ns) / ns_per_ms : 0);
}

// ---- opening -------------------------------------------------------------------------------------

SharedCache::SharedCache(Segment segment) noexcept : segment_(std::move(segment)) {}

Result<SharedCache> SharedCache::create(const std::string& name, SegmentOptions options) {
    return over(Segment::create(name, with_clock(std::move(options))));
}
Result<SharedCache> SharedCache::open(const std::string& name, gid_t trusted_group) {
    return over(Segment::open(name, trusted_group));
}
Result<SharedCache> SharedCache::open_or_create(const std::string& name, SegmentOptions options) {
    return over(Segment::open_or_create(name, with_clock(std::move(options))));
}
Status SharedCache::remove(const std::string& name) { return Segment::remove(name); }

// ---- reading -------------------------------------------------------------------------------------

SharedCache::Look SharedCache::judge(const LocalAuthority& authority, const ValueRead& read,
                                     std::span<const Tag> tags, std::chrono::milliseconds expired_for,
                                     std::optional<Note>& note) noexcept {
    const EntryFields& fields = read.fields;
    const EntryLifetime& lifetime = fields.lifetime;
    Look result;
    const auto miss = [&note](Note why) {
        note = why;
        return Look{};
    };
    // A query's result in the same segment is not ours.
    if (fields.format != PayloadFormat::opaque) return miss(Note::malformed);
    // A value that was put without tags and without a stamp depends on nothing.
    const bool stamped = fields.epoch != 0 || fields.stamp != 0 || !tags.empty();
    if (stamped) {
        const Verdict verdict = authority.check(tags, {fields.epoch, fields.stamp});
        if (verdict != Verdict::fresh) return miss(note_of(verdict));
    }

    result.judgement = (fields.flags & entry_negative) != 0 ? Judgement::negative : Judgement::fresh;
    result.hit = {result.judgement == Judgement::negative ? Found::negative : Found::fresh, false,
                  read.raw_length, lifetime.received_at_ns - lifetime.age_ms * ns_per_ms};
    result.cost_us = fields.fill_cost_us;
    if (lifetime.hard_ttl_ms == ttl_never_ms && lifetime.soft_ttl_ms == ttl_never_ms) return result;

    const std::optional<std::uint64_t> age = age_ns(lifetime.received_at_ns);
    if (!age) return miss(Note::malformed);
    if (lifetime.hard_ttl_ms != ttl_never_ms && *age >= lifetime.hard_ttl_ms * ns_per_ms) {
        const std::uint64_t late_ms = (*age - lifetime.hard_ttl_ms * ns_per_ms) / ns_per_ms;
        if (result.judgement == Judgement::negative || late_ms >= ttl_ms(expired_for)) {
            return miss(Note::expired);
        }
        result.judgement = Judgement::expired;
        note = Note::stale_hit;
        result.hit.found = Found::stale;
    } else if (result.judgement == Judgement::fresh && lifetime.soft_ttl_ms != ttl_never_ms &&
               *age >= lifetime.soft_ttl_ms * ns_per_ms) {
        result.judgement = Judgement::refresh_due;
        note = Note::stale_hit;
        result.hit.found = Found::stale;
    }
    return result;
}

SharedCache::Look SharedCache::judge_and_count(const LocalAuthority& authority, const ValueRead& read,
                                               std::span<const Tag> tags,
                                               std::chrono::milliseconds expired_for) noexcept {
    std::optional<Note> note;
    const Look look = judge(authority, read, tags, expired_for, note);
    if (note) segment_.note(*note);
    return look;
}

struct SharedCache::Plain {
    std::size_t size = 0;
    std::uint64_t received_at_ns = 0;
};

// A class, for a lambda of which there are two copies is called.
template <class Reserve>
struct SharedCache::TakePlain {
    std::uint64_t now;
    const Reserve& reserve;
    Plain& plain;

    [[gnu::always_inline]] bool operator()(const PlainItem& found) const noexcept {
        plain = {found.stored_length, found.received_at_ns()};
        if (!fresh_at(now, plain.received_at_ns, found.hard_ttl_ms)) return false;
        std::byte* to = reserve(plain.size);
        if (to == nullptr) return false;
        read_bytes_here(found.item, found.value_at, to, plain.size);
        return true;
    }
};

// A plain value, taken and judged in one try; whatever takes more than that is not `whole`.
template <class Reserve>
[[gnu::always_inline]] inline ReadResult SharedCache::get_plain(Segment::Impl& at, KeyHash hash, Key key,
                                                                const Reserve& reserve,
                                                                Plain& plain) noexcept {
    at.prefetch(hash);
    // Before the value is looked at: what is fresh then was so while the caller waited. Worked out here, too:
    // the compiler would put that off (segment_find_plain.hpp).
    std::uint64_t now = monotonic_coarse_ns();
    asm volatile("" : "+r"(now));
    return at.find_plain(hash, key, TakePlain<Reserve>{now, reserve, plain});
}

template <class Reserve>
SharedCache::Look SharedCache::find_in(const KeyHash& hash, Key key, const Reserve& reserve,
                                       std::chrono::milliseconds expired_for, ValueRead& read,
                                       std::optional<Note>& note) noexcept {
    TagArray tags;  // NOLINT(cppcoreguidelines-pro-type-member-init): find_value() fills it
    const LocalAuthority* authority = nullptr;
    const StatusCode code = segment_.read([&](Segment::Impl& at) noexcept {
        authority = &at.authority;
        return at.find_value(hash, key, tags, reserve, read);
    });
    if (code != StatusCode::ok) return {};
    return judge(*authority, read, std::span(tags).first(read.tag_count), expired_for, note);
}

SharedCache::Look SharedCache::find(const KeyHash& hash, Key key, std::string& value,
                                    std::chrono::milliseconds expired_for, ValueRead& read) noexcept {
    std::optional<Note> note;
    Look look = find_in(hash, key, room_in(value), expired_for, read, note);
    if (look.judgement != Judgement::absent && read.compressed() && !decompress(read, value)) {
        note = Note::malformed;
        look = {};
    }
    if (note) segment_.note(*note);
    return look;
}

// What comes of get_plain(). Each return makes the Hit in its place: a copy of it would wait for its parts,
// and so for the item.
template <class Value>
[[gnu::always_inline]] inline Hit SharedCache::after_plain(ReadResult result, const Plain& plain,
                                                           Segment::Impl& at, KeyHash hash, Key key,
                                                           Value& value) noexcept {
    if (result == ReadResult::whole) [[likely]] {
        Statistics::count_lookup();
        return {Found::fresh, false, plain.size, plain.received_at_ns};
    }
    if (result == ReadResult::other && at.missed(result) == StatusCode::not_found) return {};
    return get_any(hash, key, value);
}

template <class Value>
[[gnu::always_inline]] inline Hit SharedCache::get_into(Key key, Value& value) noexcept {
    if (Statistics::sample_is_next()) [[unlikely]]
        return get_timed(key, value);
    const KeyHash hash = hash_key(key);
    Segment::Impl& at = segment_.latest();
    Plain plain;
    const ReadResult result = get_plain(at, hash, key, room_in(value), plain);
    return after_plain(result, plain, at, hash, key, value);
}

// The same, timed; find() times itself.
template <class Value>
[[gnu::noinline]] Hit SharedCache::get_timed(Key key, Value& value) noexcept {
    const KeyHash hash = hash_key(key);
    Segment::Impl& at = segment_.latest();
    Plain plain;
    const std::uint64_t begin = latency_now();
    const ReadResult result = get_plain(at, hash, key, room_in(value), plain);
    if (result == ReadResult::whole) at.processes.statistics().add_latency(latency_since_ns(begin));
    return after_plain(result, plain, at, hash, key, value);
}

Hit SharedCache::get(std::string_view key, std::string& value) noexcept {
    return get_into(bytes_of(key), value);
}

Hit SharedCache::get(std::string_view key, std::span<std::byte> buffer) noexcept {
    return get_into(bytes_of(key), buffer);
}

Hit SharedCache::get_any(KeyHash hash, Key key, std::string& value) noexcept {
    ValueRead read;
    return find(hash, key, value, std::chrono::milliseconds(0), read).hit;
}

Hit SharedCache::get_any(KeyHash hash, Key key, std::span<std::byte> buffer) noexcept {
    std::string aside;  // for what is compressed or too large, and for nothing, which needs no buffer
    const auto reserve = [&](std::size_t bytes) noexcept {
        return bytes != 0 && bytes <= buffer.size() ? buffer.data() : room_in(aside)(bytes);
    };
    ValueRead read;
    std::optional<Note> note;
    Hit hit = find_in(hash, key, reserve, std::chrono::milliseconds(0), read, note).hit;
    if (hit && read.compressed() && !decompress(read, aside)) {
        note = Note::malformed;
        hit = {};
    } else if (hit && (read.compressed() || read.stored.size() > buffer.size())) {
        if (aside.size() <= buffer.size()) {
            std::ranges::copy(bytes_of(aside), buffer.begin());
        } else {
            note = Note::too_small;
            hit.found = Found::too_small;
        }
    }
    if (note) segment_.note(*note);
    return hit;
}

Hit SharedCache::get_view(std::string_view key, ValueView& view) noexcept {
    const Key bytes = bytes_of(key);
    TagArray tags;  // NOLINT(cppcoreguidelines-pro-type-member-init): get_view() fills it
    segment_.settle();
    const LocalAuthority* authority = nullptr;
    const StatusCode code = segment_.read([&](Segment::Impl& at) noexcept {
        authority = &at.authority;
        return at.find_view(hash_key(bytes), bytes, tags, false, view);
    });
    if (code == StatusCode::busy) return {Found::all_views_held};
    if (code == StatusCode::too_large) return {Found::copy_only};
    if (code != StatusCode::ok) return {};
    const ValueRead read{view.fields, view.raw_length, view.tag_count, {}};
    const Hit hit =
        judge_and_count(*authority, read, std::span(tags).first(view.tag_count), std::chrono::milliseconds(0))
            .hit;
    if (!hit) view.release();
    return hit;
}

std::optional<std::string> SharedCache::get(std::string_view key) {
    std::string value;
    if (!get(key, value)) return std::nullopt;
    return value;
}

// ---- writing -------------------------------------------------------------------------------------

Status SharedCache::store(Key key, Key value, const PutOptions& options, const LocalStamp& stamp,
                          std::uint8_t flags, std::uint32_t age_ms) noexcept {
    const KeyHash hash = hash_key(key);
    Status status = try_store(hash, key, value, options, stamp, flags, age_ms);
    // It would be served in place of what is known by now, for ever perhaps.
    if (!status.ok()) (void)segment_.erase(hash, key);
    return status;
}

Status SharedCache::try_store(const KeyHash& hash, Key key, Key value, const PutOptions& options,
                              const LocalStamp& stamp, std::uint8_t flags, std::uint32_t age_ms) noexcept {
    if (options.tags.too_many()) return Status(StatusCode::too_large);
    EntryFields fields;
    fields.lifetime = {monotonic_ns(), age_ms, ttl_ms(options.soft_ttl), ttl_ms(options.ttl)};
    fields.epoch = stamp.epoch;
    fields.stamp = stamp.clock;
    fields.flags = flags;
    fields.data_class = options.data_class;
    fields.fill_cost_us = static_cast<std::uint32_t>(
        std::clamp<std::chrono::microseconds::rep>(options.cost.count(), 0, UINT32_MAX));
    // Nobody would be served it: it was computed before a clear(), or before the segment was resized. What it
    // was to replace is older.
    const LocalAuthority& authority = segment_.current().authority;
    if ((stamp.epoch != 0 || stamp.clock != 0) && authority.valid() && authority.outdated(stamp)) {
        Status erased = segment_.erase(hash, key);
        return erased.code() == StatusCode::not_found ? Status() : erased;
    }
    const std::span<const Tag> tags = options.tags.span();
    if (value.size() > max_entry_payload_bytes) return Status(StatusCode::too_large);
    const auto length = static_cast<std::uint32_t>(value.size());
    if (!options.compress) return segment_.put_value(hash, key, tags, fields, value, length);
    try {
        thread_local std::vector<std::byte> buffer;
        if (buffer.size() < value.size()) buffer.resize(value.size());
        const Key packed = compress_payload(value, buffer);
        if (packed.size() < value.size()) fields.flags |= entry_lz4;
        Status status = segment_.put_value(hash, key, tags, fields, packed, length);
        if (buffer.size() > kept_buffer_bytes) std::vector<std::byte>().swap(buffer);
        return status;
    } catch (...) {
        return Status(StatusCode::no_space);
    }
}

Status SharedCache::check_tags(const Tags& tags) const noexcept {
    return tags.empty() || segment_.latest().authority.valid() ? Status()
                                                               : Status(StatusCode::invalid_argument);
}

Status SharedCache::put(std::string_view key, std::string_view value, const PutOptions& options) noexcept {
    if (Status s = check_tags(options.tags); !s.ok()) return s;
    // A value that depends on nothing needs no stamp, and is smaller without.
    const LocalStamp now = options.tags.empty() ? LocalStamp{} : stamp();
    return store(bytes_of(key), bytes_of(value), options, options.stamp.value_or(now), 0, 0);
}

Status SharedCache::put_negative(std::string_view key, const PutOptions& options) noexcept {
    if (Status s = check_tags(options.tags); !s.ok()) return s;
    const LocalStamp now = options.tags.empty() ? LocalStamp{} : stamp();
    return store(bytes_of(key), {}, options, options.stamp.value_or(now), entry_negative, 0);
}

LocalStamp SharedCache::stamp() const noexcept {
    for (Segment::Impl* at = &segment_.current();;) {
        if (!at->authority.valid()) return {};
        const LocalStamp now = at->authority.stamp();
        // After it was read: the memory may have been given back (Impl::retire()), and reads as zeros then.
        if (!at->closed()) [[likely]]
            return now;
        at = segment_.follow(*at, Segment::Urgency::now_and_then);
        if (at == nullptr) return {1, 1};  // never fresh
    }
}

Status SharedCache::erase(std::string_view key) noexcept {
    return segment_.erase(hash_key(bytes_of(key)), bytes_of(key));
}

Status SharedCache::invalidate(std::string_view tag) noexcept {
    const auto invalidate = [tag](Segment::Impl& at) {
        if (at.authority.valid()) at.authority.invalidate(tag_of(tag));
        full_fence();
        return Status();
    };
    return segment_.change(invalidate, invalidate);
}

Status SharedCache::clear() noexcept {
    const auto clear = [](Segment::Impl& at) {
        // First the values that are being loaded, so that none of them is put after the others are gone.
        if (at.authority.valid()) at.authority.invalidate_all();
        at.index.clear();
        full_fence();
        return Status();
    };
    return segment_.change(clear, clear);
}

// ---- looking -------------------------------------------------------------------------------------

void SharedCache::visit_values(VisitAny visit, void* context) const {
    struct Walk {
        const SharedCache* cache;
        VisitAny visit;
        void* context;
        std::string value;
    } walk{this, visit, context, {}};
    segment_.for_each(
        [](void* state, std::span<const std::byte> bytes) {
            auto& w = *static_cast<Walk*>(state);
            EntryView entry;
            if (decode_entry(bytes, entry) != StatusCode::ok) return true;
            std::array<Tag, max_entry_tags>
                tags;  // NOLINT(cppcoreguidelines-pro-type-member-init): filled below
            ValueRead read;
            read.fields = entry.fields;
            read.raw_length = entry.raw_length;
            std::optional<Note> note;
            const Look look = judge(w.cache->segment_.latest().authority, read, entry.tags.copy_to(tags),
                                    std::chrono::milliseconds(0), note);
            if (!look.hit) return true;
            w.value.resize(entry.raw_length);
            if (read_payload(entry, std::as_writable_bytes(std::span(w.value))) != StatusCode::ok)
                return true;
            return w.visit(w.context, entry.key, w.value, entry.fields);
        },
        &walk);
}

}  // namespace tiercache
