// The background worker that vouches for the clock table.
#pragma once

namespace tiercache {

// While shared_preload_libraries are loaded. The worker starts when recovery is over, so never on a standby.
void register_lease_worker();

}  // namespace tiercache
