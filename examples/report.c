/* A report in C: one cached query with a parameter, its rows as a table.
 *
 *   report tiercache.toml
 *
 *   cc report.c $(pkg-config --cflags --libs tiercache)
 */
#include <stdio.h>
#include <tiercache/tiercache.h>

int main(int argc, char** argv) {
    static const char sql[] =
        "SELECT n, CASE WHEN n % $1::int = 0 THEN 'yes' END AS divides FROM generate_series(1, 4) n";
    const char* params[] = {"2"};
    tc_query_options options = TC_QUERY_OPTIONS_INIT;
    tc_cache* cache = NULL;
    tc_result* result = NULL;
    tc_status* status;
    size_t row, column;
    int failed;

    if (argc != 2) {
        fprintf(stderr, "usage: %s FILE.toml\n", argv[0]);
        return 2;
    }
    options.timeout_ms = 10000;
    status = tc_open(argv[1], &cache);
    if (status == NULL) status = tc_query(cache, sql, params, 1, &options, &result);
    if (status == NULL) {
        for (column = 0; column < tc_result_columns(result); ++column)
            printf("%-8s", tc_result_column_name(result, column));
        printf("\n");
        for (row = 0; row < tc_result_rows(result); ++row) {
            for (column = 0; column < tc_result_columns(result); ++column) {
                const char* value = tc_result_value(result, row, column, NULL);
                printf("%-8s", value != NULL ? value : "-");
            }
            printf("\n");
        }
        printf("from tier %d\n", tc_result_tier(result));
    } else {
        fprintf(stderr, "%s\n", tc_status_message(status));
    }
    failed = status != NULL;
    tc_status_free(status);
    tc_result_free(result);
    tc_close(cache);
    return failed;
}
