#include "pg_extension/clock_ceiling.hpp"

#include "pg_extension/settings.hpp"

extern "C" {
#include <fcntl.h>
#include <storage/fd.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utils/timestamp.h>
}

namespace tiercache::clock_ceiling {

namespace {

constexpr const char* file_name = "tiercache.clock";
constexpr const char* temporary_name = "tiercache.clock.tmp";
// Clock values per ceiling: 2^40 transactions, or as many microseconds.
constexpr std::uint64_t stride = std::uint64_t{1} << 40;

struct Kept {
    std::uint64_t ceiling = 0;
    int lease_ms = 0;
};

// Zeros when the file does not exist yet.
Kept read_file() {
    const int fd = OpenTransientFile(file_name, O_RDONLY | PG_BINARY);
    if (fd < 0) {
        if (errno == ENOENT) return {};
        ereport(FATAL, (errcode_for_file_access(), errmsg("could not open file \"%s\": %m", file_name)));
    }
    char text[64] = {};
    const ssize_t length = read(fd, text, sizeof(text) - 1);
    CloseTransientFile(fd);
    unsigned long long ceiling = 0;
    int lease_ms = 0;
    if (length <= 0 || sscanf(text, "tiercache 1 %llu %d\n", &ceiling, &lease_ms) != 2 ||
        ceiling > (1ULL << 62) || lease_ms < 0 || lease_ms > settings::lease_ms_max) {
        // Entries of former lives are dead by their epoch; only tokens could seem to come from the future.
        ereport(WARNING, (errcode(ERRCODE_DATA_CORRUPTED),
                          errmsg("file \"%s\" is damaged; making it anew", file_name)));
        return {0, settings::lease_ms};
    }
    return {ceiling, lease_ms};
}

void write_file(const Kept& kept) {
    char text[64];
    const int length = pg_snprintf(text, sizeof(text), "tiercache 1 %llu %d\n",
                                   static_cast<unsigned long long>(kept.ceiling), kept.lease_ms);
    const int fd = OpenTransientFile(temporary_name, O_WRONLY | O_CREAT | O_TRUNC | PG_BINARY);
    if (fd < 0 || write(fd, text, static_cast<size_t>(length)) != length || CloseTransientFile(fd) != 0) {
        ereport(FATAL,
                (errcode_for_file_access(), errmsg("could not write file \"%s\": %m", temporary_name)));
    }
    // Syncs the file and its folder.
    (void)durable_rename(temporary_name, file_name, FATAL);
}

// The longest lease that the file knows of. The worker inherits the postmaster's.
int written_lease_ms = 0;

}  // namespace

Start choose_base() {
    const auto wall_us = static_cast<std::uint64_t>(GetCurrentTimestamp()) +
                         static_cast<std::uint64_t>(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) *
                             static_cast<std::uint64_t>(USECS_PER_DAY);
    const Kept former = read_file();
    const std::uint64_t base = Max(wall_us, former.ceiling) + 1;
    written_lease_ms = settings::lease_ms;
    write_file({base + stride, written_lease_ms});
    return {base, base + stride, former.lease_ms};
}

std::uint64_t extend(std::uint64_t ceiling, std::uint64_t clock_now) {
    const bool far = clock_now + stride / 2 < ceiling;
    if (far && settings::lease_ms <= written_lease_ms) return ceiling;
    if (!far) ceiling += stride;
    written_lease_ms = Max(written_lease_ms, settings::lease_ms);
    write_file({ceiling, written_lease_ms});
    return ceiling;
}

}  // namespace tiercache::clock_ceiling
