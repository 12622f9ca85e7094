// What a Cache is made of: the tiers, in the order they are asked, and what they share.
#pragma once

#include <atomic>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>

#include "client/answer_writer.hpp"
#include "client/clock_source.hpp"
#include "client/counters.hpp"
#include "client/freshness.hpp"
#include "client/pg_pool.hpp"
#include "client/published.hpp"
#include "client/rate_limit.hpp"
#include "client/redis_tier.hpp"
#include "client/session_key_cell.hpp"
#include "shm_cache/segment.hpp"
#include "tiercache/cache.hpp"

namespace tiercache {

// The connection had been idle and broke: the server may have restarted since, and a new one may work.
[[nodiscard]] inline bool worth_another_connection(const PgPool::Lease& lease,
                                                   const Status& status) noexcept {
    return lease.reused() && !lease->usable() && status.code() == StatusCode::unavailable;
}

struct Cache::Impl {
 public:
    explicit Impl(const Options& options);

    Status open();
    Status query(Answer& answer, std::string_view sql, std::span<const QueryParam> params,
                 const QueryOptions& options);
    Result<std::uint64_t> token();
    [[nodiscard]] Status clock_status() const { return clock_.status(); }
    [[nodiscard]] Status database_status() const;
    [[nodiscard]] CacheStats stats() const noexcept { return counters_.sum(); }

 private:
    // One call, from tier to tier.
    struct Call {
        AnswerWriter& writer;
        std::string_view sql;
        std::span<const QueryParam> params;
        const ClassPolicy& policy;
        DataClass data_class;
        ReadRules rules;
        std::span<const std::byte> key;  // in the Answer's key buffer; empty without a session key
        KeyHash hash;
        Deadline deadline;  // set when the call leaves L1
    };

    Status build_key(Call& call, std::span<const std::byte> session_key);

    // Each: true, or ok, when the Answer was filled. L1 and L2 only ever miss.
    bool read_l1(Call& call) noexcept;
    bool read_l2(Call& call) noexcept;
    Status read_l4(Call& call);

    // Judges an entry, which lies in the Answer's entry buffer, and fills the Answer or counts why not.
    void note_l1(Note note) noexcept;
    bool serve(Call& call, const EntryView& entry, Tier tier) noexcept;
    Status take_l4_entry(Call& call, PgConnection& connection, const PgResult& result,
                         std::uint64_t sent_at_ns);
    // Is it the key of this very query? It may have been made under a session key that is newer than ours.
    bool check_key(Call& call, PgConnection& connection, std::span<const std::byte> entry_key);

    // `entry`: its bytes in the Answer's entry buffer; only the lifetime and class in them change.
    void write_l1(const Call& call, std::span<std::byte> entry, const EntryLifetime& arrival) noexcept;
    void write_l2(const Call& call, std::span<std::byte> entry, const EntryLifetime& arrival) noexcept;

    void adopt(std::span<const std::byte> session_key) noexcept;
    void note_database(const Status& status);
    [[nodiscard]] bool entries_can_be_judged(const ReadRules& rules) const noexcept;
    // Finds the clock table and the segment again when they were replaced. Once a second at most.
    void maintain() noexcept;
    // Waits so long for another process that is making it.
    Result<Segment> open_segment(std::uint32_t making_wait_ms) const;
    [[nodiscard]] std::uint32_t jittered_ms(std::chrono::milliseconds ttl,
                                            const KeyHash& hash) const noexcept;

    Counters counters_;  // first: the most aligned
    const Options options_;
    ClockSource clock_;
    gid_t l1_group_ = no_group;  // looked up once, by open()
    Published<Segment> segment_;
    SessionKeyCell session_key_;
    std::optional<RedisTier> l2_;
    RateLimit maintenance_{std::chrono::milliseconds(1000)};
    mutable std::mutex database_mutex_;
    Status database_status_;
    std::atomic<bool> database_ok_{false};  // of database_status_, so that success takes no lock
    PgPool pool_;                           // last: its connections report to the members above
};

}  // namespace tiercache
