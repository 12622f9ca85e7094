// What must not outlive the program - child processes, shared memory, temporary files - goes with it, also
// after Ctrl-C, TERM and HUP.
#pragma once

#include <functional>

namespace tiercache::demo {

// Runs `action` once: when it is destroyed, or when a signal ends the program.
class Cleanup {
 public:
    explicit Cleanup(std::function<void()> action);
    Cleanup(const Cleanup&) = delete;
    Cleanup& operator=(const Cleanup&) = delete;
    ~Cleanup();

    // Forgets the action.
    void dismiss();

    // From now on INT, TERM and HUP run all actions, youngest first, and end the program. Call it before any
    // thread is started.
    static void on_signals();

 private:
    int id_;
};

}  // namespace tiercache::demo
