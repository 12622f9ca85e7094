#include "shm_cache/huge_page_file.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <mntent.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

#include "shm_cache/hash.hpp"

namespace tiercache {

namespace {

constexpr std::uint64_t note_magic = 0x4547415045475548;  // "HUGEPAGE"

std::uint64_t checksum_of(const HugePageNote& note) noexcept {
    return hash_bytes(std::as_bytes(std::span(&note, 1)).first(offsetof(HugePageNote, checksum)));
}

Status huge_page_failure(const std::string& doing, const std::string& path, int error) {
    const StatusCode code = error == EACCES || error == EPERM ? StatusCode::permission_denied
                            : error == ENOENT                 ? StatusCode::not_found
                                                              : StatusCode::internal;
    return {code, "could not " + doing + " \"" + path + "\" in huge pages: " + std::strerror(error)};
}

// The size of its pages; 0: no hugetlbfs.
std::size_t huge_page_bytes_of(const struct statfs& info) noexcept {
    return info.f_type == HUGETLBFS_MAGIC ? static_cast<std::size_t>(info.f_bsize) : 0;
}
std::size_t huge_page_bytes_of(const std::string& path) noexcept {
    struct statfs info {};
    return statfs(path.c_str(), &info) == 0 ? huge_page_bytes_of(info) : 0;
}

bool writable(const std::string& path) noexcept {
    return faccessat(AT_FDCWD, path.c_str(), W_OK | X_OK, AT_EACCESS) == 0;
}

Status too_few_pages(std::size_t bytes, std::size_t page_bytes) {
    const std::string count = std::to_string(bytes / page_bytes);
    const std::string kib = std::to_string(page_bytes >> 10);
    return {StatusCode::no_space, "not enough free huge pages: the segment takes " + count + " of " + kib +
                                      " KiB; set so many more aside (sysctl vm.nr_hugepages, or "
                                      "/sys/kernel/mm/hugepages/hugepages-" +
                                      kib +
                                      "kB/nr_hugepages), or use ordinary pages (huge_pages off or try)"};
}

// Splits a path behind its last slash.
std::pair<std::string, std::string> split(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) return {".", path};
    return {path.substr(0, slash), path.substr(slash + 1)};
}

}  // namespace

Descriptor::Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
}
Descriptor::~Descriptor() {
    if (fd_ >= 0) close(fd_);
}

Result<HugePageMount> find_huge_page_mount(const std::string& wanted) {
    if (!wanted.empty()) {
        const std::size_t page_bytes = huge_page_bytes_of(wanted);
        if (page_bytes == 0 || wanted.front() != '/') {
            return Status(StatusCode::invalid_argument,
                          "\"" + wanted + "\" is no hugetlbfs mount; name one by its whole path");
        }
        if (!writable(wanted)) return huge_page_failure("make files below", wanted, EACCES);
        return HugePageMount{wanted, page_bytes};
    }
    const std::unique_ptr<FILE, int (*)(FILE*)> mounts(setmntent("/proc/self/mounts", "re"), endmntent);
    HugePageMount best;
    bool any = false;
    for (mntent* entry = nullptr; mounts && (entry = getmntent(mounts.get())) != nullptr;) {
        if (std::strcmp(entry->mnt_type, "hugetlbfs") != 0) continue;
        any = true;
        const std::string path = entry->mnt_dir;
        const std::size_t page_bytes = huge_page_bytes_of(path);
        if (page_bytes == 0 || !writable(path)) continue;
        if (best.page_bytes == 0 || page_bytes < best.page_bytes) best = {path, page_bytes};
    }
    if (best.page_bytes != 0) return best;
    if (any) {
        return Status(StatusCode::permission_denied,
                      "this user may not write to any hugetlbfs mount; mount one with its uid or gid, or use "
                      "ordinary pages (huge_pages off or try)");
    }
    return Status(StatusCode::not_found,
                  "there is no hugetlbfs mount; make one (mount -t hugetlbfs none /dev/hugepages), or use "
                  "ordinary pages (huge_pages off or try)");
}

std::string HugePageNote::folder() const { return split(path).first; }

Result<HugePageNote> plan_huge_page_file(const std::string& name, const HugePageMount& mount) {
    std::uint64_t random = 0;
    if (getrandom(&random, sizeof(random), 0) != sizeof(random)) {
        return Status(StatusCode::internal, "the system gives no random numbers");
    }
    char digits[17];
    std::snprintf(digits, sizeof(digits), "%016llx", static_cast<unsigned long long>(random));
    const std::string path = mount.path + name + "." + digits;
    HugePageNote note;
    note.magic = note_magic;
    if (path.size() >= sizeof(note.path)) {
        return Status(StatusCode::invalid_argument, "the path of the hugetlbfs mount is too long");
    }
    std::memcpy(note.path, path.c_str(), path.size());
    return note;
}

Status write_huge_page_note(int fd, HugePageNote note) {
    note.checksum = checksum_of(note);
    const ssize_t written = pwrite(fd, &note, sizeof(note), 0);
    if (written == static_cast<ssize_t>(sizeof(note))) return Status();
    return {written < 0 && errno != ENOSPC ? StatusCode::internal : StatusCode::no_space,
            "could not write to /dev/shm where the huge pages are"};
}

std::optional<HugePageNote> read_huge_page_note(int fd) noexcept {
    HugePageNote note;
    if (pread(fd, &note, sizeof(note), 0) != static_cast<ssize_t>(sizeof(note)) || note.magic != note_magic ||
        note.checksum != checksum_of(note) || note.path[sizeof(note.path) - 1] != '\0' ||
        note.path[0] != '/') {
        return std::nullopt;
    }
    return note;
}

Result<Descriptor> create_huge_page_file(HugePageNote& note, std::size_t bytes, const FileAccess& access) {
    const std::string path = note.path;
    Descriptor file(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file.valid()) return huge_page_failure("create", path, errno);
    const auto undo = [&path](Status status) {
        unlink(path.c_str());
        return status;
    };
    struct stat info {};
    struct statfs system {};
    if (fstat(file.get(), &info) != 0 || fstatfs(file.get(), &system) != 0) {
        return undo(huge_page_failure("examine", path, errno));
    }
    if (huge_page_bytes_of(system) == 0) return undo(huge_page_failure("create", path, ENODEV));
    if (const int error = access.apply_to(file.get()); error != 0) {
        return undo(huge_page_failure("set the group and the permissions of", path, error));
    }
    // All of them now: a page that is missing later would be a SIGBUS.
    if (fallocate(file.get(), 0, 0, static_cast<off_t>(bytes)) != 0) {
        return undo(errno == ENOSPC || errno == ENOMEM ? too_few_pages(bytes, huge_page_bytes_of(system))
                                                       : huge_page_failure("reserve", path, errno));
    }
    note.device = info.st_dev;
    note.inode = info.st_ino;
    return file;
}

Result<Descriptor> open_huge_page_file(const HugePageNote& note, uid_t owner, bool writable) {
    const std::string path = note.path;
    if (note.inode == 0) return Status(StatusCode::not_found, "its huge pages are being made");
    if (huge_page_bytes_of(split(path).first) == 0) {
        return Status(StatusCode::corrupt, "its huge pages are in \"" + path +
                                               "\", where no hugetlbfs is mounted; mount it there as well");
    }
    Descriptor file(open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!file.valid()) return huge_page_failure("open", path, errno);
    struct stat info {};
    struct statfs system {};
    if (fstat(file.get(), &info) != 0 || fstatfs(file.get(), &system) != 0 || !S_ISREG(info.st_mode) ||
        huge_page_bytes_of(system) == 0 || info.st_dev != note.device || info.st_ino != note.inode ||
        info.st_uid != owner) {
        return Status(StatusCode::not_found, "\"" + path + "\" is not the file that was made there");
    }
    return file;
}

void remove_huge_page_file(const std::string& name, const HugePageNote& note, uid_t owner) noexcept {
    // No std::string: nothing here may throw.
    const char* base = std::strrchr(note.path, '/');
    if (base == nullptr) return;
    char folder[HugePageNote::path_bytes_max] = {};
    std::memcpy(folder, note.path, static_cast<std::size_t>(base - note.path));
    ++base;
    if (std::strncmp(base, name.c_str() + 1, name.size() - 1) != 0 || base[name.size() - 1] != '.') return;
    const Descriptor at(open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC));
    struct stat info {};
    struct statfs system {};
    if (!at.valid() || fstatfs(at.get(), &system) != 0 || huge_page_bytes_of(system) == 0) return;
    if (fstatat(at.get(), base, &info, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(info.st_mode)) return;
    if (info.st_uid != owner || (note.inode != 0 && info.st_ino != note.inode)) return;
    unlinkat(at.get(), base, 0);
}

}  // namespace tiercache
