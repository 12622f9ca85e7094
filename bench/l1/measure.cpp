#include "bench/l1/measure.hpp"

#include <algorithm>
#include <cstdio>

#include "bench/l1/crew.hpp"
#include "bench/l1/line_passing.hpp"

namespace bench {

namespace {

// A turn lasts about this long, whatever the store: long enough for caches to become its own.
constexpr double turn_ns = 60e6;
constexpr std::size_t batches_min = 20;
// The first quarter of a turn's batches does not count: another store's data is in the caches.
constexpr std::size_t lead_in = 4;

struct Samples {
    std::vector<double> ns_alone;
    std::vector<double> ns_together;
    std::vector<double> rates_together;
    std::vector<double> line_ns;
    std::uint64_t operations = 0;
    std::uint64_t misses = 0;
};

struct Subject {
    std::unique_ptr<Crew> crew;
    std::vector<Samples> samples;      // of each mix
    std::vector<std::size_t> batches;  // of a turn of each mix
};

void add(Samples& to, std::span<const Batch> batches, std::size_t size, std::vector<double>& ns) {
    for (const Batch& batch : batches) {
        ns.push_back(batch.ns() / static_cast<double>(size));
        to.misses += batch.misses;
    }
    to.operations += batches.size() * size;
}

// Throughput while both ran: pairs of batches that were at work together for most of their time.
void add_rates(Samples& to, std::span<const Batch> first, std::span<const Batch> second, std::size_t size) {
    for (std::size_t i = 0; i < first.size(); ++i) {
        const std::uint64_t begin = std::max(first[i].begin_ns, second[i].begin_ns);
        const std::uint64_t end = std::min(first[i].end_ns, second[i].end_ns);
        const double together = end > begin ? static_cast<double>(end - begin) : 0;
        if (together < 0.5 * std::min(first[i].ns(), second[i].ns())) continue;
        to.rates_together.push_back(1e9 * static_cast<double>(size) *
                                    (1 / first[i].ns() + 1 / second[i].ns()));
    }
}

void work_alone(Subject& subject, const Mix& mix, std::size_t m, std::size_t worker, std::size_t begin) {
    const std::size_t size = subject.crew->store().batch();
    const std::size_t batches = subject.batches[m];
    const std::size_t alone[] = {worker};
    const auto done = subject.crew->round(mix, alone, begin, batches);
    add(subject.samples[m], done[0].subspan(batches / lead_in), size, subject.samples[m].ns_alone);
}

void work_together(Subject& subject, const Mix& mix, std::size_t m, std::size_t begin) {
    const std::size_t size = subject.crew->store().batch();
    const std::size_t batches = subject.batches[m];
    Samples& samples = subject.samples[m];
    const std::size_t both[] = {0, 1};
    const auto done = subject.crew->round(mix, both, begin, batches);
    const auto first = done[0].subspan(batches / lead_in);
    const auto second = done[1].subspan(batches / lead_in);
    add(samples, first, size, samples.ns_together);
    add(samples, second, size, samples.ns_together);
    add_rates(samples, first, second, size);
}

void take_turn(Subject& subject, const Mix& mix, std::size_t m, int round) {
    const std::size_t operations = subject.batches[m] * subject.crew->store().batch();
    const std::size_t begin = static_cast<std::size_t>(round) * 2 * operations;
    // Each worker alone in every other round, and now before, now after both: neither processor and neither
    // place in the turn decides.
    const auto worker = static_cast<std::size_t>(round) / 2 % workers_max;
    if (round % 2 == 0) work_together(subject, mix, m, begin);
    work_alone(subject, mix, m, worker, begin + operations);
    if (round % 2 != 0) work_together(subject, mix, m, begin);
}

// Not counted: warms caches up, and tells how many batches make a turn.
void warm_up(Subject& subject, const Mix& mix, std::size_t m) {
    if (mix.writes_per_1000 > 0 && !subject.crew->store().has_writes()) return;
    subject.batches[m] = batches_min;
    take_turn(subject, mix, m, 0);
    const double batch_ns =
        quantile(subject.samples[m].ns_alone, 0.5) * static_cast<double>(subject.crew->store().batch());
    subject.batches[m] = std::clamp(static_cast<std::size_t>(turn_ns / batch_ns), batches_min, batches_max);
    subject.samples[m] = {};
}

// Mix after mix, so that what one of them wrote does not disturb the one before it.
void run_mix(std::vector<Subject>& subjects, const Plan& plan, std::size_t m) {
    for (Subject& subject : subjects) warm_up(subject, plan.mixes[m], m);
    for (int round = 1; round <= plan.rounds; ++round) {
        const double line_ns = line_passing_ns();
        std::fprintf(stderr, "# %s, round %d of %d; a line passes between the processors in %.0f ns\n",
                     plan.mixes[m].name, round, plan.rounds, line_ns);
        for (Subject& subject : subjects) {
            if (subject.batches[m] == 0) continue;
            take_turn(subject, plan.mixes[m], m, round);
            subject.samples[m].line_ns.push_back(line_ns);
        }
    }
}

Figures figures_of(Samples& samples) {
    Figures f;
    f.ns_alone = quantile(samples.ns_alone, 0.5);
    f.ns_together = quantile(samples.ns_together, 0.5);
    f.rate_alone = 1e9 / f.ns_alone;
    f.rate_together = quantile(samples.rates_together, 0.5);
    f.line_ns = quantile(samples.line_ns, 0.5);
    f.hit_ratio = 1 - static_cast<double>(samples.misses) / static_cast<double>(samples.operations);
    return f;
}

}  // namespace

double quantile(std::vector<double>& values, double share) {
    if (values.empty()) return 0;
    const auto at = static_cast<std::size_t>(share * static_cast<double>(values.size() - 1));
    std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(at));
    return values[at];
}

std::vector<StoreFigures> measure(const Plan& plan) {
    const Workload workload(plan.key_count, plan.value_bytes);
    std::vector<Subject> subjects;
    for (const StoreMaker& make : plan.stores) {
        StorePointer store = make(workload);
        std::fprintf(stderr, "# loading %u keys of %zu bytes: %s\n", plan.key_count, plan.value_bytes,
                     store->name().c_str());
        subjects.push_back({std::make_unique<Crew>(std::move(store)), std::vector<Samples>(plan.mixes.size()),
                            std::vector<std::size_t>(plan.mixes.size())});
    }
    for (std::size_t m = 0; m < plan.mixes.size(); ++m) run_mix(subjects, plan, m);
    std::vector<StoreFigures> result;
    for (Subject& subject : subjects) {
        StoreFigures figures{subject.crew->store().name(), {}};
        for (std::size_t m = 0; m < plan.mixes.size(); ++m) {
            if (subject.batches[m] > 0) figures.mixes[plan.mixes[m].name] = figures_of(subject.samples[m]);
        }
        result.push_back(std::move(figures));
    }
    return result;
}

}  // namespace bench
