// tiercache::SharedCache: values of any bytes, shared by all processes of a host, without a server.
//
//     auto cache = tiercache::SharedCache::open_or_create("/tiercache.prices", {.size_bytes = 256 << 20});
//     if (!cache.ok()) return fail(cache.status().message());
//
//     std::string price;
//     if (!cache->get("price:42", price)) {
//         price = compute(42);
//         cache->put("price:42", price, {.ttl = 60s, .tags = {"prices"}});
//     }
//     (void)cache->invalidate("prices");  // every value with that tag, in every process
//
// Better, because only one process computes what many miss at the same moment:
//
//     auto price = cache->get_or_load("price:42", {.ttl = 60s, .tags = {"prices"}}, [] { return compute(42);
//     });
//
// A hit costs about what a look into a local hash map costs: no lock, no system call, no allocation, and next
// to nothing shared is written: the first few hits of a value raise its frequency, and those of keys that are
// in the segment's sample (all of them while there are less than some thousands) may leave a note. Any
// process may be stopped or killed at any moment: the others go on. When the memory is full, values that are
// not wanted make room.
//
// The names in PutOptions and LoadOptions have the same meaning everywhere:
//   ttl       a value is not served after it
//   soft_ttl  a refresh is due after it: the value is still served, marked stale, while somebody refreshes it
//   tag       the name of a thing that the value was computed from; see invalidate()
//
// All functions are safe from any thread, and in a forked child. Nothing throws but what a loader throws and,
// where a std::string is made, std::bad_alloc.
#pragma once

#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "shm_cache/entry.hpp"
#include "shm_cache/local_authority.hpp"
#include "shm_cache/segment.hpp"
#include "shm_cache/status.hpp"

namespace tiercache {

class Lease;

// ---- options -------------------------------------------------------------------------------------

inline constexpr std::chrono::milliseconds never = std::chrono::milliseconds::max();

// The tags of a value, by their names: up to 16; with more of them a value is not stored (too_large).
class Tags {
 public:
    static constexpr std::size_t max = 16;

    Tags() = default;
    Tags(std::initializer_list<std::string_view> names) noexcept {
        for (const std::string_view name : names) add(name);
    }
    void add(std::string_view name) noexcept {
        if (count_ < max) tags_[count_] = tag_of(name);
        ++count_;
    }
    [[nodiscard]] bool too_many() const noexcept { return count_ > max; }
    [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
    [[nodiscard]] std::span<const Tag> span() const noexcept {
        return std::span(tags_).first(too_many() ? max : count_);
    }

 private:
    std::array<Tag, max> tags_;  // NOLINT: the first count_ are set
    std::size_t count_ = 0;
};

struct PutOptions {
    std::chrono::milliseconds ttl = never;
    std::chrono::milliseconds soft_ttl = never;
    // When room is needed, the class gives it that has most for its weight: cold 1, warm 2, hot 4,
    // reference 8.
    DataClass data_class = DataClass::warm;
    Tags tags = {};
    // What it cost to compute; for refreshing ahead of time.
    std::chrono::microseconds cost{0};
    // SharedCache::stamp(), taken before the value was computed. Without it an invalidate() that came between
    // the computing and the put() is missed.
    std::optional<LocalStamp> stamp = std::nullopt;
    // With LZ4, when it has more than 1 KiB and gets an eighth smaller: more fits, hits cost more.
    bool compress = false;
};

struct LoadOptions {
    std::chrono::milliseconds ttl = never;
    std::chrono::milliseconds soft_ttl = never;
    DataClass data_class = DataClass::warm;
    Tags tags = {};
    bool compress = false;

    // How long "there is no such thing" is remembered; 0: not at all.
    std::chrono::milliseconds negative_ttl{0};
    // When loading fails, a value that is past its ttl by no more than this is served, marked stale. An
    // invalidated one never is.
    std::chrono::milliseconds stale_if_error{0};

    // Early refresh (XFetch; A. Vattani, F. Chierichetti, K. Lowenstein: "Optimal Probabilistic Cache
    // Stampede Prevention", VLDB 2015). Before a refresh is due, at soft_ttl or else ttl, a read refreshes
    // with a probability that grows as that moment nears, the sooner the more the value cost. 1 is optimal
    // for random arrivals; more: earlier; 0: never early.
    double beta = 1.0;

    // What loading is believed to cost where nothing is remembered of it. Others wait for a loader up to
    // twice what it cost before; then one of them loads too.
    std::chrono::milliseconds expected_cost{1000};
    // When the call gives up waiting for another's loader, with the status timeout. Does not stop a loader.
    std::optional<std::chrono::steady_clock::time_point> deadline = std::nullopt;
};

// ---- what a read finds ---------------------------------------------------------------------------

enum class Found : unsigned char {
    nothing,    // or expired, or invalidated
    fresh,      //
    stale,      // a refresh is due, or loading failed (stale_if_error)
    negative,   // it is remembered that there is no such thing
    too_small,  // there is a value, of `size` bytes, and the caller's buffer is smaller
    // Of get_view() only: what there is, if anything, get() tells.
    all_views_held,  // by this process; or it has no process slot
    copy_only,       // a value that is compressed, or so large that it lies in parts
};

struct Hit {
    Found found = Found::nothing;
    bool loaded = false;           // by this very call
    std::size_t size = 0;          // of the value
    std::uint64_t made_at_ns = 0;  // on this host's monotonic clock

    explicit operator bool() const noexcept { return found == Found::fresh || found == Found::stale; }
    [[nodiscard]] std::chrono::milliseconds age() const noexcept;
};

template <class Loader>
concept ValueLoader = std::invocable<Loader&> || std::invocable<Loader&, PutOptions&>;

// ---- the cache -----------------------------------------------------------------------------------

enum class ReadResult;  // segment_impl.hpp

class SharedCache {
 public:
    // A segment of shared memory by its name ("/" and a name, as in shm_open), made or found. The options are
    // those of Segment; clock_slots of 0 means as many as suit the size. Who opens it must be the user who
    // made it, or trust its group (Segment::open()). Errors: not_found, already_exists, permission_denied,
    // invalid_argument, no_space (of memory), version_mismatch, corrupt, busy.
    static Result<SharedCache> create(const std::string& name, SegmentOptions options = {});
    static Result<SharedCache> open(const std::string& name, gid_t trusted_group = no_group);
    static Result<SharedCache> open_or_create(const std::string& name, SegmentOptions options = {});
    // Those who have it open keep it.
    static Status remove(const std::string& name);
    // Over a segment that is open already.
    explicit SharedCache(Segment segment) noexcept;

    // ---- reading ----

    // The value of `key`, which must not lie in it, into `value`, whose memory is used again: no allocation
    // once it has grown. When nothing is found, `value` may hold anything. Does not throw: without memory
    // nothing is found. What is found was unexpired at a moment of the call: in a process that is stopped in
    // the middle of it, no longer at its end, perhaps, as it may be a moment after any return.
    [[nodiscard]] Hit get(std::string_view key, std::string& value) noexcept;
    // Into a buffer of the caller. Allocates for compressed values only, and where the buffer is too small:
    // to tell the size that it takes.
    [[nodiscard]] Hit get(std::string_view key, std::span<std::byte> buffer) noexcept;
    // Without a copy: view.text() is the value where it lies in the shared memory, and stays as it is until
    // `view` is released, used again or gone, whatever happens to the key. For large values, or those of
    // which little is read. A process may hold 16 views at once, fewer in a small segment
    // (SegmentStats::views_per_process); when it does, all_views_held, and get() has the value. What is held
    // can't be evicted: hold a view for as long as reading takes. It must be gone before the SharedCache is,
    // and is nobody's in a forked child (ValueView).
    [[nodiscard]] Hit get_view(std::string_view key, ValueView& view) noexcept;
    // The shortest form.
    [[nodiscard]] std::optional<std::string> get(std::string_view key);

    // ---- reading through a loader ----

    // The value of `key`, or what `loader` makes of it:
    //
    //   there and fresh           the value
    //   soft_ttl has passed       one process loads it again, the others get the old value, marked stale
    //   missing, or ttl passed    one process loads it, the others wait for it; should its loader fail, die
    //   or
    //                             be late, another takes its place
    //
    // `loader` is called as loader() or as loader(PutOptions&), whose ttl, tags and so on it may change now
    // that it knows the value. It returns the value (std::string); or a std::optional of it, nothing meaning
    // that there is no such thing; or a Result of it, not_found meaning the same. What it throws passes
    // through, unless stale_if_error has a value to serve.
    //
    // The stamp is taken before the loader runs: a value that was being loaded when invalidate() was called
    // is returned to its caller and served to nobody else.
    //
    // Errors: not_found (no such thing), timeout (the deadline), the loader's own; invalid_argument (tags in
    // a segment without a clock). That a value can't be stored is no error: its caller has it, and the old
    // one is taken out.
    template <ValueLoader Loader>
    Status get_or_load(std::string_view key, std::string& value, const LoadOptions& options, Loader&& loader,
                       Hit* hit = nullptr);
    template <ValueLoader Loader>
    Result<std::string> get_or_load(std::string_view key, const LoadOptions& options, Loader&& loader);

    // ---- writing ----

    // Stores a value in place of an older one; when it can't, it takes that one out, which is not to be
    // served in place of what is known by now. Errors: too_large (see SegmentStats::largest_value_bytes);
    // no_space (nothing can be evicted now, or there are more processes than process slots: go on without);
    // unavailable (the segment was resized, and this process can't open what took its place, for want of
    // descriptors, memory or rights, or because that was removed: until it can nothing is found here either;
    // the others may still find the old value); invalid_argument (tags in a segment without a clock: nothing
    // is touched).
    Status put(std::string_view key, std::string_view value, const PutOptions& options = {}) noexcept;
    // Remembers that there is no such thing.
    Status put_negative(std::string_view key, const PutOptions& options = {}) noexcept;

    // The moment before a value is computed; for PutOptions::stamp.
    [[nodiscard]] LocalStamp stamp() const noexcept;

    // Takes the value out. One that is being loaded may still be put afterwards:
    // where that matters, give it a tag and invalidate the tag.
    // Errors: not_found, there was none; unavailable, as put().
    Status erase(std::string_view key) noexcept;

    // In O(1): from its return on no read in any process, that starts then, gets a value that has this tag
    // and was computed before the call. Call it after the thing itself has changed.
    // Error: unavailable, as put(); then it is not invalidated.
    Status invalidate(std::string_view tag) noexcept;

    // Takes everything out.
    Status clear() noexcept;

    // ---- looking ----

    // Calls visit(key, value, fields) for each value that a get() would find, in no order; it returns false
    // to stop. Values that come and go meanwhile may or may not be seen. Allocates.
    template <class Visit>
    void for_each(Visit&& visit) const;

    [[nodiscard]] SegmentStats stats() const noexcept { return segment_.stats(); }

    // Does the name still lead to this segment, in whatever size? When not, somebody removed or replaced it:
    // open it again.
    [[nodiscard]] bool still_current() const noexcept { return segment_.still_current(); }

    [[nodiscard]] Segment& segment() noexcept { return segment_; }

 private:
    enum class Judgement : unsigned char {
        absent,
        fresh,
        refresh_due,  // past soft_ttl, or early
        negative,
        expired,  // past ttl, within what the caller allows
        too_small,
    };
    struct Look {
        Judgement judgement = Judgement::absent;
        Hit hit;
        std::uint32_t cost_us = 0;
    };
    // A loader without its type; the value it made goes to `value`.
    struct AnyLoader {
        Status (*call)(void* loader, std::string& value, PutOptions& put);
        void* loader;
    };
    using Key = std::span<const std::byte>;
    using VisitAny = bool (*)(void* context, Key key, std::string_view value, const EntryFields& fields);

    template <class Loader>
    static Status call_loader(void* loader, std::string& value, PutOptions& put);

    // `note` gets what the segment's statistics are to be told, if anything.
    [[nodiscard]] static Look judge(const LocalAuthority& authority, const ValueRead& read,
                                    std::span<const Tag> tags, std::chrono::milliseconds expired_for,
                                    std::optional<Note>& note) noexcept;
    Look judge_and_count(const LocalAuthority& authority, const ValueRead& read, std::span<const Tag> tags,
                         std::chrono::milliseconds expired_for) noexcept;
    struct Plain;
    template <class Reserve>
    struct TakePlain;
    template <class Reserve>
    static ReadResult get_plain(Segment::Impl& at, KeyHash hash, Key key, const Reserve& reserve,
                                Plain& plain) noexcept;
    template <class Value>
    Hit after_plain(ReadResult result, const Plain& plain, Segment::Impl& at, KeyHash hash, Key key,
                    Value& value) noexcept;
    template <class Value>
    Hit get_into(Key key, Value& value) noexcept;
    template <class Value>
    Hit get_timed(Key key, Value& value) noexcept;
    Hit get_any(KeyHash hash, Key key, std::string& value) noexcept;
    Hit get_any(KeyHash hash, Key key, std::span<std::byte> buffer) noexcept;
    template <class Reserve>
    Look find_in(const KeyHash& hash, Key key, const Reserve& reserve, std::chrono::milliseconds expired_for,
                 ValueRead& read, std::optional<Note>& note) noexcept;
    [[nodiscard]] Look find(const KeyHash& hash, Key key, std::string& value,
                            std::chrono::milliseconds expired_for, ValueRead& read) noexcept;
    [[nodiscard]] Status check_tags(const Tags& tags) const noexcept;
    Status store(Key key, Key value, const PutOptions& options, const LocalStamp& stamp, std::uint8_t flags,
                 std::uint32_t age_ms) noexcept;
    Status try_store(const KeyHash& hash, Key key, Key value, const PutOptions& options,
                     const LocalStamp& stamp, std::uint8_t flags, std::uint32_t age_ms) noexcept;

    // shared_cache_load.cpp
    struct Load;
    [[nodiscard]] Look look(const KeyHash& hash, Key key, std::string& value,
                            const LoadOptions& options) noexcept;
    [[nodiscard]] static bool early(std::uint32_t cost_us, std::uint64_t due_ns, double beta) noexcept;
    Status load(const KeyHash& hash, Key key, std::string& value, const LoadOptions& options,
                AnyLoader loader, Look& seen);
    Status wait_or_load(Load& load, Look& seen);
    [[nodiscard]] bool arrived(Load& load, Look& seen);
    Status run_loader(Load& load, Look& seen, Lease* lease);
    [[nodiscard]] static Status keep_stale(Look& seen, Status error);

    void visit_values(VisitAny visit, void* context) const;
    static Key bytes_of(std::string_view text) noexcept { return std::as_bytes(std::span(text)); }

    Segment segment_;
};

// ---- templates -----------------------------------------------------------------------------------

template <class Loader>
Status SharedCache::call_loader(void* loader, std::string& value, PutOptions& put) {
    auto run = [&]() -> decltype(auto) {
        auto& load = **static_cast<Loader**>(loader);
        if constexpr (std::invocable<Loader&, PutOptions&>) {
            return load(put);
        } else {
            return load();
        }
    };
    using Loaded = std::remove_cvref_t<decltype(run())>;
    if constexpr (std::same_as<Loaded, Result<std::string>>) {
        Loaded loaded = run();
        if (!loaded.ok()) return loaded.status();
        value = std::move(loaded).value();
    } else if constexpr (std::same_as<Loaded, std::optional<std::string>>) {
        Loaded loaded = run();
        if (!loaded) return Status(StatusCode::not_found);
        value = *std::move(loaded);
    } else {
        value = run();
    }
    return Status();
}

template <ValueLoader Loader>
Status SharedCache::get_or_load(std::string_view key, std::string& value, const LoadOptions& options,
                                Loader&& loader, Hit* hit) {
    const KeyHash hash = hash_key(bytes_of(key));
    Look seen = look(hash, bytes_of(key), value, options);
    Status status;
    if (seen.judgement == Judgement::negative) {
        status = Status(StatusCode::not_found);
    } else if (seen.judgement != Judgement::fresh) {
        using Bare = std::remove_reference_t<Loader>;
        Bare* at = &loader;  // an object's, or a function's
        const AnyLoader any{call_loader<Bare>, static_cast<void*>(&at)};
        status = load(hash, bytes_of(key), value, options, any, seen);
    }
    if (hit != nullptr) *hit = seen.hit;
    return status;
}

template <ValueLoader Loader>
Result<std::string> SharedCache::get_or_load(std::string_view key, const LoadOptions& options,
                                             Loader&& loader) {
    std::string value;
    Status status = get_or_load(key, value, options, loader);
    if (!status.ok()) return status;
    return value;
}

template <class Visit>
void SharedCache::for_each(Visit&& visit) const {
    using Bare = std::remove_reference_t<Visit>;
    visit_values(
        [](void* context, Key key, std::string_view value, const EntryFields& fields) {
            const std::string_view text(reinterpret_cast<const char*>(key.data()), key.size());
            return static_cast<bool>((*static_cast<Bare*>(context))(text, value, fields));
        },
        const_cast<void*>(static_cast<const void*>(&visit)));
}

}  // namespace tiercache
