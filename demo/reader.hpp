// A reader process: an app with a tiercache::Cache of its own, which the demo tells what to read.
//
// Requests are {"do": "open" | "read" | "measure", ...}; each gets one reply, {"error": "..."} when it
// failed.
#pragma once

namespace tiercache::demo {

// Serves requests on `socket` until the other side hangs up. Returns the exit status.
int serve_as_reader(int socket);

}  // namespace tiercache::demo
