// The border between PostgreSQL's errors (longjmp) and C++'s (exceptions). Neither may cross the other's
// frames.
//
//   enter(f)   wraps the body of every extern "C" entry: a C++ exception becomes an ereport, raised outside
//   the
//              catch block, when no C++ object is alive any more.
//   call(f)    wraps a call into PostgreSQL that can raise an error while C++ objects with destructors are
//   alive:
//              the error becomes a C++ exception, which enter() turns back into the same PostgreSQL error.
//
// Code that keeps to plain C data (palloc, Datum, List) needs neither wrapper around its ereports.
#pragma once

#include <exception>
#include <new>
#include <type_traits>

#include "pg_extension/pg.hpp"

namespace tiercache::pg {

// A PostgreSQL error on its way through C++ frames; its ErrorData lives in the memory context of the call.
struct PostgresError {
    ErrorData* data;
};

namespace detail {

// Why `enter` failed; raised by raise_failure() when all C++ objects are gone.
struct Failure {
    // Only as much of the message as is read: every row of a scan passes here.
    Failure() noexcept { message[0] = '\0'; }  // NOLINT(cppcoreguidelines-pro-type-member-init)

    ErrorData* postgres_error = nullptr;
    char message[256];
    int sqlstate = ERRCODE_INTERNAL_ERROR;
};

[[noreturn]] void raise_failure(const Failure& failure);

}  // namespace detail

template <class F>
auto enter(F&& body) -> std::invoke_result_t<F> {
    detail::Failure failure;
    try {
        return body();
    } catch (const PostgresError& e) {
        failure.postgres_error = e.data;
    } catch (const std::bad_alloc&) {
        failure.sqlstate = ERRCODE_OUT_OF_MEMORY;
        strlcpy(failure.message, "out of memory", sizeof(failure.message));
    } catch (const std::exception& e) {
        strlcpy(failure.message, e.what(), sizeof(failure.message));
    } catch (...) {
        strlcpy(failure.message, "unexpected C++ exception", sizeof(failure.message));
    }
    detail::raise_failure(failure);
}

// `f` itself must have no C++ object with a destructor alive when it calls PostgreSQL.
template <class F>
auto call(F&& f) -> std::invoke_result_t<F> {
    using R = std::invoke_result_t<F>;
    MemoryContext context = CurrentMemoryContext;
    ErrorData* volatile error = nullptr;
    [[maybe_unused]] std::conditional_t<std::is_void_v<R>, char, R> result{};
    PG_TRY();
    {
        if constexpr (std::is_void_v<R>) {
            f();
        } else {
            result = f();
        }
    }
    PG_CATCH();
    {
        MemoryContextSwitchTo(context);
        error = CopyErrorData();
        FlushErrorState();
    }
    PG_END_TRY();
    if (error != nullptr) throw PostgresError{error};
    if constexpr (!std::is_void_v<R>) return result;
}

}  // namespace tiercache::pg
