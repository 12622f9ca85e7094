// get_or_load(): who loads, who waits, and what is served meanwhile.
#include <cxxabi.h>

#include <algorithm>
#include <cmath>

#include "shm_cache/lease.hpp"
#include "shm_cache/monotonic_time.hpp"
#include "shm_cache/shared_cache.hpp"

namespace tiercache {

namespace {

// However many loaders come, are late and go: whoever has waited so long loads without a lease.
constexpr std::uint64_t wait_max_ns = 2 * lease_bound_ms_max * ns_per_ms;

// In (0, 1]. Differs between threads and processes by the time at which they ask.
double random_unit() noexcept {
    thread_local std::uint64_t state = 0;
    std::uint64_t x = state += 0x9e3779b97f4a7c15U + monotonic_ns();
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebU;
    return static_cast<double>(((x ^ (x >> 31)) >> 11) + 1) * 0x1.0p-53;
}

PutOptions put_options(const LoadOptions& options, const LocalStamp& stamp) noexcept {
    PutOptions put;
    put.ttl = options.ttl;
    put.soft_ttl = options.soft_ttl;
    put.data_class = options.data_class;
    put.tags = options.tags;
    put.stamp = stamp;
    put.compress = options.compress;
    return put;
}

std::uint64_t deadline_ns(const LoadOptions& options) noexcept {
    if (!options.deadline) return UINT64_MAX;
    // steady_clock is CLOCK_MONOTONIC.
    const auto since = options.deadline->time_since_epoch();
    return static_cast<std::uint64_t>(
        std::max<std::int64_t>(0, std::chrono::duration_cast<std::chrono::nanoseconds>(since).count()));
}

}  // namespace

struct SharedCache::Load {
    KeyHash hash;
    Key key;
    std::string& value;  // holds what was found last, which may be served should loading fail
    const LoadOptions& options;
    AnyLoader loader;
};

SharedCache::Look SharedCache::look(const KeyHash& hash, Key key, std::string& value,
                                    const LoadOptions& options) noexcept {
    ValueRead read;
    Look look = find(hash, key, value, options.stale_if_error, read);
    const EntryLifetime& lifetime = read.fields.lifetime;
    const std::uint32_t due_ms = std::min(lifetime.soft_ttl_ms, lifetime.hard_ttl_ms);
    if (look.judgement == Judgement::fresh && look.cost_us != 0 && due_ms != ttl_never_ms &&
        options.beta > 0 && early(look.cost_us, lifetime.received_at_ns + due_ms * ns_per_ms, options.beta)) {
        look.judgement = Judgement::refresh_due;
    }
    return look;
}

// XFetch: now - cost * beta * ln(random) >= due.
bool SharedCache::early(std::uint32_t cost_us, std::uint64_t due_ns, double beta) noexcept {
    const std::uint64_t now = monotonic_coarse_ns();
    if (now >= due_ns) return true;
    const double left_us = static_cast<double>(due_ns - now) / 1000;
    const double scale_us = cost_us * beta;
    // Where the chance is below e^-40 no random number is drawn: nearly every hit.
    return left_us < scale_us * 40 && left_us <= scale_us * -std::log(random_unit());
}

Status SharedCache::load(const KeyHash& hash, Key key, std::string& value, const LoadOptions& options,
                         AnyLoader loader, Look& seen) {
    Load load{hash, key, value, options, loader};
    Status status = check_tags(options.tags);
    if (status.ok()) status = wait_or_load(load, seen);
    if (!status.ok() && seen.judgement != Judgement::negative) seen.hit = {};
    return status;
}

// Did somebody put it since it was `seen`? Then it is seen now.
bool SharedCache::arrived(Load& load, Look& seen) {
    std::string value;
    ValueRead read;
    const Look now = find(load.hash, load.key, value, std::chrono::milliseconds(0), read);
    if (now.judgement == Judgement::absent) return false;
    if (seen.judgement != Judgement::absent && now.hit.made_at_ns == seen.hit.made_at_ns) return false;
    load.value.swap(value);
    seen = now;
    return true;
}

Status SharedCache::wait_or_load(Load& load, Look& seen) {
    const std::uint64_t expected_us =
        seen.cost_us != 0 ? seen.cost_us
                          : static_cast<std::uint64_t>(std::max<std::int64_t>(
                                0, std::chrono::microseconds(load.options.expected_cost).count()));
    const std::uint64_t deadline = deadline_ns(load.options);
    const std::uint64_t give_up = monotonic_ns() + wait_max_ns;
    while (true) {
        Lease lease;
        HeldLease theirs;
        const LeaseTable::Claim claim = segment_.leases().claim(load.hash, expected_us, lease, theirs);
        if (claim == LeaseTable::Claim::none) return run_loader(load, seen, nullptr);
        if (claim == LeaseTable::Claim::theirs) {
            if (seen.judgement == Judgement::refresh_due) return Status();
            const std::uint64_t now = monotonic_ns();
            if (now >= deadline) return keep_stale(seen, Status(StatusCode::timeout));
            if (now >= give_up) return run_loader(load, seen, nullptr);
            LeaseTable::wait(theirs, std::min(deadline, give_up));
        }
        // Whoever held the lease before may have put it.
        if (arrived(load, seen)) {
            return Status(seen.judgement == Judgement::negative ? StatusCode::not_found : StatusCode::ok);
        }
        if (claim == LeaseTable::Claim::mine) return run_loader(load, seen, &lease);
    }
}

// What may be served although it could not be loaded again, else the error.
Status SharedCache::keep_stale(Look& seen, Status error) {
    if (seen.judgement != Judgement::refresh_due && seen.judgement != Judgement::expired) return error;
    seen.hit.found = Found::stale;
    return Status();
}

Status SharedCache::run_loader(Load& load, Look& seen, Lease* lease) {
    const LocalStamp before = stamp();
    PutOptions put = put_options(load.options, before);
    std::string made;
    Status status;
    const std::uint64_t start = monotonic_ns();
    try {
        status = load.loader.call(load.loader.loader, made, put);
    } catch (const abi::__forced_unwind&) {
        throw;  // the thread is being cancelled
    } catch (...) {
        if (!keep_stale(seen, Status(StatusCode::internal)).ok()) throw;
        return Status();
    }
    const std::uint64_t cost_us = (monotonic_ns() - start) / 1000;
    if (!status.ok() && status.code() != StatusCode::not_found) return keep_stale(seen, std::move(status));
    if (lease != nullptr) lease->note_cost(cost_us);
    put.cost = std::chrono::microseconds(cost_us);
    // A late loader does not replace what its successor put.
    Look other = seen;
    std::string ignored;
    Load again{load.hash, load.key, ignored, load.options, load.loader};
    const bool superseded = lease != nullptr && !lease->held() && arrived(again, other);
    const auto age_ms = static_cast<std::uint32_t>(std::min<std::uint64_t>(cost_us / 1000, UINT32_MAX));
    const LocalStamp stamped = put.stamp.value_or(before);
    if (status.code() == StatusCode::not_found) {
        put.ttl = load.options.negative_ttl;
        put.soft_ttl = never;
        if (!superseded && put.ttl.count() > 0) {
            (void)store(load.key, {}, put, stamped, entry_negative, age_ms);
        } else if (!superseded) {
            (void)segment_.erase(load.hash, load.key);
        }
        seen.judgement = Judgement::negative;
        seen.hit = {Found::negative, true, 0, start};
        return status;
    }
    if (!superseded) (void)store(load.key, bytes_of(made), put, stamped, 0, age_ms);
    load.value = std::move(made);
    seen.judgement = Judgement::fresh;
    seen.hit = {Found::fresh, true, load.value.size(), start};
    return Status();
}

}  // namespace tiercache
