// How the C ABI says what went wrong, and keeps exceptions from its callers.
#pragma once

#include <exception>
#include <new>
#include <string>

#include "shm_cache/status.hpp"
#include "tiercache/tiercache.h"

struct tc_status {
    tiercache::Status status;
    std::string text;
};

namespace tiercache::c_abi {

// Where there is no memory even for the message.
inline tc_status out_of_memory{Status(StatusCode::no_space), "not enough memory"};

inline tc_status* give(const Status& status) {
    return status.ok() ? nullptr : new tc_status{status, status.to_string()};
}

inline tc_status* missing(const char* what) {
    return give(Status(StatusCode::invalid_argument, std::string(what) + " must not be NULL"));
}

// Runs `body`, which returns a tc_status*, and turns what it throws into one.
template <class Body>
tc_status* guarded(Body body) noexcept {
    try {
        try {
            return body();
        } catch (const std::bad_alloc&) {
            return &out_of_memory;
        } catch (const std::exception& e) {
            return give(Status(StatusCode::internal, std::string("internal error: ") + e.what()));
        } catch (...) {
            return give(Status(StatusCode::internal, "internal error"));
        }
    } catch (...) {
        return &out_of_memory;
    }
}

}  // namespace tiercache::c_abi
