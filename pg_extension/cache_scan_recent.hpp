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

// Gives the state the rows of an answer that is kept, and counts a hit. Now and then it has none where it
// could: a look-up tells L4 then that the entry is in use.
[[nodiscard]] bool recall(State& state);

// Keeps the answer that a look-up found, whose rows are the state's, if the plan is seen to run again.
void keep(const State& state, const EntryView& entry);

}  // namespace tiercache::cache_scan::recent
