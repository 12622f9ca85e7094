// What a segment tells about itself: sizes, what it holds at this moment, and what happened since it was
// made.
//
// Counts outlive the processes that made them, and go on when the segment is resized, but for what was
// counted in the milliseconds of its change; a segment that is removed and made again begins at 0. Numbers
// that are read while others work are approximate.
#pragma once

#include <cstdint>

#include "shm_cache/latency_histogram.hpp"

namespace tiercache {

// What became of an entry that get() returned, which its caller judges.
enum class Note : std::uint8_t {
    stale_hit,      // served, though not fresh
    expired,        // its TTL has passed
    changed,        // something it depends on changed
    being_written,  // something it depends on is being changed at this moment
    outdated,       // of another life of the authority, or older than what the caller has seen
    unvouched,      // the clock's lease has run out, or there is no clock
    malformed,      // not what a put() of that key left
    not_asked,      // there was no get(): nobody could have judged what it returns
    too_small,      // the caller's buffer is smaller than the value
};

struct SegmentStats {
    // ---- its making ----
    std::uint64_t size_bytes = 0;
    std::uint64_t block_bytes = 0;
    std::uint64_t block_count = 0;
    std::uint64_t index_slots = 0;
    std::uint64_t process_slots = 0;
    std::uint64_t largest_entry_bytes = 0;  // the most that put() takes for certain
    std::uint64_t largest_value_bytes = 0;  // the most that a value may have, compressed or not
    std::uint64_t views_per_process = 0;    // that get_view() gives at once: 16, fewer in a small segment
    std::uint64_t huge_page_bytes = 0;      // size of the pages that were set aside for it; 0: ordinary ones
    std::uint64_t instance = 0;             // tells two segments of one name apart; 0 in caller-owned memory

    // ---- now ----
    std::uint64_t items = 0;               // counted by walking the index
    std::uint64_t index_slots_in_use = 0;  // one for each of them, and for each part of a long value
    std::uint64_t item_bytes = 0;          // live space: what those items take in blocks
    std::uint64_t dead_bytes = 0;  // filled, but no longer named by the index; comes back with its block
    std::uint64_t free_blocks = 0;
    std::uint64_t open_blocks = 0;
    std::uint64_t sealed_blocks = 0;
    std::uint64_t reclaiming_blocks = 0;
    std::uint64_t processes = 0;  // that have a process slot
    std::uint64_t pins = 0;

    // ---- since it was made, in whatever size ----
    std::uint64_t hits = 0;        // served; stale ones among them
    std::uint64_t stale_hits = 0;  // not fresh, but within what the caller allows
    std::uint64_t misses = 0;      // of these kinds:
    std::uint64_t misses_absent = 0;
    std::uint64_t misses_expired = 0;
    std::uint64_t misses_changed = 0;
    std::uint64_t misses_being_written = 0;
    std::uint64_t misses_outdated = 0;   // of another life of the authority, or older than the caller's token
    std::uint64_t misses_unvouched = 0;  // the clock's lease had run out, or there was no clock
    std::uint64_t misses_torn = 0;       // reads that raced with reclamation
    std::uint64_t misses_no_room = 0;    // the caller had no room for the copy
    std::uint64_t misses_malformed = 0;
    std::uint64_t puts = 0;
    std::uint64_t put_failures = 0;  // of these kinds:
    std::uint64_t put_failures_no_space = 0;
    std::uint64_t put_failures_no_process_slot = 0;
    std::uint64_t put_failures_too_large = 0;
    std::uint64_t put_failures_invalid = 0;
    std::uint64_t erased_items = 0;
    std::uint64_t evicted_items = 0;  // by class, but for those whose class was not told:
    std::uint64_t evicted_items_hot = 0;
    std::uint64_t evicted_items_warm = 0;
    std::uint64_t evicted_items_cold = 0;
    std::uint64_t evicted_items_reference = 0;
    std::uint64_t expired_items = 0;   // dropped because their time was over
    std::uint64_t expired_blocks = 0;  // dropped whole for that
    std::uint64_t reclaimed_blocks = 0;
    std::uint64_t examined_items = 0;  // that reclamation looked at, dead ones among them
    std::uint64_t moved_items = 0;     // and copied, because they are kept
    LatencyHistogram hit_latency;      // of one get() in latency_sampling

    // ---- lately ----
    // What an LRU cache of this many times the memory would have hit, as a sample of the keys tells; all 0 at
    // the beginning and after a resize. An access is a hit or a put: misses that nobody fills don't count.
    double hit_ratio_quarter = 0;
    double hit_ratio_half = 0;
    double hit_ratio_once = 0;
    double hit_ratio_twice = 0;
    double hit_ratio_fourfold = 0;
    double sampled_share = 0;  // of all keys
};

}  // namespace tiercache
