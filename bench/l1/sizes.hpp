// A segment by itself: what it needs beside the data, and what hits and puts cost as it grows.
#pragma once

#include <cstddef>

namespace bench {

// Bytes of a full segment that are neither key, tags nor value, an item.
void print_overhead();

// Fills a segment of `gibibytes`, reads it, then puts new items into it, full as it is.
void print_size(std::size_t gibibytes);

}  // namespace bench
