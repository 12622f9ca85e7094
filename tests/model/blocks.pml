/*
 * The life of a block: open, append, publish, pin, reclaim, copy forward, take over; any process may be killed
 * or stopped before any of its steps. A step is one access to shared memory (sequentially consistent).
 *
 * Checked at each step that matters:
 *   - bytes are written only to a block whose generation is the one the writer pinned
 *   - a copying reader that saw one generation before and after has one put's bytes, and so has a view
 *   - a view's bytes stay as they are for as long as it is pinned
 * and when everybody is done or dead, after one maintenance pass of a new process:
 *   - every block is FREE, SEALED or the open one of its stream, with an even generation
 *   - all that nobody living pins can be reclaimed, so a put succeeds
 *
 * -DMUTANT_... breaks one rule each; tests/system/model.sh expects spin to find every one of them.
 *
 * A block has room for one item, an item is two halves that are written one after the other, and there is one
 * key: what races is the same with more of them.
 */

#ifndef PUTS
#define PUTS 2
#endif
#ifndef PUTS2
#define PUTS2 PUTS
#endif
#ifndef ROUNDS
#define ROUNDS 5
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef BLOCKS
#define BLOCKS 3
#endif
#ifndef READS
#define READS 1
#endif
#ifndef STREAMS
#define STREAMS 2 /* small, main */
#endif

/* Process slots: two for writers, one for the view, one for who comes after all. */
#define VIEWER 2
#define LAST 3
#define SLOTS 4
#define NOBODY 255

/* ---- words ---- */
#define FREE 1
#define OPEN 2
#define SEALED 3
#define RECLAIMING 4
/* generation | phase 3 | stream 1 | owner slot 3 | owner incarnation 2 */
#define STATE(g, p) ((g) << 9 | (p) << 6)
#define OPENED(g, s) (STATE(g, OPEN) | (s) << 5)
#define OWNED(g, slot, life) (STATE(g, RECLAIMING) | (slot) << 2 | (life))
#define GENERATION(w) ((w) >> 9)
#define PHASE(w) (((w) >> 6) & 7)
#define STREAM(w) (((w) >> 5) & 1)
#define OWNER(w) (((w) >> 2) & 7)
#define INCARNATION(w) ((w) & 3)
/* A block in one of its lives; never 0. */
#define LIFE(b, g) ((g) << 3 | ((b) + 1))
#define LIFE_BLOCK(w) (((w) & 7) - 1)
#define LIFE_GENERATION(w) ((w) >> 3)

/* ---- shared memory ---- */
short state[BLOCKS];
short open_word[STREAMS];
byte reserved[BLOCKS];
bool start[BLOCKS];
byte first_half[BLOCKS];
byte second_half[BLOCKS];
byte taken_in[BLOCKS];         /* not in memory: the generation in which the place was last reserved */
byte index_slot;               /* the life of the block that the key's item lies in, or 0 */
byte pin[SLOTS];
byte identity[SLOTS];          /* incarnation << 1 | taken */

/* ---- the kernel ---- */
byte lock_holder[SLOTS];       /* the process (by number) that holds the slot's lock, or NOBODY */
bool killed[7];
bool over[7];                  /* done, or dead */
byte deaths;

#define TAKEN(slot) ((identity[slot] & 1) == 1)
#define LIFE_OF(slot) (identity[slot] >> 1)

inline compare_exchange(word, expected, desired) {
    atomic {
        if
        :: word == expected -> word = desired; swapped = true
        :: else -> swapped = false
        fi
    }
}

/* A byte of an item is written: is the block still in the life that the writer reserved from? */
#define may_write(life)                                                        \
    assert(GENERATION(state[LIFE_BLOCK(life)]) == LIFE_GENERATION(life) &&     \
           LIFE_GENERATION(life) % 2 == 0 && PHASE(state[LIFE_BLOCK(life)]) != FREE)

/* Block i was FREE a moment ago: make it the open one of stream s in place of the one that it names. */
inline open_free(s, expected_life) {
    seen = state[i];
    if
    :: PHASE(seen) == FREE ->
        compare_exchange(state[i], seen, OPENED(GENERATION(seen), s));
        if
        :: swapped ->
            compare_exchange(open_word[s], expected_life, LIFE(i, GENERATION(seen)));
            if
            :: !swapped -> /* another was first; ours is an orphan, sealed by us or by whoever looks */
                compare_exchange(state[i], OPENED(GENERATION(seen), s), STATE(GENERATION(seen), SEALED))
            :: else
            fi
        :: else
        fi
    :: else
    fi
}

/* The fetch_add. A place is given out once in a life of its block. */
inline reserve(at) {
    d_step {
        room = (reserved[LIFE_BLOCK(at)] == 0);
        reserved[LIFE_BLOCK(at)] = 1;
        if
        :: room ->
            assert(taken_in[LIFE_BLOCK(at)] != LIFE_GENERATION(at));
            taken_in[LIFE_BLOCK(at)] = LIFE_GENERATION(at)
        :: else
        fi
    }
}

inline bury(dead) {
    atomic {
        if
        :: lock_holder[dead] == NOBODY -> lock_holder[dead] = _pid; swapped = true
        :: else -> swapped = false
        fi
    }
    if
    :: swapped ->
        pin[dead] = 0;
        identity[dead] = LIFE_OF(dead) << 1;
        lock_holder[dead] = NOBODY
    :: else
    fi
}

inline scan_pins(b) {
    i = 0;
    pinned = false;
    do
    :: i < SLOTS ->
        if
        :: TAKEN(i) ->
            if
            :: pin[i] == LIFE(b, GENERATION(seen)) ->
#ifdef MUTANT_PINS_OF_THE_DEAD_HOLD
                pinned = true
#else
                if
                :: lock_holder[i] != NOBODY -> pinned = true
                :: else -> bury(i)
                fi
#endif
            :: else
            fi
        :: else
        fi;
        i++
    :: else -> break
    od
}

inline copy_forward(b) {
    to = open_word[STREAMS - 1];
    if
    :: state[LIFE_BLOCK(to)] != OPENED(LIFE_GENERATION(to), STREAMS - 1) ->
        /* No room at hand: one free block, or the item is dropped. */
        i = 0;
        do
        :: i < BLOCKS && PHASE(state[i]) == FREE -> open_free(STREAMS - 1, to); break
        :: i < BLOCKS && PHASE(state[i]) != FREE -> i++
        :: i >= BLOCKS -> break
        od;
        to = open_word[STREAMS - 1]
    :: else
    fi;
    pin[slot] = to;
    if
    :: state[LIFE_BLOCK(to)] == OPENED(LIFE_GENERATION(to), STREAMS - 1) ->
        reserve(to);
        if
        :: room ->
            atomic { may_write(to); first_half[LIFE_BLOCK(to)] = first_half[b] }
            atomic { may_write(to); second_half[LIFE_BLOCK(to)] = second_half[b] }
            start[LIFE_BLOCK(to)] = true;
            compare_exchange(index_slot, LIFE(b, GENERATION(mine)), to)
        :: else
        fi
    :: else
    fi;
    pin[slot] = 0;
    /* Not copied: dropped. Copied: names another place. */
    compare_exchange(index_slot, LIFE(b, GENERATION(mine)), 0)
}

/* R3. With copies a reclaimer is a writer too: of the item's bytes as they are. */
inline keep_or_drop(b) {
    if
    :: start[b] && index_slot == LIFE(b, GENERATION(mine)) ->
        if
        :: compare_exchange(index_slot, LIFE(b, GENERATION(mine)), 0)
        :: copy_forward(b)
        fi
    :: else
    fi
}

inline clear(b) {
    start[b] = false;
    reserved[b] = 0
}

/* R5 and R6, from an odd generation. */
inline finish(b) {
#ifndef MUTANT_FREE_BEFORE_CLEAR
    clear(b);
#endif
#ifdef MUTANT_GENERATION_COMES_BACK
    compare_exchange(state[b], mine, STATE(GENERATION(mine) - 1, FREE));
#else
    compare_exchange(state[b], mine, STATE(GENERATION(mine) + 1, FREE));
#endif
    done = swapped;
#ifdef MUTANT_FREE_BEFORE_CLEAR
    clear(b)
#endif
}

/* ---- reclamation of block b, R1 to R6. `done`: there is a free block more. ---- */
inline reclaim(b) {
    done = false;
    seen = state[b];
    take = false;
    if
    :: PHASE(seen) == SEALED -> take = true
#ifndef MUTANT_ORPHANS_STAY
    :: PHASE(seen) == OPEN ->
        /* An OPEN block that its stream's word does not name: its opener died, or is on its way. */
        if
        :: open_word[STREAM(seen)] != LIFE(b, GENERATION(seen)) ->
            compare_exchange(state[b], seen, STATE(GENERATION(seen), SEALED));
            atomic {
                take = swapped;
                seen = (swapped -> STATE(GENERATION(seen), SEALED) : seen)
            }
        :: else
        fi
#endif
#ifndef MUTANT_NO_TAKEOVER
    :: PHASE(seen) == RECLAIMING ->
#ifdef MUTANT_LIVING_OWNER_IS_ROBBED
        take = true
#else
        /* Another life has the slot, or nobody, or its lock is free. */
        if
        :: LIFE_OF(OWNER(seen)) != INCARNATION(seen) || !TAKEN(OWNER(seen)) -> take = true
        :: else ->
            take = (lock_holder[OWNER(seen)] == NOBODY)
        fi
#endif
#endif
    :: else
    fi;
    if
    :: take ->
#ifdef MUTANT_PINS_BEFORE_STATE
        scan_pins(b);
#endif
        mine = OWNED(GENERATION(seen), slot, LIFE_OF(slot));
        /* R1 */
        compare_exchange(state[b], seen, mine);
        if
        :: swapped ->
            if
            :: GENERATION(mine) % 2 == 0 ->
#ifndef MUTANT_PINS_BEFORE_STATE
                scan_pins(b);
#endif
                if
                :: pinned -> /* R2 */
                    compare_exchange(state[b], mine, STATE(GENERATION(mine), SEALED))
                :: else ->
                    keep_or_drop(b);
                    /* R4 */
                    compare_exchange(state[b], mine, OWNED(GENERATION(mine) + 1, slot, LIFE_OF(slot)));
                    if
                    :: swapped -> mine = OWNED(GENERATION(mine) + 1, slot, LIFE_OF(slot)); finish(b)
                    :: else
                    fi
                fi
            :: else -> finish(b)
            fi
        :: else
        fi
    :: else
    fi
}

inline append(s) {
    pin[slot] = life;
#ifndef MUTANT_NO_SECOND_LOOK
    if
    :: state[LIFE_BLOCK(life)] != OPENED(LIFE_GENERATION(life), s) -> skip
    :: else ->
#endif
        reserve(life);
        if
        :: room ->
            atomic { may_write(life); first_half[LIFE_BLOCK(life)] = value }
            atomic { may_write(life); second_half[LIFE_BLOCK(life)] = value }
            start[LIFE_BLOCK(life)] = true;
            index_slot = life; /* the CAS of whatever is there */
            stored = true
        :: else ->
            compare_exchange(state[LIFE_BLOCK(life)], OPENED(LIFE_GENERATION(life), s),
                             STATE(LIFE_GENERATION(life), SEALED))
        fi
#ifndef MUTANT_NO_SECOND_LOOK
    fi
#endif
    ;
    pin[slot] = 0
}

inline make_room(s) {
    block = 0;
    do
    :: block < BLOCKS && PHASE(state[block]) == FREE -> i = block; open_free(s, life); break
    :: block < BLOCKS && PHASE(state[block]) != FREE -> block++
    :: block >= BLOCKS ->
        block = 0;
        do
        :: block < BLOCKS ->
            reclaim(block);
            if
            :: done -> break
            :: else -> block++
            fi
        :: else -> failed = true; break
        od;
        break
    od
}

/* What no later step reads is one state, not many. */
inline forget() {
    d_step {
        seen = 0; mine = 0; life = 0; to = 0; i = 0; block = 0; rounds = 0; value = 0;
        swapped = false; take = false; pinned = false; room = false; done = false; failed = false
    }
}

/* One put. `stored`: it is in the index. */
inline put(s) {
    d_step { stored = false; failed = false; value = slot * 4 + n + 1; rounds = 0 }
    do
    :: stored || failed || rounds >= ROUNDS -> break
    :: else ->
        rounds++;
        life = open_word[s];
        if
        :: state[LIFE_BLOCK(life)] == OPENED(LIFE_GENERATION(life), s) -> append(s)
        :: else -> make_room(s)
        fi
    od;
    forget()
}

#define LOCALS                                                                 \
    short seen, mine;                                                          \
    byte life, to, i, block, rounds, value, n;                                 \
    bool swapped, take, pinned, room, done, stored, failed

/* A process slot of one's own: the lock, then a new life of the slot. */
inline attach() {
    atomic { lock_holder[slot] == NOBODY -> lock_holder[slot] = _pid }
    pin[slot] = 0;
    identity[slot] = (LIFE_OF(slot) + 1) << 1 | 1
}
inline detach() {
    identity[slot] = LIFE_OF(slot) << 1;
    lock_holder[slot] = NOBODY
}

proctype Writer(byte slot; byte puts) {
    LOCALS;
    {
        attach();
        do
        :: n < puts -> put(n % STREAMS); n++
        :: else -> break
        od;
        detach()
    } unless { killed[_pid] };
    over[_pid] = true
}

/* A copying reader: pins nothing, writes nothing. */
proctype Reader() {
    byte found, a, z, n;
    do
    :: n < READS ->
        found = index_slot;
        if
        :: found != 0 && GENERATION(state[LIFE_BLOCK(found)]) == LIFE_GENERATION(found) ->
            a = first_half[LIFE_BLOCK(found)];
            z = second_half[LIFE_BLOCK(found)];
            d_step {
                if
#ifdef MUTANT_READER_LOOKS_ONCE
                :: true -> assert(a == z && a != 0)
#else
                :: GENERATION(state[LIFE_BLOCK(found)]) == LIFE_GENERATION(found) -> assert(a == z && a != 0)
#endif
                :: else
                fi;
                a = 0;
                z = 0
            }
        :: else
        fi;
        n++
    :: else -> break
    od;
    over[_pid] = true
}

/* A view: the block is pinned for as long as somebody looks at the bytes. */
proctype View(byte slot) {
    byte found, a;
    short seen;
    {
        attach();
        found = index_slot;
        if
        :: found != 0 ->
            pin[slot] = found;
            seen = state[LIFE_BLOCK(found)];
            if
#ifdef MUTANT_VIEW_OF_A_RECLAIMED_BLOCK
            :: GENERATION(seen) == LIFE_GENERATION(found) ->
#else
            :: GENERATION(seen) == LIFE_GENERATION(found) && PHASE(seen) != RECLAIMING ->
#endif
                a = first_half[LIFE_BLOCK(found)];
                assert(a != 0 && a == second_half[LIFE_BLOCK(found)]);
                assert(a == first_half[LIFE_BLOCK(found)] && a == second_half[LIFE_BLOCK(found)] &&
                       GENERATION(state[LIFE_BLOCK(found)]) == LIFE_GENERATION(found))
            :: else
            fi;
            pin[slot] = 0
        :: else
        fi;
        detach()
    } unless { killed[_pid] };
    over[_pid] = true
}

proctype Nobody() { over[_pid] = true }

/* SIGKILL: the process takes no more steps, and the kernel drops its locks. */
inline kill_process(victim) {
    d_step {
        killed[victim] = true;
        deaths++;
        i = 0;
        do
        :: i < SLOTS && lock_holder[i] == victim -> lock_holder[i] = NOBODY; i++
        :: i < SLOTS && lock_holder[i] != victim -> i++
        :: else -> break
        od
    }
}
proctype Killer() {
    byte i;
    do
    :: deaths < DEATHS && !over[1] && !killed[1] -> kill_process(1)
    :: deaths < DEATHS && !over[2] && !killed[2] -> kill_process(2)
    :: deaths < DEATHS && !over[3] && !killed[3] -> kill_process(3)
    :: break
    od
}

/* After all: one maintenance pass, then a put. Nothing that the dead held is left. */
proctype Last(byte slot) {
    LOCALS;
    over[1] && over[2] && over[3] && over[4];
    attach();
    do
    :: n < BLOCKS -> reclaim(n); n++
    :: else -> break
    od;
    n = 0;
    do
    :: n < BLOCKS ->
        d_step {
            seen = state[n];
            assert(GENERATION(seen) % 2 == 0);
            assert(PHASE(seen) == FREE ||
                   PHASE(seen) == OPEN && open_word[STREAM(seen)] == LIFE(n, GENERATION(seen)));
            n++
        }
    :: else -> break
    od;
    put(0);
    assert(stored)
}

init {
    byte i;
    d_step {
        i = 0;
        do
        :: i < BLOCKS -> state[i] = STATE(2, FREE); i++
        :: else -> break
        od;
        i = 0;
        do
        :: i < SLOTS -> lock_holder[i] = NOBODY; i++
        :: else -> break
        od;
        i = 0;
        do
        :: i < STREAMS -> open_word[i] = LIFE(i, 2); state[i] = OPENED(2, i); i++
        :: else -> break
        od;
        i = 0
    }
    atomic {
        run Writer(0, PUTS);
        run Writer(1, PUTS2);
#ifdef THIRD_WRITER_IN_SLOT_0
        run Writer(0, 0);
#else
#ifdef VIEWS
        run View(VIEWER);
#else
        run Nobody();
#endif
#endif
#if READS > 0
        run Reader();
#else
        run Nobody();
#endif
        run Last(LAST);
        run Killer()
    }
}
