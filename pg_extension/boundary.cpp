#include "pg_extension/boundary.hpp"

namespace tiercache::pg::detail {

void raise_failure(const Failure& failure) {
    if (failure.postgres_error != nullptr) ReThrowError(failure.postgres_error);
    ereport(ERROR, (errcode(failure.sqlstate), errmsg("tiercache: %s", failure.message)));
    pg_unreachable();
}

}  // namespace tiercache::pg::detail
