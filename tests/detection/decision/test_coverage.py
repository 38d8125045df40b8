"""What the verifier hears: all speech once, without pauses, twice only what is asked for twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection import SAMPLE_RATE_HZ, Activity, Coverage, Question, Samples, Window, Windower
from detection.decision.coverage import PATIENCE_S, step_s
from detection.signal.windows import MIN_TAIL_SPEECH_S
from tests.detection.signals import speech

LONG = np.resize(speech(), 40 * SAMPLE_RATE_HZ)


def windows_of(samples: Samples) -> list[Window]:
    windower = Windower(3.0, 1.0, Activity())
    return [*windower.push(0.0, samples, 0.0), *windower.flush()]


def without_pauses(windows: list[Window]) -> list[Window]:
    """Return the same windows as if all frames held speech."""
    return [replace(window, speech=np.ones_like(window.speech)) for window in windows]


def hear(windows: list[Window], coverage: Coverage, *, again: bool = False) -> list[Question]:
    """As a leg goes: windows with too little speech are pauses."""
    asked = []
    for window in windows:
        asked += coverage.hear(window, again=again) if window.speech_s >= 0.8 else coverage.skip(window)
    return asked + coverage.end()


def spans(questions: list[Question]) -> list[tuple[float, float]]:
    return [(question.start_s, question.end_s) for question in questions]


def test_a_leg_is_heard_once_over_in_windows_end_to_end() -> None:
    asked = hear(without_pauses(windows_of(LONG[: 18 * SAMPLE_RATE_HZ])), Coverage(4.0, 2.0))
    assert spans(asked) == [(0, 4), (4, 8), (8, 12), (12, 16), (14, 18)], "the tail reaches back"
    assert not any(question.again for question in asked)
    for question in asked:
        start = round(question.start_s * SAMPLE_RATE_HZ)
        assert question.window.samples == pytest.approx(LONG[start : start + 64_000], abs=1 / 32_767)
        assert 2 < question.window.speech_s <= 4


def test_in_doubt_the_windows_between_are_heard_too() -> None:
    asked = hear(without_pauses(windows_of(LONG[: 12 * SAMPLE_RATE_HZ])), Coverage(4.0, 2.0), again=True)
    assert [(question.start_s, question.again) for question in asked] == [
        (0, False), (2, True), (4, False), (6, True), (8, False),
    ]  # fmt: skip


def test_doubt_that_comes_in_between_does_not_move_the_others() -> None:
    coverage, asked = Coverage(4.0, 2.0), list[Question]()
    for number, window in enumerate(without_pauses(windows_of(LONG[: 16 * SAMPLE_RATE_HZ]))):
        asked += coverage.hear(window, again=4 <= number < 8)
    assert [(question.start_s, question.again) for question in asked] == [
        (0, False), (4, False), (6, True), (8, False), (12, False),
    ]  # fmt: skip


def test_pauses_are_left_out_and_what_is_said_before_and_after_is_joined() -> None:
    """Two sentences of 1.3 s, 4 s apart: one window holds both."""
    said, pause = LONG[:20_800], np.zeros(4 * SAMPLE_RATE_HZ, np.float32)
    windows = windows_of(np.concatenate([said, pause, said, pause[:16_000]]))
    (question,) = hear(windows, Coverage(3.0, 3.0))
    assert question.start_s == 0
    assert question.end_s >= 6.6
    assert question.window.speech_s > 2
    level = np.abs(question.window.samples).reshape(-1, 1_600).max(axis=1)
    assert np.count_nonzero(level < 0.01) <= 6, "a quarter of a second on either side of speech, no more"


def test_speech_that_does_not_fill_a_window_waits_only_so_long() -> None:
    said, pause = LONG[: 2 * SAMPLE_RATE_HZ], np.zeros(9 * SAMPLE_RATE_HZ, np.float32)
    coverage, asked_at = Coverage(3.0, 3.0), list[tuple[float, Question]]()
    for window in windows_of(np.concatenate([said, pause, said])):
        heard = coverage.hear(window, again=False) if window.speech_s >= 0.8 else coverage.skip(window)
        asked_at += [(window.end_s, question) for question in heard]
    ((when_s, question),) = asked_at
    assert 2 + PATIENCE_S - 1 < when_s <= 2 + PATIENCE_S + 2
    assert question.end_s <= 5
    (rest,) = coverage.end()
    assert rest.window.start_s > 10.5
    assert rest.window.samples[-16_000:].any(), "repeated until it fills the window"


def test_audio_near_speech_is_kept_wherever_windows_meet() -> None:
    """Speech that begins just after a second: what precedes it came with the window before."""
    quiet = np.full(SAMPLE_RATE_HZ, 1e-3, np.float32) * np.resize([1, -1], SAMPLE_RATE_HZ)
    said = LONG[: 5 * SAMPLE_RATE_HZ]
    for late_s in (0.0, 0.04, 0.1, 0.2, 0.5):
        audio = np.concatenate([said, quiet, quiet[: round(late_s * SAMPLE_RATE_HZ)], said]).astype(np.float32)
        windows = windows_of(audio)
        speech = np.zeros(len(audio) // 320, np.bool_)
        for window in windows:
            first = round(window.start_s / 0.02)
            speech[first : first + len(window.speech)] = window.speech[: len(speech) - first]
        near = np.convolve(speech, np.ones(25), "same") > 0
        coverage, places = Coverage(3.0, 3.0), list[int]()
        for window in windows:
            for question in coverage.hear(window, again=False):
                places.append(round(question.end_s / 0.02))
        joined = coverage._first + len(coverage._joined)
        assert abs(joined - np.count_nonzero(near)) <= 12, "but for what the end leaves undecided"
        assert places


def test_less_than_a_window_is_repeated_and_says_where_it_ends() -> None:
    (window,) = windows_of(LONG[:48_000])
    (question,) = hear([window], Coverage(4.0, 2.0))
    assert (question.start_s, question.end_s) == (0, 3)
    length = len(question.window.speech) * 320
    assert 40_000 < length <= 48_000
    assert np.array_equal(question.window.samples[length:], question.window.samples[: 64_000 - length])
    assert question.window.speech_s == pytest.approx(window.speech_s)


def test_too_little_that_is_new_is_not_worth_a_window() -> None:
    windows = without_pauses(windows_of(LONG[: 4 * SAMPLE_RATE_HZ]))
    coverage = Coverage(4.0, 2.0)
    assert len([one for window in windows for one in coverage.hear(window, again=False)]) == 1
    assert coverage.end() == []
    assert coverage.end() == []


@pytest.mark.parametrize(("window_s", "hop_s", "step"), [(4, 2, 4), (4, 4, 4), (4, 1, 4), (3, 2, 2), (5, 2, 4)])
def test_steps_are_whole_hops_and_leave_nothing_out(window_s: float, hop_s: float, step: float) -> None:
    assert step_s(window_s, hop_s) == step
    asked = hear(without_pauses(windows_of(LONG[: 30 * SAMPLE_RATE_HZ])), Coverage(window_s, hop_s))
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
                asked += coverage.hear(window, again=False) if window.speech_s >= 0.8 else coverage.skip(window)
                held = coverage._joined.samples.size
                assert held <= (2 * heavy[0] + light[0]) * SAMPLE_RATE_HZ
            at_s += len(run) / SAMPLE_RATE_HZ
        at_s += lost_s
    asked += coverage.end()
    for window in heard:
        spoken_s = window.start_s + 0.02 * np.flatnonzero(window.speech)
        missed = np.all([(spoken_s < one.start_s - 1e-9) | (spoken_s >= one.end_s) for one in asked], axis=0)
        assert np.count_nonzero(missed) * 0.02 < MIN_TAIL_SPEECH_S
    assert all(len(one.window.samples) == heavy[0] * SAMPLE_RATE_HZ for one in asked)
