from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.call.overload import CLEAR_AFTER_S, CLEAR_S, MAX_STRIDE, RAISE_AFTER_S, RAISE_S, STRIDES, Overload, Step

BEHIND, BETWEEN, FINE = RAISE_S + 0.1, (RAISE_S + CLEAR_S) / 2, 0.03


def observed(overload: Overload, delay_s: float, from_s: float, for_s: float) -> list[tuple[float, Step]]:
    """Look ten times a second; return when which step was taken."""
    taken = []
    for tenth in range(round(10 * for_s)):
        now_s = from_s + tenth / 10
        if overload.observe(delay_s, now_s):
            taken.append((round(now_s - from_s, 1), overload.step))
    return taken


def test_steps_come_in_order_one_at_a_time() -> None:
    assert observed(Overload(), BEHIND, 100.0, 4.5) == [
        (RAISE_AFTER_S, Step.FEWER_VERIFICATIONS),
        (2 * RAISE_AFTER_S, Step.LONGER_HOP),
        (3 * RAISE_AFTER_S, Step.FEWER_WINDOWS),
        (4 * RAISE_AFTER_S, Step.NO_NEW_CALLS),
    ]


def test_steps_go_back_in_order_and_more_slowly() -> None:
    overload = Overload()
    observed(overload, BEHIND, 0.0, 4.5)
    assert observed(overload, FINE, 20.0, 60.0) == [
        (CLEAR_AFTER_S, Step.FEWER_WINDOWS),
        (2 * CLEAR_AFTER_S, Step.LONGER_HOP),
        (3 * CLEAR_AFTER_S, Step.FEWER_VERIFICATIONS),
        (4 * CLEAR_AFTER_S, Step.NONE),
    ]


def test_where_no_step_is_left_windows_become_ever_fewer_and_as_many_again() -> None:
    overload = Overload()
    assert observed(overload, BEHIND, 0.0, 60.0)[4:] == [(at, Step.NO_NEW_CALLS) for at in (5.0, 6.0, 7.0)]
    assert overload.stride == MAX_STRIDE == 8 * STRIDES[Step.NO_NEW_CALLS]
    strides = [overload.stride for second in range(60, 120) if overload.observe(FINE, second)]
    assert strides == [24, 12, 6, 6, 2, 1, 1]


def test_a_short_delay_changes_nothing() -> None:
    overload = Overload()
    for start_s in range(0, 50, 5):
        assert not observed(overload, BEHIND, start_s, RAISE_AFTER_S)
        assert not observed(overload, FINE, start_s + RAISE_AFTER_S, 1.0)
    assert overload.step is Step.NONE


def test_between_the_marks_the_step_holds() -> None:
    overload = Overload()
    observed(overload, BEHIND, 0.0, 2.5)
    assert overload.step is Step.LONGER_HOP
    assert not observed(overload, BETWEEN, 2.5, 600.0)


@given(st.lists(st.tuples(st.sampled_from([BEHIND, BETWEEN, FINE]), st.floats(0.0, 3.0))))
def test_each_change_is_one_step_after_a_whole_stretch(course: list[tuple[float, float]]) -> None:
    overload, now_s, changed_s, before = Overload(), 0.0, 0.0, Step.NONE
    for delay_s, wait_s in course:
        now_s += wait_s
        if overload.observe(delay_s, now_s):
            assert overload.step == before + (1 if delay_s == BEHIND else -1)
            assert now_s - changed_s >= (RAISE_AFTER_S if delay_s == BEHIND else CLEAR_AFTER_S)
            changed_s = now_s
        before = overload.step


def test_what_is_given_up_never_shrinks_with_the_step() -> None:
    strides = [STRIDES[step] for step in Step]
    assert strides == sorted(strides)
    assert [step.reason for step in Step] == [
        "none",
        "fewer_verifications",
        "longer_hop",
        "fewer_windows",
        "no_new_calls",
    ]
