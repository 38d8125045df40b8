from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection import SAMPLE_RATE_HZ, Activity, Samples, Window, Windower
from detection.signal.windows import MAX_FILL_S, quantile
from tests.detection.signals import noise, silence, speech, tones

WINDOW_S, HOP_S = 3.0, 1.0
WINDOW, HOP = 48_000, 16_000


def windower(window_s: float = WINDOW_S, hop_s: float = HOP_S) -> Windower:
    return Windower(window_s, hop_s, Activity())


def play(audio: Samples, windower: Windower, cuts: list[int] | None = None) -> list[Window]:
    windows: list[Window] = []
    at = 0
    for piece in np.split(audio, sorted(cuts or [])):
        windows += windower.push(at / SAMPLE_RATE_HZ, piece, 0.0)
        at += len(piece)
    return windows


def test_windows_start_on_hops_and_hold_the_audio() -> None:
    windows = play(speech(), windower())
    assert [window.start_s for window in windows] == [0, 1, 2, 3, 4, 5, 6, 7]
    for window in windows:
        start = round(window.start_s * SAMPLE_RATE_HZ)
        assert np.array_equal(window.samples, speech()[start : start + WINDOW])
        assert window.end_s == window.start_s + WINDOW_S
    assert [window.fresh_samples for window in windows] == [WINDOW] + 7 * [HOP]


@given(cuts=st.lists(st.integers(0, 160_000), max_size=40), hop_s=st.sampled_from([0.5, 1.0, 3.0]))
@settings(max_examples=25)
def test_any_chunking_gives_the_same_windows(cuts: list[int], hop_s: float) -> None:
    one, many = windower(hop_s=hop_s), windower(hop_s=hop_s)
    expected = play(speech(), one) + one.flush()
    got = play(speech(), many, cuts) + many.flush()
    assert [w.start_s for w in got] == [w.start_s for w in expected]
    for left, right in zip(got, expected, strict=True):
        assert np.array_equal(left.samples, right.samples)
        assert (left.speech_s, left.fresh_speech_s) == (right.speech_s, right.fresh_speech_s)


def test_fresh_speech_sums_to_the_speech_of_the_leg() -> None:
    cutter = windower()
    audio = speech()[: 9 * HOP + 12_000]
    windows = play(audio, cutter) + cutter.flush()
    assert windows[-1].end_s == 10.0  # the tail counts too
    heard = float(Activity().push(audio).sum()) * 0.02
    assert sum(window.fresh_speech_s for window in windows) == pytest.approx(heard)
    assert all(window.fresh_speech_s <= window.speech_s <= WINDOW_S for window in windows)


@pytest.mark.parametrize(("stride", "starts"), [(2, [0, 2, 4, 6]), (3, [0, 3, 6]), (6, [0, 6])])
def test_a_stride_passes_over_hops(stride: int, starts: list[int]) -> None:
    cutter, every = windower(), play(speech(), windower())
    cutter.stride = stride
    due: list[float] = []
    windows: list[Window] = []
    for second, piece in enumerate(np.split(speech(), range(HOP, len(speech()), HOP))):
        due.append(cutter.due_s)
        windows += cutter.push(float(second), piece, 0.0)
    assert [window.start_s for window in windows] == starts
    assert [at for at in dict.fromkeys(due) if at <= 9] == [start + WINDOW_S for start in starts if start <= 6]
    for window in windows:
        same = every[round(window.start_s)]
        assert np.array_equal(window.samples, same.samples)
        assert (window.speech_s, window.snr_db, window.out_of_domain) == (
            same.speech_s,
            same.snr_db,
            same.out_of_domain,
        )
    if stride <= WINDOW_S / HOP_S:  # no speech is lost
        heard = windows + cutter.flush()
        assert sum(window.fresh_speech_s for window in heard) == pytest.approx(
            float(Activity().push(speech()).sum()) * 0.02, abs=0.5
        )


def test_a_stride_may_change_at_any_time() -> None:
    cutter = windower()
    windows = cutter.push(0.0, speech()[: 4 * HOP], 0.0)
    cutter.stride = 3
    windows += cutter.push(4.0, speech()[4 * HOP : 8 * HOP], 0.0)
    cutter.stride = 1
    windows += cutter.push(8.0, speech()[8 * HOP :], 0.0)
    assert [window.start_s for window in windows] == [0, 1, 4, 6, 7]


def test_windows_do_not_share_memory() -> None:
    cutter = windower()
    (first,) = cutter.push(0.0, speech()[:WINDOW], 0.0)
    before = first.samples.copy()
    cutter.push(3.0, speech()[WINDOW : 2 * WINDOW], 0.0)
    assert np.array_equal(first.samples, before)


def test_short_clip_is_repeated_into_one_window_but_its_speech_counts_once() -> None:
    clip = speech()[16_000:40_000]
    cutter = windower()
    assert cutter.push(0.0, clip, 0.0) == []
    (window,) = cutter.flush()
    assert np.array_equal(window.samples, np.concatenate((clip, clip)))
    assert window.fresh_samples == WINDOW
    assert 1.0 < window.speech_s <= 1.5
    assert window.fresh_speech_s == window.speech_s


@pytest.mark.parametrize("samples", [1, 319, 320, 16_000])
def test_even_silence_yields_one_window_for_a_short_clip(samples: int) -> None:
    cutter = windower()
    cutter.push(0.0, np.zeros(samples, np.float32), 0.0)
    (window,) = cutter.flush()
    assert len(window.samples) == WINDOW
    assert window.speech_s == 0


def test_nothing_in_nothing_out() -> None:
    cutter = windower()
    assert cutter.push(0.0, silence(0), 0.0) == []
    assert cutter.flush() == []


def test_tail_with_new_speech_gets_a_window() -> None:
    cutter = windower()
    audio = speech()[HOP : HOP + WINDOW + 12_000]
    assert len(play(audio, cutter)) == 1
    (tail,) = cutter.flush()
    assert tail.start_s == 1.0
    assert tail.fresh_samples == HOP
    assert np.array_equal(tail.samples[:44_000], audio[HOP:])
    assert np.array_equal(tail.samples[44_000:], audio[HOP : HOP + 4_000])
    assert 0.5 <= tail.fresh_speech_s <= 0.75


@pytest.mark.parametrize("tail", [silence(0.9), tones(0.9, 440, 480), speech()[:4_800], silence(0)])
def test_tail_without_enough_new_speech_is_dropped(tail: Samples) -> None:
    cutter = windower()
    assert len(play(np.concatenate((speech()[:WINDOW], tail)), cutter)) == 1
    assert cutter.flush() == []


def test_flush_starts_over() -> None:
    cutter = windower()
    play(speech()[:70_000], cutter)
    cutter.flush()
    again = play(speech(), cutter)
    fresh = play(speech(), windower())
    assert [(w.start_s, w.speech_s) for w in again] == [(w.start_s, w.speech_s) for w in fresh]


def test_short_loss_is_filled_with_silence_that_is_no_speech() -> None:
    gap = round(MAX_FILL_S * SAMPLE_RATE_HZ)
    cutter = windower()
    cutter.push(0.0, speech()[:HOP], 0.0)
    (window,) = cutter.push(1.0 + MAX_FILL_S, speech()[HOP + gap : WINDOW], MAX_FILL_S)
    assert window.start_s == 0.0
    assert not window.samples[HOP : HOP + gap].any()
    assert np.array_equal(window.samples[HOP + gap :], speech()[HOP + gap : WINDOW])
    (unbroken,) = windower().push(0.0, speech()[:WINDOW], 0.0)
    assert window.speech_s <= unbroken.speech_s - MAX_FILL_S + 0.1


def test_lost_frames_never_count_even_if_the_activity_detector_hangs_over() -> None:
    class Always(Activity):
        def push(self, samples: Samples) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
            return np.ones_like(super().push(samples))

    cutter = Windower(1.0, 1.0, Always())
    cutter.push(0.0, speech()[:8_000], 0.0)
    (window,) = cutter.push(0.6, speech()[:6_400], 0.1)
    assert window.speech_s == pytest.approx(0.9)


def test_long_loss_starts_over_on_a_multiple_of_the_hop() -> None:
    cutter = windower()
    play(speech()[:WINDOW], cutter)
    windows = cutter.push(7.3, speech(), 4.3)
    assert [window.start_s for window in windows] == [8, 9, 10, 11, 12, 13, 14]
    assert windows[0].fresh_samples == WINDOW
    skipped = round(0.7 * SAMPLE_RATE_HZ)
    assert np.array_equal(windows[0].samples, speech()[skipped : skipped + WINDOW])


def test_speech_before_a_long_loss_is_not_lost_with_it() -> None:
    cutter = windower()
    play(speech()[:32_000], cutter)
    (tail,) = cutter.push(5.0, speech()[:16_000], 3.0)
    assert (tail.start_s, tail.fresh_samples) == (0.0, WINDOW)
    assert tail.speech_s > 1.5
    (rest,) = cutter.flush()
    assert rest.start_s == 5.0


def test_what_precedes_the_first_samples_is_a_gap() -> None:
    late = windower()
    assert late.push(2.5, speech(), 0.0)[0].start_s == 3.0
    early = windower()
    (window,) = early.push(0.1, speech()[: WINDOW - 1_600], 0.0)
    assert window.start_s == 0.0
    assert not window.samples[:1_600].any()


@pytest.mark.parametrize(
    ("window_s", "hop_s", "field"),
    [(0.0, 1.0, "window_s"), (3.001, 1.0, "window_s"), (3.0, -1.0, "hop_s"), (3.0, 0.25, "hop_s"), (1.0, 2.0, "hop_s")],
)
def test_bad_lengths_are_refused(window_s: float, hop_s: float, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        windower(window_s, hop_s)


@pytest.mark.parametrize("snr_db", [5, 15, 25])
def test_speech_is_measured_against_what_is_heard_between_words(snr_db: float) -> None:
    audio = np.concatenate([speech()[:20_000], silence(0.5), speech()[20_000:68_000]])
    level_dbfs = 10 * np.log10(np.mean(speech() ** 2)) - snr_db
    measured = [window.snr_db for window in play(audio + noise(len(audio) / SAMPLE_RATE_HZ, level_dbfs), windower())]
    assert np.median(measured) == pytest.approx(snr_db, abs=3)


def test_without_background_or_without_speech_nothing_is_noisy() -> None:
    assert min(window.snr_db for window in play(np.concatenate([speech()[:40_000], silence(1)]), windower())) > 40
    assert [window.snr_db for window in play(silence(4), windower())] == [np.inf, np.inf]


def test_lost_audio_is_no_background() -> None:
    audio = (speech()[:96_000] + noise(6, -35)).astype(np.float32)
    cutter = windower()
    filled = cutter.push(0.0, audio[:20_000], 0.0) + cutter.push(1.4, audio[22_400:], 0.15)
    whole = play(audio, windower())
    assert filled[0].snr_db == pytest.approx(whole[0].snr_db, abs=1.5)


@given(st.lists(st.floats(0, 1e3, width=32), min_size=1, max_size=200), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_quantiles_are_numpys(values: list[float], share: float) -> None:
    assert quantile(np.array(values, np.float32), share) == np.quantile(np.array(values, np.float32), share)


def test_when_the_next_window_is_full_is_known() -> None:
    cutter, media_s = windower(), 0.0
    for gap_s in (0.0, 0.05, 0.0, 1.3, 0.0, 0.0):
        media_s += gap_s
        due_s = cutter.due_s
        for window in cutter.push(media_s, speech()[: 2 * HOP], gap_s):
            if gap_s < MAX_FILL_S:
                assert window.end_s == due_s
            due_s = window.end_s + HOP_S
        media_s += 2 * HOP_S
    assert cutter.due_s > media_s
