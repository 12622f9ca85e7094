#include "shm_cache/status.hpp"

namespace tiercache {

std::string_view to_string(StatusCode code) noexcept {
    switch (code) {
        case StatusCode::ok:
            return "ok";
        case StatusCode::not_found:
            return "not found";
        case StatusCode::invalid_argument:
            return "invalid argument";
        case StatusCode::corrupt:
            return "corrupt";
        case StatusCode::version_mismatch:
            return "version mismatch";
        case StatusCode::already_exists:
            return "already exists";
        case StatusCode::permission_denied:
            return "permission denied";
        case StatusCode::no_space:
            return "no space";
        case StatusCode::too_large:
            return "too large";
        case StatusCode::busy:
            return "busy";
        case StatusCode::unavailable:
            return "unavailable";
        case StatusCode::timeout:
            return "timeout";
        case StatusCode::query_failed:
            return "query failed";
        case StatusCode::internal:
            return "internal error";
    }
    return "unknown";
}

std::string Status::to_string() const {
    return message_.empty() ? std::string(tiercache::to_string(code_)) : message_;
}

}  // namespace tiercache
