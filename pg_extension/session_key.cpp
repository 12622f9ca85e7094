#include "pg_extension/session_key.hpp"

#include <cstring>

#include "pg_extension/query_compat.hpp"
#include "pg_extension/temp_names.hpp"
#include "shm_cache/hash.hpp"

extern "C" {
#include <access/xlog.h>
#include <catalog/pg_namespace.h>
#include <common/cryptohash.h>
#include <common/sha2.h>
}

namespace tiercache {

namespace {

// Settings that change rows, their text or what a query means; docs/api.md says why, and which are left out.
constexpr const char* setting_names[] = {
    // text of values, and how text is read
    "TimeZone",
    "timezone_abbreviations",
    "DateStyle",
    "IntervalStyle",
    "extra_float_digits",
    "bytea_output",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "client_encoding",
    "xmlbinary",
    "xmloption",
    "quote_all_identifiers",
    "array_nulls",
    // what SQL means
    "standard_conforming_strings",
    "backslash_quote",
    "transform_null_equals",
    "default_text_search_config",
    // which rows there are
    "row_security",
    "gin_fuzzy_search_limit",
    "zero_damaged_pages",
    "ignore_checksum_failure",
    "restrict_nonsystem_relation_kind",
};
constexpr int setting_count = static_cast<int>(std::size(setting_names));

// A setting, and the value that the digest was made of. Every look-up compares them all: numbers first, then
// flags, then texts, so that each kind has a loop of its own.
struct Setting {
    const char* name;
    const void* variable;
    int number;
    char* text;  // malloc'ed
};

struct Settings {
    Setting all[setting_count];
    std::size_t numbers = 0;
    std::size_t flags = 0;
    std::size_t texts = 0;

    [[nodiscard]] std::span<Setting> first_numbers() noexcept { return {all, numbers}; }
    [[nodiscard]] std::span<Setting> then_flags() noexcept { return {all + numbers, flags}; }
    [[nodiscard]] std::span<Setting> then_texts() noexcept { return {all + numbers + flags, texts}; }
};

struct SessionKey {
    std::uint64_t system_identifier;
    Oid database;
    Oid role;
    unsigned char digest[PG_SHA256_DIGEST_LENGTH];
};
static_assert(sizeof(SessionKey) == session_key_bytes);

Settings settings;
bool settings_found = false;
pg::SearchPath* search_path = nullptr;
MemoryContext search_path_context = nullptr;
std::uint64_t temp_generation = 0;
bool key_valid = false;
SessionKey key;

[[nodiscard]] const void* variable_of(const config_generic* description) {
    switch (description->vartype) {
        case PGC_BOOL:
            return reinterpret_cast<const config_bool*>(description)->variable;
        case PGC_INT:
            return reinterpret_cast<const config_int*>(description)->variable;
        case PGC_ENUM:
            return reinterpret_cast<const config_enum*>(description)->variable;
        case PGC_STRING:
            return reinterpret_cast<const config_string*>(description)->variable;
        default:
            elog(ERROR, "setting %s is of a kind that is not compared", description->name);
    }
    pg_unreachable();
}

// Appends the settings of one kind, those of them that this server version has. They are all built in: their
// variables stay where they are.
template <class Is>
std::size_t find_settings(std::size_t& found, Is&& is_kind) {
    const std::size_t before = found;
    for (const char* name : setting_names) {
        const config_generic* description = pg::find_setting(name);
        if (description == nullptr || !is_kind(description->vartype)) continue;
        settings.all[found++] = {name, variable_of(description), 0, nullptr};
    }
    return found - before;
}

void find_settings() {
    if (settings_found) return;
    std::size_t found = 0;
    settings.texts = 0;
    settings.numbers =
        find_settings(found, [](config_type type) { return type != PGC_BOOL && type != PGC_STRING; });
    settings.flags = find_settings(found, [](config_type type) { return type == PGC_BOOL; });
    settings.texts = find_settings(found, [](config_type type) { return type == PGC_STRING; });
    settings_found = true;
}

[[nodiscard]] const char* text_now(const Setting& setting) noexcept {
    const char* text = *static_cast<char* const*>(setting.variable);
    return text != nullptr ? text : "";
}

template <class T>
[[nodiscard]] int number_now(const Setting& setting) noexcept {
    return *static_cast<const T*>(setting.variable);
}

template <class T>
[[nodiscard]] bool unchanged(std::span<const Setting> numbers) noexcept {
    for (const Setting& s : numbers) {
        if (number_now<T>(s) != s.number) return false;
    }
    return true;
}

[[nodiscard]] bool settings_unchanged() noexcept {
    if (!unchanged<int>(settings.first_numbers()) || !unchanged<bool>(settings.then_flags())) return false;
    for (const Setting& s : settings.then_texts()) {
        if (std::strcmp(s.text, text_now(s)) != 0) return false;
    }
    return true;
}

[[noreturn]] void raise_out_of_memory() {
    ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
    pg_unreachable();
}

void remember_settings() {
    for (Setting& s : settings.first_numbers()) s.number = number_now<int>(s);
    for (Setting& s : settings.then_flags()) s.number = static_cast<int>(number_now<bool>(s));
    for (Setting& s : settings.then_texts()) {
        char* copy = strdup(text_now(s));
        if (copy == nullptr) raise_out_of_memory();
        free(s.text);
        s.text = copy;
    }
}

void remember_search_path() {
    if (search_path_context == nullptr) {
        search_path_context =
            AllocSetContextCreate(TopMemoryContext, "tiercache search path", ALLOCSET_SMALL_SIZES);
    }
    search_path = nullptr;
    MemoryContextReset(search_path_context);
    search_path = pg::search_path_now(search_path_context);
}

struct Digest {
    pg_cryptohash_ctx* context;
    bool ok = true;

    void add(const void* bytes, std::size_t size) {
        ok = ok && pg_cryptohash_update(context, static_cast<const uint8*>(bytes), size) == 0;
    }
    void add_text(const char* text) { add(text, std::strlen(text) + 1); }
    template <class T>
    void add_value(const T& value) {
        add(&value, sizeof(value));
    }
};

void add_numbers(Digest& digest, std::span<const Setting> numbers) {
    for (const Setting& s : numbers) {
        digest.add_text(s.name);
        digest.add_value(s.number);
    }
}

void add_settings(Digest& digest) {
    add_numbers(digest, settings.first_numbers());
    add_numbers(digest, settings.then_flags());
    for (const Setting& s : settings.then_texts()) {
        digest.add_text(s.name);
        digest.add_text(s.text);
    }
}

// A session that has temporary tables looks names up as no other does; one whose temporary schema is empty
// looks them up as if it had none.
void add_search_path(Digest& digest, const temp_names::Names& temp) {
    constexpr Oid temporary = InvalidOid;
    if (search_path->addTemp && temp.any) digest.add_value(temporary);
    if (search_path->addCatalog) digest.add_value(Oid{PG_CATALOG_NAMESPACE});
    ListCell* cell = nullptr;
    foreach (cell, search_path->schemas) {
        const Oid schema = lfirst_oid(cell);
        if (!isTempNamespace(schema)) {
            digest.add_value(schema);
        } else if (temp.any) {
            digest.add_value(temporary);
        }
    }
    if (temp.any) digest.add(temp.digest, sizeof(temp.digest));
}

void make_key() {
    key_valid = false;
    remember_settings();
    remember_search_path();
    const temp_names::Names& temp = temp_names::current();

    Digest digest{pg_cryptohash_create(PG_SHA256)};
    if (digest.context == nullptr) raise_out_of_memory();
    digest.ok = pg_cryptohash_init(digest.context) == 0;
    add_settings(digest);
    add_search_path(digest, temp);
    digest.ok = digest.ok && pg_cryptohash_final(digest.context, key.digest, sizeof(key.digest)) == 0;
    pg_cryptohash_free(digest.context);
    if (!digest.ok) ereport(ERROR, (errmsg("could not compute the session key's SHA-256")));

    key.system_identifier = GetSystemIdentifier();
    key.database = MyDatabaseId;
    temp_generation = temp.generation;
    key_valid = true;
}

}  // namespace

std::span<const std::byte> session_key() {
    find_settings();
    // The temporary names first: reading them may change the resolved search path's generation.
    if (!key_valid || temp_names::current().generation != temp_generation || !settings_unchanged() ||
        !pg::is_search_path(search_path)) {
        make_key();
    }
    key.role = GetUserId();
    return std::as_bytes(std::span(&key, 1));
}

bool is_session_key(std::span<const std::byte, session_key_bytes> bytes) {
    return std::memcmp(session_key().data(), bytes.data(), session_key_bytes) == 0;
}

std::uint64_t settings_hash() {
    std::uint64_t hash = 0;
    for (const char* name : setting_names) {
        const char* value = GetConfigOption(name, /*missing_ok=*/true, /*restrict_privileged=*/false);
        if (value == nullptr) continue;
        hash = XXH3_64bits_withSeed(value, std::strlen(value) + 1, hash);
    }
    return hash;
}

bool read_session_identity(std::span<const std::byte> bytes, SessionIdentity& identity) noexcept {
    SessionKey read;
    if (bytes.size() != sizeof(read)) return false;
    std::memcpy(&read, bytes.data(), sizeof(read));
    identity = {read.system_identifier, read.database, read.role};
    return true;
}

}  // namespace tiercache
