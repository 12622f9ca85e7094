#include "bench/l1/processors.hpp"

#include <sched.h>

#include <filesystem>
#include <string>

namespace bench {

namespace {

cpu_set_t set_of(std::span<const int> processors) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (const int processor : processors) CPU_SET(processor, &set);
    return set;
}

}  // namespace

std::vector<int> allowed_processors() {
    std::vector<int> processors;
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return {0};
    for (int i = 0; i < CPU_SETSIZE; ++i) {
        if (CPU_ISSET(i, &allowed)) processors.push_back(i);
    }
    return processors;
}

void bind_thread(int processor) {
    const cpu_set_t one = set_of(std::span(&processor, 1));
    (void)sched_setaffinity(0, sizeof(one), &one);
}

void bind_process(pid_t process, std::span<const int> processors) {
    const cpu_set_t set = set_of(processors);
    std::error_code ignored;
    const std::string tasks = "/proc/" + std::to_string(process) + "/task";
    for (const auto& task : std::filesystem::directory_iterator(tasks, ignored)) {
        (void)sched_setaffinity(std::stoi(task.path().filename()), sizeof(set), &set);
    }
}

}  // namespace bench
