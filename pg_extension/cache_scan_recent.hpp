// The answers that the plans of this backend gave last. A plan that runs again, as that of a prepared
// statement does, mostly asks for one of them: then there is no key to make and nothing to look up; what is
// left is to judge the entry as any hit is judged.
//
// An answer belongs to one plan node and the values of its parameters, and is a copy of its entry. It is
// served when the entry would be: same session key, tags unchanged, unexpired, not taken out by
// tiercache.reset(). One that L4 evicted meanwhile may still be served.
#pragma once

#include "pg_extension/cache_scan_state.hpp"

namespace tiercache::cache_scan::recent {

// In one piece of memory with all that it points to. It may go with the next call of recall() or keep().
struct Answer {
    const CustomScan* scan;
    std::uint64_t erasures;  // before the look-up that found it, see SharedState
    std::uint32_t recalls;
    EntryFields fields;
    KeyHash key_hash;
    std::array<std::byte, session_key_bytes> session;
    std::span<const Tag> tags;
    std::span<const std::byte> parameters;
    TupleDesc columns;
    std::span<const std::byte> row_bytes;
    tuple_payload::Rows rows;
};

// The answer that the plan gave to these parameters, if it is at hand and may be served to a snapshot of this
// clock: then a hit was counted. Now and then there is none where there could be: a look-up tells L4 then
// that the entry is in use. nullptr: there is none.
[[nodiscard]] const Answer* recall(const CustomScan* scan, const Facts& facts, ParamListInfo parameters,
                                   std::uint64_t snapshot_clock);

// The rows in the current memory context.
[[nodiscard]] tuple_payload::Rows copy_rows(const Answer& answer);

// What is at hand when a look-up begins, which keep() may be called after.
[[nodiscard]] std::uint64_t erasures_now() noexcept;

// Keeps the answer that a look-up found, whose rows are the state's, if the plan is seen to run again.
void keep(const State& state, const EntryView& entry);

}  // namespace tiercache::cache_scan::recent
