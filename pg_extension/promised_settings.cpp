#include "pg_extension/promised_settings.hpp"

#include <cstring>

extern "C" {
#include <catalog/pg_proc.h>
#include <catalog/pg_type.h>
#include <nodes/value.h>
#include <utils/array.h>
#include <utils/builtins.h>
#include <utils/syscache.h>
#include <utils/varlena.h>
}

namespace tiercache {

namespace {

constexpr char promise[] = "tiercache.depends_on_settings=";
constexpr std::size_t promise_length = sizeof(promise) - 1;

// The value of the promise among a function's "name=value" settings; nullptr when it is not among them.
[[nodiscard]] char* find_promise(Datum settings) {
    auto* array = reinterpret_cast<ArrayType*>(PG_DETOAST_DATUM(settings));
    Datum* texts = nullptr;
    int count = 0;
    deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &texts, nullptr, &count);
    for (int i = 0; i < count; ++i) {
        char* setting = TextDatumGetCString(texts[i]);
        if (std::strncmp(setting, promise, promise_length) == 0) return setting + promise_length;
    }
    return nullptr;
}

// Such as "app.tenant".
[[nodiscard]] bool is_setting_name(const char* name) noexcept {
    const std::size_t length =
        std::strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_$.");
    const char* dot = std::strchr(name, '.');
    return name[length] == '\0' && dot != nullptr && dot != name && name[length - 1] != '.';
}

}  // namespace

bool read_setting_names(const char* text, List*& names) {
    names = NIL;
    List* found = NIL;
    if (!SplitGUCList(pstrdup(text), ',', &found)) return false;
    ListCell* cell = nullptr;
    foreach (cell, found) {
        auto* name = static_cast<char*>(lfirst(cell));
        if (!is_setting_name(name)) return false;
        names = lappend(names, makeString(name));
    }
    return true;
}

bool promised_settings(Oid function, List*& names) {
    HeapTuple row = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
    if (!HeapTupleIsValid(row)) return false;
    bool is_null = true;
    const Datum settings = SysCacheGetAttr(PROCOID, row, Anum_pg_proc_proconfig, &is_null);
    const char* text = is_null ? nullptr : find_promise(settings);
    ReleaseSysCache(row);
    return text != nullptr && read_setting_names(text, names);
}

}  // namespace tiercache
