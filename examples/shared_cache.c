/* The segment by itself, in C: a cache of any bytes for all processes of a host.
 *
 *   shared_cache /tiercache.prices
 *
 *   cc shared_cache.c $(pkg-config --cflags --libs tiercache)
 */
#include <stdio.h>
#include <tiercache/shared_cache.h>

static tc_code compute(void* context, tc_value* value, tc_put_options* put) {
    (void)put;
    ++*(int*)context;
    return tc_value_set(value, "4.20", 4) ? TC_OK : TC_NO_SPACE;
}

int main(int argc, char** argv) {
    static const char key[] = "price:42";
    const char* tags[] = {"prices"};
    tc_load_options options = TC_LOAD_OPTIONS_INIT;
    tc_shared_cache* cache = NULL;
    tc_value* value = NULL;
    tc_view view = TC_VIEW_INIT;
    tc_status* status;
    tc_hit hit;
    int computed = 0, round, failed;

    if (argc != 2) {
        fprintf(stderr, "usage: %s /NAME\n", argv[0]);
        return 2;
    }
    options.put.ttl_ms = 60000;
    options.put.tags = tags;
    options.put.tag_count = 1;
    status = tc_shared_open_or_create(argv[1], 16 << 20, &cache);
    for (round = 0; round < 3 && status == NULL; ++round) {
        status = tc_shared_get_or_load(cache, key, sizeof(key) - 1, &options, compute, &computed, &value, &hit);
        if (status == NULL) {
            printf("price %.*s, %s\n", (int)tc_value_size(value), (const char*)tc_value_data(value),
                   hit.is_loaded ? "computed" : "cached");
        }
        if (round == 1) tc_shared_invalidate(cache, "prices");
    }
    if (status == NULL && tc_shared_get_view(cache, key, sizeof(key) - 1, &view, NULL) == TC_OK) {
        printf("price %.*s, seen where it lies\n", (int)view.size, (const char*)view.data);
        tc_view_release(&view);
    }
    if (status == NULL) {
        printf("computed %d times\n", computed);
        tc_shared_close(cache);
        cache = NULL;
        status = tc_shared_remove(argv[1]);
    }
    if (status != NULL) fprintf(stderr, "%s\n", tc_status_message(status));
    failed = status != NULL;
    tc_status_free(status);
    tc_value_free(value);
    tc_shared_close(cache);
    return failed;
}
