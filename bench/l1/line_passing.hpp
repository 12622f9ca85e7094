// How long a cache line takes from one processor to another. It tells how far apart two processors are, which
// a virtual machine may change at any moment, and with it what processes that write the same memory can do.
#pragma once

namespace bench {

// Nanoseconds one way between the first two processors that this process may use; 0 where it may use one.
// Takes some milliseconds.
double line_passing_ns();

}  // namespace bench
