// PostgreSQL tells Valgrind which memory of its contexts may be read or written (its utils/memdebug.h, with
// USE_VALGRIND). Compiled with this file in place of Valgrind's, it tells AddressSanitizer: so a chunk that
// was pfree'd, or the bytes behind one, are found as if each chunk came from malloc(). What is not
// initialised only Valgrind sees.
#pragma once

#include <sanitizer/asan_interface.h>

#define VALGRIND_MAKE_MEM_NOACCESS(address, size) ASAN_POISON_MEMORY_REGION(address, size)
#define VALGRIND_MAKE_MEM_UNDEFINED(address, size) ASAN_UNPOISON_MEMORY_REGION(address, size)
#define VALGRIND_MAKE_MEM_DEFINED(address, size) ASAN_UNPOISON_MEMORY_REGION(address, size)
#define VALGRIND_MEMPOOL_ALLOC(pool, address, size) ASAN_UNPOISON_MEMORY_REGION(address, size)
#define VALGRIND_MEMPOOL_CHANGE(pool, from, to, size) ASAN_UNPOISON_MEMORY_REGION(to, size)
// Its owner has poisoned it by then.
#define VALGRIND_MEMPOOL_FREE(pool, address) ((void)0)
#define VALGRIND_CREATE_MEMPOOL(pool, redzone, zeroed) ((void)0)
#define VALGRIND_DESTROY_MEMPOOL(pool) ((void)0)
#define VALGRIND_CHECK_MEM_IS_DEFINED(address, size) ((void)0)
