#include "shm_cache/miss_ratio_curve.hpp"

#include <algorithm>

namespace tiercache {

namespace {

constexpr std::uint64_t weight = 1U << 16;

// What a region holds more than the one above it, in quarters of the memory.
constexpr std::array<std::uint64_t, curve_points> region_quarters{1, 1, 2, 4, 8};

// Only the holder of the sampler's lock writes it; others look.
void set(Word& word, std::uint64_t value) noexcept { word.store(value, std::memory_order_relaxed); }
std::uint64_t get(const Word& word) noexcept { return word.load(std::memory_order_relaxed); }

}  // namespace

void MissRatioCurve::take_out(KeyNumber number) noexcept {
    const SampledKey& key = table_[number];
    const std::size_t region = std::min<std::size_t>(key.region, curve_points - 1);
    if (SampleTable::load(state_.region_last[region]) == number) {
        const KeyNumber above = SampleTable::load(key.links[lru_list].previous);
        state_.region_last[region] = above != 0 && table_[above].region == region ? above : KeyNumber{0};
    }
    state_.region_units[region] -= key.units;
    table_.unlink(lru_list, state_.stack, number);
}

void MissRatioCurve::use(KeyNumber number, bool known) noexcept {
    SampledKey& key = table_[number];
    const std::size_t region = known ? std::min<std::size_t>(key.region, curve_points - 1) : curve_points;
    set(state_.uses[region], get(state_.uses[region]) + weight);
    if (known) take_out(number);
    table_.push_front(lru_list, state_.stack, number);
    key.region = 0;
    state_.region_units[0] += key.units;
    if (state_.region_last[0] == 0) state_.region_last[0] = number;
}

KeyNumber MissRatioCurve::overflow(std::uint64_t units_max) noexcept {
    for (std::size_t region = 0; region < curve_points; ++region) {
        const std::uint64_t units = units_max * region_quarters[region] / 4;
        std::size_t steps = table_.capacity() + 1;
        while (state_.region_units[region] > units && steps-- > 0) {
            const KeyNumber number = SampleTable::load(state_.region_last[region]);
            if (number == 0) break;
            if (region + 1 == curve_points) return number;
            SampledKey& key = table_[number];
            const KeyNumber above = SampleTable::load(key.links[lru_list].previous);
            state_.region_last[region] = above != 0 && table_[above].region == region ? above : KeyNumber{0};
            state_.region_units[region] -= key.units;
            key.region = static_cast<std::uint8_t>(region + 1);
            state_.region_units[region + 1] += key.units;
            if (state_.region_last[region + 1] == 0) state_.region_last[region + 1] = number;
        }
    }
    return 0;
}

void MissRatioCurve::forget(KeyNumber number) noexcept { take_out(number); }

void MissRatioCurve::resize(KeyNumber number, std::uint32_t units) noexcept {
    const SampledKey& key = table_[number];
    state_.region_units[std::min<std::size_t>(key.region, curve_points - 1)] +=
        std::uint64_t{units} - key.units;
}

void MissRatioCurve::scale(std::uint64_t numerator) noexcept {
    for (Word& uses : state_.uses)
        set(uses,
            static_cast<std::uint64_t>((__extension__(unsigned __int128)(get(uses)) * numerator) >> 16));
}

std::array<double, curve_points> hit_ratios(const CurveState& state) noexcept {
    std::array<double, curve_points> ratios{};
    double total = 0;
    for (const Word& uses : state.uses) total += static_cast<double>(get(uses));
    double hits = 0;
    for (std::size_t i = 0; i < curve_points && total > 0; ++i) {
        hits += static_cast<double>(get(state.uses[i]));
        ratios[i] = hits / total;
    }
    return ratios;
}

}  // namespace tiercache
