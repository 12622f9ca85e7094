#include "demo/cleanup.hpp"

#include <unistd.h>
#include <csignal>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

namespace tiercache::demo {

namespace {

struct Registry {
    std::mutex mutex;
    std::map<int, std::function<void()>> actions;
    int next_id = 0;
};

// Never destroyed: the signal thread may use it until the very end.
Registry& registry() {
    static Registry* const instance = std::make_unique<Registry>().release();
    return *instance;
}

[[noreturn]] void end_by_signals(const sigset_t& signals) {
    int signal = 0;
    while (sigwait(&signals, &signal) != 0) {
    }
    // The lock is never given back: nothing can be registered any more.
    registry().mutex.lock();
    for (auto action = registry().actions.rbegin(); action != registry().actions.rend(); ++action)
        action->second();
    if (isatty(STDERR_FILENO) == 1) std::fputs("\r\033[K", stderr);
    _exit(128 + signal);
}

}  // namespace

Cleanup::Cleanup(std::function<void()> action) {
    const std::scoped_lock lock(registry().mutex);
    id_ = registry().next_id++;
    registry().actions.emplace(id_, std::move(action));
}

Cleanup::~Cleanup() {
    const std::scoped_lock lock(registry().mutex);
    const auto found = registry().actions.find(id_);
    if (found == registry().actions.end()) return;
    found->second();
    registry().actions.erase(found);
}

void Cleanup::dismiss() {
    const std::scoped_lock lock(registry().mutex);
    registry().actions.erase(id_);
}

void Cleanup::on_signals() {
    sigset_t signals;
    sigemptyset(&signals);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, signal);
    pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    std::thread(end_by_signals, signals).detach();
}

}  // namespace tiercache::demo
