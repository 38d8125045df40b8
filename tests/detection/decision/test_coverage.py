"""What the verifier hears: all speech once, without pauses, twice only what is selected for twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detection import SAMPLE_RATE_HZ, Activity, Coverage, Samples, VerifierWindow, Window, Windower
from detection.decision.coverage import MAX_WAIT_S, step_s
from detection.signal.windows import MIN_TAIL_SPEECH_S
from tests.detection.signals import speech

LONG = np.resize(speech(), 40 * SAMPLE_RATE_HZ)


def windows_of(samples: Samples) -> list[Window]:
    windower = Windower(3.0, 1.0, Activity())
    return [*windower.push(0.0, samples, 0.0), *windower.flush()]


def without_pauses(windows: list[Window]) -> list[Window]:
    """Return the same windows as if all frames held speech."""
    return [replace(window, speech=np.ones_like(window.speech)) for window in windows]


def select(windows: list[Window], coverage: Coverage, *, overlapping: bool = False) -> list[VerifierWindow]:
    """Pass a whole leg; windows with too little speech are skipped."""
    selected = []
    for window in windows:
        selected += coverage.add(window, overlapping=overlapping) if window.speech_s >= 0.8 else coverage.skip(window)
    return selected + coverage.end()


def spans(selected: list[VerifierWindow]) -> list[tuple[float, float]]:
    return [(one.start_s, one.end_s) for one in selected]


def test_windows_cover_the_leg_once_end_to_end() -> None:
    selected = select(without_pauses(windows_of(LONG[: 18 * SAMPLE_RATE_HZ])), Coverage(4.0, 2.0))
    assert spans(selected) == [(0, 4), (4, 8), (8, 12), (12, 16), (14, 18)], "the tail reaches back"
    assert not any(one.overlapping for one in selected)
    for one in selected:
        start = round(one.start_s * SAMPLE_RATE_HZ)
        assert one.window.samples == pytest.approx(LONG[start : start + 64_000], abs=1 / 32_767)
        assert 2 < one.window.speech_s <= 4


def test_overlapping_windows_are_returned_on_request() -> None:
    selected = select(without_pauses(windows_of(LONG[: 12 * SAMPLE_RATE_HZ])), Coverage(4.0, 2.0), overlapping=True)
    assert [(one.start_s, one.overlapping) for one in selected] == [
        (0, False), (2, True), (4, False), (6, True), (8, False),
    ]  # fmt: skip


def test_overlapping_windows_do_not_move_the_others() -> None:
    coverage, selected = Coverage(4.0, 2.0), list[VerifierWindow]()
    for number, window in enumerate(without_pauses(windows_of(LONG[: 16 * SAMPLE_RATE_HZ]))):
        selected += coverage.add(window, overlapping=4 <= number < 8)
    assert [(one.start_s, one.overlapping) for one in selected] == [
        (0, False), (4, False), (6, True), (8, False), (12, False),
    ]  # fmt: skip


def test_pauses_are_left_out_and_speech_around_them_is_joined() -> None:
    """Two sentences of 1.3 s, 4 s apart: one window holds both."""
    said, pause = LONG[:20_800], np.zeros(4 * SAMPLE_RATE_HZ, np.float32)
    windows = windows_of(np.concatenate([said, pause, said, pause[:16_000]]))
    (one,) = select(windows, Coverage(3.0, 3.0))
    assert one.start_s == 0
    assert one.end_s >= 6.6
    assert one.window.speech_s > 2
    level = np.abs(one.window.samples).reshape(-1, 1_600).max(axis=1)
    assert np.count_nonzero(level < 0.01) <= 6, "a quarter of a second on either side of speech, no more"


def test_speech_shorter_than_a_window_waits_for_a_limited_time() -> None:
    said, pause = LONG[: 2 * SAMPLE_RATE_HZ], np.zeros(9 * SAMPLE_RATE_HZ, np.float32)
    coverage, windows_at = Coverage(3.0, 3.0), list[tuple[float, VerifierWindow]]()
    for window in windows_of(np.concatenate([said, pause, said])):
        heard = coverage.add(window, overlapping=False) if window.speech_s >= 0.8 else coverage.skip(window)
        windows_at += [(window.end_s, one) for one in heard]
    ((when_s, one),) = windows_at
    assert 2 + MAX_WAIT_S - 1 < when_s <= 2 + MAX_WAIT_S + 2
    assert one.end_s <= 5
    (rest,) = coverage.end()
    assert rest.window.start_s > 10.5
    assert rest.window.samples[-16_000:].any(), "repeated until it fills the window"


def test_audio_near_speech_is_kept_across_window_boundaries() -> None:
    """Speech that begins just after a window starts: the audio before it came with the previous window."""
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
            for one in coverage.add(window, overlapping=False):
                places.append(round(one.end_s / 0.02))
        joined = coverage._first + len(coverage._joined)
        assert abs(joined - np.count_nonzero(near)) <= 12, "except for the pending frames at the end"
        assert places


def test_speech_shorter_than_a_window_is_repeated_and_keeps_its_end_time() -> None:
    (window,) = windows_of(LONG[:48_000])
    (one,) = select([window], Coverage(4.0, 2.0))
    assert (one.start_s, one.end_s) == (0, 3)
    length = len(one.window.speech) * 320
    assert 40_000 < length <= 48_000
    assert np.array_equal(one.window.samples[length:], one.window.samples[: 64_000 - length])
    assert one.window.speech_s == pytest.approx(window.speech_s)


def test_too_little_new_speech_makes_no_window() -> None:
    windows = without_pauses(windows_of(LONG[: 4 * SAMPLE_RATE_HZ]))
    coverage = Coverage(4.0, 2.0)
    assert len([one for window in windows for one in coverage.add(window, overlapping=False)]) == 1
    assert coverage.end() == []
    assert coverage.end() == []


@pytest.mark.parametrize(("window_s", "hop_s", "step"), [(4, 2, 4), (4, 4, 4), (4, 1, 4), (3, 2, 2), (5, 2, 4)])
def test_steps_are_whole_hops_and_windows_leave_no_gap(window_s: float, hop_s: float, step: float) -> None:
    assert step_s(window_s, hop_s) == step
    selected = select(without_pauses(windows_of(LONG[: 30 * SAMPLE_RATE_HZ])), Coverage(window_s, hop_s))
    assert [one.start_s for one in selected[:3]] == [0, step, 2 * step]


@given(
    pieces=st.lists(st.tuples(st.floats(0.3, 6), st.floats(0, 5)), min_size=1, max_size=5),
    light=st.sampled_from([(3.0, 1.0), (4.0, 1.0), (2.0, 2.0)]),
    heavy=st.sampled_from([(4.0, 2.0), (4.0, 4.0), (3.0, 1.0)]),
    packet=st.sampled_from([3_200, 16_000]),
)
def test_all_scored_speech_is_covered_and_memory_is_bounded(
    pieces: list[tuple[float, float]], light: tuple[float, float], heavy: tuple[float, float], packet: int
) -> None:
    """Speech and pauses of any length; lost audio is a gap."""
    coverage, windower = Coverage(*heavy), Windower(*light, Activity())
    heard, selected, at_s = list[Window](), list[VerifierWindow](), 0.0
    for speech_s, lost_s in pieces:
        samples = LONG[: round(speech_s * SAMPLE_RATE_HZ)]
        for at in range(0, len(samples), packet):
            run = samples[at : at + packet]
            for window in windower.push(at_s, run, lost_s if at == 0 and at_s else 0.0):
                heard += [window] if window.speech_s >= 0.8 else []
                selected += coverage.add(window, overlapping=False) if window.speech_s >= 0.8 else coverage.skip(window)
                held = coverage._joined.samples.size
                assert held <= (2 * heavy[0] + light[0]) * SAMPLE_RATE_HZ
            at_s += len(run) / SAMPLE_RATE_HZ
        at_s += lost_s
    selected += coverage.end()
    for window in heard:
        spoken_s = window.start_s + 0.02 * np.flatnonzero(window.speech)
        missed = np.all([(spoken_s < one.start_s - 1e-9) | (spoken_s >= one.end_s) for one in selected], axis=0)
        assert np.count_nonzero(missed) * 0.02 < MIN_TAIL_SPEECH_S
    assert all(len(one.window.samples) == heavy[0] * SAMPLE_RATE_HZ for one in selected)
