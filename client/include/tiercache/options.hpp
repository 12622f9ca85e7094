// How a Cache is set up. The defaults are the ones to start with; a cache needs l4.conninfo and nothing else.
#pragma once

#include <sys/types.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "shm_cache/entry.hpp"
#include "shm_cache/file_access.hpp"
#include "shm_cache/huge_pages.hpp"
#include "shm_cache/status.hpp"

namespace tiercache {

// What a data class means in the client.
struct ClassPolicy {
    std::chrono::milliseconds l1_ttl;
    std::chrono::milliseconds l2_ttl;
    std::chrono::milliseconds max_staleness;  // 0: only fresh answers
};

struct Options {
    // This host's shared-memory segment.
    struct L1 {
        std::string name;                                // such as "/tiercache.app"; empty: no L1
        std::size_t size_bytes = std::size_t{64} << 20;  // when it is created
        bool create = true;                              // when there is none
        // Its users, by name or number, who share it: it is made for them (mode 0660), and one that another
        // of them made is used. Each can make the others get any answer. Empty: this user alone.
        std::string group;
        HugePages huge_pages = HugePages::off;  // when it is created
        std::string huge_page_mount;            // a hugetlbfs mount; empty: one that this user may write to
    } l1;

    // Redis. Whatever it does, it costs hits and never an answer.
    struct L2 {
        std::string address;   // "unix:/path/redis.sock" (or just the path), "host:port"; empty: no L2
        std::string prefix;    // keys are "tc:" + prefix + 32 hexadecimal digits
        std::string username;  // of an ACL user; needs a password
        std::string password;
        int database = 0;
        std::chrono::milliseconds timeout{100};               // of a connect, and of an exchange
        std::size_t entry_bytes_max = std::size_t{16} << 20;  // larger ones are not kept there
        std::size_t idle_connections_max = 4;
    } l2;

    // PostgreSQL with the extension tiercache.
    struct L4 {
        std::string conninfo;  // as libpq takes it: "host=/run/postgresql dbname=shop", or a URI
        std::size_t pool_size = 4;
        std::chrono::milliseconds connect_timeout{5'000};
        std::chrono::milliseconds query_timeout{60'000};  // of a whole call, where it sets no deadline
    } l4;

    // The clock table that answers are judged by: empty, ask PostgreSQL; "none", use none; or its name.
    // Without one, as on another host than PostgreSQL's, strict reads go to PostgreSQL.
    std::string clock_name;

    DataClass default_class = DataClass::warm;
    double ttl_jitter = 0.1;  // TTLs are shortened at random by up to this share

    // Indexed by DataClass.
    std::array<ClassPolicy, 4> classes = default_classes();

    [[nodiscard]] const ClassPolicy& policy(DataClass c) const noexcept {
        return classes[static_cast<std::size_t>(c)];
    }
    [[nodiscard]] ClassPolicy& policy(DataClass c) noexcept { return classes[static_cast<std::size_t>(c)]; }

    [[nodiscard]] static std::array<ClassPolicy, 4> default_classes() noexcept;

    // Reads a TOML file; what it does not name keeps its default. docs/api.md lists the keys. Unknown keys
    // are errors. Errors: not_found, permission_denied, invalid_argument; each names the file and the line or
    // key.
    static Result<Options> from_toml(const std::string& path);

    // One option by its name in the TOML file, such as "l1.size" and "64MiB"; strings without their quotes.
    // Nothing changes on an error: invalid_argument.
    Status set(std::string_view key, std::string_view value);

    // Do they fit together? Errors: invalid_argument.
    [[nodiscard]] Status check() const;
};

// "64MiB", "2 GB", "4096": bytes. KB, MB and GB are taken as KiB, MiB and GiB, as PostgreSQL does.
Result<std::size_t> parse_size(std::string_view text);

// A group of this host by its name, or its number; none for an empty text. Error: invalid_argument.
Result<gid_t> parse_group(const std::string& text);

}  // namespace tiercache
