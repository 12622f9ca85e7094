// What tests/memory/planted.sh asks for, to see that `make check-memory` finds it; only in the build with
// pause points.
#ifdef TIERCACHE_PAUSE_POINTS

#include "pg_extension/boundary.hpp"

extern "C" {
#include <utils/builtins.h>
#include <utils/memutils.h>

PG_FUNCTION_INFO_V1(tiercache_plant);
}

namespace {

// Volatile, so that the compiler sees neither the faults nor that they could be left out.
volatile int sink = 0;
volatile int* volatile chunk = nullptr;
volatile int* volatile block = nullptr;

constexpr Size count = 4;

}  // namespace

// NOLINTBEGIN(clang-analyzer-*): it finds them as well.
Datum tiercache_plant(PG_FUNCTION_ARGS) {
    const char* fault = text_to_cstring(PG_GETARG_TEXT_PP(0));
    const auto is = [fault](const char* name) { return strcmp(fault, name) == 0; };
    chunk = static_cast<int*>(palloc(sizeof(int) * count));
    block = static_cast<int*>(malloc(sizeof(int) * count));
    if (is("past a chunk")) chunk[count] = 1;
    if (is("past a block")) block[count] = 1;
    if (is("uninitialised") && chunk[1] == 1) sink = 1;
    if (is("undefined")) {
        sink = 40;
        sink = 1 << sink;
    }
    Assert(!is("assertion"));
    pfree(const_cast<int*>(chunk));
    free(const_cast<int*>(block));
    if (is("freed chunk")) sink = chunk[1];
    if (is("freed block")) sink = block[1];
    PG_RETURN_VOID();
}
// NOLINTEND(clang-analyzer-*)

#endif
