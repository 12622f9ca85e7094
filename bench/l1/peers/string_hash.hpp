// Hash and equality of keys for the in-process maps: our hash, and no std::string made to look one up.
#pragma once

#include <string_view>

#include "shm_cache/hash.hpp"

namespace bench {

inline std::size_t hash_of(std::string_view key) {
    return tiercache::hash_bytes(std::as_bytes(std::span(key)));
}

struct StringHash {
    std::size_t operator()(std::string_view key) const { return hash_of(key); }
};
struct StringEqual {
    bool operator()(std::string_view a, std::string_view b) const { return a == b; }
};

}  // namespace bench
