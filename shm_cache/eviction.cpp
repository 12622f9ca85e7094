#include "shm_cache/eviction.hpp"

#include <algorithm>

namespace tiercache {

namespace {

// The inverse of a class's weight, in the order of DataClass: hot 4, warm 2, cold 1, reference 8.
constexpr std::array<std::uint32_t, class_count> burden{2, 4, 8, 1};

}  // namespace

bool keeps(const EvictionPolicy& policy, Queue queue, std::uint8_t frequency) noexcept {
    if (!policy.copy_forward) return false;
    return frequency >= (queue == Queue::small ? policy.small_keep_from : policy.main_keep_from);
}

std::uint8_t kept_frequency(const EvictionPolicy& policy, std::uint8_t frequency) noexcept {
    const int left = frequency == 0 ? 0 : frequency - 1;
    return static_cast<std::uint8_t>(std::min<int>(left, policy.kept_frequency_max));
}

std::optional<Stream> choose_stream(const std::array<StreamUse, stream_count>& use,
                                    const EvictionPolicy& policy) noexcept {
    std::optional<Stream> chosen;
    std::uint32_t worst = 0;
    for (std::size_t c = 0; c < class_count; ++c) {
        const auto data_class = static_cast<DataClass>(c);
        const StreamUse& small = use[Stream{Queue::small, data_class}.index()];
        const StreamUse& main = use[Stream{Queue::main, data_class}.index()];
        if (small.ready + main.ready == 0) continue;
        const std::uint32_t blocks = small.blocks + main.blocks;
        if (chosen && blocks * burden[c] <= worst) continue;
        worst = blocks * burden[c];
        const bool small_is_large = small.blocks * EvictionPolicy::shares >= blocks * policy.small_share;
        const bool from_small = small.ready > 0 && (small_is_large || main.ready == 0);
        chosen = Stream{from_small ? Queue::small : Queue::main, data_class};
    }
    return chosen;
}

}  // namespace tiercache
