#include "shm_cache/sampler.hpp"

#include <algorithm>
#include <bit>
#include <new>

#include "shm_cache/index.hpp"

namespace tiercache {

namespace {

constexpr std::uint64_t share = 32;
constexpr std::uint64_t small_share = 16;
constexpr std::uint64_t small_bytes = std::uint64_t{64} << 10;
constexpr std::uint64_t sampled_bytes_min = std::uint64_t{256} << 10;

// Free, or open and half full on average.
constexpr std::uint64_t blocks_not_full = 2;

constexpr std::uint64_t ring_min = 32;
constexpr std::uint64_t ring_max = 1024;
// Notes that one put() works off, and keys that it looks at for each of them after the sample shrank.
constexpr std::uint64_t notes_per_advance = 16;
constexpr int keys_per_sweep = 16;
// How many notes there are before somebody works them off, and how many puts of a process don't even look
// while there are fewer: shares of the ring. Every note waits for its turn, and a small cache changes
// quickly.
constexpr std::uint64_t batches_per_ring = 64;
constexpr std::uint64_t looks_per_ring = 128;
// Failures to take the lock after which its owner's life is looked into: that is a system call.
constexpr std::uint64_t failures_per_look = 256;

// A note: hash 32 | units 31 | 1.
constexpr std::uint64_t units_limit = (std::uint64_t{1} << 24) - 1;

// A key is noted so often in a row.
constexpr std::uint64_t repeats_max = frequency_max;

// How often a candidate is chosen, in uses per key that the miniature cache holds, and how much less an older
// miss counts each time: half after 32 times the keys of the cache.
constexpr std::uint32_t choices_per_fill = 4;
constexpr double fading = 0.9946;
// The curve remembers longer: this much of 2^16 each time.
constexpr std::uint64_t curve_fading = 65448;
constexpr std::uint32_t uses_min = 16;
// The chosen candidate stays unless another one misses less by this share, and by more than chance would.
constexpr double gain_min = 0.003;
constexpr double misses_gain_min = 8;
// More references than this between two looks are somebody's damage.
constexpr std::uint64_t references_max = std::uint64_t{1} << 40;

std::uint64_t ring_size_for(std::uint64_t bytes) noexcept {
    return std::clamp(std::bit_floor(bytes / 16 / word_bytes), ring_min, ring_max);
}

constexpr std::uint64_t bytes_for(std::uint64_t ring_size, std::size_t capacity) noexcept {
    return sizeof(SamplerState) + ring_size * word_bytes + SampleTable::size_bytes(capacity);
}

std::size_t table_capacity_for(std::uint64_t bytes) noexcept {
    std::size_t capacity = SampleTable::capacity_max;
    while (capacity > 0 && bytes_for(ring_size_for(bytes), capacity) > bytes) --capacity;
    return capacity;
}

}  // namespace

constinit const Word Sampler::nothing{0};

std::uint64_t Sampler::size_bytes(std::uint64_t segment_bytes) noexcept {
    if (segment_bytes < sampled_bytes_min) return 0;
    const std::uint64_t bytes =
        std::max(std::min(small_bytes, segment_bytes / small_share), segment_bytes / share);
    const std::uint64_t most = bytes_for(ring_max, SampleTable::capacity_max);
    return (std::min(bytes, most) + cache_line_bytes - 1) / cache_line_bytes * cache_line_bytes;
}

EvictionPolicy Sampler::first_policy(const Geometry& geometry) noexcept {
    return geometry.sampler_bytes == 0 ? EvictionPolicy{} : candidates[first_candidate];
}

Sampler::Sampler(std::byte* memory, const Geometry& geometry) noexcept
    : Sampler(memory + geometry.sampler_at, geometry.sampler_bytes,
              (geometry.block_count - blocks_not_full) * geometry.block_bytes) {}

Sampler::Sampler(std::byte* area, std::uint64_t bytes, std::uint64_t data_bytes) noexcept {
    if (bytes == 0) return;
    state_ = reinterpret_cast<SamplerState*>(area);
    threshold_ = &state_->threshold;
    ring_ = reinterpret_cast<Word*>(area + sizeof(SamplerState));
    ring_size_ = ring_size_for(bytes);
    table_ = SampleTable(area + sizeof(SamplerState) + ring_size_ * word_bytes, table_capacity_for(bytes),
                         &state_->free, &state_->used);
    data_units_ = data_bytes / unit_bytes;
}

void Sampler::format() noexcept {
    if (state_ == nullptr) return;
    new (state_) SamplerState{};
    reset();
}

// ---- notes ---------------------------------------------------------------------------------------

bool Sampler::noted_enough(const KeyHash& hash) const noexcept {
    const std::uint32_t sampled = sampled_hash(hash);
    // Relaxed: as in repeats().
    const std::uint64_t seen = recent_[sampled % recent_.size()].load(std::memory_order_relaxed);
    return seen == (std::uint64_t{sampled} << 32 | repeats_max);
}

bool Sampler::repeats(std::uint32_t hash) noexcept {
    // Relaxed: private words, and threads that disagree about them note a key once too often or too seldom.
    Word& recent = recent_[hash % recent_.size()];
    const std::uint64_t seen = recent.load(std::memory_order_relaxed);
    if (seen >> 32 != hash || seen == 0) {
        recent.store(std::uint64_t{hash} << 32, std::memory_order_relaxed);
        return false;
    }
    if ((seen & UINT32_MAX) >= repeats_max) return true;
    recent.store(seen + 1, std::memory_order_relaxed);
    return false;
}

void Sampler::note(const KeyHash& hash, std::uint64_t units) noexcept {
    const std::uint32_t sampled = sampled_hash(hash);
    if (repeats(sampled)) return;
    // Relaxed, all of it: a note stands alone, and a wrong idea of the ring costs notes.
    const std::uint64_t head = state_->head.load(std::memory_order_relaxed);
    if (head - state_->tail.load(std::memory_order_relaxed) >= ring_size_) return;
    const std::uint64_t at = state_->head.fetch_add(1, std::memory_order_relaxed);
    const std::uint64_t note = std::uint64_t{sampled} << 32 | std::min(units, units_limit) << 1 | 1;
    ring_[at & (ring_size_ - 1)].store(note, std::memory_order_relaxed);
}

bool Sampler::wants_advance() noexcept {
    if (state_ == nullptr) return false;
    // Relaxed, all of it: a private word, about which threads may disagree, and what is missed now is found
    // by the next one.
    const std::uint64_t unlooked = unlooked_.load(std::memory_order_relaxed);
    if (unlooked > 0) {
        unlooked_.store(unlooked - 1, std::memory_order_relaxed);
        return false;
    }
    const std::uint64_t notes =
        state_->head.load(std::memory_order_relaxed) - state_->tail.load(std::memory_order_relaxed);
    if (notes >= std::max<std::uint64_t>(ring_size_ / batches_per_ring, 1)) return true;
    unlooked_.store(ring_size_ / looks_per_ring, std::memory_order_relaxed);
    return false;
}

std::optional<std::size_t> Sampler::advance(ProcessTable& processes) noexcept {
    if (state_ == nullptr || !lock(processes)) return std::nullopt;
    std::uint64_t tail = state_->tail.load(std::memory_order_relaxed);
    const std::uint64_t head = state_->head.load(std::memory_order_relaxed);
    if (head - tail >= ring_size_) state_->lossy = 1;
    // Writers that looked at once may have gone once around.
    if (head - tail > ring_size_) tail = head - ring_size_;
    for (std::uint64_t i = 0; i < notes_per_advance && tail != head; ++i, ++tail) {
        sweep();
        use(ring_[tail & (ring_size_ - 1)].exchange(0, std::memory_order_relaxed), processes);
    }
    state_->tail.store(tail, std::memory_order_relaxed);
    if (table_.damaged()) reset();
    const std::optional<std::size_t> chosen = choose(processes);
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
    curve().reset();
    state_->chosen = first_candidate;
    state_->uses = 0;
    state_->sweep = 0;
    state_->lossy = 1;  // what came before is not known
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

void Sampler::set_threshold(std::uint64_t to, const ProcessTable& processes) noexcept {
    const std::uint64_t from = std::max<std::uint64_t>(threshold(), 1);
    account(processes);
    // Relaxed: as in samples().
    state_->threshold.store(to, std::memory_order_relaxed);
    for (double& misses : state_->misses) misses *= static_cast<double>(to) / static_cast<double>(from);
    curve().scale((to << 16) / from);
    state_->sweep = 1;
}

void Sampler::sweep() noexcept {
    for (int i = 0; i < keys_per_sweep && state_->sweep != 0; ++i) {
        const KeyNumber number = SampleTable::load(state_->sweep);
        if (number > table_.capacity()) {
            state_->sweep = 0;
            return;
        }
        state_->sweep = number == table_.capacity() ? KeyNumber{0} : static_cast<KeyNumber>(number + 1);
        if (table_.in_use(number) && table_[number].hash >> 8 >= threshold()) forget(number);
    }
}

// The key's number; 0 when it does not fit in, or is no longer in the sample.
KeyNumber Sampler::key_of(std::uint32_t hash, std::uint32_t units, const ProcessTable& processes) noexcept {
    const KeyNumber number = table_.find(hash);
    if (number != 0) {
        if (table_[number].units != units) resize(number, units);
        return number;
    }
    const KeyNumber added = table_.add(hash, units);
    if (added != 0) return added;
    // Full: an eighth of the keys will go.
    if (state_->sweep == 0) set_threshold(threshold() * 7 / 8, processes);
    return 0;
}

void Sampler::use(std::uint64_t note, const ProcessTable& processes) noexcept {
    const auto hash = static_cast<std::uint32_t>(note >> 32);
    // Not written yet, or noted before the threshold shrank.
    if (note == 0 || hash >> 8 >= threshold()) return;
    const KeyNumber number = key_of(hash, static_cast<std::uint32_t>(note >> 1 & units_limit), processes);
    if (number == 0) {
        curve().miss();
        return;
    }
    const std::uint64_t units = units_max();
    curve().use(number);
    for (std::size_t c = 0; c < candidate_count; ++c) {
        if (miniature(c).use(number, units)) state_->misses[c] += 1;
    }
    ++state_->uses;
    std::size_t steps = table_.capacity() + 1;
    for (KeyNumber over = curve().overflow(units); over != 0 && steps-- > 0; over = curve().overflow(units)) {
        curve().forget(over);
        table_.release(over);
    }
}

void Sampler::account(const ProcessTable& processes) noexcept {
    const Statistics& statistics = processes.statistics();
    const std::uint64_t references = statistics.sum(Counter::hits) + statistics.sum(Counter::puts);
    const std::uint64_t since = references - state_->references;
    state_->references = references;
    if (state_->lossy != 0 || since > references_max) {
        curve().expect_what_was_noted();
    } else {
        curve().expect(since, threshold(), everything);
    }
    state_->lossy = 0;
}

std::optional<std::size_t> Sampler::choose(const ProcessTable& processes) noexcept {
    const std::uint64_t units = state_->curve.units();
    const std::uint64_t keys_in_cache = units == 0 ? 0 : units_max() * table_.used() / units;
    if (state_->uses < std::max<std::uint64_t>(uses_min, keys_in_cache / choices_per_fill)) {
        return std::nullopt;
    }
    state_->uses = 0;
    std::size_t chosen = std::min<std::size_t>(state_->chosen, candidate_count - 1);
    const auto* best = std::min_element(std::begin(state_->misses), std::end(state_->misses));
    if (*best < state_->misses[chosen] * (1 - gain_min) - misses_gain_min) {
        chosen = best - std::begin(state_->misses);
    }
    state_->chosen = static_cast<std::uint32_t>(chosen);
    for (double& misses : state_->misses) misses *= fading;
    account(processes);
    curve().scale(curve_fading);
    return chosen;
}

SamplerReport Sampler::report() const noexcept {
    if (state_ == nullptr) return {};
    return {static_cast<double>(threshold()) / static_cast<double>(everything), hit_ratios(state_->curve),
            std::min<std::size_t>(state_->chosen, candidate_count - 1)};
}

}  // namespace tiercache
