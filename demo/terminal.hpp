// Colours and progress for a person at a terminal; nothing of either for anybody else.
#pragma once

#include <string>
#include <string_view>

namespace tiercache::demo {

enum class Colour { bold, dim, green, red };

// `text` in that colour when standard output is a terminal and NO_COLOR is not set.
[[nodiscard]] std::string coloured(Colour colour, std::string_view text);

// One line on standard error that says what is being done; replaces the last one. "": takes it away.
void show_progress(std::string_view text);

}  // namespace tiercache::demo
