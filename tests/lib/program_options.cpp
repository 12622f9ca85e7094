#include "tests/lib/program_options.hpp"

#include <CLI/CLI.hpp>

namespace tiercache::test {

struct ProgramOptions::Parser {
    explicit Parser(const char* what_the_program_does) : app(what_the_program_does) {}
    CLI::App app;
};

ProgramOptions::ProgramOptions(const char* what_the_program_does)
    : parser_(std::make_unique<Parser>(what_the_program_does)) {}

ProgramOptions::~ProgramOptions() = default;

void ProgramOptions::number(const char* name, std::uint64_t& value, const char* help, NumberRange allowed) {
    CLI::Option* option = parser_->app.add_option(name, value, help)->capture_default_str();
    if (allowed.min > NumberRange{}.min || allowed.max < NumberRange{}.max) {
        option->check(CLI::Range(allowed.min, allowed.max));
    }
}

void ProgramOptions::text(const char* name, std::string& value, const char* help) {
    parser_->app.add_option(name, value, help);
}

void ProgramOptions::required_text(const char* name, std::string& value, const char* help) {
    parser_->app.add_option(name, value, help)->required();
}

void ProgramOptions::flag(const char* name, bool& value, const char* help) {
    parser_->app.add_flag(name, value, help);
}

void ProgramOptions::parse(int argc, char** argv) {
    try {
        parser_->app.parse(argc, argv);
    } catch (const CLI::ParseError& e) {
        std::exit(parser_->app.exit(e));
    }
}

}  // namespace tiercache::test
