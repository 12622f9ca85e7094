#include "demo/reads.hpp"

#include <fmt/format.h>

#include <string_view>
#include <vector>

namespace tiercache::demo {

namespace {

constexpr std::size_t uncached_runs_min = 3;
// A machine that stands still for a moment may cost hits (a lease that ran out, a late Redis), which is no
// fault.
constexpr int attempts_max = 3;

// One query's way through the tiers.
class QueryReads {
 public:
    QueryReads(Stage& stage, const SqlFile& query, double seconds, Verdict& verdict)
        : stage_(stage), query_(query), seconds_(seconds), verdict_(verdict) {
        result_.query = query.name;
    }

    QueryLatencies run() {
        uncached();
        l4_from_psql();
        l4_from_app();
        l1();
        second_process();
        l2();
        return result_;
    }

 private:
    void uncached() {
        std::vector<double> samples;
        const SteadyTime begin = steady_now();
        while (
            samples.size() < uncached_runs_min ||
            (samples.size() < uncached_runs_max && nanoseconds(begin, steady_now()) < 2 * seconds_ * 1e9)) {
            const SteadyTime start = steady_now();
            answer_ = stage_.database.run(query_.sql);
            samples.push_back(nanoseconds(start, steady_now()));
            const std::string wire = wire_bytes(answer_.get());
            if (wire_.empty()) wire_ = wire;
            verdict_.judge(query_.name, "uncached, again", wire, wire_);
        }
        result_.uncached = summarise(samples);
        result_.rows = static_cast<std::size_t>(PQntuples(answer_.get()));
        result_.bytes = wire_.size();
    }

    void l4_from_psql() {
        const std::string call = query_call(stage_.database, query_.sql, answer_.get());
        (void)stage_.psql.run(call, 1);  // fills
        const Psql::Session session = run_hits(call, psql_runs);
        result_.l4 = summarise(session.latencies_ns);
        judge_all("L4 psql, query()", session.outputs, psql_text(answer_.get()));

        const std::string json_call = query_json_call(query_.sql);
        (void)stage_.psql.run(json_call, 1);
        judge_all("L4 psql, query_json()", run_hits(json_call, 2).outputs,
                  run_uncached(stage_.database, query_.sql).json + "\n");
    }

    // Every run must be a hit, as the server counts them.
    Psql::Session run_hits(const std::string& call, std::size_t runs) {
        const std::size_t before = server_hits();
        Psql::Session session = stage_.psql.run(call, runs);
        const std::size_t hits = server_hits() - before;
        if (hits != runs) {
            verdict_.complain(query_.name, fmt::format("L4 psql: {} of {} runs were hits", hits, runs));
        }
        return session;
    }

    std::size_t server_hits() {
        return std::stoul(stage_.database.value("SELECT hits FROM tiercache.stats"));
    }

    void judge_all(std::string_view where, const std::vector<std::string>& answers,
                   const std::string& expected) {
        for (const std::string& answer : answers) verdict_.judge(query_.name, where, answer, expected);
    }

    void l4_from_app() {
        for (int turn = 0; turn < 2; ++turn) {
            const Read read = stage_.direct.read(query_.sql);
            verdict_.judge(query_.name, stage_.direct.name(), read.payload, wire_);
        }
    }

    void l1() {
        // Fills, from L4 or from what an earlier run left in Redis.
        verdict_.judge(query_.name, stage_.app.name(), stage_.app.read(query_.sql).payload, wire_);
        result_.l1 = measure(stage_.app, Tier::l1, l1_effort());
    }

    void second_process() { result_.second = measure(stage_.second, Tier::l1, l1_effort()); }

    void l2() {
        result_.l2 = measure(stage_.remote, Tier::l2,
                             {.samples = l2_samples_max, .in_batches = false, .seconds = seconds_});
    }

    [[nodiscard]] Effort l1_effort() const {
        return {.samples = l1_samples_max, .in_batches = true, .seconds = seconds_};
    }

    Latency measure(ReaderProcess& reader, Tier tier, const Effort& effort) {
        Measurement measured;
        for (int attempt = 0; attempt < attempts_max; ++attempt) {
            measured = reader.measure(query_.sql, tier, effort);
            verdict_.judge(query_.name, reader.name(), measured.payload, wire_);
            verdict_.count(query_.name, reader.name(), measured.compared, measured.differing);
            if (measured.elsewhere == 0 && measured.l4_answers == 0) return measured.latency;
        }
        verdict_.complain(
            query_.name, fmt::format("{}: {} of {} reads were no hits of that tier, {} asked PostgreSQL",
                                     reader.name(), measured.elsewhere, measured.reads, measured.l4_answers));
        return measured.latency;
    }

    Stage& stage_;
    const SqlFile& query_;
    double seconds_;
    Verdict& verdict_;
    QueryLatencies result_;
    PgResultPtr answer_{nullptr, &PQclear};
    std::string wire_;
};

// A dollar quote that does not occur in `text`.
std::string dollar_quoted(const std::string& text) {
    std::string tag = "$$";
    for (int number = 1; text.find(tag) != std::string::npos; ++number) tag = fmt::format("$q{}$", number);
    return tag + text + tag;
}

}  // namespace

std::string query_call(Database& database, const std::string& sql, const PGresult* shape) {
    return fmt::format("SELECT * FROM tiercache.query({}) AS t ({})", dollar_quoted(sql),
                       database.column_definitions(shape));
}

std::string query_json_call(const std::string& sql) {
    return fmt::format("SELECT tiercache.query_json({})", dollar_quoted(sql));
}

Uncached run_uncached(Database& database, const std::string& sql) {
    const PgResultPtr answer = database.run(sql);
    return {.wire = wire_bytes(answer.get()),
            .json = database.value(fmt::format("SELECT coalesce(json_agg(q), '[]') FROM ({}) AS q", sql))};
}

QueryLatencies measure_query(Stage& stage, const SqlFile& query, double seconds, Verdict& verdict) {
    return QueryReads(stage, query, seconds, verdict).run();
}

}  // namespace tiercache::demo
