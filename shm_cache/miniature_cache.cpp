#include "shm_cache/miniature_cache.hpp"

namespace tiercache {

namespace {

constexpr std::uint8_t frequency_mask = 3;

constexpr std::uint8_t frequency_of(std::uint8_t place) noexcept { return place & frequency_mask; }

}  // namespace

ListEnds& MiniatureCache::ends(Queue queue) noexcept {
    if (queue == Queue::small) return state_.small;
    return queue == Queue::main ? state_.main : state_.ghosts;
}

std::uint64_t& MiniatureCache::units(Queue queue) noexcept {
    if (queue == Queue::small) return state_.small_units;
    return queue == Queue::main ? state_.main_units : state_.ghost_units;
}

void MiniatureCache::take_out(KeyNumber number, Queue queue) noexcept {
    table_.unlink(candidate_, ends(queue), number);
    units(queue) -= table_[number].units;
    table_[number].place[candidate_] = 0;
}

void MiniatureCache::put_into(KeyNumber number, Queue queue, std::uint8_t frequency) noexcept {
    table_.push_front(candidate_, ends(queue), number);
    units(queue) += table_[number].units;
    table_[number].place[candidate_] =
        static_cast<std::uint8_t>(static_cast<unsigned>(queue) << 2 | frequency);
}

bool MiniatureCache::small_is_large(std::uint64_t units_max) const noexcept {
    return state_.small_units * 256 >= units_max * rules_.small_share;
}

void MiniatureCache::evict_one(std::uint64_t units_max) noexcept {
    state_.filled = 1;
    const bool from_small = state_.small.first != 0 && (small_is_large(units_max) || state_.main.first == 0);
    const Queue queue = from_small ? Queue::small : Queue::main;
    const KeyNumber number = SampleTable::load(ends(queue).last);
    const std::uint8_t frequency = frequency_of(table_[number].place[candidate_]);
    take_out(number, queue);
    const std::uint8_t keep_from = queue == Queue::main ? rules_.main_keep_from : rules_.small_keep_from;
    if (frequency >= keep_from) {
        put_into(number, Queue::main, kept_frequency(rules_, frequency));
    } else if (queue == Queue::small) {
        put_into(number, Queue::ghosts, 0);
    } else {
        table_.release(number);
    }
}

bool MiniatureCache::use(KeyNumber number, std::uint64_t units_max) noexcept {
    std::uint8_t& place = table_[number].place[candidate_];
    auto queue = static_cast<Queue>(place >> 2 & 3);
    if (queue == Queue::small || queue == Queue::main) {
        if (frequency_of(place) < frequency_mask) ++place;
        return false;
    }
    if (queue == Queue::ghosts) take_out(number, queue);
    const std::uint64_t wanted = table_[number].units;
    // Where keys that left the sample made room, small does not take over main's.
    const bool room_in_main =
        small_is_large(units_max) && state_.small_units + state_.main_units + wanted <= units_max;
    const bool to_main = queue == Queue::ghosts || state_.filled == 0 || !rules_.small_queue || room_in_main;
    // An item goes around main at most four times before it leaves.
    std::size_t steps = 4 * (table_.capacity() + 1);
    while (state_.small_units + state_.main_units + wanted > units_max && steps-- > 0 &&
           (state_.small.first != 0 || state_.main.first != 0)) {
        evict_one(units_max);
    }
    // A ghost for each item, as in the index.
    steps = table_.capacity() + 1;
    while (state_.ghost_units > units_max && state_.ghosts.last != 0 && steps-- > 0) {
        const KeyNumber last = SampleTable::load(state_.ghosts.last);
        take_out(last, Queue::ghosts);
        table_.release(last);
    }
    put_into(number, to_main ? Queue::main : Queue::small, 0);
    return true;
}

void MiniatureCache::forget(KeyNumber number) noexcept {
    const auto queue = static_cast<Queue>(table_[number].place[candidate_] >> 2 & 3);
    if (queue != Queue::none) take_out(number, queue);
}

void MiniatureCache::resize(KeyNumber number, std::uint32_t to) noexcept {
    const auto queue = static_cast<Queue>(table_[number].place[candidate_] >> 2 & 3);
    if (queue != Queue::none) units(queue) += std::uint64_t{to} - table_[number].units;
}

}  // namespace tiercache
