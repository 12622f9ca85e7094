#include "pg_extension/settings.hpp"

#include <climits>

#include "pg_extension/promised_settings.hpp"

extern "C" {
#include <utils/plancache.h>
}

namespace tiercache::settings {

bool enabled = true;
int memory_mb = 128;
char* clock_name = nullptr;
int clock_mode = 0644;
int lease_ms = 2500;
int max_entry_size_kb = 1024;
int min_cost = 0;
char* default_class = nullptr;
int share_wait_ms = 5000;
bool track_patterns = false;
int min_fill_us_per_kb = 0;
int mode = static_cast<int>(Mode::off);
int verify = static_cast<int>(Verify::off);

namespace {

// Never read: functions carry it, see promised_settings.hpp.
char* depends_on_settings = nullptr;

bool check_depends_on_settings(char** value, void** /*extra*/, GucSource /*source*/) {
    // PostgreSQL sets it at each call of a function that carries it: most name none.
    if (*value == nullptr || (*value)[0] == '\0') return true;
    List* names = nullptr;
    if (read_setting_names(*value, names)) return true;
    GUC_check_errdetail(
        "Name settings of applications or extensions, such as app.tenant, separated by commas; or none.");
    return false;
}

const char* show_clock_mode() {
    static char text[8];
    pg_snprintf(text, sizeof(text), "%04o", static_cast<unsigned>(clock_mode));
    return text;
}

// Apps only read the clock table: nobody but the server may be able to write it.
bool check_clock_mode(int* value, void** /*extra*/, GucSource /*source*/) {
    if ((*value & ~0644) == 0 && (*value & 0600) == 0600) return true;
    GUC_check_errdetail("Use 0600 (the server's user), 0640 (and its group) or 0644 (everybody may read).");
    return false;
}

bool check_clock_name(char** value, void** /*extra*/, GucSource /*source*/) {
    const char* name = *value;
    if (name == nullptr || name[0] == '\0') return true;
    const size_t length = strlen(name);
    const bool characters_ok =
        strspn(name + 1, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == length - 1;
    if (name[0] == '/' && length >= 2 && length <= 201 && characters_ok) return true;
    GUC_check_errdetail(
        "Use a slash and then letters, digits, \".\", \"_\" or \"-\", such as \"/tiercache.main\".");
    return false;
}

constexpr config_enum_entry mode_names[] = {{"off", static_cast<int>(Mode::off), false},
                                            {"auto", static_cast<int>(Mode::automatic), false},
                                            {nullptr, 0, false}};
constexpr config_enum_entry verify_names[] = {{"off", static_cast<int>(Verify::off), false},
                                              {"warning", static_cast<int>(Verify::warning), false},
                                              {"error", static_cast<int>(Verify::error), false},
                                              {nullptr, 0, false}};

// Plans that were made in the other mode are made again.
void on_mode_change(int new_mode, void* /*extra*/) {
    if (new_mode != mode) ResetPlanCache();
}
void on_min_cost_change(int new_cost, void* /*extra*/) {
    if (new_cost != min_cost && mode != static_cast<int>(Mode::off)) ResetPlanCache();
}

#ifdef TIERCACHE_PAUSE_POINTS
#define TIERCACHE_MUTANT(name) \
    { #name, static_cast < int>(Mutant::name), false }
constexpr config_enum_entry mutant_names[] = {TIERCACHE_MUTANT(none),
                                              TIERCACHE_MUTANT(late_stamp),
                                              TIERCACHE_MUTANT(no_writers),
                                              TIERCACHE_MUTANT(no_versions),
                                              TIERCACHE_MUTANT(no_check),
                                              TIERCACHE_MUTANT(rows_only),
                                              TIERCACHE_MUTANT(one_lock),
                                              TIERCACHE_MUTANT(no_ancestors),
                                              TIERCACHE_MUTANT(no_relations),
                                              TIERCACHE_MUTANT(no_catalogs),
                                              TIERCACHE_MUTANT(no_definitions),
                                              TIERCACHE_MUTANT(no_roles),
                                              TIERCACHE_MUTANT(no_in_doubt),
                                              TIERCACHE_MUTANT(no_own_writes),
                                              TIERCACHE_MUTANT(no_snapshot),
                                              TIERCACHE_MUTANT(no_plan_age),
                                              TIERCACHE_MUTANT(no_temp_names),
                                              TIERCACHE_MUTANT(no_names),
                                              {nullptr, 0, false}};
#undef TIERCACHE_MUTANT
#endif

}  // namespace

#ifdef TIERCACHE_PAUSE_POINTS
int mutant = static_cast<int>(Mutant::none);
bool repeat = false;
#endif

void define() {
    DefineCustomBoolVariable(
        "tiercache.enabled", "Looks up and stores query results in the cache.",
        "When off, the functions of tiercache run their queries uncached; changes are still "
        "tracked.",
        &enabled, true, PGC_SUSET, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("tiercache.memory", "Shared memory for cached results.",
                            "0 keeps no results in PostgreSQL; caches of apps still work.", &memory_mb, 128,
                            0, INT_MAX / 2, PGC_POSTMASTER, GUC_UNIT_MB, nullptr, nullptr, nullptr);
    DefineCustomStringVariable(
        "tiercache.clock_name", "Name of the clock table's shared-memory object.",
        "Apps on this host map it read-only. Empty: a name made from the data directory.", &clock_name, "",
        PGC_POSTMASTER, 0, check_clock_name, nullptr, nullptr);
    DefineCustomIntVariable("tiercache.clock_mode", "Permissions of the clock table's shared-memory object.",
                            "Octal: 0600, 0640 or 0644. It shows when hashes of names changed, never data.",
                            &clock_mode, 0644, 0, 0777, PGC_POSTMASTER, 0, check_clock_mode, nullptr,
                            show_clock_mode);
    DefineCustomIntVariable(
        "tiercache.lease", "How long apps trust the clock table after the server's last sign.", nullptr,
        &lease_ms, 2500, 100, lease_ms_max, PGC_SIGHUP, GUC_UNIT_MS, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("tiercache.max_entry_size", "Results larger than this are not stored.", nullptr,
                            &max_entry_size_kb, 1024, 1, 1024 * 1024, PGC_SUSET, GUC_UNIT_KB, nullptr,
                            nullptr, nullptr);
    DefineCustomIntVariable(
        "tiercache.min_cost", "The planner's cost from which on a query is worth caching.",
        "Applies to transparent caching; the functions of tiercache cache what they are given.", &min_cost, 0,
        0, INT_MAX, PGC_USERSET, 0, nullptr, on_min_cost_change, nullptr);
    DefineCustomIntVariable(
        "tiercache.min_fill_cost",
        "Microseconds for each kB of a result that it must take to compute, to be stored.",
        "Applies to transparent caching: a large result that is computed quickly would drive out better "
        "ones.",
        &min_fill_us_per_kb, 0, 0, INT_MAX, PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineCustomBoolVariable("tiercache.track_patterns",
                             "Counts what queries cost and how often they repeat, for tiercache.patterns.",
                             "Has PostgreSQL compute query ids.", &track_patterns, false, PGC_POSTMASTER, 0,
                             nullptr, nullptr, nullptr);
    DefineCustomIntVariable("tiercache.share_wait",
                            "How long a query waits for the result of the same query of another session.",
                            "Then it runs itself. 0: queries do not wait for each other.", &share_wait_ms,
                            5000, 0, INT_MAX, PGC_USERSET, GUC_UNIT_MS, nullptr, nullptr, nullptr);
    DefineCustomStringVariable("tiercache.default_class", "The class of queries that name none.",
                               "A row of tiercache.classes; warm when there is no such row.", &default_class,
                               "warm", PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineCustomStringVariable(
        "tiercache.depends_on_settings",
        "Promises of a STABLE function on which settings it depends, besides arguments and queries.",
        "For ALTER FUNCTION ... SET; queries that call the function can then be cached.",
        &depends_on_settings, "", PGC_USERSET, GUC_LIST_INPUT, check_depends_on_settings, nullptr, nullptr);
    DefineCustomEnumVariable("tiercache.mode", "Caches the SELECTs of every client.",
                             "off: only what is asked for through the functions of tiercache; auto: each "
                             "SELECT that can be cached and costs tiercache.min_cost.",
                             &mode, static_cast<int>(Mode::off), mode_names, PGC_USERSET, 0, nullptr,
                             on_mode_change, nullptr);
    DefineCustomEnumVariable("tiercache.verify", "Runs the query at each hit too, and compares the answers.",
                             "For tests: a hit costs more than the query then.", &verify,
                             static_cast<int>(Verify::off), verify_names, PGC_USERSET, 0, nullptr, nullptr,
                             nullptr);
#ifdef TIERCACHE_PAUSE_POINTS
    DefineCustomEnumVariable("tiercache.mutant", "Breaks the freshness rule, for tests of the tests.",
                             nullptr, &mutant, static_cast<int>(Mutant::none), mutant_names, PGC_SUSET, 0,
                             nullptr, nullptr, nullptr);
    DefineCustomBoolVariable("tiercache.repeat",
                             "Serves transparent misses from what they stored, for tests.", nullptr, &repeat,
                             false, PGC_USERSET, 0, nullptr, nullptr, nullptr);
#endif
#if PG_VERSION_NUM >= 150000
    MarkGUCPrefixReserved("tiercache");
#else
    EmitWarningsOnPlaceholders("tiercache");
#endif
}

}  // namespace tiercache::settings
