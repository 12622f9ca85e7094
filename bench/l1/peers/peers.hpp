// The stores that are measured, one a file. Each keeps what has a name in `folder`, or removes it itself.
#pragma once

#include <memory>
#include <string>

#include "bench/l1/store.hpp"
#include "shm_cache/segment.hpp"

namespace bench {

using StorePointer = std::unique_ptr<Store>;

// Ourselves: SharedCache; and the segment with a check of two tags against an authority's clock table.
StorePointer make_tiercache(const Workload& workload);
StorePointer make_tiercache_huge(const Workload& workload);
StorePointer make_tiercache_tags(const Workload& workload);
// The segment that they use.
tiercache::SegmentOptions segment_options(const Workload& workload);

// What memory itself takes: for reads alone, and for reads and writes.
StorePointer make_two_loads(const Workload& workload);
StorePointer make_two_loads_and_copies(const Workload& workload);
StorePointer make_lmdb(const Workload& workload);
StorePointer make_boost_ipc(const Workload& workload);
StorePointer make_tbb(const Workload& workload);
StorePointer make_cuckoo(const Workload& workload);
StorePointer make_memcached(const Workload& workload);
StorePointer make_redis(const Workload& workload);

}  // namespace bench
