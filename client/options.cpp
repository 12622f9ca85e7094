#include "tiercache/options.hpp"

#include <grp.h>

#include <cctype>
#include <cerrno>
#include <charconv>
#include <string_view>
#include <vector>

#include "client/pg_connection.hpp"
#include "client/redis_connection.hpp"
#include "shm_cache/shared_memory.hpp"

namespace tiercache {

using std::chrono::milliseconds;
using std::chrono::seconds;

std::array<ClassPolicy, 4> Options::default_classes() noexcept {
    return {ClassPolicy{seconds(300), seconds(3'600), seconds(5)},      // hot
            ClassPolicy{seconds(60), seconds(1'800), seconds(0)},       // warm
            ClassPolicy{seconds(30), seconds(900), seconds(0)},         // cold
            ClassPolicy{seconds(1'800), seconds(86'400), seconds(0)}};  // reference
}

namespace {

Status wrong(std::string sentence) { return {StatusCode::invalid_argument, std::move(sentence)}; }

Status check_l1(const Options::L1& l1) {
    if (const Result<gid_t> group = parse_group(l1.group); !group.ok()) return group.status();
    if (l1.name.empty()) return Status();
    return SharedMemory::check_name(l1.name);
}

Status check_l2(const Options::L2& l2) {
    if (l2.address.empty()) return Status();
    if (!parse_redis_address(l2.address)) {
        return wrong("\"" + l2.address +
                     "\" is not a Redis address; use unix:/path/to/redis.sock or host:port");
    }
    if (l2.timeout < milliseconds(1)) return wrong("l2.timeout must be at least 1 ms");
    if (l2.database < 0) return wrong("l2.database must not be negative");
    if (!l2.username.empty() && l2.password.empty()) return wrong("l2.username needs l2.password");
    return Status();
}

Status check_l4(const Options::L4& l4) {
    if (l4.pool_size < 1) return wrong("l4.pool_size must be at least 1");
    if (l4.connect_timeout < milliseconds(1) || l4.query_timeout < milliseconds(1)) {
        return wrong("l4.connect_timeout and l4.query_timeout must be at least 1 ms");
    }
    return check_conninfo(l4.conninfo);
}

}  // namespace

Status Options::check() const {
    if (Status s = check_l1(l1); !s.ok()) return s;
    if (Status s = check_l2(l2); !s.ok()) return s;
    if (Status s = check_l4(l4); !s.ok()) return s;
    if (!clock_name.empty() && clock_name != "none") {
        if (Status s = SharedMemory::check_name(clock_name); !s.ok()) return s;
    }
    if (!(ttl_jitter >= 0 && ttl_jitter < 1)) return wrong("the TTL jitter must be from 0 to below 1");
    for (const ClassPolicy& policy : classes) {
        if (policy.l1_ttl < milliseconds(1) || policy.l2_ttl < milliseconds(1) ||
            policy.max_staleness < milliseconds(0)) {
            return wrong("a class needs TTLs of at least 1 ms and a max_staleness that is not negative");
        }
    }
    return Status();
}

Result<std::size_t> parse_size(std::string_view text) {
    std::size_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    std::string unit;
    for (const char* at = end; error == std::errc() && at != text.data() + text.size(); ++at) {
        if (*at != ' ') unit += static_cast<char>(std::tolower(static_cast<unsigned char>(*at)));
    }
    int shift = -1;
    if (unit.empty() || unit == "b") shift = 0;
    if (unit == "k" || unit == "kb" || unit == "kib") shift = 10;
    if (unit == "m" || unit == "mb" || unit == "mib") shift = 20;
    if (unit == "g" || unit == "gb" || unit == "gib") shift = 30;
    if (error != std::errc() || shift < 0 || number > (SIZE_MAX >> shift)) {
        return wrong("\"" + std::string(text) +
                     "\" is not a size; write a number and KiB, MiB or GiB, as in 64MiB");
    }
    return number << shift;
}

Result<gid_t> parse_group(const std::string& text) {
    if (text.empty()) return no_group;
    gid_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc() && end == text.data() + text.size() && number != no_group) return number;
    group entry{};
    group* found = nullptr;
    std::vector<char> room(1024);
    int failed = 0;
    while ((failed = getgrnam_r(text.c_str(), &entry, room.data(), room.size(), &found)) == ERANGE) {
        room.resize(room.size() * 2);
    }
    if (failed == 0 && found != nullptr) return found->gr_gid;
    return wrong("there is no group \"" + text + "\" on this host");
}

}  // namespace tiercache
