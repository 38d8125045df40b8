"""What the verifier hears: all speech once, nothing across a pause, twice only what is asked for twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection import SAMPLE_RATE_HZ, Activity, Coverage, Question, Samples, Window, Windower
from detection.coverage import step_s
from tests.detection.sounds import speech

LONG = np.resize(speech(), 40 * SAMPLE_RATE_HZ)


def windows_of(samples: Samples, window_s: float = 3.0, hop_s: float = 1.0) -> list[Window]:
    windower = Windower(window_s, hop_s, Activity())
    return [*windower.push(0.0, samples, 0.0), *windower.flush()]


def hear(windows: list[Window], coverage: Coverage, *, again: bool = False) -> list[Question]:
    """As a leg goes: windows with too little speech are pauses."""
    asked = []
    for window in windows:
        asked += coverage.hear(window, again=again) if window.speech_s >= 0.8 else coverage.pause()
    return asked + coverage.pause()


def spans(questions: list[Question]) -> list[tuple[float, float]]:
    return [(question.start_s, question.end_s) for question in questions]


def test_a_leg_is_heard_once_over_in_windows_end_to_end() -> None:
    asked = hear(windows_of(LONG[: 18 * SAMPLE_RATE_HZ]), Coverage(4.0, 2.0))
    assert spans(asked) == [(0, 4), (4, 8), (8, 12), (12, 16), (14, 18)], "the tail reaches back"
    assert not any(question.again for question in asked)
    for question in asked:
        start = round(question.start_s * SAMPLE_RATE_HZ)
        assert question.window.samples == pytest.approx(LONG[start : start + 64_000], abs=1 / 32_767)
        assert 2 < question.window.speech_s <= 4


def test_in_doubt_the_windows_between_are_heard_too() -> None:
    asked = hear(windows_of(LONG[: 12 * SAMPLE_RATE_HZ]), Coverage(4.0, 2.0), again=True)
    assert [(question.start_s, question.again) for question in asked] == [
        (0, False), (2, True), (4, False), (6, True), (8, False),
    ]  # fmt: skip


def test_doubt_that_comes_in_between_does_not_move_the_others() -> None:
    coverage, asked = Coverage(4.0, 2.0), list[Question]()
    for number, window in enumerate(windows_of(LONG[: 16 * SAMPLE_RATE_HZ])):
        asked += coverage.hear(window, again=4 <= number < 8)
    assert [(question.start_s, question.again) for question in asked] == [
        (0, False), (4, False), (6, True), (8, False), (12, False),
    ]  # fmt: skip


def test_a_pause_ends_a_stretch_and_no_window_joins_two() -> None:
    audio = np.concatenate([LONG[:96_000], np.zeros(96_000, np.float32), LONG[:80_000]])
    asked = hear(windows_of(audio), Coverage(4.0, 4.0))
    (first, tail, *_), last = asked, asked[-1]
    assert (first.start_s, first.end_s) == (0, 4)
    assert tail.end_s - tail.start_s == 4
    assert tail.end_s < 10
    assert all(question.end_s <= 9 or question.start_s >= 9 for question in asked)
    assert last.end_s == 17


def test_a_stretch_shorter_than_a_window_is_repeated_and_says_where_it_ends() -> None:
    (window,) = windows_of(LONG[:48_000])
    (question,) = hear([window], Coverage(4.0, 2.0))
    assert (question.start_s, question.end_s) == (0, 3)
    assert np.array_equal(question.window.samples[48_000:], question.window.samples[:16_000])
    assert question.window.speech_s == pytest.approx(window.speech_s)


def test_too_little_that_is_new_is_not_worth_a_window() -> None:
    windows = windows_of(LONG[: 4 * SAMPLE_RATE_HZ])
    coverage = Coverage(4.0, 2.0)
    assert len([one for window in windows for one in coverage.hear(window, again=False)]) == 1
    assert coverage.pause() == []
    assert coverage.pause() == []


@pytest.mark.parametrize(("window_s", "hop_s", "step"), [(4, 2, 4), (4, 4, 4), (4, 1, 4), (3, 2, 2), (5, 2, 4)])
def test_steps_are_whole_hops_and_leave_nothing_out(window_s: float, hop_s: float, step: float) -> None:
    assert step_s(window_s, hop_s) == step
    asked = hear(windows_of(LONG[: 30 * SAMPLE_RATE_HZ]), Coverage(window_s, hop_s))
    assert [question.start_s for question in asked[:3]] == [0, step, 2 * step]


@given(
    pieces=st.lists(st.tuples(st.floats(0.3, 6), st.floats(0, 5)), min_size=1, max_size=5),
    light=st.sampled_from([(3.0, 1.0), (4.0, 1.0), (2.0, 2.0)]),
    heavy=st.sampled_from([(4.0, 2.0), (4.0, 4.0), (3.0, 1.0)]),
    packet=st.sampled_from([3_200, 16_000]),
)
def test_all_that_is_scored_is_heard_and_memory_is_bounded(
    pieces: list[tuple[float, float]], light: tuple[float, float], heavy: tuple[float, float], packet: int
) -> None:
    """Speech and pauses of any length; what is lost on the way is a gap."""
    coverage, windower = Coverage(*heavy), Windower(*light, Activity())
    heard, asked, at_s = list[Window](), list[Question](), 0.0
    for speech_s, lost_s in pieces:
        samples = LONG[: round(speech_s * SAMPLE_RATE_HZ)]
        for at in range(0, len(samples), packet):
            run = samples[at : at + packet]
            for window in windower.push(at_s, run, lost_s if at == 0 and at_s else 0.0):
                heard += [window] if window.speech_s >= 0.8 else []
                asked += coverage.hear(window, again=False) if window.speech_s >= 0.8 else coverage.pause()
                held = sum(len(piece.samples) for piece in coverage._pieces)
                assert held <= (2 * heavy[0] + light[0]) * SAMPLE_RATE_HZ
            at_s += len(run) / SAMPLE_RATE_HZ
        at_s += lost_s
    asked += coverage.pause()
    for window in heard:
        fresh_s = window.fresh_samples / SAMPLE_RATE_HZ
        shared_s = [min(one.end_s, window.end_s) - max(one.start_s, window.end_s - fresh_s) for one in asked]
        assert max(shared_s) >= fresh_s / 2 or window.fresh_speech_s < 0.8
    assert all(len(one.window.samples) == heavy[0] * SAMPLE_RATE_HZ for one in asked)
