#include "demo/child_process.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <stdexcept>

namespace tiercache::demo {

namespace {

// Blocks no signal, and leaves Ctrl-C to the demo, which ends its children itself.
class SpawnSettings {
 public:
    SpawnSettings(int standard_input, int standard_output) {
        sigset_t none;
        sigemptyset(&none);
        posix_spawnattr_init(&attributes_);
        posix_spawnattr_setsigmask(&attributes_, &none);
        posix_spawnattr_setpgroup(&attributes_, 0);
        posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
        posix_spawn_file_actions_init(&files_);
        if (standard_input >= 0) {
            posix_spawn_file_actions_adddup2(&files_, standard_input, STDIN_FILENO);
        } else {
            posix_spawn_file_actions_addopen(&files_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        }
        if (standard_output >= 0) posix_spawn_file_actions_adddup2(&files_, standard_output, STDOUT_FILENO);
    }
    SpawnSettings(const SpawnSettings&) = delete;
    SpawnSettings& operator=(const SpawnSettings&) = delete;
    ~SpawnSettings() {
        posix_spawnattr_destroy(&attributes_);
        posix_spawn_file_actions_destroy(&files_);
    }

    [[nodiscard]] const posix_spawnattr_t* attributes() const { return &attributes_; }
    [[nodiscard]] const posix_spawn_file_actions_t* files() const { return &files_; }

 private:
    posix_spawnattr_t attributes_{};
    posix_spawn_file_actions_t files_{};
};

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& arguments, int standard_input,
                           int standard_output) {
    std::vector<char*> argv;
    argv.reserve(arguments.size() + 1);
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    const SpawnSettings settings(standard_input, standard_output);
    const int error =
        posix_spawnp(&pid_, argv[0], settings.files(), settings.attributes(), argv.data(), environ);
    if (error != 0)
        throw std::runtime_error(fmt::format("{} can't be run: {}", arguments[0], std::strerror(error)));
    kill_.emplace([pid = pid_] { kill(pid, SIGKILL); });
}

ChildProcess::~ChildProcess() {
    kill_.reset();
    if (pid_ > 0) waitpid(pid_, nullptr, 0);
}

std::string ChildProcess::wait() {
    siginfo_t info{};
    // Not reaped yet: its pid can't be somebody else's while a signal may still lead to the kill.
    while (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
    }
    kill_->dismiss();
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
    if (info.si_code != CLD_EXITED) return fmt::format("was ended by signal {}", info.si_status);
    return info.si_status == 0 ? "" : fmt::format("ended with status {}", info.si_status);
}

}  // namespace tiercache::demo
