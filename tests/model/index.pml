/*
 * The slots of one key (shm_cache/index.hpp): puts that find the key absent, puts that replace it, an erasure, a copy
 * forward, another key's item that comes and goes, a reader, and SIGKILL of a writer anywhere.
 *
 * A key has at most one visible slot. A reader never gets a value after a newer one: once it has read another value, one
 * whose put is over, returned or killed, does not come back.
 *
 *   word  0 empty, 1 another key's item, else value << 2 | place << 1 | pending
 *
 * A copy forward moves a value from place 0 to place 1, and then recycles place 0. -DMUTANT_... breaks one rule each.
 */
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 2
#endif
#ifndef PUTS
#define PUTS 1
#endif
#ifndef READS
#define READS 0
#endif
#define OTHER 1
#define VALUES 5
#define WORD(value, pending) ((value) << 2 | (pending))
#define VALUE(word) ((word) >> 2)
#define MOVED(word) ((word) >> 1 & 1)
#define PENDING(word) ((word) & 1)
#define OURS(word) ((word) > 3)
#define VISIBLE(word) (OURS(word) && !PENDING(word))
#define NONE 255

byte slot[SLOTS];
bool recycled[VALUES];
bool over[VALUES]; /* the put has returned, or its writer is dead */
bool gone[VALUES];
bool killed;

inline check_visible() {
    d_step {
        k = 0;
        visible = 0;
        do
        :: k < SLOTS && VISIBLE(slot[k]) -> visible++; k++
        :: k < SLOTS && !VISIBLE(slot[k]) -> k++
        :: k >= SLOTS -> break
        od;
#ifndef READER_ALONE
        assert(visible <= 1);
#endif
        k = 0;
        visible = 0;
    }
}

inline compare_exchange(word, from, to) {
    atomic {
        if
        :: word == from -> word = to; swapped = true
        :: else -> swapped = false
        fi;
        check_visible()
    }
}

/* Does slot s hold the key? `seen` is the word that was judged. */
inline holds_key(s) {
    do
    :: true ->
        seen = slot[s];
        held = false;
        if
        :: !OURS(seen) -> break
        :: else ->
            if
            :: MOVED(seen) || !recycled[VALUE(seen)] -> held = true; break
            :: else ->
#ifdef MUTANT_MOVED_IS_ABSENT
                break
#else
                /* Leads nowhere: only when it is still the same word is it not the key's. */
                if
                :: slot[s] == seen -> break
                :: else
                fi
#endif
            fi
        fi
    od
}

inline choose() {
    own = NONE;
    free = NONE;
    s = 0;
    do
    :: s < SLOTS ->
        holds_key(s);
        if
        :: held && !PENDING(seen) -> own = s; expected = seen; break
        :: else
        fi;
        if
        :: free == NONE && (held || seen != OTHER) -> free = s; expected_free = seen
        :: else
        fi;
        s++
    :: else -> break
    od
}

/* Is the key in no other slot than `free`? */
inline search() {
    sole = true;
#ifndef MUTANT_NO_SEARCH
    s = 0;
    do
    :: s < SLOTS && s == free -> s++
    :: s < SLOTS && s != free ->
        holds_key(s);
        if
        :: !held -> s++
        :: held && PENDING(seen) ->
#ifdef MUTANT_PENDING_IS_LEFT
            s++
#else
            compare_exchange(slot[s], seen, 0)
#endif
        :: held && !PENDING(seen) ->
#ifdef MUTANT_VISIBLE_IS_LEFT
            s++
#else
            sole = false;
            break
#endif
        :: else
        fi
    :: else -> break
    od
#endif
}

inline put(value) {
    attempt = 0;
    do
    :: attempt < ATTEMPTS ->
        attempt++;
        choose();
        if
        :: own != NONE ->
            compare_exchange(slot[own], expected, WORD(value, 0));
            if
            :: swapped -> break
            :: else
            fi
        :: own == NONE && free != NONE ->
#ifdef MUTANT_VISIBLE_AT_ONCE
            compare_exchange(slot[free], expected_free, WORD(value, 0));
            if
            :: swapped -> search(); break
            :: else
            fi
#else
            compare_exchange(slot[free], expected_free, WORD(value, 1));
            if
            :: swapped ->
                search();
#ifdef MUTANT_CONFIRMED_WITHOUT_LOOKING
                if
                :: sole -> atomic { slot[free] = WORD(value, 0); check_visible() }; break
#else
                if
                :: sole ->
                    compare_exchange(slot[free], WORD(value, 1), WORD(value, 0));
                    if
                    :: swapped -> break
                    :: else
                    fi
#endif
                :: else -> compare_exchange(slot[free], WORD(value, 1), 0)
                fi
            :: else
            fi
#endif
        :: else
        fi
    :: else -> break
    od;
    skip;
    d_step { over[value] = true; s = 0; seen = 0; held = false; own = 0; free = 0; expected = 0; expected_free = 0; swapped = false; sole = false; attempt = 0 }
}

#define LOCALS                                                                     \
    byte s, seen, own, free, expected, expected_free, attempt, k, visible;         \
    bool held, swapped, sole

proctype Writer(byte value) {
    LOCALS;
    put(value);
#if PUTS > 1
    put(value + 1)
#endif
}

proctype Mortal(byte value) {
    LOCALS;
    { put(value) } unless { killed };
    over[value] = true
}
proctype Killer() {
    if
    :: killed = true
    :: skip
    fi
}

proctype Eraser() {
    LOCALS;
    s = 0;
    do
    :: s < SLOTS ->
        holds_key(s);
        if
        :: held && !PENDING(seen) -> compare_exchange(slot[s], seen, 0)
        :: else -> s++
        fi
    :: else -> break
    od
}

/* A copy forward of whatever it finds visible in place 0. */
proctype Mover() {
    LOCALS;
    s = 0;
    do
    :: s < SLOTS ->
        seen = slot[s];
        if
        :: VISIBLE(seen) && !MOVED(seen) ->
            compare_exchange(slot[s], seen, seen | 2);
            recycled[VALUE(seen)] = true
        :: else
        fi;
        s++
    :: else -> break
    od
}

/* Another key's item in the first slot. */
proctype Neighbour() {
    LOCALS;
    compare_exchange(slot[0], 0, OTHER);
    compare_exchange(slot[0], OTHER, 0)
}

proctype Reader() {
    byte s, word, n, v;
    bool ended[VALUES];
    do
    :: n < READS ->
        d_step {
            v = 1;
            do
            :: v < VALUES -> ended[v] = over[v]; v++
            :: else -> break
            od
        }
        s = 0;
        word = 0;
        do
        :: s < SLOTS ->
            word = slot[s];
            if
            :: VISIBLE(word) && (MOVED(word) || !recycled[VALUE(word)]) -> break
            :: else -> word = 0; s++
            fi
        :: else -> break
        od;
        skip;
        d_step {
            if
            :: word != 0 ->
                assert(!gone[VALUE(word)]);
                v = 1;
                do
                :: v < VALUES ->
                    if
                    :: v != VALUE(word) && ended[v] -> gone[v] = true
                    :: else
                    fi;
                    v++
                :: else -> break
                od
            :: else
            fi;
            word = 0; s = 0; v = 0
        }
        n++
    :: else -> break
    od
}

init {
    atomic {
#ifdef FULL_AT_FIRST
        slot[0] = OTHER;
#endif
        run Writer(1);
        run Mortal(3);
#ifdef DEATHS
        run Killer();
#endif
#ifdef ERASER
        run Eraser();
#endif
#ifdef MOVER
        run Mover();
#endif
#ifdef NEIGHBOUR
        run Neighbour();
#endif
#if READS > 0
        run Reader();
#endif
    }
}
