from __future__ import annotations

from gateway.pool.flow import DECREASE, FIRST, MAX_JOBS, SOON_S, Flow


def fast(flow: Flow, answers: int, *, is_full: bool = True) -> float:
    for _ in range(answers):
        flow.answered(0.1, 0.0, is_full=is_full)
    return flow.limit


def test_jobs_taken_soon_double_the_limit_until_one_is_late() -> None:
    flow = Flow()
    assert fast(flow, 2) == 2 * FIRST
    assert fast(flow, 4) == 4 * FIRST
    flow.answered(SOON_S + 0.1, 0.0, is_full=True)
    assert flow.limit == DECREASE * 4 * FIRST
    assert DECREASE * 4 * FIRST + 0.9 < fast(flow, 6) < DECREASE * 4 * FIRST + 1, "one more for a round"
    assert fast(flow, 100_000) == MAX_JOBS


def test_a_limit_that_holds_nothing_back_stays() -> None:
    assert fast(Flow(), 1000, is_full=False) == FIRST


def test_late_and_lost_jobs_decrease_the_limit_once_per_moment() -> None:
    flow = Flow()
    fast(flow, 6)
    for now_s in (10.0, 10.1, 10.2):
        flow.answered(2 * SOON_S, now_s, is_full=False)
    flow.lost(10.3)
    assert flow.limit == DECREASE * 8
    flow.lost(10.0 + SOON_S)
    assert flow.limit == DECREASE * DECREASE * 8
    for second in range(11, 100):
        flow.lost(float(second))
    assert flow.limit == 1, "a pool that has recovered must be found out"
