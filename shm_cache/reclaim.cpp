#include "shm_cache/reclaim.hpp"

#include <algorithm>
#include <array>

#include "shm_cache/monotonic_time.hpp"
#include "shm_cache/parts.hpp"

namespace tiercache {

namespace {

// Units of the victim that a put looks at for each unit that it stores: the next block is free long before
// the open one is full, unless nearly all is kept; then kept_share takes hold.
constexpr std::uint64_t pace = 8;
// What a put without a free block empties at most, of so many victims: two blocks, or where blocks are small
// as many as this is. Then others, of which nothing is kept, until one is free: the first, unless readers
// pinned it meanwhile.
constexpr std::uint32_t emergency_bytes = std::uint32_t{512} << 10;
constexpr std::uint32_t emergency_blocks_min = 2;
constexpr int rounds_max = 16;
constexpr int last_rounds_max = 16;
// Times that a put or a copy forward tries to get room: each one lost means that another writer took it.
constexpr int room_attempts_max = 4;
// An open block that has not filled while all others were opened this many times over is sealed.
constexpr std::uint64_t idle_rounds = 2;
// A sealed block that has not had its turn while all others were opened this many times over gets it: what of
// it is dead would stay for ever in a main queue that nothing new comes to. Loops of more than so many times
// the cache have little to lose.
constexpr std::uint64_t forgotten_rounds = 16;
constexpr std::uint64_t shares = EvictionPolicy::shares;
// All that is alive is kept while no more than this of what was emptied lately was alive: three copies for
// each new item at most, less than `pace` can do. By the theory of log cleaning (Rosenblum, Ousterhout: "The
// design and implementation of a log-structured file system", 1992) live items then fill some six sevenths of
// the memory.
constexpr std::uint64_t live_share_max = shares * 3 / 4;
// "Lately": this part of all blocks.
constexpr std::uint64_t lately = 2;

}  // namespace

std::uint32_t Reclaimer::reserve_of(std::uint32_t block_count) noexcept {
    return block_count >= 256 ? 4 : block_count >= 8 ? 2 : 1;
}

void Reclaimer::adapt(const EvictionPolicy& best) noexcept {
    // Relaxed: as in policy(). Whoever fixes the policy at this moment may have to do so again.
    const std::uint64_t now = header_->policy.load(std::memory_order_relaxed);
    if (now != best.pack() && EvictionPolicy::unpack(now).adaptive) {
        header_->policy.store(best.pack(), std::memory_order_relaxed);
    }
}

bool Reclaimer::filling() const noexcept {
    // Relaxed: a number by itself.
    return header_->opened.load(std::memory_order_relaxed) + reserve_of(blocks_.count()) < blocks_.count();
}

BlockLife Reclaimer::victim() const noexcept {
    // Relaxed: whoever works on it looks at the block's state.
    return BlockLife::unpack(header_->victim.load(std::memory_order_relaxed));
}

bool Reclaimer::much_is_dead() const noexcept {
    // Relaxed: hints.
    const std::uint64_t emptied = header_->emptied_units.load(std::memory_order_relaxed);
    return emptied > 0 &&
           header_->live_units.load(std::memory_order_relaxed) * shares <= emptied * live_share_max;
}

void Reclaimer::note_emptied(std::uint64_t units, std::uint64_t live) noexcept {
    const std::uint64_t most = std::uint64_t{geometry_.units_per_block()} * blocks_.count() / lately;
    // Relaxed: hints; what a race loses is a small part of a mean.
    const std::uint64_t emptied = header_->emptied_units.fetch_add(units, std::memory_order_relaxed) + units;
    const std::uint64_t alive = header_->live_units.fetch_add(live, std::memory_order_relaxed) + live;
    if (emptied <= most) return;
    header_->emptied_units.store(most / 2, std::memory_order_relaxed);
    header_->live_units.store(alive * (most / 2) / emptied, std::memory_order_relaxed);
}

// ---- when ----------------------------------------------------------------------------------------

void Reclaimer::advance(std::uint64_t units) noexcept {
    const BlockLife life = victim();
    if (life == BlockLife::unpack(0)) return;
    const std::uint64_t words =
        std::clamp<std::uint64_t>(units * pace / BlockTable::units_per_word, 1, blocks_.start_words());
    work_on(life, static_cast<std::uint32_t>(words), Keep::by_policy);
}

bool Reclaimer::open_next(Stream stream, BlockLife full) noexcept {
    // The last free block is for the copies that a reclamation may need to make.
    const std::uint32_t wanted = policy().copy_forward ? 2 : 1;
    bool opened = false;
    // Each one lost means that other writers took what was free.
    for (int attempt = 0; !opened && attempt < room_attempts_max; ++attempt) {
        const bool hopeless = streams_.free_blocks() < wanted && !make_room(wanted);
        opened = streams_.open_next(stream, full);
        if (hopeless) break;
    }
    if (!opened) return false;
    const BlockLife last = victim();
    // Not the block that was opened just now.
    if (last == BlockLife::unpack(0)) choose_victim(last, Victims::sealed);
    return true;
}

bool Reclaimer::make_room(std::uint32_t wanted) noexcept {
    constexpr std::uint32_t word_bytes_covered = BlockTable::units_per_word * unit_bytes;
    std::uint32_t words =
        std::max(emergency_bytes / word_bytes_covered, emergency_blocks_min * blocks_.start_words());
    for (int round = 0; round < rounds_max && words > 0; ++round) {
        if (victim() == BlockLife::unpack(0)) choose_victim(victim(), Victims::any);
        if (streams_.free_blocks() >= wanted) return true;
        const BlockLife life = victim();
        if (life == BlockLife::unpack(0)) break;
        words -= work_on(life, std::min(words, blocks_.start_words()), Keep::by_policy);
    }
    // Readers may pin each victim while it is emptied. Nobody pins it anew once it is empty, so when they
    // have more empty ones in their hands than they can hold, one is free.
    for (int round = 0; round < last_rounds_max; ++round) {
        if (streams_.free_blocks() > 0) return true;
        if (victim() == BlockLife::unpack(0)) choose_victim(victim(), Victims::any);
        const BlockLife life = victim();
        if (life == BlockLife::unpack(0)) return false;
        work_on(life, blocks_.start_words(), Keep::nothing);
    }
    return streams_.free_blocks() > 0;
}

std::uint32_t Reclaimer::work_on(BlockLife life, std::uint32_t words, Keep keep) noexcept {
    std::uint32_t looked_at = 0;
    const BlockState state = life.block < blocks_.count() ? blocks_.state(life.block) : BlockState{};
    const bool sealed = state.phase == BlockPhase::sealed && state.generation == life.generation;
    if (sealed) {
        looked_at = evacuate(state, life, words, keep);
        if (!blocks_.evacuated(life.block)) return looked_at;
        // Where another process still pins it, its turn comes again, before all others.
        finish(life.block, state);
    }
    if (victim() == life) choose_victim(life, Victims::any);
    return looked_at;
}

// ---- which ---------------------------------------------------------------------------------------

// What one look at all blocks gave.
struct Reclaimer::Survey {
    struct Oldest {
        std::optional<BlockLife> life;
        std::uint64_t age = 0;
        void offer(BlockLife other, std::uint64_t other_age) noexcept {
            if (life && other_age <= age) return;
            life = other;
            age = other_age;
        }
    };
    std::uint64_t now_ns = 0;
    std::uint64_t opened = 0;
    std::uint32_t free = 0;
    std::optional<BlockLife> first;  // goes before all others
    std::array<StreamUse, stream_count> use{};
    std::array<Oldest, stream_count> sealed;
    Oldest open;  // of all streams
    // A bit for each block that somebody pins.
    std::array<std::uint64_t, block_count_max / 64> pinned{};
    [[nodiscard]] bool is_pinned(std::uint32_t block) const noexcept {
        return (pinned[block / 64] >> block % 64 & 1) != 0;
    }
};

void Reclaimer::choose_victim(BlockLife last, Victims victims) noexcept {
    Survey survey;
    survey.now_ns = monotonic_ns();
    survey.opened = header_->opened.load(std::memory_order_relaxed);
    processes_.for_each_pin([&](BlockLife life) {
        if (life.block < blocks_.count() && blocks_.state(life.block).generation == life.generation) {
            survey.pinned[life.block / 64] |= std::uint64_t{1} << life.block % 64;
        }
    });
    for (std::uint32_t b = 0; b < blocks_.count(); ++b) look_at(b, survey);
    std::optional<BlockLife> next;
    if (survey.free < reserve_of(blocks_.count())) {
        next = survey.first;
        if (!next) {
            if (const std::optional<Stream> stream = choose_stream(survey.use, policy())) {
                next = survey.sealed[stream->index()].life;
            } else if (victims == Victims::any && survey.free == 0 && survey.open.life) {
                // Nothing is sealed: the streams in use have all blocks open. The oldest goes.
                next = survey.open.life;
                streams_.seal(next->block, blocks_.state(next->block));
            }
        }
    }
    if (next && survey.free == 0) {
        blocks_.limit_kept(next->block,
                           std::uint64_t{geometry_.units_per_block()} * policy().kept_share / shares);
    }
    std::uint64_t expected = last.pack();
    // Relaxed: as in victim().
    header_->victim.compare_exchange_strong(expected, next ? next->pack() : 0, std::memory_order_relaxed);
}

void Reclaimer::look_at(std::uint32_t block, Survey& survey) noexcept {
    const BlockState state = blocks_.state(block);
    const BlockLife life{block, state.generation};
    const std::uint64_t age = blocks_.age(block, survey.opened);
    StreamUse& use = survey.use[state.stream.index()];
    switch (state.phase) {
        case BlockPhase::free:
            ++survey.free;
            return;
        case BlockPhase::open:
            ++use.blocks;
            // An orphan of a dead opener, or of a stream that nobody uses any more.
            if (streams_.open_block(state.stream) != life || age > idle_rounds * blocks_.count()) {
                streams_.seal(block, state);
            } else if (!survey.is_pinned(block)) {
                survey.open.offer(life, age);
            }
            return;
        case BlockPhase::sealed:
            ++use.blocks;
            if (survey.is_pinned(block)) return;
            ++use.ready;
            survey.sealed[state.stream.index()].offer(life, age);
            if (blocks_.all_expired(block, survey.now_ns) || blocks_.evacuated(block) ||
                age > forgotten_rounds * blocks_.count()) {
                survey.first = life;
            }
            return;
        case BlockPhase::reclaiming:
            if (!processes_.dead(state.owner)) return;
            break;
        case BlockPhase::invalid:
            break;
    }
    // Abandoned, or overwritten and so nobody's.
    if (take(block, state)) {
        recycle(block, {state.generation, BlockPhase::reclaiming, processes_.self(), state.stream});
        survey.free += blocks_.state(block).phase == BlockPhase::free ? 1 : 0;
    }
}

// ---- evacuation ----------------------------------------------------------------------------------

struct Reclaimer::Evacuation {
    BlockLife life;
    Stream stream;
    EvictionPolicy policy;
    Keep keep;
    std::uint64_t now_ns;
    bool all;                // is kept, by Keep::by_policy
    std::uint64_t live = 0;  // units
    std::uint64_t examined = 0;
    std::uint64_t moved = 0;
    std::uint64_t evicted = 0;
    std::uint64_t expired = 0;
};

std::uint32_t Reclaimer::evacuate(const BlockState& sealed, BlockLife life, std::uint32_t words,
                                  Keep keep) noexcept {
    const std::optional<Pin> pin = processes_.pin(life);
    if (!pin || blocks_.state_after_pin(life.block) != sealed) return 0;
    const std::uint32_t first = blocks_.claim_words(life.block, words);
    const std::uint32_t end = std::min(first + words, blocks_.start_words());
    Evacuation e{life, sealed.stream, policy(), keep, monotonic_ns(), much_is_dead()};
    evacuate_words(e, first, end);
    // The last word of the bitmap may stand for more units than the block has.
    const std::uint64_t units_end =
        std::min<std::uint64_t>(std::uint64_t{end} * BlockTable::units_per_word, geometry_.units_per_block());
    const std::uint64_t units_begin = std::uint64_t{first} * BlockTable::units_per_word;
    note_emptied(units_end - std::min(units_begin, units_end), e.live);
    processes_.count(evicted_items(sealed.stream.data_class), e.evicted);
    processes_.count(Counter::expired_items, e.expired);
    processes_.count(Counter::examined_items, e.examined);
    processes_.count(Counter::moved_items, e.moved);
    return end - first;
}

void Reclaimer::evacuate_words(Evacuation& e, std::uint32_t first, std::uint32_t end) noexcept {
    // Some items at a time: their places in the index are on the way while the next header is read.
    struct Item {
        std::uint32_t offset;
        ItemHeader header;
    };
    std::array<Item, 16> batch;
    std::size_t held = 0;
    const auto flush = [&] {
        for (std::size_t i = 0; i < held; ++i) evacuate_item(e, batch[i].offset, batch[i].header);
        held = 0;
    };
    blocks_.for_each_start(e.life.block, first, end, [&](std::uint32_t offset) {
        const ItemHeader header = load_item_header(blocks_.item(e.life.block, offset));
        if (header.generation != e.life.generation || header.offset != offset_mark(offset)) return;
        index_.candidates(header.place_hash).prefetch();
        ++e.examined;
        batch[held++] = {offset, header};
        if (held == batch.size()) flush();
    });
    flush();
}

void Reclaimer::evacuate_item(Evacuation& e, std::uint32_t offset, const ItemHeader& header) noexcept {
    const Index::ItemSlot slot = index_.find_item(header.place_hash, e.life, offset);
    if (slot.word == nullptr) return;
    const Word* item = blocks_.item(e.life.block, offset);
    const bool whole = fits_block(geometry_, offset, header.bytes());
    PartKey part{};
    const bool is_part = whole && read_part_key(item, header, part);
    Index::ItemSlot head;
    if (is_part) head = find_head(geometry_, blocks_, index_, part);
    bool expired = false;
    // A part whose head is gone is nobody's.
    if (whole && (!is_part || head.word != nullptr)) {
        expired = item_expires_at_ns(item) <= e.now_ns;
        if (!expired) e.live += header.units();
        const bool wanted = e.all || keeps(e.policy, e.stream.queue, slot.seen.frequency);
        if (!expired && e.keep == Keep::by_policy && e.policy.copy_forward && wanted &&
            keep_item(e, slot, offset, header) != Kept::no) {
            return;
        }
    }
    if (!is_part) {
        const std::uint64_t units = header.in_parts() ? geometry_.units_per_block() : header.units();
        drop_item(e, header.place_hash, slot, units, expired);
    } else if (Index::evict_item(slot)) {
        // One of its parts is gone, and so is the value; also one whose head came meanwhile.
        if (head.word == nullptr) head = find_head(geometry_, blocks_, index_, part);
        if (head.word != nullptr) {
            drop_item(e, place_hash({part.head, 0}), head, geometry_.units_per_block(), expired);
        }
    }
}

void Reclaimer::drop_item(Evacuation& e, std::uint64_t place_hash, const Index::ItemSlot& slot,
                          std::uint64_t units, bool expired) noexcept {
    if (!Index::evict_item(slot)) return;
    (expired ? e.expired : e.evicted) += 1;
    if (!expired && e.policy.ghosts && e.stream.queue == Queue::small) {
        index_.remember(place_hash, slot.seen.tag, units);
    }
}

Reclaimer::Kept Reclaimer::keep_item(Evacuation& e, const Index::ItemSlot& slot, std::uint32_t offset,
                                     const ItemHeader& header) noexcept {
    const std::uint64_t units = header.units();
    // Parts and heads are all kept: each would take its whole value along.
    const std::uint64_t units_max = std::uint64_t{geometry_.units_per_block()} * (header.in_parts() ? 2 : 1);
    if (!blocks_.keep_units(e.life.block, units, units_max)) return Kept::no;
    const std::optional<Place> place = reserve_main(e.stream.data_class, units);
    if (!place) return Kept::no;
    const Word* from = blocks_.item(e.life.block, offset);
    // As in Impl::store().
    before_write();
    copy_item(from, blocks_.item(place->life.block, place->offset), units, place->life.generation,
              offset_mark(place->offset));
    blocks_.note_expiry(place->life.block, item_expires_at_ns(from));
    blocks_.mark_start(place->life.block, place->offset);
    ++e.moved;
    return Index::move_item(slot, place->life, place->offset, e.policy) ? Kept::yes : Kept::gone;
}

std::optional<Place> Reclaimer::reserve_main(DataClass data_class, std::uint64_t units) noexcept {
    const Stream main{Queue::main, data_class};
    for (int attempt = 0; attempt < room_attempts_max; ++attempt) {
        const BlockLife open = streams_.open_block(main);
        if (std::optional<Place> place = streams_.reserve(main, open, units)) return place;
        if (!streams_.is_open(main, open) && !streams_.open_next(main, open)) return std::nullopt;
    }
    return std::nullopt;
}

// ---- recycling -----------------------------------------------------------------------------------

bool Reclaimer::finish(std::uint32_t block, const BlockState& sealed) noexcept {
    const bool expired = blocks_.all_expired(block, monotonic_ns());
    if (!take(block, sealed)) return false;
    if (expired) processes_.count(Counter::expired_blocks);
    return recycle(block, {sealed.generation, BlockPhase::reclaiming, processes_.self(), sealed.stream});
}

// R1 and R2, or the taking over of an abandoned block.
bool Reclaimer::take(std::uint32_t block, const BlockState& from) noexcept {
    const BlockState mine{from.generation, BlockPhase::reclaiming, processes_.self(), from.stream};
    if (!blocks_.change(block, from, mine)) return false;
    const bool readable = (from.generation & 1) == 0;
    if (readable && processes_.pinned({block, from.generation})) {
        blocks_.change(block, mine, {mine.generation, BlockPhase::sealed, {}, mine.stream});
        return false;
    }
    return true;
}

// R3 to R5. Fails only when the state word was overwritten.
bool Reclaimer::recycle(std::uint32_t block, BlockState state) noexcept {
    if ((state.generation & 1) == 0) {
        const BlockState odd{state.generation + 1, BlockPhase::reclaiming, state.owner, state.stream};
        if (!blocks_.change(block, state, odd)) return false;
        state = odd;
    }
    blocks_.clear(block);
    if (!blocks_.change(block, state, {state.generation + 1, BlockPhase::free, {}, {}})) return false;
    index_.scrub();
    processes_.count(Counter::reclaimed_blocks);
    return true;
}

}  // namespace tiercache
