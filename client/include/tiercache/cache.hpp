// tiercache::Cache: query results from the nearest tier that has them, never older than asked for.
//
//     tiercache::Options options;
//     options.l1.name = "/tiercache.app";
//     options.l4.conninfo = "dbname=shop";
//     auto cache = tiercache::Cache::open(options);
//     if (!cache.ok()) return fail(cache.status().message());
//
//     auto answer = cache->query("SELECT region, sum(total) FROM orders GROUP BY region");
//     if (!answer.ok()) return fail(answer.status().message());
//     for (const tiercache::Row& row : *answer) show(row["region"].text(), row[1].float64());
//
// A query is looked for in L1 (this host's shared memory), then L2 (Redis), then asked of L4 (PostgreSQL);
// what was found is put into the tiers above. An entry from L1 or L2 is served as fresh only when this host's
// clock table, which PostgreSQL writes inside every commit, says that nothing it depends on has changed.
//
// L1 and L2 never make an error: while PostgreSQL answers, query() answers.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>

#include "shm_cache/query_key.hpp"
#include "shm_cache/status.hpp"
#include "tiercache/answer.hpp"
#include "tiercache/options.hpp"

namespace tiercache {

struct QueryOptions {
    std::optional<DataClass> data_class;  // nullopt: Options::default_class

    // An answer that is not fresh may be served up to this age; it says so. nullopt: the class's own; 0:
    // only fresh answers.
    std::optional<std::chrono::milliseconds> max_staleness;

    // Cache::token(), or tiercache.token() of the session that wrote: nothing older than it is served.
    std::uint64_t token = 0;

    // When the call gives up. nullopt: Options::l4.query_timeout from now.
    std::optional<std::chrono::steady_clock::time_point> deadline;
};

// What happened to the calls of one Cache. A call counts once as a hit, an answer or an error, and once for
// each tier that it passed by.
enum class Counter : std::uint8_t {
    l1_hits,
    l1_stale_hits,  // of l1_hits
    l1_absent,
    l1_expired,    // the TTL had passed
    l1_changed,    // something it depends on changed, or was being changed
    l1_outdated,   // older than the authority's last start, or made by another one
    l1_unvouched,  // no clock table, or one whose lease has run out
    l1_malformed,
    l1_puts,
    l1_put_failures,
    l2_hits,
    l2_stale_hits,  // of l2_hits
    l2_absent,
    l2_expired,
    l2_changed,
    l2_outdated,
    l2_unvouched,
    l2_malformed,  // not an entry, damaged, or another query's
    l2_failures,   // Redis could not be reached, was late, or broke the protocol
    l2_skipped,    // not asked because it has been failing
    l2_puts,
    l2_put_failures,
    l4_answers,
    l4_not_stored,  // of l4_answers: PostgreSQL said that no tier may keep it
    l4_errors,      // PostgreSQL refused the query
    l4_unavailable,
    l4_timeouts,
    l4_connects,
    count_,
};
[[nodiscard]] std::string_view to_string(Counter counter) noexcept;

struct CacheStats {
    static constexpr std::size_t counter_count = static_cast<std::size_t>(Counter::count_);
    std::array<std::uint64_t, counter_count> counts{};

    [[nodiscard]] std::uint64_t operator[](Counter c) const noexcept {
        return counts[static_cast<std::size_t>(c)];
    }
};

// Safe to use from any number of threads. Not to be used by a forked child: open the cache after the fork.
class Cache {
 public:
    // Checks the options, opens (or creates) the segment, and asks PostgreSQL once for the session key. A
    // PostgreSQL that can't be reached now is no error: queries say so until it can be. Errors:
    // invalid_argument; not_found, permission_denied, corrupt, version_mismatch, no_space for the segment or
    // a clock table given by name.
    static Result<Cache> open(const Options& options);

    Cache(Cache&&) noexcept;
    Cache& operator=(Cache&&) noexcept;
    Cache(const Cache&) = delete;
    Cache& operator=(const Cache&) = delete;
    ~Cache();  // no call may be running

    // Runs a SELECT (or VALUES, TABLE, WITH without DML) whose $1, $2 ... are `params`, in text form, NULL as
    // nullopt. Errors: query_failed and permission_denied (PostgreSQL's message and SQLSTATE), unavailable,
    // timeout, invalid_argument (too large).
    Result<Answer> query(std::string_view sql, std::span<const QueryParam> params = {},
                         const QueryOptions& options = {});

    // The same into an Answer that is used again. A hit in L1 takes no lock, makes no system call, and, once
    // the Answer's buffers have grown, allocates nothing. On an error the Answer is empty.
    Status query_into(Answer& answer, std::string_view sql, std::span<const QueryParam> params = {},
                      const QueryOptions& options = {});

    // PostgreSQL's clock now: at or after every commit that was acknowledged before the call.
    Result<std::uint64_t> token();

    // ok: answers are judged by the clock table on this host. Else why there is none.
    [[nodiscard]] Status clock_status() const;

    // ok: PostgreSQL was reached and answered as it should, at the last attempt. Else what was wrong.
    [[nodiscard]] Status database_status() const;

    [[nodiscard]] CacheStats stats() const noexcept;

 private:
    struct Impl;
    explicit Cache(std::unique_ptr<Impl> impl) noexcept;
    std::unique_ptr<Impl> impl_;
};

}  // namespace tiercache
