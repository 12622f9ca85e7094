// Asks servers to cancel statements whose callers gave up.
//
// PQcancel() waits for the server without a limit, so it runs on a thread of its own. There is at most one
// such thread; it ends when there is nothing to cancel. What does not fit in the queue is not cancelled: the
// server notices when it sends its result to a closed connection.
#pragma once

#include <libpq-fe.h>

namespace tiercache {

// Takes a request that PQgetCancel() made (nullptr is allowed) and returns at once.
void cancel_in_background(PGcancel* request) noexcept;

}  // namespace tiercache
