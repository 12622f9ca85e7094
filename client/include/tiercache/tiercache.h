/* tiercache for C, and for languages that call C: tiercache::Cache (cache.hpp) behind opaque handles.
 *
 * Functions never throw, never exit and never write to a stream. Strings are UTF-8 and end with a zero byte;
 * sizes are in bytes, times in milliseconds. A NULL handle is an error (TC_INVALID_ARGUMENT) or, in a
 * getter, an empty value; it never crashes. What a handle returns lives as long as the handle.
 *
 *     tc_cache* cache = NULL;
 *     tc_status* status = tc_open("/etc/shop/tiercache.toml", &cache);
 *     if (status == NULL) {
 *         const char* params[] = {"EMEA"};
 *         tc_result* result = NULL;
 *         status = tc_query(cache, "SELECT count(*) FROM orders WHERE region = $1", params, 1, NULL,
 * &result); if (status == NULL) printf("%s\n", tc_result_value(result, 0, 0, NULL)); tc_result_free(result);
 *     }
 *     if (status != NULL) fprintf(stderr, "%s\n", tc_status_message(status));
 *     tc_status_free(status);
 *     tc_close(cache);
 *
 * Threads: a tc_cache may be used by any number of threads at once; every other handle by one at a time. A
 * forked child must not use a cache that its parent opened.
 */
#ifndef TIERCACHE_TIERCACHE_H
#define TIERCACHE_TIERCACHE_H

#include <stddef.h>
#include <stdint.h>

/* NOLINTBEGIN(modernize-use-using): C has no other way. */

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TC_API __attribute__((visibility("default")))
#else
#define TC_API
#endif

typedef struct tc_cache tc_cache;
typedef struct tc_options tc_options;
typedef struct tc_result tc_result;
/* What went wrong. NULL is success. */
typedef struct tc_status tc_status;

/* The numbers are part of the ABI. */
typedef enum tc_code {
    TC_OK = 0,
    TC_NOT_FOUND = 1,
    TC_INVALID_ARGUMENT = 2,
    TC_CORRUPT = 3,          /* bytes that are not what they claim to be */
    TC_VERSION_MISMATCH = 4, /* made by a tiercache with another layout */
    TC_ALREADY_EXISTS = 5,
    TC_PERMISSION_DENIED = 6,
    TC_NO_SPACE = 7,
    TC_TOO_LARGE = 8,
    TC_BUSY = 9,
    TC_UNAVAILABLE = 10, /* PostgreSQL can't be reached, or what a shared cache was resized to */
    TC_TIMEOUT = 11,
    TC_QUERY_FAILED = 12, /* PostgreSQL refused the query */
    TC_INTERNAL = 13
} tc_code;

typedef enum tc_class { TC_HOT = 0, TC_WARM = 1, TC_COLD = 2, TC_REFERENCE = 3 } tc_class;

/* ---- status ---- */

TC_API tc_code tc_status_code(const tc_status* status);        /* TC_OK for NULL */
TC_API const char* tc_status_message(const tc_status* status); /* one sentence; "ok" for NULL */
TC_API void tc_status_free(tc_status* status);                 /* NULL is allowed */

/* ---- options: those of options.hpp, by the names of the TOML file ---- */

/* NULL when there is no memory. */
TC_API tc_options* tc_options_new(void);
TC_API tc_status* tc_options_load(const char* toml_path, tc_options** options);
/* `key` as in "l1.name", "l2.address", "l4.conninfo", "classes.hot.l1_ttl_s"; `value` as one would write it
 * in the file, strings without their quotes. It is checked here as far as it stands alone, and by
 * tc_open_with. */
TC_API tc_status* tc_options_set(tc_options* options, const char* key, const char* value);
TC_API void tc_options_free(tc_options* options);

/* ---- cache ---- */

/* Opens a cache by a TOML file, or by options, which stay the caller's. A PostgreSQL that can't be reached
 * now is no error: queries say so until it can be. */
TC_API tc_status* tc_open(const char* toml_path, tc_cache** cache);
TC_API tc_status* tc_open_with(const tc_options* options, tc_cache** cache);
/* No call may be running. Results stay good. NULL is allowed. */
TC_API void tc_close(tc_cache* cache);

/* How a query is answered. Begin with TC_QUERY_OPTIONS_INIT; NULL means the same. */
typedef struct tc_query_options {
    size_t struct_size;       /* of this struct, so that later versions may add to it */
    int32_t data_class;       /* a tc_class; -1: the cache's default */
    int64_t max_staleness_ms; /* -1: the class's own; 0: only fresh answers */
    int64_t timeout_ms;       /* of the whole call; -1: the cache's default */
    uint64_t token;           /* of tc_token(): nothing older is served */
} tc_query_options;
#define TC_QUERY_OPTIONS_INIT \
    { sizeof(tc_query_options), -1, -1, -1, 0 }

/* Runs one SELECT whose $1, $2 ... are `params`, in text form; NULL pointers are SQL NULLs. `*result` may
 * hold a result of an earlier call, whose memory is then used again, or NULL; it stays the caller's on an
 * error, and is empty then. The SQL and its parameters have at most 1 MiB. */
TC_API tc_status* tc_query(tc_cache* cache, const char* sql, const char* const* params, size_t param_count,
                           const tc_query_options* options, tc_result** result);

/* PostgreSQL's clock now: at or after every commit that was acknowledged before the call. */
TC_API tc_status* tc_token(tc_cache* cache, uint64_t* token);

/* NULL: answers are judged by the clock table on this host. Else why there is none. */
TC_API tc_status* tc_clock_status(const tc_cache* cache);

/* Counters by number, from 0 to tc_counter_count() - 1; their names are those of Counter in cache.hpp. */
TC_API size_t tc_counter_count(void);
TC_API const char* tc_counter_name(size_t counter);
TC_API uint64_t tc_counter_value(const tc_cache* cache, size_t counter);

/* ---- result ---- */

TC_API size_t tc_result_rows(const tc_result* result);
TC_API size_t tc_result_columns(const tc_result* result);
TC_API const char* tc_result_column_name(const tc_result* result, size_t column); /* NULL: no such column */
TC_API uint32_t tc_result_column_type(const tc_result* result, size_t column);    /* pg_type.oid */

/* The value as PostgreSQL prints it, or NULL: an SQL NULL, or no such row or column. `size` may be NULL; it
 * gets the length. The first call on a result allocates. */
TC_API const char* tc_result_value(tc_result* result, size_t row, size_t column, size_t* size);

/* 1 shared memory, 2 Redis, 4 PostgreSQL; 0: there is no answer */
TC_API int tc_result_tier(const tc_result* result);
/* 0: stale, under a max_staleness or from a hot standby; or there is no answer */
TC_API int tc_result_is_fresh(const tc_result* result);
TC_API int64_t tc_result_age_ms(const tc_result* result); /* since PostgreSQL computed it */

/* RowDescription and DataRow messages of the PostgreSQL protocol, as PostgreSQL sent them. */
TC_API const void* tc_result_payload(const tc_result* result, size_t* size);

TC_API void tc_result_free(tc_result* result); /* NULL is allowed */

/* "1.0.0" */
TC_API const char* tc_version(void);

#ifdef __cplusplus
}
#endif
/* NOLINTEND(modernize-use-using) */

#endif /* TIERCACHE_TIERCACHE_H */
