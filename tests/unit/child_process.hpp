// A forked child that is gone when the test is, whatever happens. Ended by its process id only.
#pragma once

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <stdexcept>

namespace tiercache::test {

class ChildProcess {
 public:
    // Runs `body` in a child, which exits with what it returns.
    explicit ChildProcess(const std::function<int()>& body) : pid_(fork()) {
        if (pid_ < 0) throw std::runtime_error("fork failed");
        if (pid_ == 0) {
            int status = 99;
            try {
                status = body();
            } catch (...) {
                status = 98;
            }
            _exit(status);
        }
    }
    ~ChildProcess() {
        if (pid_ > 0) kill_and_wait();
    }
    ChildProcess(ChildProcess&& other) noexcept : pid_(other.pid_) { other.pid_ = -1; }
    ChildProcess(const ChildProcess&) = delete;
    ChildProcess& operator=(const ChildProcess&) = delete;
    ChildProcess& operator=(ChildProcess&&) = delete;

    [[nodiscard]] pid_t pid() const { return pid_; }

    void signal(int number) const { kill(pid_, number); }
    // Returns when the child has really stopped.
    void stop() const {
        signal(SIGSTOP);
        int status = 0;
        waitpid(pid_, &status, WUNTRACED);
    }
    void go_on() const { signal(SIGCONT); }

    // The exit status, or 128 and the signal that ended it.
    int wait() {
        int status = 0;
        while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
        }
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    int kill_and_wait() {
        signal(SIGKILL);
        return wait();
    }

 private:
    pid_t pid_;
};

// A pipe on which one process waits for a byte of another.
class Signal {
 public:
    Signal() {
        if (pipe(ends_) != 0) throw std::runtime_error("pipe failed");
    }
    ~Signal() {
        close(ends_[0]);
        close(ends_[1]);
    }
    Signal(const Signal&) = delete;
    Signal& operator=(const Signal&) = delete;

    void send(int count = 1) const {
        for (int i = 0; i < count; ++i) (void)!write(ends_[1], "x", 1);
    }
    // Not for ever: whoever was to send it may have died.
    void wait() const {
        pollfd readable{ends_[0], POLLIN, 0};
        int ready = -1;
        while ((ready = poll(&readable, 1, patience_ms)) < 0 && errno == EINTR) {
        }
        char byte = 0;
        if (ready != 1 || read(ends_[0], &byte, 1) != 1) throw std::runtime_error("no signal came");
    }

 private:
    static constexpr int patience_ms = 300'000;
    int ends_[2];
};

}  // namespace tiercache::test
