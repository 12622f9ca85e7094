#include "pg_extension/clock_ceiling.hpp"

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

// 0 when the file does not exist yet.
std::uint64_t read_ceiling() {
    const int fd = OpenTransientFile(file_name, O_RDONLY | PG_BINARY);
    if (fd < 0) {
        if (errno == ENOENT) return 0;
        ereport(FATAL, (errcode_for_file_access(), errmsg("could not open file \"%s\": %m", file_name)));
    }
    char text[64] = {};
    const ssize_t length = read(fd, text, sizeof(text) - 1);
    CloseTransientFile(fd);
    unsigned long long ceiling = 0;
    if (length <= 0 || sscanf(text, "tiercache 1 %llu\n", &ceiling) != 1 || ceiling > (1ULL << 62)) {
        ereport(
            FATAL,
            (errcode(ERRCODE_DATA_CORRUPTED), errmsg("file \"%s\" is damaged", file_name),
             errhint("Remove it from the data directory if the system clock is right, and start again.")));
    }
    return ceiling;
}

void write_ceiling(std::uint64_t ceiling) {
    char text[64];
    const int length =
        pg_snprintf(text, sizeof(text), "tiercache 1 %llu\n", static_cast<unsigned long long>(ceiling));
    const int fd = OpenTransientFile(temporary_name, O_WRONLY | O_CREAT | O_TRUNC | PG_BINARY);
    if (fd < 0 || write(fd, text, static_cast<size_t>(length)) != length || CloseTransientFile(fd) != 0) {
        ereport(FATAL,
                (errcode_for_file_access(), errmsg("could not write file \"%s\": %m", temporary_name)));
    }
    // Syncs the file and its folder.
    (void)durable_rename(temporary_name, file_name, FATAL);
}

}  // namespace

std::uint64_t choose_base(std::uint64_t& ceiling) {
    const auto wall_us = static_cast<std::uint64_t>(GetCurrentTimestamp()) +
                         static_cast<std::uint64_t>(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) *
                             static_cast<std::uint64_t>(USECS_PER_DAY);
    const std::uint64_t base = Max(wall_us, read_ceiling()) + 1;
    ceiling = base + stride;
    write_ceiling(ceiling);
    return base;
}

std::uint64_t extend(std::uint64_t ceiling, std::uint64_t clock_now) {
    if (clock_now + stride / 2 < ceiling) return ceiling;
    write_ceiling(ceiling + stride);
    return ceiling + stride;
}

}  // namespace tiercache::clock_ceiling
