// A value that is replaced now and then and read all the time, without a lock.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <mutex>
#include <vector>

namespace tiercache {

// Readers take the current value by one load and may keep the pointer as long as this object lives: what was
// replaced is kept. So the number of replacements is limited; the values here change when a server is
// rebuilt, not when it is used.
template <class T>
class Published {
 public:
    static constexpr std::size_t versions_max = 256;

    // nullptr as long as nothing was published.
    // Acquire: pairs with the release in publish(), so the reader sees a whole T.
    [[nodiscard]] T* get() const noexcept { return current_.load(std::memory_order_acquire); }

    // False when it was replaced too often; the current value stays, and it is for the caller to withdraw it.
    bool publish(std::unique_ptr<T> value) {
        const std::scoped_lock lock(mutex_);
        if (versions_.size() >= versions_max) return false;
        versions_.push_back(std::move(value));
        current_.store(versions_.back().get(), std::memory_order_release);
        return true;
    }

    // Nothing is current from here on.
    void withdraw() noexcept { current_.store(nullptr, std::memory_order_release); }

    // Makes the first version that `same` accepts the current one again; false when there is none.
    template <class Same>
    bool republish(Same same) {
        const std::scoped_lock lock(mutex_);
        for (const std::unique_ptr<T>& version : versions_) {
            if (!same(*version)) continue;
            current_.store(version.get(), std::memory_order_release);
            return true;
        }
        return false;
    }

 private:
    std::atomic<T*> current_{nullptr};
    std::mutex mutex_;
    std::vector<std::unique_ptr<T>> versions_;
};

}  // namespace tiercache
