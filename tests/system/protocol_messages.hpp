// The messages of the extended protocol.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "tests/system/wire.hpp"

namespace tiercache::wire {

inline Bytes u16(int value) {
    return {static_cast<char>(value >> 8 & 0xff), static_cast<char>(value & 0xff)};
}

inline Bytes parse(const Bytes& name, const Bytes& sql) {
    return message('P', name + '\0' + sql + '\0' + u16(0));
}

struct Values {
    std::vector<const char*> texts;  // nullptr: NULL
    bool binary_results = false;
};

inline Bytes bind(const Bytes& portal, const Bytes& statement, const Values& values = {}) {
    Bytes body = portal + '\0' + statement + '\0' + u16(0) + u16(static_cast<int>(values.texts.size()));
    for (const char* text : values.texts) {
        body += text == nullptr ? u32(UINT32_MAX) : u32(static_cast<std::uint32_t>(std::strlen(text))) + text;
    }
    return message('B', body + u16(1) + u16(values.binary_results ? 1 : 0));
}

// With parameters that are bytes of the type's binary format.
inline Bytes bind_binary(const Bytes& statement, const std::vector<Bytes>& values) {
    Bytes body = '\0' + statement + '\0' + u16(1) + u16(1) + u16(static_cast<int>(values.size()));
    for (const Bytes& value : values) body += u32(static_cast<std::uint32_t>(value.size())) + value;
    return message('B', body + u16(0));
}

inline Bytes describe(char what, const Bytes& name) { return message('D', what + name + '\0'); }
inline Bytes execute(const Bytes& portal, std::uint32_t rows = 0) {
    return message('E', portal + '\0' + u32(rows));
}
inline Bytes close(char what, const Bytes& name) { return message('C', what + name + '\0'); }
inline Bytes sync() { return message('S', ""); }
inline Bytes simple(const Bytes& sql) { return message('Q', sql + '\0'); }
// What is asked for until now is answered, also without the Sync that ends the transaction.
inline Bytes flush() { return message('H', ""); }

// The message that calls a function without a statement, with arguments and result as text. It ends with
// ReadyForQuery, like a Sync.
inline Bytes call_function(std::uint32_t oid, const std::vector<Bytes>& arguments) {
    Bytes body = u32(oid) + u16(0) + u16(static_cast<int>(arguments.size()));
    for (const Bytes& argument : arguments) {
        body.append(u32(static_cast<std::uint32_t>(argument.size()))).append(argument);
    }
    return message('F', body + u16(0));
}

}  // namespace tiercache::wire
