// Named points at which a race test can hold a backend. Nothing at all in an ordinary build.
//
// In a build with TIERCACHE_PAUSE_POINTS a superuser arms a point (tiercache_test.pause), backends that come
// by wait there until it is disarmed (tiercache_test.resume), and tiercache_test.is_paused(pid) tells
// isolationtester.
#pragma once

namespace tiercache {

enum class PausePoint : int {
    pre_commit_unmarked,  // PRE_COMMIT, before the marks
    pre_commit_marked,    // PRE_COMMIT, after the marks: not yet visible
    commit_visible,       // COMMIT, visible, versions not yet moved
    commit_done,          // COMMIT, after the marks were taken back
    fill_planned,         // a fill: planned, its snapshot taken, not yet run
    fill_computed,        // a fill: run, not yet published
    hit_checked,          // a hit: judged fresh, not yet returned
    fill_led,             // a query that others may wait for: not yet run
    plan_left_out,        // a statement without a plan, since its entry is there: not yet looked up
    count
};

#ifdef TIERCACHE_PAUSE_POINTS
void pause_point(PausePoint point);
#else
inline void pause_point(PausePoint) {}
#endif

}  // namespace tiercache
