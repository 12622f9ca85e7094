#include "client/pg_cancel.hpp"

#include <array>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

namespace tiercache {

namespace {

using CancelRequest = std::unique_ptr<PGcancel, decltype(&PQfreeCancel)>;

struct CancelQueue {
    static constexpr std::size_t waiting_max = 64;

    std::mutex mutex;
    std::deque<CancelRequest> waiting;
    bool thread_runs = false;
};

// The thread shares the queue, which so outlives the objects that are destroyed at the process's end.
const std::shared_ptr<CancelQueue>& queue() {
    static const auto the_queue = std::make_shared<CancelQueue>();
    return the_queue;
}

void work(const std::shared_ptr<CancelQueue>& queue) {
    while (true) {
        CancelRequest request(nullptr, PQfreeCancel);
        {
            const std::scoped_lock lock(queue->mutex);
            if (queue->waiting.empty()) {
                queue->thread_runs = false;
                return;
            }
            request = std::move(queue->waiting.front());
            queue->waiting.pop_front();
        }
        std::array<char, 256> error{};
        // Nobody is left to be told of an error.
        (void)PQcancel(request.get(), error.data(), static_cast<int>(error.size()));
    }
}

}  // namespace

void cancel_in_background(PGcancel* request) noexcept {
    if (request == nullptr) return;
    CancelRequest owned(request, PQfreeCancel);
    try {
        const std::shared_ptr<CancelQueue>& q = queue();
        const std::scoped_lock lock(q->mutex);
        if (q->waiting.size() >= CancelQueue::waiting_max) return;
        q->waiting.push_back(std::move(owned));
        if (q->thread_runs) return;
        std::thread([q = q] { work(q); }).detach();
        q->thread_runs = true;
    } catch (...) {
        // No memory or no thread: as with a full queue.
    }
}

}  // namespace tiercache
