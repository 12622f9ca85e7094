// A child process that is run one instruction at a time, with ptrace.
#pragma once

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>

#include "tests/system/requirement.hpp"

namespace tiercache::test {

// Runs one operation between two stops, as often as it is asked to. Killed at its end.
class SteppedProcess {
 public:
    // `operation(prepared)`: prepares when false is passed, then does the thing that is stepped through.
    explicit SteppedProcess(const std::function<bool(bool prepared)>& operation) : pid_(fork()) {
        require(pid_ >= 0, "fork failed");
        if (pid_ == 0) {
            ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
            for (;;) {
                if (!operation(false)) _exit(1);
                raise(SIGSTOP);
                if (!operation(true)) _exit(1);
                raise(SIGSTOP);
            }
        }
        expect_stop();
        ptrace(PTRACE_SETOPTIONS, pid_, nullptr, PTRACE_O_EXITKILL);
    }
    ~SteppedProcess() {
        if (pid_ <= 0) return;
        kill(pid_, SIGKILL);
        while (waitpid(pid_, nullptr, 0) > 0) {
        }
    }
    SteppedProcess(const SteppedProcess&) = delete;
    SteppedProcess& operator=(const SteppedProcess&) = delete;

    // One instruction; false when the operation has ended.
    bool step() {
        require(ptrace(PTRACE_SINGLESTEP, pid_, nullptr, nullptr) == 0, "ptrace is not permitted here");
        const int signal = wait_signal();
        require(signal == SIGTRAP || signal == SIGSTOP, "the stepped process crashed");
        return signal == SIGTRAP;
    }
    // To the next stop, at full speed.
    void run() {
        require(ptrace(PTRACE_CONT, pid_, nullptr, nullptr) == 0, "ptrace is not permitted here");
        expect_stop();
    }

 private:
    void expect_stop() { require(wait_signal() == SIGSTOP, "the stepped process did not stop"); }
    int wait_signal() {
        int status = 0;
        require(waitpid(pid_, &status, 0) == pid_, "the stepped process is gone");
        if (!WIFSTOPPED(status)) {
            pid_ = -1;
            throw Failure("the stepped process ended: it saw something wrong, or crashed");
        }
        return WSTOPSIG(status);
    }

    pid_t pid_;
};

}  // namespace tiercache::test
