#include "shm_cache/lock_file.hpp"

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

#include "shm_cache/monotonic_time.hpp"

namespace tiercache {

namespace {

constexpr std::uint64_t making_byte = 0;
constexpr std::uint64_t first_slot_byte = 1;
constexpr int open_attempts = 64;

// The descriptors by which this process makes a segment, or waits to. A child that another thread forks
// meanwhile has a share in the lock, which would outlive this process.
std::mutex makers_mutex;
constinit std::array<int, 64> makers{};  // plus 1; 0: none

std::string file_name(const std::string& segment_name) { return segment_name + ".lock"; }

Status failure(const std::string& segment_name, int error) {
    const StatusCode code = error == ENOENT                     ? StatusCode::not_found
                            : error == EACCES || error == EPERM ? StatusCode::permission_denied
                            : error == ENOSPC                   ? StatusCode::no_space
                                                                : StatusCode::internal;
    return {code, "could not open the lock file of segment \"" + segment_name +
                      "\" in /dev/shm: " + std::strerror(error)};
}

// "/proc/self/fd/N", without allocation or locale.
void descriptor_path(int fd, char (&path)[32]) noexcept {
    constexpr char prefix[] = "/proc/self/fd/";
    std::memcpy(path, prefix, sizeof(prefix));
    char digits[12];
    int count = 0;
    do {
        digits[count++] = static_cast<char>('0' + fd % 10);
        fd /= 10;
    } while (fd > 0);
    char* at = path + sizeof(prefix) - 1;
    while (count > 0) *at++ = digits[--count];
    *at = '\0';
}

// Only what is allowed between fork and exec. False: the descriptor is closed.
bool reopen(int fd) noexcept {
    char path[32];
    descriptor_path(fd, path);
    const int fresh = ::open(path, O_RDWR | O_CLOEXEC);
    // Closing the inherited descriptor is what matters: with it goes this process's share in the locks.
    const bool reopened = fresh >= 0 && dup3(fresh, fd, O_CLOEXEC) >= 0;
    if (!reopened) close(fd);
    if (fresh >= 0) close(fresh);
    return reopened;
}

void lock_makers() { makers_mutex.lock(); }
void unlock_makers() { makers_mutex.unlock(); }
void unlock_makers_in_child() {
    for (int& maker : makers) {
        if (maker != 0) (void)reopen(maker - 1);
        maker = 0;
    }
    makers_mutex.unlock();
}

// False: there are too many.
bool add_maker(int fd) {
    static std::once_flag fork_handlers;
    std::call_once(fork_handlers, [] { pthread_atfork(lock_makers, unlock_makers, unlock_makers_in_child); });
    const std::lock_guard guard(makers_mutex);
    const auto place = std::ranges::find(makers, 0);
    if (place == makers.end()) return false;
    *place = fd + 1;
    return true;
}

void remove_maker(int fd) noexcept {
    const std::lock_guard guard(makers_mutex);
    std::ranges::replace(makers, fd + 1, 0);
}

}  // namespace

Result<LockFile> LockFile::adopt(int fd, const std::string& segment_name) {
    struct stat info {};
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(fd);
        return failure(segment_name, EINVAL);
    }
    return LockFile(fd, info.st_ino, FileAccess::of(info));
}

Result<LockFile> LockFile::open(const std::string& segment_name) {
    const int fd = shm_open(file_name(segment_name).c_str(), O_RDWR | O_CLOEXEC, 0);
    return fd < 0 ? Result<LockFile>(failure(segment_name, errno)) : adopt(fd, segment_name);
}

Result<LockFile> LockFile::open_or_create(const std::string& segment_name, const FileAccess& access) {
    // Open before create: opening a foreign file with O_CREAT is refused in sticky folders.
    for (int attempt = 0; attempt < open_attempts; ++attempt) {
        Result<LockFile> opened = open(segment_name);
        if (opened.ok() || opened.status().code() != StatusCode::not_found) return opened;
        const int fd = shm_open(file_name(segment_name).c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC,
                                access.first_mode());
        if (fd >= 0) {
            const int error = access.apply_to(fd);
            if (error == 0) return adopt(fd, segment_name);
            close(fd);
            remove(segment_name);
            return failure(segment_name, error);
        }
        if (errno != EEXIST) return failure(segment_name, errno);
    }
    return Status(StatusCode::busy, "the lock file of segment \"" + segment_name +
                                        "\" is made and removed again and again; try later");
}

void LockFile::remove(const std::string& segment_name) noexcept {
    shm_unlink(file_name(segment_name).c_str());
}

LockFile::LockFile(LockFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), inode_(other.inode_), access_(other.access_) {}

LockFile& LockFile::operator=(LockFile&& other) noexcept {
    std::swap(fd_, other.fd_);
    std::swap(inode_, other.inode_);
    std::swap(access_, other.access_);
    return *this;
}

LockFile::~LockFile() {
    if (fd_ < 0) return;
    remove_maker(fd_);
    close(fd_);
}

bool LockFile::still_named(const std::string& segment_name) const noexcept {
    const int fd = shm_open(file_name(segment_name).c_str(), O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return false;
    struct stat info {};
    const bool same = fstat(fd, &info) == 0 && info.st_ino == inode_;
    close(fd);
    return same;
}

bool LockFile::set_lock(short type, std::uint64_t byte) const noexcept {
    struct flock lock {};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = static_cast<off_t>(byte);
    lock.l_len = 1;
    return fcntl(fd_, F_OFD_SETLK, &lock) == 0;
}

Status LockFile::lock_making(std::uint32_t wait_ms) {
    const std::uint64_t deadline = monotonic_ns() + std::uint64_t{wait_ms} * 1'000'000;
    if (!add_maker(fd_)) return Status(StatusCode::busy, "this process makes too many segments at once");
    for (;;) {
        if (set_lock(F_WRLCK, making_byte)) return Status();
        if (errno != EAGAIN && errno != EACCES && errno != EINTR) {
            const int error = errno;
            remove_maker(fd_);
            return {StatusCode::internal,
                    std::string("could not lock the segment's lock file: ") + std::strerror(error)};
        }
        if (monotonic_ns() >= deadline) break;
        const timespec millisecond{0, 1'000'000};
        nanosleep(&millisecond, nullptr);
    }
    remove_maker(fd_);
    return {StatusCode::busy,
            "another process is making, resizing or removing the segment; try again, or look for a stopped "
            "process that holds its lock file in /dev/shm"};
}

void LockFile::unlock_making() noexcept {
    set_lock(F_UNLCK, making_byte);
    remove_maker(fd_);
}

bool LockFile::try_lock_slot(std::uint64_t lock) noexcept {
    return fd_ >= 0 && set_lock(F_WRLCK, first_slot_byte + lock);
}

void LockFile::unlock_slot(std::uint64_t lock) noexcept { set_lock(F_UNLCK, first_slot_byte + lock); }

bool LockFile::slot_locked_by_other(std::uint64_t lock) const noexcept {
    struct flock asked {};
    asked.l_type = F_WRLCK;
    asked.l_whence = SEEK_SET;
    asked.l_start = static_cast<off_t>(first_slot_byte + lock);
    asked.l_len = 1;
    return fcntl(fd_, F_OFD_GETLK, &asked) != 0 || asked.l_type != F_UNLCK;
}

void LockFile::reopen_after_fork() noexcept {
    if (fd_ < 0) return;
    if (!reopen(fd_)) fd_ = -1;
}

}  // namespace tiercache
