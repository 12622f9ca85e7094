// PostgreSQL's headers for C++, and the differences between server versions 14 to 18 that we touch.
#pragma once

#include <cstdint>

extern "C" {
#include <postgres.h>
// postgres.h comes first, always.
#include <access/transam.h>
#include <access/xact.h>
#include <fmgr.h>
#include <miscadmin.h>
#include <postmaster/autovacuum.h>
#include <storage/lwlock.h>
#include <storage/proc.h>
#include <storage/shmem.h>
#include <utils/guc.h>
#include <utils/memutils.h>
#include <utils/snapmgr.h>
}

// libintl's and port.h's macros that break C++ headers.
#undef gettext
#undef dgettext
#undef ngettext
#undef dngettext
#undef snprintf
#undef vsnprintf
#undef sprintf
#undef vsprintf
#undef printf
#undef fprintf
#undef vprintf
#undef vfprintf
#undef strerror
#undef strerror_r

namespace tiercache::pg {

// PostgreSQL's count of completed transactions, unlocked. A backend that completed one itself sees at least
// its own.
[[nodiscard]] inline std::uint64_t completed_transactions() noexcept {
#if PG_VERSION_NUM >= 170000
    return *const_cast<volatile uint64*>(&TransamVariables->xactCompletionCount);
#else
    return *const_cast<volatile uint64*>(&ShmemVariableCache->xactCompletionCount);
#endif
}

// The number of the transaction in this backend.
[[nodiscard]] inline LocalTransactionId this_transaction() noexcept {
#if PG_VERSION_NUM >= 170000
    return MyProc->vxid.lxid;
#else
    return MyProc->lxid;
#endif
}

[[nodiscard]] inline bool is_autovacuum_worker() noexcept {
#if PG_VERSION_NUM >= 170000
    return AmAutoVacuumWorkerProcess();
#else
    return IsAutoVacuumWorkerProcess();
#endif
}

}  // namespace tiercache::pg
