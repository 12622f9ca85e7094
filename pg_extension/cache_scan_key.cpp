// The key of a statement that is cached transparently: as that of tiercache.query, with the statement's
// digest and its parameters' types and values behind the text.
#include <cstring>
#include <new>

#include "pg_extension/cache_scan_state.hpp"

extern "C" {
#include <catalog/pg_type.h>
#include <nodes/params.h>
#include <nodes/value.h>
#include <utils/lsyscache.h>
}

namespace tiercache::cache_scan {

namespace {

constexpr std::size_t parameter_bytes_max = std::size_t{64} * 1024;

[[nodiscard]] std::span<const std::byte> bytes_at(const void* start, std::size_t size) noexcept {
    return {static_cast<const std::byte*>(start), size};
}

// Of a value that is stored elsewhere or compressed a copy.
[[nodiscard]] std::span<const std::byte> value_bytes(const Datum& value, Oid type) {
    if (const auto in_place = value_in_place(value, type)) return *in_place;
    const auto* whole = PG_DETOAST_DATUM_PACKED(value);
    return bytes_at(VARDATA_ANY(whole), VARSIZE_ANY_EXHDR(whole));
}

// "23:00000005", or "23:" for NULL. Empty when the value is not to be had, or means something in this backend
// only.
[[nodiscard]] std::string_view parameter_text(ParamListInfo parameters, int number) {
    ParamExternData room{};
    if (number > parameters->numParams) return {};
    const ParamExternData& parameter = parameter_of(parameters, number, room);
    const Oid type = parameter.ptype;
    if (!OidIsValid(type) || type == RECORDOID || type == RECORDARRAYOID) return {};
    const Datum value = parameter.value;
    const std::span<const std::byte> bytes =
        parameter.isnull ? std::span<const std::byte>{} : value_bytes(value, type);
    if (bytes.size() > parameter_bytes_max) return {};
    constexpr std::size_t prefix_max = 16;
    auto* text = static_cast<char*>(palloc(prefix_max + 2 * bytes.size()));
    auto used =
        static_cast<std::size_t>(pg_snprintf(text, prefix_max, parameter.isnull ? "%u" : "%u:", type));
    constexpr char digits[] = "0123456789abcdef";
    for (const std::byte b : bytes) {
        text[used++] = digits[std::to_integer<unsigned>(b) >> 4];
        text[used++] = digits[std::to_integer<unsigned>(b) & 15];
    }
    return {text, used};
}

// "app.tenant=7", or "app.tenant" where nobody knows it: as current_setting() has it, which tells a setting
// that was set once and has no value any more ('') from one that never was (NULL).
[[nodiscard]] std::string_view setting_text(const char* name) {
    if ((GetConfigOptionFlags(name, /*missing_ok=*/true) & GUC_SUPERUSER_ONLY) != 0) {
        // Not everybody may be shown it.
        const char* raw = GetConfigOption(name, /*missing_ok=*/true, /*restrict_privileged=*/false);
        return psprintf("%s!%s", name, raw != nullptr ? raw : "");
    }
    const char* value = GetConfigOptionByName(name, nullptr, /*missing_ok=*/true);
    return value != nullptr ? psprintf("%s=%s", name, value) : pstrdup(name);
}

}  // namespace

const ParamExternData& parameter_of(ParamListInfo parameters, int number, ParamExternData& fetched) {
    return parameters->paramFetch != nullptr
               ? *parameters->paramFetch(parameters, number, /*speculative=*/true, &fetched)
               : parameters->params[number - 1];
}

std::optional<std::span<const std::byte>> value_in_place(const Datum& value, Oid type) {
    std::int16_t length = 0;
    bool by_value = false;
    get_typlenbyval(type, &length, &by_value);
    if (by_value) return bytes_at(&value, sizeof(value));
    const char* start = DatumGetPointer(value);
    if (length > 0) return bytes_at(start, static_cast<std::size_t>(length));
    if (length == -2) return bytes_at(start, std::strlen(start));
    if (VARATT_IS_EXTERNAL(start) || VARATT_IS_COMPRESSED(start)) return std::nullopt;
    return bytes_at(VARDATA_ANY(start), VARSIZE_ANY_EXHDR(start));
}

List* settings_now(const Facts& facts) {
    List* texts = NIL;
    ListCell* cell = nullptr;
    foreach (cell, facts.settings) {
        texts = lappend(texts, makeString(const_cast<char*>(setting_text(strVal(lfirst(cell))).data())));
    }
    return texts;
}

bool make_key(const Facts& facts, ParamListInfo parameters, l4_cache::Key& key, const char*& reason) {
    const auto count = static_cast<std::size_t>(list_length(facts.parameters)) +
                       static_cast<std::size_t>(list_length(facts.settings)) + 1;
    auto* texts = static_cast<QueryParam*>(palloc(sizeof(QueryParam) * count));
    std::size_t used = 0;
    std::size_t bytes = 0;
    new (&texts[used++]) QueryParam(std::string_view(facts.digest));
    ListCell* cell = nullptr;
    foreach (cell, facts.parameters) {
        const std::string_view text =
            parameters != nullptr ? parameter_text(parameters, lfirst_int(cell)) : std::string_view{};
        bytes += text.size();
        if (text.empty() || bytes > parameter_bytes_max) {
            reason = "a parameter has no value, or one that cannot be part of a key";
            return false;
        }
        new (&texts[used++]) QueryParam(text);
    }
    foreach (cell, facts.settings) {
        const std::string_view text = setting_text(strVal(lfirst(cell)));
        bytes += text.size();
        if (bytes > parameter_bytes_max) {
            reason = "a setting has a value that is too long to be part of a key";
            return false;
        }
        new (&texts[used++]) QueryParam(text);
    }
    key = l4_cache::make_key(PayloadFormat::pg_tuples, facts.text, {texts, used});
    return true;
}

}  // namespace tiercache::cache_scan
