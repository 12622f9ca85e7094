#include "shm_cache/miss_ratio_curve.hpp"

#include <algorithm>
#include <numeric>

namespace tiercache {

namespace {

constexpr std::uint64_t weight = 1U << 16;

// What a region holds more than the one above it, in quarters of the memory.
constexpr std::array<std::uint64_t, curve_points> region_quarters{1, 1, 2, 4, 8};

// Only the holder of the sampler's lock writes it; others look.
void set(Word& word, std::uint64_t value) noexcept { word.store(value, std::memory_order_relaxed); }
std::uint64_t get(const Word& word) noexcept { return word.load(std::memory_order_relaxed); }

// Any numbers give one, and no overflow before the shift.
std::uint64_t scaled(std::uint64_t value, std::uint64_t numerator) noexcept {
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::uint64_t>(Wide{value} * numerator >> 16);
}

}  // namespace

std::uint64_t CurveState::units() const noexcept {
    return std::accumulate(std::begin(region_units), std::end(region_units), std::uint64_t{0});
}

void MissRatioCurve::reset() noexcept {
    state_.stack = {};
    for (KeyNumber& last : state_.region_last) last = 0;
    for (std::uint64_t& units : state_.region_units) units = 0;
    for (Word& uses : state_.uses) set(uses, 0);
    set(state_.expected, 0);
    state_.noted = 0;
}

void MissRatioCurve::count(std::size_t region) noexcept {
    set(state_.uses[region], get(state_.uses[region]) + weight);
    ++state_.noted;
}

void MissRatioCurve::miss() noexcept { count(curve_points); }

void MissRatioCurve::expect(std::uint64_t references, std::uint64_t numerator,
                            std::uint64_t denominator) noexcept {
    __extension__ using Wide = unsigned __int128;
    const auto uses = static_cast<std::uint64_t>(Wide{references} * weight * numerator / denominator);
    set(state_.expected, get(state_.expected) + uses);
    state_.noted = 0;
}

void MissRatioCurve::expect_what_was_noted() noexcept {
    set(state_.expected, get(state_.expected) + state_.noted * weight);
    state_.noted = 0;
}

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

void MissRatioCurve::use(KeyNumber number) noexcept {
    SampledKey& key = table_[number];
    const bool known = has(number);
    const std::size_t region = known ? std::min<std::size_t>(key.region, curve_points - 1) : curve_points;
    count(region);
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

void MissRatioCurve::forget(KeyNumber number) noexcept {
    if (!has(number)) return;
    take_out(number);
    table_[number].region = outside_stack;
}

bool MissRatioCurve::has(KeyNumber number) noexcept { return table_[number].region < curve_points; }

void MissRatioCurve::resize(KeyNumber number, std::uint32_t units) noexcept {
    if (!has(number)) return;
    const SampledKey& key = table_[number];
    state_.region_units[std::min<std::size_t>(key.region, curve_points - 1)] +=
        std::uint64_t{units} - key.units;
}

void MissRatioCurve::scale(std::uint64_t numerator) noexcept {
    for (Word& uses : state_.uses) set(uses, scaled(get(uses), numerator));
    set(state_.expected, scaled(get(state_.expected), numerator));
}

std::array<double, curve_points> hit_ratios(const CurveState& state) noexcept {
    std::array<double, curve_points> ratios{};
    double noted = 0;
    for (const Word& uses : state.uses) noted += static_cast<double>(get(uses));
    const double expected = noted > 0 ? static_cast<double>(get(state.expected)) : 0;
    // Never below what the other distances have.
    const double nearest = static_cast<double>(get(state.uses[0]));
    double hits = std::max(0.0, nearest + expected - noted);
    const double total = noted - nearest + hits;
    for (std::size_t i = 0; i < curve_points && total > 0; ++i) {
        if (i > 0) hits += static_cast<double>(get(state.uses[i]));
        ratios[i] = std::min(1.0, hits / total);
    }
    return ratios;
}

}  // namespace tiercache
