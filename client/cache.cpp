#include "tiercache/cache.hpp"

#include "client/cache_core.hpp"

namespace tiercache {

std::string_view to_string(Counter counter) noexcept {
    constexpr std::array<std::string_view, CacheStats::counter_count> names = {
        "l1_hits",      "l1_stale_hits",  "l1_absent",   "l1_expired",      "l1_changed",   "l1_outdated",
        "l1_unvouched", "l1_malformed",   "l1_puts",     "l1_put_failures", "l2_hits",      "l2_stale_hits",
        "l2_absent",    "l2_expired",     "l2_changed",  "l2_outdated",     "l2_unvouched", "l2_malformed",
        "l2_failures",  "l2_skipped",     "l2_puts",     "l2_put_failures", "l4_answers",   "l4_not_stored",
        "l4_errors",    "l4_unavailable", "l4_timeouts", "l4_connects",
    };
    static_assert(!names.back().empty());
    const auto index = static_cast<std::size_t>(counter);
    return index < names.size() ? names[index] : "unknown";
}

Cache::Cache(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Cache::Cache(Cache&&) noexcept = default;
Cache& Cache::operator=(Cache&&) noexcept = default;
Cache::~Cache() = default;

Result<Cache> Cache::open(const Options& options) {
    if (Status s = options.check(); !s.ok()) return s;
    auto impl = std::make_unique<Impl>(options);
    if (Status s = impl->open(); !s.ok()) return s;
    return Cache(std::move(impl));
}

Result<Answer> Cache::query(std::string_view sql, std::span<const QueryParam> params,
                            const QueryOptions& options) {
    Answer answer;
    if (Status s = query_into(answer, sql, params, options); !s.ok()) return s;
    return answer;
}

Status Cache::query_into(Answer& answer, std::string_view sql, std::span<const QueryParam> params,
                         const QueryOptions& options) {
    return impl_->query(answer, sql, params, options);
}

Result<std::uint64_t> Cache::token() { return impl_->token(); }
Status Cache::clock_status() const { return impl_->clock_status(); }
Status Cache::database_status() const { return impl_->database_status(); }
CacheStats Cache::stats() const noexcept { return impl_->stats(); }

}  // namespace tiercache
