from __future__ import annotations

from gateway.pool.flow import FIRST, MOST, SOON_S, Flow


def test_what_is_answered_soon_lets_more_be_given() -> None:
    flow = Flow()
    for _ in range(int(FIRST) + 1):  # a round of answers
        flow.answered(0.1, 0.0)
    assert FIRST + 0.9 < flow.limit < FIRST + 1.2
    for _ in range(100_000):
        flow.answered(0.1, 0.0)
    assert flow.limit == MOST


def test_slow_answers_and_missing_ones_let_less_be_given_once_for_all_of_a_moment() -> None:
    flow = Flow()
    for now_s in (10.0, 10.1, 10.2):
        flow.answered(2 * SOON_S, now_s)
    flow.lost(10.3)
    assert flow.limit == 0.75 * FIRST
    flow.lost(10.0 + SOON_S)
    assert flow.limit == 0.75 * 0.75 * FIRST
    for second in range(11, 100):
        flow.lost(float(second))
    assert flow.limit == 1, "a pool that has recovered must be found out"
