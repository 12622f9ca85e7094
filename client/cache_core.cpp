#include "client/cache_core.hpp"

#include <algorithm>
#include <charconv>

#include "shm_cache/monotonic_time.hpp"

namespace tiercache {

namespace {

std::uint32_t to_ms(std::chrono::milliseconds duration) noexcept {
    return static_cast<std::uint32_t>(std::clamp<std::int64_t>(duration.count(), 0, ttl_never_ms - 1));
}

}  // namespace

Cache::Impl::Impl(const Options& options)
    : options_(options),
      clock_(options.clock_name),
      database_status_(StatusCode::unavailable, "PostgreSQL was not asked yet"),
      pool_(options.l4, [this](const PgConnection& connection, std::string_view clock_name) {
          counters_.add(Counter::l4_connects);
          adopt(connection.session_key);
          clock_.server_told(clock_name);
      }) {
    if (!options.l2.address.empty()) l2_.emplace(options.l2);
}

Status Cache::Impl::open() {
    if (Status s = clock_.open_named(); !s.ok()) return s;
    const Result<gid_t> group = parse_group(options_.l1.group);
    if (!group.ok()) return group.status();
    l1_group_ = *group;
    if (!options_.l1.name.empty()) {
        Result<Segment> segment = open_segment(SegmentOptions().making_wait_ms);
        // busy: its process slots are taken, or its maker stands still. maintain() tries again.
        if (!segment.ok() && segment.status().code() != StatusCode::busy) return segment.status();
        if (segment.ok()) segment_.publish(std::make_unique<Segment>(std::move(segment).value()));
    }
    // What can't be had now is asked for again by the first query that needs it.
    Result<PgPool::Lease> lease =
        pool_.acquire(deadline_in(options_.l4.connect_timeout), PgPool::Want::any_connection);
    note_database(lease.status());
    return Status();
}

Result<Segment> Cache::Impl::open_segment(std::uint32_t making_wait_ms) const {
    if (!options_.l1.create) return Segment::open(options_.l1.name, l1_group_);
    SegmentOptions segment;
    segment.group = l1_group_;
    if (l1_group_ != no_group) segment.mode = 0660;
    segment.huge_pages = options_.l1.huge_pages;
    segment.huge_page_mount = options_.l1.huge_page_mount;
    segment.size_bytes = options_.l1.size_bytes;
    segment.making_wait_ms = making_wait_ms;
    return Segment::open_or_create(options_.l1.name, segment);
}

Status Cache::Impl::query(Answer& answer, std::string_view sql, std::span<const QueryParam> params,
                          const QueryOptions& options) {
    AnswerWriter writer(answer);
    const DataClass data_class = options.data_class.value_or(options_.default_class);
    const ClassPolicy& policy = options_.policy(data_class);
    Call call{.writer = writer,
              .sql = sql,
              .params = params,
              .policy = policy,
              .data_class = data_class,
              .rules = {to_ms(options.max_staleness.value_or(policy.max_staleness)), options.token},
              .key = {},
              .hash = {},
              .deadline = {}};
    SessionKey session_key;
    if (session_key_.read(session_key)) {
        if (Status s = build_key(call, session_key.bytes()); !s.ok()) return s;
        if (read_l1(call)) return Status();
    }
    call.deadline = options.deadline.value_or(deadline_in(options_.l4.query_timeout));
    maintain();
    if (!call.key.empty() && read_l2(call)) return Status();
    Status status = read_l4(call);
    if (!status.ok()) writer.clear();
    return status;
}

Status Cache::Impl::build_key(Call& call, std::span<const std::byte> session_key) {
    const std::size_t bytes = query_key_bytes(session_key, call.sql, call.params);
    if (bytes > max_entry_key_bytes) {
        return {StatusCode::invalid_argument,
                "the query and its parameters are longer than 1 MiB; a cache is not the way to send them"};
    }
    std::byte* room = call.writer.key_room(bytes);
    if (room == nullptr) return Status(StatusCode::no_space, "not enough memory for the query's key");
    call.key = write_query_key(PayloadFormat::pg_wire, session_key, call.sql, call.params, {room, bytes});
    call.hash = hash_key(call.key);
    return Status();
}

void Cache::Impl::adopt(std::span<const std::byte> session_key) noexcept {
    SessionKey current;
    if (session_key_.read(current) && std::ranges::equal(current.bytes(), session_key)) return;
    session_key_.store(session_key);
}

bool Cache::Impl::entries_can_be_judged(const ReadRules& rules) const noexcept {
    if (rules.max_staleness_ms > 0) return true;
    const ClockTable clock = clock_.table();
    return clock.valid() && clock.valid_until_ns() >= monotonic_coarse_ns();
}

void Cache::Impl::maintain() noexcept {
    if (!maintenance_.pass()) return;
    clock_.refresh();
    try {
        const Segment* segment = segment_.get();
        if (options_.l1.name.empty() || (segment != nullptr && segment->still_current())) return;
        // A query waits for nobody: the next one looks again.
        Result<Segment> opened = open_segment(/*making_wait_ms=*/0);
        if (opened.ok()) segment_.publish(std::make_unique<Segment>(std::move(opened).value()));
    } catch (...) {
        // No memory: the old segment goes on working for those who have it.
    }
}

std::uint32_t Cache::Impl::jittered_ms(std::chrono::milliseconds ttl, const KeyHash& hash) const noexcept {
    // Any bits will do that differ from key to key and from fill to fill.
    const std::uint64_t mixed = (hash.high ^ monotonic_ns()) * 0x9e3779b97f4a7c15U;
    const double share = static_cast<double>(mixed >> 11) * 0x1p-53 * options_.ttl_jitter;
    return std::max(to_ms(ttl) - static_cast<std::uint32_t>(share * to_ms(ttl)), 1U);
}

void Cache::Impl::note_database(const Status& status) {
    // Relaxed: whoever needs the status itself takes the lock.
    if (status.ok() && database_ok_.load(std::memory_order_relaxed)) return;
    const std::scoped_lock lock(database_mutex_);
    database_status_ = status;
    database_ok_.store(status.ok(), std::memory_order_relaxed);
}

Status Cache::Impl::database_status() const {
    const std::scoped_lock lock(database_mutex_);
    return database_status_;
}

Result<std::uint64_t> Cache::Impl::token() {
    const Deadline deadline = deadline_in(options_.l4.query_timeout);
    PgPool::Want want = PgPool::Want::any_connection;
    while (true) {
        Result<PgPool::Lease> lease = pool_.acquire(deadline, want);
        note_database(lease.status());
        if (!lease.ok()) return lease.status();
        Result<PgResult> result = (*lease)->execute("SELECT tiercache.token()", deadline);
        if (!result.ok()) {
            if (!worth_another_connection(*lease, result.status())) return result.status();
            want = PgPool::Want::new_connection;
            continue;
        }
        std::uint64_t token = 0;
        const std::string_view text = result->row_count() == 1 ? result->text(0, 0) : std::string_view();
        const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), token);
        if (error == std::errc() && end == text.data() + text.size() && !text.empty()) return token;
        return Status(StatusCode::query_failed, "the server gave no token; use the same tiercache release");
    }
}

}  // namespace tiercache
