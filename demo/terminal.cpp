#include "demo/terminal.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace tiercache::demo {

namespace {

bool output_is_coloured() {
    static const bool answer =
        isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr;  // NOLINT(concurrency-mt-unsafe)
    return answer;
}

std::string_view escape(Colour colour) {
    switch (colour) {
        case Colour::bold:
            return "\033[1m";
        case Colour::dim:
            return "\033[2m";
        case Colour::green:
            return "\033[32m";
        case Colour::red:
            return "\033[1;31m";
    }
    return "";
}

}  // namespace

std::string coloured(Colour colour, std::string_view text) {
    if (!output_is_coloured()) return std::string(text);
    return fmt::format("{}{}\033[0m", escape(colour), text);
}

void show_progress(std::string_view text) {
    static const bool terminal = isatty(STDERR_FILENO) == 1;
    if (!terminal) return;
    std::fflush(stdout);
    fmt::print(stderr, "\r\033[K{}", text);
    std::fflush(stderr);
}

}  // namespace tiercache::demo
