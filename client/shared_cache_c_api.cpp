// The C ABI of SharedCache: handles, and no exception beyond this file.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <limits>
#include <string>

#include "client/c_status.hpp"
#include "shm_cache/shared_cache.hpp"
#include "tiercache/shared_cache.h"

using std::chrono::milliseconds;
using tiercache::DataClass;
using tiercache::Found;
using tiercache::Hit;
using tiercache::LoadOptions;
using tiercache::LocalStamp;
using tiercache::PutOptions;
using tiercache::Result;
using tiercache::SharedCache;
using tiercache::Status;
using tiercache::StatusCode;
using tiercache::ValueView;
using tiercache::ViewPin;
using tiercache::c_abi::give;
using tiercache::c_abi::guarded;
using tiercache::c_abi::missing;

struct tc_shared_cache {
    SharedCache cache;
};
struct tc_value {
    std::string bytes;
};

namespace {

std::string_view text_of(const void* data, size_t size) noexcept {
    return {static_cast<const char*>(data), data == nullptr ? 0 : size};
}

// Negative is never. As far as a 32-bit count goes: 49 days.
milliseconds ttl_of(int64_t ms) noexcept {
    return ms < 0 || ms >= std::numeric_limits<std::uint32_t>::max() ? tiercache::never : milliseconds(ms);
}

// No longer than ten years, so that adding it to a moment can't overflow.
milliseconds time_of(int64_t ms) noexcept {
    constexpr std::int64_t ms_max = std::int64_t{10} * 366 * 86'400'000;
    return milliseconds(std::clamp<std::int64_t>(ms, 0, ms_max));
}

Status bad(const char* message) { return {StatusCode::invalid_argument, message}; }

Status read_put_options(const tc_put_options& given, const SharedCache& cache, PutOptions& options) {
    if (given.struct_size < sizeof(tc_put_options)) return bad("begin put options with TC_PUT_OPTIONS_INIT");
    if (given.data_class < 0 || given.data_class > TC_REFERENCE) return bad("data_class must be a tc_class");
    if (given.tag_count > 0 && given.tags == nullptr) return bad("tags must not be NULL");
    if (given.tag_count > tiercache::Tags::max) return bad("a value has at most 16 tags");
    options.ttl = ttl_of(given.ttl_ms);
    options.soft_ttl = ttl_of(given.soft_ttl_ms);
    options.data_class = static_cast<DataClass>(given.data_class);
    options.compress = given.compress != 0;
    options.tags = {};
    for (size_t i = 0; i < given.tag_count; ++i) {
        if (given.tags[i] == nullptr) return bad("a tag must not be NULL");
        options.tags.add(given.tags[i]);
    }
    if (given.stamp != 0) options.stamp = LocalStamp{cache.stamp().epoch, given.stamp};
    return Status();
}

Status read_load_options(const tc_load_options* given, const SharedCache& cache, LoadOptions& options) {
    if (given == nullptr) return Status();
    if (given->struct_size < sizeof(tc_load_options))
        return bad("begin load options with TC_LOAD_OPTIONS_INIT");
    PutOptions put;
    if (Status s = read_put_options(given->put, cache, put); !s.ok()) return s;
    options.ttl = put.ttl;
    options.soft_ttl = put.soft_ttl;
    options.data_class = put.data_class;
    options.tags = put.tags;
    options.compress = put.compress;
    options.negative_ttl = time_of(given->negative_ttl_ms);
    options.stale_if_error = time_of(given->stale_if_error_ms);
    options.expected_cost = time_of(given->expected_cost_ms);
    if (given->timeout_ms >= 0) {
        options.deadline = std::chrono::steady_clock::now() + time_of(given->timeout_ms);
    }
    options.beta = given->beta;
    return Status();
}

ViewPin pin_of(const tc_view& view) noexcept {
    return ViewPin::of({static_cast<tiercache::Word*>(view.pin), view.pin_forks});
}

tc_code show(const Hit& hit, tc_hit* to) noexcept {
    if (to != nullptr) {
        *to = {hit.size, hit.made_at_ns == 0 ? 0 : hit.age().count(), hit.found == Found::stale ? 1 : 0,
               hit.loaded ? 1 : 0, hit.found == Found::negative ? 1 : 0};
    }
    if (hit.found == Found::too_small || hit.found == Found::copy_only) return TC_TOO_LARGE;
    if (hit.found == Found::all_views_held) return TC_BUSY;
    return hit ? TC_OK : TC_NOT_FOUND;
}

Result<tiercache::SegmentOptions> segment_options(const tc_segment_options& given) {
    // Its first version ended here.
    if (given.struct_size < offsetof(tc_segment_options, group)) {
        return bad("begin segment options with TC_SEGMENT_OPTIONS_INIT");
    }
    if (given.mode > 0777) return bad("mode must be a file's");
    if (given.huge_pages < TC_HUGE_PAGES_OFF || given.huge_pages > TC_HUGE_PAGES_ON) {
        return bad("huge_pages must be a tc_huge_pages");
    }
    tiercache::SegmentOptions options;
    options.size_bytes = given.size;
    options.mode = given.mode;
    options.huge_pages = static_cast<tiercache::HugePages>(given.huge_pages);
    if (given.huge_page_mount != nullptr) options.huge_page_mount = given.huge_page_mount;
    if (given.struct_size >= offsetof(tc_segment_options, group) + sizeof(given.group)) {
        options.group = given.group;
    }
    return options;
}

// `opened` becomes a handle.
tc_status* hand_over(Result<SharedCache> opened, tc_shared_cache** cache) {
    if (!opened.ok()) return give(opened.status());
    *cache = new tc_shared_cache{std::move(opened).value()};
    return nullptr;
}

}  // namespace

extern "C" {

tc_status* tc_shared_open_or_create(const char* name, size_t size, tc_shared_cache** cache) {
    return guarded([&]() -> tc_status* {
        if (name == nullptr || cache == nullptr) return missing("name and cache");
        tiercache::SegmentOptions options;
        options.size_bytes = size;
        return hand_over(SharedCache::open_or_create(name, options), cache);
    });
}

tc_status* tc_shared_open_or_create_with(const char* name, const tc_segment_options* options,
                                         tc_shared_cache** cache) {
    return guarded([&]() -> tc_status* {
        if (name == nullptr || options == nullptr || cache == nullptr)
            return missing("name, options and cache");
        Result<tiercache::SegmentOptions> read = segment_options(*options);
        return read.ok() ? hand_over(SharedCache::open_or_create(name, *read), cache) : give(read.status());
    });
}

tc_status* tc_shared_open(const char* name, tc_shared_cache** cache) {
    return guarded([&]() -> tc_status* {
        if (name == nullptr || cache == nullptr) return missing("name and cache");
        return hand_over(SharedCache::open(name), cache);
    });
}

tc_status* tc_shared_open_of_group(const char* name, uint32_t group, tc_shared_cache** cache) {
    return guarded([&]() -> tc_status* {
        if (name == nullptr || cache == nullptr) return missing("name and cache");
        return hand_over(SharedCache::open(name, group), cache);
    });
}

void tc_shared_close(tc_shared_cache* cache) { delete cache; }

tc_status* tc_shared_remove(const char* name) {
    return guarded(
        [&]() -> tc_status* { return name == nullptr ? missing("name") : give(SharedCache::remove(name)); });
}

int tc_shared_still_current(const tc_shared_cache* cache) {
    return cache != nullptr && cache->cache.still_current() ? 1 : 0;
}

tc_code tc_shared_get(tc_shared_cache* cache, const void* key, size_t key_size, void* buffer, size_t capacity,
                      tc_hit* hit) {
    if (cache == nullptr || (key == nullptr && key_size > 0) || (buffer == nullptr && capacity > 0)) {
        show({}, hit);
        return TC_INVALID_ARGUMENT;
    }
    return show(
        cache->cache.get(text_of(key, key_size), std::span(static_cast<std::byte*>(buffer), capacity)), hit);
}

tc_code tc_shared_get_value(tc_shared_cache* cache, const void* key, size_t key_size, tc_value** value,
                            tc_hit* hit) {
    show({}, hit);
    if (cache == nullptr || (key == nullptr && key_size > 0) || value == nullptr) return TC_INVALID_ARGUMENT;
    if (*value == nullptr) *value = new (std::nothrow) tc_value{};
    if (*value == nullptr) return TC_NO_SPACE;
    const Hit found = cache->cache.get(text_of(key, key_size), (*value)->bytes);
    if (!found) (*value)->bytes.clear();
    return show(found, hit);
}

tc_code tc_shared_get_view(tc_shared_cache* cache, const void* key, size_t key_size, tc_view* view,
                           tc_hit* hit) {
    show({}, hit);
    if (cache == nullptr || (key == nullptr && key_size > 0) || view == nullptr) return TC_INVALID_ARGUMENT;
    tc_view_release(view);
    ValueView found;
    const tc_code code = show(cache->cache.get_view(text_of(key, key_size), found), hit);
    if (code != TC_OK) return code;
    const ViewPin::Words pin = found.pin().detach();
    *view = {found.stored.data(), found.stored.size(), pin.word, pin.forks};
    return TC_OK;
}

int tc_view_held(const tc_view* view) {
    if (view == nullptr) return 0;
    ViewPin pin = pin_of(*view);
    const bool held = pin.held();
    (void)pin.detach();
    return held ? 1 : 0;
}

void tc_view_release(tc_view* view) {
    if (view == nullptr) return;
    pin_of(*view).release();
    *view = tc_view TC_VIEW_INIT;
}

const void* tc_value_data(const tc_value* value) { return value == nullptr ? nullptr : value->bytes.data(); }
size_t tc_value_size(const tc_value* value) { return value == nullptr ? 0 : value->bytes.size(); }

int tc_value_set(tc_value* value, const void* data, size_t size) {
    if (value == nullptr || (data == nullptr && size > 0)) return 0;
    try {
        value->bytes.assign(text_of(data, size));
        return 1;
    } catch (...) {
        return 0;
    }
}

void tc_value_free(tc_value* value) { delete value; }

tc_status* tc_shared_put(tc_shared_cache* cache, const void* key, size_t key_size, const void* value,
                         size_t value_size, const tc_put_options* options) {
    return guarded([&]() -> tc_status* {
        if (cache == nullptr || (key == nullptr && key_size > 0) || (value == nullptr && value_size > 0)) {
            return missing("cache, key and value");
        }
        PutOptions put;
        if (options != nullptr) {
            if (Status s = read_put_options(*options, cache->cache, put); !s.ok()) return give(s);
        }
        return give(cache->cache.put(text_of(key, key_size), text_of(value, value_size), put));
    });
}

uint64_t tc_shared_stamp(const tc_shared_cache* cache) {
    return cache == nullptr ? 0 : cache->cache.stamp().clock;
}

int tc_shared_erase(tc_shared_cache* cache, const void* key, size_t key_size) {
    if (cache == nullptr || (key == nullptr && key_size > 0)) return -1;
    const StatusCode code = cache->cache.erase(text_of(key, key_size)).code();
    return code == StatusCode::ok ? 1 : code == StatusCode::not_found ? 0 : -1;
}

tc_code tc_shared_invalidate(tc_shared_cache* cache, const char* tag) {
    if (cache == nullptr || tag == nullptr) return TC_INVALID_ARGUMENT;
    return static_cast<tc_code>(cache->cache.invalidate(tag).code());
}

tc_code tc_shared_clear(tc_shared_cache* cache) {
    if (cache == nullptr) return TC_INVALID_ARGUMENT;
    return static_cast<tc_code>(cache->cache.clear().code());
}

tc_status* tc_shared_get_or_load(tc_shared_cache* cache, const void* key, size_t key_size,
                                 const tc_load_options* options, tc_loader loader, void* context,
                                 tc_value** value, tc_hit* hit) {
    show({}, hit);
    return guarded([&]() -> tc_status* {
        if (cache == nullptr || (key == nullptr && key_size > 0) || loader == nullptr || value == nullptr) {
            return missing("cache, key, loader and value");
        }
        if (*value == nullptr) *value = new tc_value{};
        LoadOptions load_options;
        if (Status s = read_load_options(options, cache->cache, load_options); !s.ok()) return give(s);
        const auto load = [&](PutOptions& put) -> Result<std::string> {
            tc_value made;
            tc_put_options given = options != nullptr ? options->put : tc_put_options TC_PUT_OPTIONS_INIT;
            const tc_code code = loader(context, &made, &given);
            if (code == TC_NOT_FOUND) return Status(StatusCode::not_found);
            if (code != TC_OK) {
                const bool known = code > TC_OK && code <= TC_INTERNAL;
                return Status(known ? static_cast<StatusCode>(code) : StatusCode::internal,
                              "the loader failed");
            }
            given.stamp = 0;  // the one from before the load stays
            if (Status s = read_put_options(given, cache->cache, put); !s.ok()) return s;
            return std::move(made.bytes);
        };
        Hit found;
        const Status status =
            cache->cache.get_or_load(text_of(key, key_size), (*value)->bytes, load_options, load, &found);
        if (!status.ok()) (*value)->bytes.clear();
        show(found, hit);
        return give(status);
    });
}

}  // extern "C"
