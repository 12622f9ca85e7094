// The options of the programs in tests/system/. The argument parser is all inline; here it is compiled once
// for all of them, which took as long as the rest of each.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>

namespace tiercache::test {

struct NumberRange {
    std::uint64_t min = 0;
    std::uint64_t max = std::numeric_limits<std::uint64_t>::max();
};

class ProgramOptions {
 public:
    explicit ProgramOptions(const char* what_the_program_does);
    ~ProgramOptions();

    // An option that is not given leaves its value as it is. Values are written by parse().
    void number(const char* name, std::uint64_t& value, const char* help = "", NumberRange allowed = {});
    void text(const char* name, std::string& value, const char* help = "");
    void required_text(const char* name, std::string& value, const char* help);
    void flag(const char* name, bool& value, const char* help);

    // Ends the program at --help, and with a message at what it does not know or is not allowed.
    void parse(int argc, char** argv);

 private:
    struct Parser;
    std::unique_ptr<Parser> parser_;
};

}  // namespace tiercache::test
