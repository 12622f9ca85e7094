// ANALYZE and VACUUM by hand lock and send messages as a change of definitions does, and change no answer.
#pragma once

namespace tiercache::maintenance {

// Does this transaction do nothing but ANALYZE or VACUUM (without FULL), as autovacuum does? Then locks of
// their mode and relcache messages are not those of a change. Rows that functions of indexes write meanwhile
// are changed rows.
[[nodiscard]] bool only() noexcept;
// At a transaction's end.
void after_commit() noexcept;
void after_abort() noexcept;
// Chains the hook of utility commands. Once a process.
void install_hook();

}  // namespace tiercache::maintenance
