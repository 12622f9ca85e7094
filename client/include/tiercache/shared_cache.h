/* tiercache::SharedCache for C, and for languages that call C: values of any bytes, shared by all processes
 * of a host, without a server (shared_cache.hpp says more).
 *
 *     tc_shared_cache* cache = NULL;
 *     tc_status* status = tc_shared_open_or_create("/tiercache.prices", 64 << 20, &cache);
 *     if (status == NULL) {
 *         tc_put_options options = TC_PUT_OPTIONS_INIT;
 *         const char* tags[] = {"prices"};
 *         tc_hit hit;
 *         char buffer[100];
 *         options.ttl_ms = 60000;
 *         options.tags = tags;
 *         options.tag_count = 1;
 *         status = tc_shared_put(cache, "price:42", 8, "4.20", 4, &options);
 *         if (tc_shared_get(cache, "price:42", 8, buffer, sizeof(buffer), &hit) == TC_OK)
 *             printf("%.*s\n", (int)hit.size, buffer);
 *         tc_shared_invalidate(cache, "prices");
 *     }
 *     if (status != NULL) fprintf(stderr, "%s\n", tc_status_message(status));
 *     tc_status_free(status);
 *     tc_shared_close(cache);
 *
 * As in tiercache.h: functions never throw, never exit and never write to a stream; sizes are in bytes, times
 * in milliseconds; a NULL handle is an error (TC_INVALID_ARGUMENT) and never a crash. Reads return a tc_code
 * alone, so that a hit allocates nothing; what sets up, writes or loads returns a tc_status.
 *
 * Threads: a tc_shared_cache may be used by any number of threads at once, and by a forked child; a
 * tc_value and a tc_view by one at a time.
 */
#ifndef TIERCACHE_SHARED_CACHE_H
#define TIERCACHE_SHARED_CACHE_H

#include <tiercache/tiercache.h>

/* NOLINTBEGIN(modernize-use-using): C has no other way. */

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tc_shared_cache tc_shared_cache;
/* A value in memory of its own, which grows as needed and is used again. */
typedef struct tc_value tc_value;

/* ---- opening ---- */

/* Opens the segment `name` ("/" and a name, as in shm_open), or makes one of `size` bytes when there is none.
 */
TC_API tc_status* tc_shared_open_or_create(const char* name, size_t size, tc_shared_cache** cache);
/* The same, of a segment that is made by these options when there is none. Begin with
 * TC_SEGMENT_OPTIONS_INIT. */
#define TC_NO_GROUP UINT32_MAX
typedef enum tc_huge_pages {
    TC_HUGE_PAGES_OFF = 0,
    TC_HUGE_PAGES_TRY = 1,
    TC_HUGE_PAGES_ON = 2
} tc_huge_pages;
typedef struct tc_segment_options {
    size_t struct_size;          /* of this struct, so that later versions may add to it */
    size_t size;                 /* of the whole segment; with huge pages rounded up to whole ones */
    uint32_t mode;               /* who may use it, as of a file: 0600 */
    int32_t huge_pages;          /* a tc_huge_pages: those that the system has set aside (hugetlbfs) */
    const char* huge_page_mount; /* NULL: the one that this user may write to, with the smallest pages */
    /* A gid: it is made for this group, which needs a mode of 0660, and one that another of the group made is
     * used. Each of its members can make the others get anything. */
    uint32_t group;
} tc_segment_options;
#define TC_SEGMENT_OPTIONS_INIT \
    { sizeof(tc_segment_options), 64 << 20, 0600, TC_HUGE_PAGES_OFF, NULL, TC_NO_GROUP }
TC_API tc_status* tc_shared_open_or_create_with(const char* name, const tc_segment_options* options,
                                                tc_shared_cache** cache);
TC_API tc_status* tc_shared_open(const char* name, tc_shared_cache** cache);
/* The same, also of a segment that another of this group made (tc_segment_options). */
TC_API tc_status* tc_shared_open_of_group(const char* name, uint32_t group, tc_shared_cache** cache);
/* No call may be running. The segment and what is in it stay. NULL is allowed. */
TC_API void tc_shared_close(tc_shared_cache* cache);
/* Those who have it open keep it. */
TC_API tc_status* tc_shared_remove(const char* name);
/* 0: the name leads to another segment by now, or to none. */
TC_API int tc_shared_still_current(const tc_shared_cache* cache);

/* ---- reading ---- */

typedef struct tc_hit {
    size_t size;         /* of the value */
    int64_t age_ms;      /* since it was computed */
    int32_t is_stale;    /* 1: a refresh is due, or loading failed */
    int32_t is_loaded;   /* 1: by this very call */
    int32_t is_negative; /* 1, with TC_NOT_FOUND: it is remembered that there is no such thing */
} tc_hit;

/* Copies the value of `key`, which must not lie in it, to `buffer`. TC_OK; TC_NOT_FOUND; TC_TOO_LARGE: it has
 * hit->size bytes, more than `capacity`; TC_INVALID_ARGUMENT. `hit` may be NULL. */
TC_API tc_code tc_shared_get(tc_shared_cache* cache, const void* key, size_t key_size, void* buffer,
                             size_t capacity, tc_hit* hit);
/* The same into a tc_value: `*value` is one of an earlier call, or NULL. */
TC_API tc_code tc_shared_get_value(tc_shared_cache* cache, const void* key, size_t key_size, tc_value** value,
                                   tc_hit* hit);

/* A value where it lies in the shared memory. Begin with TC_VIEW_INIT; only `data` and `size` are to be read,
 * and the struct is not to be copied. */
typedef struct tc_view {
    const void* data;
    size_t size;
    void* pin;
    uint32_t pin_forks;
} tc_view;
#define TC_VIEW_INIT \
    { NULL, 0, NULL, 0 }

/* Shows the value of `key` in `view` without a copy; what the view held before is released. The bytes stay as
 * they are until tc_view_release(), whatever happens to the key, and can't be evicted: hold a view for as
 * long as reading takes. Release it before tc_shared_close(). TC_OK; TC_NOT_FOUND; TC_INVALID_ARGUMENT.
 * TC_BUSY: this process holds all the views it may (16, fewer in a small segment), or has no process slot;
 * TC_TOO_LARGE: the value is compressed or lies in parts, being larger than a block; then
 * tc_shared_get_value() has it. `hit` may be NULL.
 *
 * A view may be released by any thread. A forked child has nothing in its copy of one: tc_view_held() is 0
 * there, and the bytes may change. The view of a process that died is taken back. */
TC_API tc_code tc_shared_get_view(tc_shared_cache* cache, const void* key, size_t key_size, tc_view* view,
                                  tc_hit* hit);
TC_API int tc_view_held(const tc_view* view);
TC_API void tc_view_release(tc_view* view); /* NULL is allowed, and one that holds nothing */

TC_API const void* tc_value_data(const tc_value* value); /* NULL for NULL */
TC_API size_t tc_value_size(const tc_value* value);
/* For a loader: what it loaded. 0: there is no memory. */
TC_API int tc_value_set(tc_value* value, const void* data, size_t size);
TC_API void tc_value_free(tc_value* value); /* NULL is allowed */

/* ---- writing ---- */

/* Begin with TC_PUT_OPTIONS_INIT; NULL means the same. */
typedef struct tc_put_options {
    size_t struct_size;  /* of this struct, so that later versions may add to it */
    int64_t ttl_ms;      /* not served after it; -1: never */
    int64_t soft_ttl_ms; /* a refresh is due after it; -1: never */
    int32_t data_class;  /* a tc_class: who has most for its weight makes room (cold 1, warm 2, hot 4,
                            reference 8) */
    int32_t compress;    /* 1: with LZ4, where that saves an eighth */
    const char* const* tags;
    size_t tag_count; /* up to 16 */
    /* tc_shared_stamp(), taken before the value was computed; 0: now. */
    uint64_t stamp;
} tc_put_options;
#define TC_PUT_OPTIONS_INIT \
    { sizeof(tc_put_options), -1, -1, TC_WARM, 0, NULL, 0, 0 }

/* Stores a value in place of an older one; when it can't, it takes that one out, which is not to be served in
 * place of what is known by now. TC_INVALID_ARGUMENT: nothing is touched. TC_TOO_LARGE: more than 64 MiB, or
 * than a quarter of the segment; TC_NO_SPACE: nothing can be evicted now, go on. TC_UNAVAILABLE: the segment
 * was resized (tiercache segment resize) and this process can't open what took its place, for want of
 * descriptors, memory or rights, or because that was removed; until it can nothing is found in it either; the
 * others may still find the old value. */
TC_API tc_status* tc_shared_put(tc_shared_cache* cache, const void* key, size_t key_size, const void* value,
                                size_t value_size, const tc_put_options* options);
/* The segment's clock before a value is computed: an invalidation that comes meanwhile is not missed. */
TC_API uint64_t tc_shared_stamp(const tc_shared_cache* cache);
/* 1: there was a value, 0: there was none, -1: it could not be taken out (TC_UNAVAILABLE), or
 * `cache` or `key` is NULL. */
TC_API int tc_shared_erase(tc_shared_cache* cache, const void* key, size_t key_size);
/* In O(1): no read in any process that starts after it returned gets a value of this tag that was computed
 * before the call. Call it after the thing itself has changed. TC_OK; TC_INVALID_ARGUMENT; TC_UNAVAILABLE:
 * nothing was invalidated. */
TC_API tc_code tc_shared_invalidate(tc_shared_cache* cache, const char* tag);
/* Takes everything out. As tc_shared_invalidate(). */
TC_API tc_code tc_shared_clear(tc_shared_cache* cache);

/* ---- reading through a loader ---- */

/* Makes the value of a key: calls tc_value_set() on `value` and returns TC_OK; TC_NOT_FOUND when there is no
 * such thing; another code when it failed, which becomes the call's status. May change `put`, but not
 * put->stamp; tags it sets there must live until the call returns. Runs on the caller's thread. */
typedef tc_code (*tc_loader)(void* context, tc_value* value, tc_put_options* put);

/* Begin with TC_LOAD_OPTIONS_INIT; NULL means the same. */
typedef struct tc_load_options {
    size_t struct_size;
    tc_put_options put;        /* of what is loaded */
    int64_t negative_ttl_ms;   /* how long "no such thing" is remembered; 0: not at all */
    int64_t stale_if_error_ms; /* past its ttl by less than this, a value is served when loading fails */
    int64_t expected_cost_ms;  /* of loading, as long as nothing is known */
    int64_t timeout_ms;        /* how long to wait for another's loader; -1: as long as it is not late */
    double beta;               /* early refresh (XFetch); 0: none */
} tc_load_options;
#define TC_LOAD_OPTIONS_INIT \
    { sizeof(tc_load_options), TC_PUT_OPTIONS_INIT, 0, 0, 1000, -1, 1.0 }

/* The value of `key`, or what `loader` makes of it. One process loads, the others wait, or get the old value
 * where only its soft_ttl has passed; should the loader's process die or be late, another loads. A
 * value that can't be stored is returned all the same, and the old one is taken out. */
TC_API tc_status* tc_shared_get_or_load(tc_shared_cache* cache, const void* key, size_t key_size,
                                        const tc_load_options* options, tc_loader loader, void* context,
                                        tc_value** value, tc_hit* hit);

#ifdef __cplusplus
}
#endif
/* NOLINTEND(modernize-use-using) */

#endif /* TIERCACHE_SHARED_CACHE_H */
