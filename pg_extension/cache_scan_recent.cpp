#include "pg_extension/cache_scan_recent.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>

#include "pg_extension/settings.hpp"
#include "pg_extension/shared_state.hpp"

extern "C" {
#include <nodes/params.h>
#include <utils/inval.h>
#include <utils/memutils.h>
}

namespace tiercache::cache_scan::recent {

namespace {

// All answers of a backend have a MiB at most.
constexpr std::size_t slot_count = 128;
constexpr std::size_t answer_bytes_max = std::size_t{8} << 10;
constexpr std::size_t parameter_bytes_max = 256;
// One in so many recalls is a look-up.
constexpr std::uint32_t look_up_interval = 64;

struct Slot {
    std::uint64_t plan = 0;  // its number
    std::uint64_t parameters_hash = 0;
    Answer* answer = nullptr;
    std::uint32_t recalls = 0;  // of the answer, when another plan asked for the place
};

std::array<Slot, slot_count> slots;
MemoryContext context = nullptr;

// ---- which ----

class ParameterBytes {
 public:
    // Types, NULLs and values of the parameters that the statement refers to. False: they are not to be had,
    // or too long.
    [[nodiscard]] bool read(const Facts& facts, ParamListInfo parameters) {
        ListCell* cell = nullptr;
        foreach (cell, facts.parameters) {
            const int number = lfirst_int(cell);
            if (parameters == nullptr || number > parameters->numParams) return false;
            ParamExternData fetched{};
            if (!add(parameter_of(parameters, number, fetched))) return false;
        }
        return true;
    }
    [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return std::span(room_).first(used_); }

 private:
    struct Head {
        Oid type;
        std::uint32_t length;  // UINT32_MAX: NULL
    };
    [[nodiscard]] bool add(const ParamExternData& parameter) {
        if (!OidIsValid(parameter.ptype)) return false;
        std::span<const std::byte> bytes;
        if (!parameter.isnull) {
            const auto in_place = value_in_place(parameter.value, parameter.ptype);
            if (!in_place) return false;
            bytes = *in_place;
        }
        const Head head{parameter.ptype,
                        parameter.isnull ? UINT32_MAX : static_cast<std::uint32_t>(bytes.size())};
        if (bytes.size() > room_.size() || sizeof(head) + bytes.size() > room_.size() - used_) return false;
        std::memcpy(room_.data() + used_, &head, sizeof(head));
        used_ += sizeof(head);
        if (!bytes.empty()) std::memcpy(room_.data() + used_, bytes.data(), bytes.size());
        used_ += bytes.size();
        return true;
    }

    std::array<std::byte, parameter_bytes_max> room_;
    std::size_t used_ = 0;
};

[[nodiscard]] bool may_be_kept(const State& state) noexcept {
    return state.facts.settings == NIL && !state.stays_open && state.key.unambiguous &&
           settings::verify == static_cast<int>(settings::Verify::off);
}

// The place of an answer of this plan to these parameters, whoever has it now.
struct Place {
    Slot* slot;
    std::uint64_t parameters_hash;
    [[nodiscard]] bool is_of(std::uint64_t plan) const noexcept {
        return slot->plan == plan && slot->parameters_hash == parameters_hash;
    }
};

[[nodiscard]] Place place_of(std::uint64_t plan, std::span<const std::byte> parameters) noexcept {
    const std::uint64_t hash = parameters.empty() ? 0 : XXH3_64bits(parameters.data(), parameters.size());
    return {&slots[(plan + hash) % slot_count], hash};
}

[[nodiscard]] bool same_bytes(std::span<const std::byte> a, std::span<const std::byte> b) noexcept {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

// ---- rows ----

[[nodiscard]] std::span<const std::byte> bytes_of(const tuple_payload::Rows& rows) noexcept {
    if (rows.count == 0) return {};
    const MinimalTuple last = rows.rows[rows.count - 1];
    const auto* begin = reinterpret_cast<const std::byte*>(rows.rows[0]);
    return {begin, reinterpret_cast<const std::byte*>(last) + MAXALIGN(last->t_len)};
}

// The bytes of rows at `to`, and the rows' places there in `list`.
void put_rows(const tuple_payload::Rows& rows, std::span<const std::byte> bytes, std::byte* to,
              MinimalTuple* list) noexcept {
    if (rows.count == 0) return;
    std::memcpy(to, bytes.data(), bytes.size());
    for (std::uint64_t i = 0; i < rows.count; ++i) {
        list[i] = reinterpret_cast<MinimalTuple>(
            to + (reinterpret_cast<const std::byte*>(rows.rows[i]) - bytes.data()));
    }
}

// ---- kept ----

void forget(Slot& slot) noexcept {
    if (slot.answer != nullptr) pfree(slot.answer);
    slot.answer = nullptr;
}

// What the answer points to lies behind it.
class Layout {
 public:
    [[nodiscard]] std::size_t add(std::size_t bytes) noexcept {
        const std::size_t at = size_;
        size_ += MAXALIGN(bytes);
        return at;
    }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }

 private:
    std::size_t size_ = MAXALIGN(sizeof(Answer));
};

// nullptr: it is too large, or there is no memory.
[[nodiscard]] Answer* make_answer(const State& state, const EntryView& entry,
                                  std::span<const std::byte> parameters) {
    const std::span<const std::byte> row_bytes = bytes_of(state.rows);
    Layout layout;
    const std::size_t tags_at = layout.add(entry.tags.size() * sizeof(Tag));
    const std::size_t parameters_at = layout.add(parameters.size());
    const TupleDesc columns = state.node.ss.ps.ps_ResultTupleDesc;
    const std::size_t columns_at = layout.add(TupleDescSize(columns));
    const std::size_t rows_at = layout.add(row_bytes.size());
    const std::size_t list_at = layout.add(state.rows.count * sizeof(MinimalTuple));
    if (layout.size() > answer_bytes_max) return nullptr;
    if (context == nullptr) {
        context = AllocSetContextCreate(TopMemoryContext, "tiercache recent answers", ALLOCSET_DEFAULT_SIZES);
    }
    auto* room =
        static_cast<std::byte*>(MemoryContextAllocExtended(context, layout.size(), MCXT_ALLOC_NO_OOM));
    if (room == nullptr) return nullptr;

    auto* tags = reinterpret_cast<Tag*>(room + tags_at);
    for (std::size_t i = 0; i < entry.tags.size(); ++i) tags[i] = entry.tags[i];
    if (!parameters.empty()) std::memcpy(room + parameters_at, parameters.data(), parameters.size());
    TupleDesc own_columns = reinterpret_cast<TupleDesc>(room + columns_at);
    TupleDescCopy(own_columns, columns);
    auto* list = reinterpret_cast<MinimalTuple*>(room + list_at);
    put_rows(state.rows, row_bytes, room + rows_at, list);
    auto* answer = new (room) Answer();
    answer->scan = reinterpret_cast<const CustomScan*>(state.node.ss.ps.plan);
    answer->erasures = state.erasures;
    answer->fields = entry.fields;
    answer->key_hash = state.key.hash;
    answer->session = state.key.session;
    answer->tags = {tags, entry.tags.size()};
    answer->parameters = {room + parameters_at, parameters.size()};
    answer->columns = own_columns;
    answer->row_bytes = {room + rows_at, row_bytes.size()};
    answer->rows = {list, state.rows.count, state.rows.depends_on};
    return answer;
}

// May it be served, as a look-up would have it?
[[nodiscard]] bool is_good(const Answer& answer, std::uint64_t snapshot_clock) {
    if (pg_atomic_read_u64(&shared::state().erasures) != answer.erasures) return false;
    AcceptInvalidationMessages();
    return is_session_key(answer.session) && l4_cache::serves(answer.fields, answer.tags, snapshot_clock);
}

}  // namespace

const Answer* recall(const CustomScan* scan, const Facts& facts, ParamListInfo parameters,
                     std::uint64_t snapshot_clock) {
    ParameterBytes values;
    if (!values.read(facts, parameters)) return nullptr;
    const Place place = place_of(facts.number, values.bytes());
    Answer* answer = place.slot->answer;
    if (answer == nullptr || !place.is_of(facts.number) || answer->scan != scan ||
        !same_bytes(answer->parameters, values.bytes()) || ++answer->recalls % look_up_interval == 0 ||
        !is_good(*answer, snapshot_clock)) {
        return nullptr;
    }
    pg_atomic_fetch_add_u64(&shared::state().counters.recalled_hits, 1);
    return answer;
}

tuple_payload::Rows copy_rows(const Answer& answer) {
    const Size list_bytes = sizeof(MinimalTuple) * answer.rows.count;
    auto* room = static_cast<std::byte*>(palloc(answer.row_bytes.size() + list_bytes + 1));
    auto* list = reinterpret_cast<MinimalTuple*>(room + answer.row_bytes.size());
    put_rows(answer.rows, answer.row_bytes, room, list);
    return {list, answer.rows.count, answer.rows.depends_on};
}

std::uint64_t erasures_now() noexcept {
    const std::uint64_t erasures = pg_atomic_read_u64(&shared::state().erasures);
    // Before the look-up that follows.
    pg_memory_barrier();
    return erasures;
}

void keep(const State& state, const EntryView& entry) {
    ParameterBytes parameters;
    if (!may_be_kept(state) || !parameters.read(state.facts, state.node.ss.ps.state->es_param_list_info)) {
        return;
    }
    const Place place = place_of(state.facts.number, parameters.bytes());
    Slot& slot = *place.slot;
    if (!place.is_of(state.facts.number)) {
        // An answer in use stays: most plans run once.
        const bool in_use = slot.answer != nullptr && slot.answer->recalls != slot.recalls;
        if (in_use) {
            slot.recalls = slot.answer->recalls;
            return;
        }
        forget(slot);
        slot = {state.facts.number, place.parameters_hash};
        return;
    }
    forget(slot);
    slot.recalls = 0;
    slot.answer = make_answer(state, entry, parameters.bytes());
}

}  // namespace tiercache::cache_scan::recent
