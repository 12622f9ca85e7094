// The real psql, as a person would use it.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace tiercache::demo {

class Psql {
 public:
    // `program`: psql, or a path to it. `folder`: for its scripts and output. All functions throw
    // std::runtime_error.
    Psql(std::string program, std::string conninfo, std::filesystem::path folder);

    struct Session {
        std::vector<std::string> outputs;  // of each run, one or more lines each
        std::vector<double> latencies_ns;  // as psql's \timing tells them
    };
    // One session that runs `statement` `times` times. What it prints is psql_text() (postgres.hpp).
    [[nodiscard]] Session run(const std::string& statement, std::size_t times);

 private:
    void run_script(const std::filesystem::path& script, const std::filesystem::path& output);

    std::string program_;
    std::string conninfo_;
    std::filesystem::path folder_;
};

}  // namespace tiercache::demo
