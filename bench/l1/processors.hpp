// On which processors processes run.
#pragma once

#include <sys/types.h>

#include <span>
#include <vector>

namespace bench {

// Those that this process may use; at least one.
std::vector<int> allowed_processors();

// The calling thread.
void bind_thread(int processor);

// All threads of a process.
void bind_process(pid_t process, std::span<const int> processors);

}  // namespace bench
