#include "pg_extension/shared_state.hpp"

#include <sys/mman.h>
#include <sys/stat.h>

#include <cstdio>
#include <new>

#include "pg_extension/clock_ceiling.hpp"
#include "pg_extension/in_doubt.hpp"
#include "pg_extension/patterns.hpp"
#include "pg_extension/pause_control.hpp"
#include "pg_extension/settings.hpp"
#include "pg_extension/sharing.hpp"
#include "shm_cache/clock_file.hpp"
#include "shm_cache/layout.hpp"

extern "C" {
#include <storage/ipc.h>
}

namespace tiercache::shared {

namespace {

constexpr const char* tranche_name = "tiercache";

#if PG_VERSION_NUM >= 150000
shmem_request_hook_type previous_request_hook = nullptr;
#endif
shmem_startup_hook_type previous_startup_hook = nullptr;

SharedState* shared_state = nullptr;
pg_atomic_uint64* ddl_versions = nullptr;
std::span<std::byte> segment_memory;
ClockTable clock_table;

// Made by the postmaster and inherited by every backend; never destroyed, because static destructors run
// after the backend has let go of shared memory.
template <class T>
class Forever {
 public:
    T& emplace(T value) {
        // The old value's resources (a lock on the clock table) go before the new one's come into use.
        reset();
        object_ = new (storage_) T(std::move(value));
        return *object_;
    }
    void reset() {
        if (object_ != nullptr) object_->~T();
        object_ = nullptr;
    }
    [[nodiscard]] T* get() const { return object_; }

 private:
    alignas(T) std::byte storage_[sizeof(T)];
    T* object_ = nullptr;
};

Forever<ClockFile> clock_file;
Forever<Segment> backend_segment;

constexpr std::uint32_t clock_slots = ClockTable::default_slot_count;

Size segment_bytes() { return static_cast<Size>(settings::memory_mb) << 20; }

void request_shared_memory() {
#if PG_VERSION_NUM >= 150000
    if (previous_request_hook != nullptr) previous_request_hook();
#endif
    RequestAddinShmemSpace(MAXALIGN(sizeof(SharedState)) + MAXALIGN(clock_slots * sizeof(pg_atomic_uint64)) +
                           in_doubt::shared_bytes() + sharing::shared_bytes() + patterns::shared_bytes() +
                           segment_bytes() + Size{6} * PG_CACHE_LINE_SIZE);
#ifdef TIERCACHE_PAUSE_POINTS
    RequestAddinShmemSpace(pause_control::shared_bytes());
#endif
    RequestNamedLWLockTranche(tranche_name, 1);
}

// One sentence about a failure, in memory that survives C++'s frames.
struct Complaint {
    char text[512] = {};
    void set(const Status& status) { strlcpy(text, status.to_string().c_str(), sizeof(text)); }
    [[nodiscard]] bool any() const { return text[0] != '\0'; }
};

// Two servers never share a data directory, and a server's is the same at every start.
void choose_clock_name() {
    if (settings::clock_name != nullptr && settings::clock_name[0] != '\0') return;
    struct stat info {};
    if (stat(DataDir, &info) != 0) {
        ereport(FATAL,
                (errcode_for_file_access(), errmsg("could not stat data directory \"%s\": %m", DataDir)));
    }
    const std::uint64_t identity[2] = {static_cast<std::uint64_t>(info.st_dev),
                                       static_cast<std::uint64_t>(info.st_ino)};
    char name[64];
    pg_snprintf(name, sizeof(name), "/tiercache.%016llx",
                static_cast<unsigned long long>(hash_bytes(std::as_bytes(std::span(identity)))));
    SetConfigOption("tiercache.clock_name", name, PGC_POSTMASTER, PGC_S_DYNAMIC_DEFAULT);
}

// Is the object that we have still there for apps to find?
bool clock_file_is_current() noexcept {
    try {
        return clock_file.get() != nullptr && clock_file.get()->still_current();
    } catch (...) {
        return false;
    }
}

// After a crash of a backend the object is still ours, unless somebody removed its name.
Complaint make_clock_table() noexcept {
    Complaint complaint;
    if (clock_file_is_current()) return complaint;
    // Whoever has the nameless one mapped must not go on trusting it.
    if (clock_table.valid()) clock_table.restart(0, UINT64_MAX);
    clock_table = {};
    clock_file.reset();
    try {
        Result<ClockFile> made =
            ClockFile::create(settings::clock_name, clock_slots, static_cast<mode_t>(settings::clock_mode));
        if (made.ok()) {
            clock_table = clock_file.emplace(std::move(made).value()).table();
        } else {
            complaint.set(made.status());
        }
    } catch (const std::exception& e) {
        strlcpy(complaint.text, e.what(), sizeof(complaint.text));
    }
    return complaint;
}

// A table that only the server's own processes see: L4 works, apps' caches on this host have nothing to judge
// by.
void make_private_clock_table() {
    const std::size_t bytes = ClockTable::size_bytes(clock_slots);
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        ereport(FATAL, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not map memory for tiercache: %m")));
    }
    Result<ClockTable> made = ClockTable::format({static_cast<std::byte*>(memory), bytes}, clock_slots);
    if (made.ok()) clock_table = *made;
    SetConfigOption("tiercache.clock_name", "", PGC_POSTMASTER, PGC_S_OVERRIDE);
}

Complaint format_segment() noexcept {
    Complaint complaint;
    try {
        SegmentOptions options;
        options.size_bytes = segment_memory.size();
        options.item_bytes_mean = 2048;
        // Processes beyond these run without the cache.
        options.process_slots = Min(ProcGlobal->allProcCount + 1, process_slots_max);
        Result<Segment> made = Segment::format(segment_memory, options);
        if (!made.ok()) complaint.set(made.status());
    } catch (const std::exception& e) {
        strlcpy(complaint.text, e.what(), sizeof(complaint.text));
    }
    return complaint;
}

// A life that did not end in order left its lease behind, in an object that is gone from its name: those who
// still have it mapped must stop trusting it before this life commits anything.
void outwait_lease(int lease_ms) {
    if (lease_ms == 0) return;
    ereport(
        LOG,
        (errmsg("tiercache: the clock table is new; waiting %d ms for leases of the former one to run out",
                lease_ms)));
    pg_usleep(static_cast<long>(lease_ms) * 1000L);
}

void start_new_life() {
    SharedState& s = *shared_state;
    s.lock = &GetNamedLWLockTranche(tranche_name)->lock;
    const std::uint64_t epoch = random_epoch();
    const clock_ceiling::Start start = clock_ceiling::choose_base();
    s.base = start.base;
    s.ceiling = start.ceiling;
    s.digest_seed = random_epoch();
    pg_atomic_init_u32(&s.open, 0);
    pg_atomic_init_u32(&s.ddl_pending, 0);
    pg_atomic_init_u32(&s.in_doubt, 0);
    pg_atomic_init_u32(&s.blocked, 0);
    pg_atomic_init_u64(&s.erasures, 0);
    for (pg_atomic_uint64* counter :
         {&s.counters.hits, &s.counters.misses_absent, &s.counters.misses_changed, &s.counters.misses_expired,
          &s.counters.bypasses, &s.counters.fills, &s.counters.fills_unpublished, &s.counters.saved_us,
          &s.counters.stale_hits, &s.counters.shared_waits, &s.counters.shared_hits,
          &s.counters.recalled_hits}) {
        pg_atomic_init_u64(counter, 0);
    }
    for (std::uint32_t i = 0; i < clock_slots; ++i) pg_atomic_init_u64(&ddl_versions[i], 0);

    choose_clock_name();
    const bool was_there = clock_file_is_current();
    if (const Complaint c = make_clock_table(); c.any()) {
        ereport(WARNING,
                (errmsg("tiercache: %s", c.text),
                 errdetail("Caches of apps on this host ask the server for every strict read."),
                 errhint("The name is set by tiercache.clock_name (now \"%s\").", settings::clock_name)));
        make_private_clock_table();
    }
    clock_table.restart(epoch, s.base + 1);
    const bool is_known_to_readers = was_there || (clock_file.get() != nullptr && clock_file.get()->reused());
    if (!is_known_to_readers) outwait_lease(start.former_lease_ms);
    if (!segment_memory.empty()) {
        if (const Complaint c = format_segment(); c.any()) {
            ereport(FATAL, (errmsg("tiercache: %s", c.text), errhint("See tiercache.memory.")));
        }
    }
}

void startup() {
    if (previous_startup_hook != nullptr) previous_startup_hook();
    bool found = false;
    bool found_list = false;
    LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
    shared_state = static_cast<SharedState*>(ShmemInitStruct("tiercache", sizeof(SharedState), &found));
    ddl_versions = static_cast<pg_atomic_uint64*>(
        ShmemInitStruct("tiercache ddl versions", clock_slots * sizeof(pg_atomic_uint64), &found_list));
    void* in_doubt_list = ShmemInitStruct("tiercache in-doubt list", in_doubt::shared_bytes(), &found_list);
    in_doubt::init(in_doubt_list, found_list);
    void* flights = ShmemInitStruct("tiercache flights", sharing::shared_bytes(), &found_list);
    sharing::init(flights, found_list);
    if (patterns::shared_bytes() > 0) {
        void* slots = ShmemInitStruct("tiercache patterns", patterns::shared_bytes(), &found_list);
        patterns::init(slots, found_list);
    }
#ifdef TIERCACHE_PAUSE_POINTS
    void* points = ShmemInitStruct("tiercache pause points", pause_control::shared_bytes(), &found_list);
    pause_control::init(points, found_list);
#endif
    segment_memory = {};
    if (segment_bytes() > 0) {
        segment_memory = {
            static_cast<std::byte*>(ShmemInitStruct("tiercache segment", segment_bytes(), &found_list)),
            segment_bytes()};
    }
    if (!found) start_new_life();
    LWLockRelease(AddinShmemInitLock);
}

// Attaches this backend; nothing PostgreSQL is called in here, so exceptions may fly inside.
Segment* attach_segment() noexcept {
    try {
        const auto slot = static_cast<std::uint32_t>(MyProc - ProcGlobal->allProcs);
        if (slot >= process_slots_max) return nullptr;
        Result<Segment> attached = Segment::attach(segment_memory, slot);
        if (attached.ok()) return &backend_segment.emplace(std::move(attached).value());
    } catch (...) {  // out of memory: this backend goes on without the cache
        return nullptr;
    }
    return nullptr;
}

}  // namespace

void install_hooks() {
#if PG_VERSION_NUM >= 150000
    previous_request_hook = shmem_request_hook;
    shmem_request_hook = request_shared_memory;
#else
    request_shared_memory();
#endif
    previous_startup_hook = shmem_startup_hook;
    shmem_startup_hook = startup;
}

bool available() noexcept { return shared_state != nullptr && clock_table.valid(); }

void require() {
    if (available()) return;
    ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
                    errmsg("tiercache must be loaded via shared_preload_libraries"),
                    errhint("Add 'tiercache' to shared_preload_libraries in postgresql.conf "
                            "(shared_preload_libraries = 'tiercache') and restart the server.")));
}

SharedState& state() noexcept { return *shared_state; }
ClockTable clock() noexcept { return clock_table; }

pg_atomic_uint64& ddl_version(Tag tag) noexcept { return ddl_versions[tag & (clock_slots - 1)]; }

Segment* segment() noexcept {
    static pid_t tried_by = 0;
    if (segment_memory.empty() || MyProc == nullptr) return nullptr;
    if (tried_by != MyProcPid) {
        tried_by = MyProcPid;
        (void)attach_segment();
    }
    return backend_segment.get();
}

bool clock_can_be_found() noexcept { return clock_file.get() == nullptr || clock_file_is_current(); }

std::uint64_t random_epoch() {
    std::uint64_t epoch = 0;
    if (!pg_strong_random(&epoch, sizeof(epoch))) {
        ereport(FATAL, (errmsg("could not generate a random epoch for tiercache")));
    }
    return epoch;
}

std::uint64_t clock_now() noexcept { return shared_state->base + pg::completed_transactions(); }

}  // namespace tiercache::shared
