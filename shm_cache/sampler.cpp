#include "shm_cache/sampler.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace tiercache {

namespace {

constexpr std::uint64_t share = 128;
constexpr std::uint64_t small_share = 16;
constexpr std::uint64_t tiny_share = 32;
constexpr std::uint64_t tiny_segment_bytes = std::uint64_t{128} << 10;
constexpr std::uint64_t small_bytes = std::uint64_t{64} << 10;

// Free, or open and half full on average.
constexpr std::uint64_t blocks_not_full = 2;

constexpr std::uint64_t ring_min = 32;
constexpr std::uint64_t ring_max = 1024;
// Notes that one put() works off.
constexpr int notes_per_advance = 16;
// Failures to take the lock after which its owner's life is looked into: that is a system call.
constexpr std::uint64_t failures_per_look = 256;

// A note: hash 32 | units 31 | 1.
constexpr std::uint64_t units_limit = (std::uint64_t{1} << 24) - 1;

// How often a candidate is chosen, in uses per key that the miniature cache holds, and how much less an older
// miss counts each time: half after 32 times the keys of the cache.
constexpr std::uint32_t choices_per_fill = 4;
constexpr double fading = 0.9946;
// The curve remembers longer: this much of 2^16 each time.
constexpr std::uint64_t curve_fading = 65448;
constexpr std::uint32_t uses_min = 16;
// The chosen candidate stays unless another one misses less by this share.
constexpr double gain_min = 0.01;

std::uint64_t ring_size_for(std::uint64_t bytes) noexcept {
    return std::clamp(std::bit_floor(bytes / 16 / word_bytes), ring_min, ring_max);
}

std::size_t table_capacity_for(std::uint64_t bytes) noexcept {
    const std::uint64_t fixed = sizeof(SamplerState) + ring_size_for(bytes) * word_bytes;
    std::size_t capacity = SampleTable::capacity_max;
    while (capacity > 0 && fixed + SampleTable::size_bytes(capacity) > bytes) --capacity;
    return capacity;
}

}  // namespace

std::uint64_t Sampler::size_bytes(std::uint64_t segment_bytes) noexcept {
    constexpr std::uint64_t most =
        sizeof(SamplerState) + ring_max * word_bytes + SampleTable::size_bytes(SampleTable::capacity_max);
    const std::uint64_t bytes =
        std::clamp(std::min(small_bytes, segment_bytes / (segment_bytes < tiny_segment_bytes ? tiny_share : small_share)), segment_bytes / share, most);
    return (std::min(bytes, most) + cache_line_bytes - 1) / cache_line_bytes * cache_line_bytes;
}

Sampler::Sampler(std::byte* memory, const Geometry& geometry) noexcept
    : Sampler(memory + geometry.sampler_at, geometry.sampler_bytes,
              (geometry.block_count - blocks_not_full) * geometry.block_bytes) {}

Sampler::Sampler(std::byte* area, std::uint64_t bytes, std::uint64_t data_bytes) noexcept
    : state_(reinterpret_cast<SamplerState*>(area)),
      ring_(reinterpret_cast<Word*>(area + sizeof(SamplerState))),
      ring_size_(ring_size_for(bytes)),
      table_(area + sizeof(SamplerState) + ring_size_ * word_bytes, table_capacity_for(bytes), &state_->free,
             &state_->used),
      data_units_(data_bytes / unit_bytes) {}

void Sampler::format() noexcept {
    new (state_) SamplerState{};
    reset();
}

// ---- notes ---------------------------------------------------------------------------------------

void Sampler::record(std::uint32_t hash, std::uint64_t units) noexcept {
    // Relaxed, all of it: a note stands alone, and a wrong idea of the ring costs notes.
    const std::uint64_t head = state_->head.load(std::memory_order_relaxed);
    if (head - state_->tail.load(std::memory_order_relaxed) >= ring_size_) return;
    const std::uint64_t at = state_->head.fetch_add(1, std::memory_order_relaxed);
    const std::uint64_t note = std::uint64_t{hash} << 32 | std::min(units, units_limit) << 1 | 1;
    ring_[at & (ring_size_ - 1)].store(note, std::memory_order_relaxed);
}

std::optional<std::size_t> Sampler::advance(ProcessTable& processes) noexcept {
    if (state_->head.load(std::memory_order_relaxed) == state_->tail.load(std::memory_order_relaxed) ||
        !lock(processes)) {
        return std::nullopt;
    }
    std::uint64_t tail = state_->tail.load(std::memory_order_relaxed);
    const std::uint64_t head = state_->head.load(std::memory_order_relaxed);
    // Writers that looked at once may have gone once around.
    if (head - tail > ring_size_) tail = head - ring_size_;
    for (int i = 0; i < notes_per_advance && tail != head; ++i, ++tail) {
        use(ring_[tail & (ring_size_ - 1)].exchange(0, std::memory_order_relaxed));
    }
    state_->tail.store(tail, std::memory_order_relaxed);
    if (table_.damaged()) reset();
    const std::optional<std::size_t> chosen = choose();
    // Release: pairs with lock().
    state_->lock.store(0, std::memory_order_release);
    return chosen;
}

bool Sampler::lock(ProcessTable& processes) noexcept {
    const std::uint64_t mine = lock_word(processes.self());
    std::uint64_t owner = 0;
    // Acquire: pairs with the release of whoever had it before.
    if (state_->lock.compare_exchange_strong(owner, mine, std::memory_order_acquire)) return true;
    if ((state_->failures.fetch_add(1, std::memory_order_relaxed) + 1) % failures_per_look != 0) return false;
    const Owner other{static_cast<std::uint16_t>(owner >> 16), static_cast<std::uint16_t>(owner)};
    if (!processes.dead(other)) return false;
    if (!state_->lock.compare_exchange_strong(owner, mine, std::memory_order_acquire)) return false;
    reset();
    return true;
}

void Sampler::reset() noexcept {
    table_.reset();
    for (MiniatureState& miniature : state_->miniatures) miniature = {};
    for (double& misses : state_->misses) misses = 0;
    CurveState& curve = state_->curve;
    curve.stack = {};
    for (KeyNumber& last : curve.region_last) last = 0;
    for (std::uint64_t& units : curve.region_units) units = 0;
    for (Word& uses : curve.uses) uses.store(0, std::memory_order_relaxed);
    state_->chosen = first_candidate;
    state_->uses = 0;
    state_->dropped = 0;
    state_->threshold.store(table_.capacity() == 0 ? 0 : everything, std::memory_order_relaxed);
}

// ---- learning ------------------------------------------------------------------------------------

std::uint64_t Sampler::threshold() const noexcept {
    return std::min(state_->threshold.load(std::memory_order_relaxed), everything);
}

std::uint64_t Sampler::units_max() const noexcept { return data_units_ * threshold() / everything; }

void Sampler::forget(KeyNumber number) noexcept {
    for (std::size_t c = 0; c < candidate_count; ++c) miniature(c).forget(number);
    curve().forget(number);
    table_.remove(number);
}

void Sampler::resize(KeyNumber number, std::uint32_t units) noexcept {
    for (std::size_t c = 0; c < candidate_count; ++c) miniature(c).resize(number, units);
    curve().resize(number, units);
    table_[number].units = units;
}

void Sampler::set_threshold(std::uint64_t to) noexcept {
    const std::uint64_t from = std::max<std::uint64_t>(threshold(), 1);
    // Relaxed: as in note().
    state_->threshold.store(to, std::memory_order_relaxed);
    std::size_t steps = table_.capacity() + 1;
    for (KeyNumber at = SampleTable::load(state_->curve.stack.first); at != 0 && steps-- > 0;) {
        const KeyNumber next = SampleTable::load(table_[at].links[lru_list].next);
        if (table_[at].hash >> 8 >= to) forget(at);
        at = next;
    }
    for (double& misses : state_->misses) misses *= static_cast<double>(to) / static_cast<double>(from);
    curve().scale((to << 16) / from);
}

KeyNumber Sampler::key_of(std::uint32_t hash, std::uint32_t units, bool& known) noexcept {
    KeyNumber number = table_.find(hash);
    known = number != 0;
    if (known) {
        if (table_[number].units != units) resize(number, units);
        return number;
    }
    number = table_.add(hash, units);
    // Seven eighths of a threshold of 24 bits: 0 after fewer steps than this.
    for (int i = 0; number == 0 && i < 128; ++i) {
        set_threshold(threshold() * 7 / 8);
        if (hash >> 8 >= threshold()) return 0;
        number = table_.add(hash, units);
    }
    return number;
}

void Sampler::use(std::uint64_t note) noexcept {
    const auto hash = static_cast<std::uint32_t>(note >> 32);
    // Not written yet, or noted before the threshold shrank.
    if (note == 0 || hash >> 8 >= threshold()) return;
    bool known = false;
    const KeyNumber number = key_of(hash, static_cast<std::uint32_t>(note >> 1 & units_limit), known);
    if (number == 0) return;
    const std::uint64_t units = units_max();
    curve().use(number, known);
    for (std::size_t c = 0; c < candidate_count; ++c) {
        if (miniature(c).use(number, units)) state_->misses[c] += 1;
    }
    ++state_->uses;
    std::size_t steps = table_.capacity() + 1;
    for (KeyNumber over = curve().overflow(units); over != 0 && steps-- > 0; over = curve().overflow(units)) {
        forget(over);
        state_->dropped = 1;
    }
}

std::optional<std::size_t> Sampler::choose() noexcept {
    std::uint64_t units = 0;
    for (const std::uint64_t region : state_->curve.region_units) units += region;
    const std::uint64_t keys_in_cache = units == 0 ? 0 : units_max() * table_.used() / units;
    if (state_->uses < std::max<std::uint64_t>(uses_min, keys_in_cache / choices_per_fill))
        return std::nullopt;
    state_->uses = 0;
    std::size_t chosen = std::min<std::size_t>(state_->chosen, candidate_count - 1);
    const auto* best = std::min_element(std::begin(state_->misses), std::end(state_->misses));
    if (*best < state_->misses[chosen] * (1 - gain_min)) chosen = best - std::begin(state_->misses);
    state_->chosen = static_cast<std::uint32_t>(chosen);
    for (double& misses : state_->misses) misses *= fading;
    curve().scale(curve_fading);
    if (state_->dropped != 0 && table_.used() < table_.capacity() / 2 && threshold() < everything) {
        set_threshold(std::min(threshold() * 9 / 8 + 1, everything));
    }
    state_->dropped = 0;
    return chosen;
}

SamplerReport Sampler::report() const noexcept {
    SamplerReport report;
    report.sampled_share = static_cast<double>(threshold()) / static_cast<double>(everything);
    report.hit_ratios = hit_ratios(state_->curve);
    return report;
}

}  // namespace tiercache
