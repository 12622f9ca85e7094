#include "shm_cache/shared_memory.hpp"

#include <fcntl.h>
#include <linux/mman.h>  // MADV_COLLAPSE, which the C library of Debian 12 does not name
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/interprocess/mapped_region.hpp>
#include <boost/interprocess/shared_memory_object.hpp>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "shm_cache/huge_page_file.hpp"

namespace bip = boost::interprocess;

namespace tiercache {

struct SharedMemory::Impl {
    bip::shared_memory_object object;
    Descriptor note;  // instead of `object`, where the bytes are in huge pages
    bip::mapped_region region;
    struct stat info {};  // of what has the name
    std::size_t huge_page_bytes = 0;
    std::string huge_page_folder;

    [[nodiscard]] int fd() const { return note.valid() ? note.get() : object.get_mapping_handle().handle; }
};

namespace {

StatusCode code_of(int error) noexcept {
    switch (error) {
        case ENOENT:
            return StatusCode::not_found;
        case EEXIST:
            return StatusCode::already_exists;
        case EACCES:
        case EPERM:
            return StatusCode::permission_denied;
        case ENOSPC:
        case ENOMEM:
            return StatusCode::no_space;
        default:
            return StatusCode::internal;
    }
}

Status failure(const std::string& doing, const std::string& name, int error) {
    return {code_of(error),
            "could not " + doing + " shared memory \"" + name + "\": " + std::strerror(error)};
}

Status failure(const std::string& doing, const std::string& name, const bip::interprocess_exception& e) {
    const int native = e.get_native_error();
    return failure(doing, name, native != 0 ? native : EIO);
}

// What has the name, for reading. Anybody may have put a FIFO there, whose opening would wait for ever.
Result<Descriptor> open_regular(const std::string& name, struct stat& info) {
    Descriptor named(shm_open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0));
    if (!named.valid()) {
        if (errno == ENOENT) {
            return Status(StatusCode::not_found, "there is no shared memory \"" + name + "\" on this host");
        }
        return failure("open", name, errno);
    }
    if (fstat(named.get(), &info) == 0 && S_ISREG(info.st_mode)) return named;
    return Status(StatusCode::invalid_argument,
                  "\"" + name + "\" is no shared memory; remove it or use another name");
}

constexpr const char* folder = "/dev/shm";

constexpr std::size_t huge_page_bytes = std::size_t{2} << 20;

// An address where huge pages of the object can be mapped as such: a multiple of their size. Nullptr for
// small objects, or when there is no such room: the kernel chooses then. A hint, which a racing thread may
// take first.
void* address_for_huge_pages(std::size_t bytes) noexcept {
    if (bytes < huge_page_bytes) return nullptr;
    void* room =
        mmap(nullptr, bytes + huge_page_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) return nullptr;
    munmap(room, bytes + huge_page_bytes);
    const auto at = reinterpret_cast<std::uintptr_t>(room);
    return reinterpret_cast<void*>((at + huge_page_bytes - 1) / huge_page_bytes * huge_page_bytes);
}

bip::mapped_region map(const bip::shared_memory_object& object, bip::mode_t access, std::size_t bytes) {
    if (void* address = address_for_huge_pages(bytes); address != nullptr) {
        try {
            return {object, access, 0, bytes, address};
        } catch (const bip::interprocess_exception&) {
            // Taken meanwhile.
        }
    }
    return {object, access};
}

// As Boost wants to have it.
struct HugePages {
    int fd;
    [[nodiscard]] bip::mapping_handle_t get_mapping_handle() const { return {fd, false}; }
};

bip::mapped_region map_huge_pages(const Descriptor& file, bip::mode_t access, std::size_t bytes) {
    return {HugePages{file.get()}, access, 0, bytes};
}

// Makes huge pages of the object's pages, for all who map it, where the system gives any (Linux 6.1). A
// reader of scattered items spends a third of its time on page tables otherwise.
void use_huge_pages(const bip::mapped_region& region) noexcept {
#ifdef MADV_COLLAPSE
    const std::size_t whole = region.get_size() / huge_page_bytes * huge_page_bytes;
    if (whole == 0) return;
    if (madvise(region.get_address(), whole, MADV_COLLAPSE) == 0) return;
    // Not before: khugepaged then looks through all of the process for as long as it lives, at the lowest
    // priority and with a lock that mmap() waits for.
    (void)madvise(region.get_address(), whole, MADV_HUGEPAGE);
#else
    (void)region;
#endif
}

}  // namespace

SharedMemory::SharedMemory() noexcept = default;
SharedMemory::SharedMemory(SharedMemory&&) noexcept = default;
SharedMemory& SharedMemory::operator=(SharedMemory&&) noexcept = default;
SharedMemory::~SharedMemory() = default;
SharedMemory::SharedMemory(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}

Status SharedMemory::check_name(std::string_view name) {
    const auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
               c == '_' || c == '-';
    };
    if (name.size() < 2 || name.size() > 201 || name.front() != '/' ||
        !std::all_of(name.begin() + 1, name.end(), allowed)) {
        return {StatusCode::invalid_argument,
                "\"" + std::string(name) +
                    "\" is not a shared-memory name; use a slash and then letters, digits, '.', "
                    "'_' or '-', such as \"/tiercache.app\""};
    }
    return Status();
}

Result<SharedMemory> SharedMemory::create(const std::string& name, std::size_t bytes,
                                          const FileAccess& access) {
    if (Status s = check_name(name); !s.ok()) return s;
    auto impl = std::make_unique<Impl>();
    try {
        bip::permissions permissions(static_cast<int>(access.first_mode()));
        impl->object =
            bip::shared_memory_object(bip::create_only, name.c_str(), bip::read_write, permissions);
    } catch (const bip::interprocess_exception& e) {
        if (e.get_native_error() == EEXIST || e.get_error_code() == bip::already_exists_error) {
            return failure("create", name, EEXIST);
        }
        return failure("create", name, e);
    }
    // From here on a failure takes the name back.
    const auto undo = [&name](Status status) {
        bip::shared_memory_object::remove(name.c_str());
        return status;
    };
    if (const int error = access.apply_to(impl->fd()); error != 0) {
        return undo(failure("set the group and the permissions of", name, error));
    }
    if (const int error = posix_fallocate(impl->fd(), 0, static_cast<off_t>(bytes)); error != 0) {
        if (error == ENOSPC || error == ENOMEM) {
            return undo(Status(StatusCode::no_space, "not enough shared memory for \"" + name + "\" (" +
                                                         std::to_string(bytes >> 20) +
                                                         " MiB); choose a smaller size or enlarge /dev/shm"));
        }
        return undo(failure("reserve", name, error));
    }
    try {
        impl->region = map(impl->object, bip::read_write, bytes);
        use_huge_pages(impl->region);
    } catch (const bip::interprocess_exception& e) {
        return undo(failure("map", name, e));
    }
    if (fstat(impl->fd(), &impl->info) != 0) return undo(failure("examine", name, errno));
    return SharedMemory(std::move(impl));
}

Result<SharedMemory> SharedMemory::create_in_huge_pages(const std::string& name, std::size_t bytes,
                                                        const FileAccess& access,
                                                        const HugePageMount& mount) {
    if (Status s = check_name(name); !s.ok()) return s;
    Result<HugePageNote> note = plan_huge_page_file(name, mount);
    if (!note.ok()) return note.status();
    auto impl = std::make_unique<Impl>();
    impl->note = Descriptor(shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!impl->note.valid()) return failure("create", name, errno);
    const auto undo = [&](Status status) {
        remove_huge_page_file(name, *note, geteuid());
        shm_unlink(name.c_str());
        return status;
    };
    if (Status s = write_huge_page_note(impl->note.get(), *note); !s.ok()) return undo(s);
    if (const int error = access.apply_to(impl->note.get()); error != 0) {
        return undo(failure("set the group and the permissions of", name, error));
    }
    const Result<Descriptor> file = create_huge_page_file(*note, bytes, access);
    if (!file.ok()) return undo(file.status());
    if (Status s = write_huge_page_note(impl->note.get(), *note); !s.ok()) return undo(s);
    try {
        impl->region = map_huge_pages(*file, bip::read_write, bytes);
    } catch (const bip::interprocess_exception& e) {
        return undo(failure("map", name, e));
    }
    if (fstat(impl->note.get(), &impl->info) != 0) return undo(failure("examine", name, errno));
    impl->huge_page_bytes = mount.page_bytes;
    impl->huge_page_folder = mount.path;
    return SharedMemory(std::move(impl));
}

Result<SharedMemory> SharedMemory::open(const std::string& name, bool writable) {
    if (Status s = check_name(name); !s.ok()) return s;
    auto impl = std::make_unique<Impl>();
    const bip::mode_t access = writable ? bip::read_write : bip::read_only;
    Result<Descriptor> named = open_regular(name, impl->info);
    if (!named.ok()) return named.status();
    if (const std::optional<HugePageNote> note = read_huge_page_note(named->get())) {
        const Result<Descriptor> file = open_huge_page_file(*note, impl->info.st_uid, writable);
        if (!file.ok()) return file.status();
        struct stat info {};
        if (fstat(file->get(), &info) != 0) return failure("examine", name, errno);
        try {
            impl->region = map_huge_pages(*file, access, static_cast<std::size_t>(info.st_size));
        } catch (const bip::interprocess_exception& e) {
            return failure("map", name, e);
        }
        impl->note = std::move(named).value();
        impl->huge_page_bytes = static_cast<std::size_t>(info.st_blksize);
        impl->huge_page_folder = note->folder();
        return SharedMemory(std::move(impl));
    }
    try {
        impl->object = bip::shared_memory_object(bip::open_only, name.c_str(), access);
    } catch (const bip::interprocess_exception& e) {
        if (e.get_error_code() == bip::not_found_error || e.get_native_error() == ENOENT) {
            return Status(StatusCode::not_found, "there is no shared memory \"" + name + "\" on this host");
        }
        return failure("open", name, e);
    }
    if (fstat(impl->fd(), &impl->info) != 0) return failure("examine", name, errno);
    if (!S_ISREG(impl->info.st_mode) || impl->info.st_size == 0) {
        return Status(StatusCode::corrupt,
                      "shared memory \"" + name + "\" is empty; its maker failed half-way: remove it");
    }
    try {
        impl->region = map(impl->object, access, static_cast<std::size_t>(impl->info.st_size));
    } catch (const bip::interprocess_exception& e) {
        return failure("map", name, e);
    }
    return SharedMemory(std::move(impl));
}

Status SharedMemory::remove(const std::string& name, const std::string& part_of) {
    if (Status s = check_name(name); !s.ok()) return s;
    struct stat info {};
    if (const Result<Descriptor> named = open_regular(name, info); named.ok()) {
        const std::optional<HugePageNote> note = read_huge_page_note(named->get());
        // Only who may take the name away as well.
        if (note && (geteuid() == 0 || geteuid() == info.st_uid)) {
            remove_huge_page_file(part_of, *note, info.st_uid);
        }
    }
    errno = 0;
    if (bip::shared_memory_object::remove(name.c_str())) return Status();
    return errno == ENOENT
               ? Status(StatusCode::not_found, "there is no shared memory \"" + name + "\" on this host")
               : failure("remove", name, errno);
}

Status SharedMemory::rename(const std::string& from, const std::string& to) {
    struct stat info {};
    const Result<Descriptor> named = open_regular(to, info);
    const bool noted = named.ok() && read_huge_page_note(named->get()).has_value();
    // shm_open() has no rename; its objects are files here. A note that is replaced would leave its file: it
    // gets the other name.
    const std::string from_path = folder + from;
    const std::string to_path = folder + to;
    if (renameat2(AT_FDCWD, from_path.c_str(), AT_FDCWD, to_path.c_str(), noted ? RENAME_EXCHANGE : 0) != 0) {
        return failure("rename", from, errno);
    }
    if (noted) (void)remove(from, to);
    return Status();
}

Result<std::vector<std::string>> SharedMemory::list(const std::string& prefix) {
    std::vector<std::string> names;
    std::error_code error;
    for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end;
         at.increment(error)) {
        std::string name = "/" + at->path().filename().string();
        if (name.starts_with(prefix)) names.push_back(std::move(name));
    }
    if (error) return failure("list", folder, error.value());
    return names;
}

std::span<std::byte> SharedMemory::bytes() const noexcept {
    if (!impl_) return {};
    return {static_cast<std::byte*>(impl_->region.get_address()), impl_->region.get_size()};
}

Status SharedMemory::set_mode(mode_t mode) {
    if (fchmod(impl_->fd(), mode) != 0 || fstat(impl_->fd(), &impl_->info) != 0) {
        return {code_of(errno), std::string("could not set the permissions: ") + std::strerror(errno)};
    }
    return Status();
}

Status SharedMemory::detach(void (*fill)(void* context, std::span<std::byte> fresh), void* context) {
    const std::span<std::byte> memory = bytes();
    void* fresh = mmap(nullptr, memory.size(), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (fresh == MAP_FAILED) return Status(StatusCode::no_space);
    fill(context, {static_cast<std::byte*>(fresh), memory.size()});
    if (mremap(fresh, memory.size(), memory.size(), MREMAP_MAYMOVE | MREMAP_FIXED, memory.data()) ==
        MAP_FAILED) {
        munmap(fresh, memory.size());
        return Status(StatusCode::no_space);
    }
    // The region unmaps what is there by then.
    impl_->object = bip::shared_memory_object();
    impl_->note = Descriptor();
    return Status();
}

FileAccess SharedMemory::access() const noexcept { return FileAccess::of(impl_->info); }
std::uint64_t SharedMemory::inode() const noexcept { return impl_->info.st_ino; }
const std::string& SharedMemory::huge_page_folder() const noexcept { return impl_->huge_page_folder; }
std::size_t SharedMemory::huge_page_bytes() const noexcept { return impl_->huge_page_bytes; }

Status SharedMemory::lock_exclusive() {
    if (flock(impl_->fd(), LOCK_EX | LOCK_NB) == 0) return Status();
    if (errno == EWOULDBLOCK)
        return Status(StatusCode::busy, "the shared memory is in use by another process");
    return {code_of(errno), std::string("could not lock the shared memory: ") + std::strerror(errno)};
}

bool SharedMemory::still_named(const std::string& name) const {
    struct stat now {};
    const int fd = shm_open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
    if (fd < 0) return false;
    const bool same =
        fstat(fd, &now) == 0 && now.st_dev == impl_->info.st_dev && now.st_ino == impl_->info.st_ino;
    close(fd);
    return same;
}

}  // namespace tiercache
