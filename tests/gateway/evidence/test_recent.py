"""What is kept of a leg's audio: the right seconds, gaps as silence, and never more than was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.evidence.recent import Recent

RATE_HZ = 16_000
RAMP = np.asarray(np.arange(20 * RATE_HZ) % 30_000 / 32_768, np.float32)
"""Every sample tells where it is from."""


def play(recent: Recent, from_s: float, to_s: float, block_s: float = 0.2) -> None:
    for start in np.arange(round(from_s * RATE_HZ), round(to_s * RATE_HZ), round(block_s * RATE_HZ)):
        end = min(start + round(block_s * RATE_HZ), round(to_s * RATE_HZ))
        recent.push(start / RATE_HZ, RAMP[start:end])


def kept(recent: Recent) -> int:
    return sum(len(piece) for _, piece in recent._pieces)


def test_the_seconds_asked_for_are_cut_to_the_sample() -> None:
    recent = Recent(10)
    play(recent, 0, 8, block_s=0.21)
    excerpt = recent.cut(3.0001, 5.5)
    assert excerpt is not None
    first = round(3.0001 * RATE_HZ)
    assert (excerpt.start_s, excerpt.end_s, excerpt.gaps) == (first / RATE_HZ, 5.5, ())
    assert np.array_equal(excerpt.samples, np.round(RAMP[first : round(5.5 * RATE_HZ)] * 32_768).astype(np.int16))


def test_a_gap_is_silence_and_what_is_not_there_at_either_end_is_left_out() -> None:
    recent = Recent(10)
    play(recent, 1, 3)
    play(recent, 3.5, 6)
    excerpt = recent.cut(0, 20)
    assert excerpt is not None
    assert (excerpt.start_s, excerpt.end_s, excerpt.gaps, excerpt.missing_s) == (1, 6, ((3, 3.5),), 0.5)
    silent = excerpt.samples[2 * RATE_HZ : round(2.5 * RATE_HZ)]
    assert not silent.any()
    assert np.array_equal(excerpt.samples[round(2.5 * RATE_HZ) :], np.round(RAMP[56_000:96_000] * 32_768))
    assert recent.cut(3.1, 3.4) is None
    assert recent.cut(7, 8) is None


def test_times_that_differ_by_rounding_make_no_gap() -> None:
    recent = Recent(10)
    recent.push(0.0, RAMP[:3200])
    recent.push(0.2 + 1e-4, RAMP[3200:6400])
    excerpt = recent.cut(0, 1)
    assert excerpt is not None
    assert (excerpt.gaps, excerpt.end_s) == ((), 0.4)


@pytest.mark.parametrize("block_s", [0.02, 0.2, 1.0])
def test_memory_is_bounded_and_what_is_held_stays(block_s: float) -> None:
    recent = Recent(3)
    play(recent, 0, 10, block_s)
    assert 3 * RATE_HZ <= kept(recent) <= (3 + block_s) * RATE_HZ
    recent.hold_from(8)
    play(recent, 10, 15, block_s)
    assert 7 * RATE_HZ <= kept(recent) <= (7 + block_s) * RATE_HZ
    excerpt = recent.cut(8, 15)
    assert excerpt is not None
    assert (excerpt.start_s, excerpt.gaps) == (8, ())
    recent.hold_from(None)
    play(recent, 15, 16, block_s)
    assert kept(recent) <= (3 + block_s) * RATE_HZ


def test_samples_beyond_full_scale_are_clipped() -> None:
    recent = Recent(1)
    recent.push(0.0, np.array([-2.0, -1.0, 0.0, 1.0, 2.0], np.float32))
    excerpt = recent.cut(0, 1)
    assert excerpt is not None
    assert excerpt.samples.tolist() == [-32768, -32768, 0, 32767, 32767]
