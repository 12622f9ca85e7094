// The pin of somebody who reads a value where it lies (process_table.hpp tells how pins work).
#pragma once

#include <cstdint>
#include <utility>

#include "shm_cache/words.hpp"

namespace tiercache {

// A block that does not go away until the pin is gone. It may be passed to another thread, and stays with the
// process that made it: a forked child has nothing in its copy.
class ViewPin {
 public:
    ViewPin() = default;
    explicit ViewPin(Word* word) noexcept;
    ViewPin(ViewPin&& other) noexcept : word_(other.word_), forks_(other.forks_) { other.word_ = nullptr; }
    ViewPin& operator=(ViewPin&& other) noexcept {
        std::swap(word_, other.word_);
        std::swap(forks_, other.forks_);
        return *this;
    }
    // As plain words, for languages without destructors: whoever has them owes of() and release().
    struct Words {
        Word* word;
        std::uint32_t forks;
    };
    [[nodiscard]] Words detach() noexcept { return {std::exchange(word_, nullptr), forks_}; }
    [[nodiscard]] static ViewPin of(const Words& words) noexcept {
        ViewPin pin;
        pin.word_ = words.word;
        pin.forks_ = words.forks;
        return pin;
    }

    ViewPin(const ViewPin&) = delete;
    ViewPin& operator=(const ViewPin&) = delete;
    ~ViewPin() { release(); }

    // False also in a child that was forked since.
    [[nodiscard]] bool held() const noexcept;
    void release() noexcept {
        // Release: pairs with the reclaimer's look at the pins; all that was read comes before it.
        if (word_ != nullptr && held()) word_->store(0, std::memory_order_release);
        word_ = nullptr;
    }

 private:
    Word* word_ = nullptr;
    std::uint32_t forks_ = 0;  // how often this process's ancestors had forked when the pin was made
};

}  // namespace tiercache
