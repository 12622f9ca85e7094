// A child process that never outlives the demo.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "demo/cleanup.hpp"

namespace tiercache::demo {

class ChildProcess {
 public:
    // Starts `arguments` (found by PATH) with `standard_input` (-1: none) and `standard_output` (-1: the
    // demo's own). Throws std::runtime_error.
    ChildProcess(const std::vector<std::string>& arguments, int standard_input, int standard_output);
    ChildProcess(const ChildProcess&) = delete;
    ChildProcess& operator=(const ChildProcess&) = delete;
    ~ChildProcess();  // kills it when it still runs

    // Waits for its end; "" after exit(0), else what happened.
    std::string wait();

 private:
    pid_t pid_ = -1;
    std::optional<Cleanup> kill_;
};

}  // namespace tiercache::demo
