"""What is carried from window to window is, to the bit, what looking at each window anew tells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detection import SAMPLE_RATE_HZ, Activity, Samples, Window, Windower
from detection.signal.channels import apply_channel
from detection.signal.spectra import STEP_SAMPLES
from detection.signal.traits import Traits
from tests.detection.signals import drums, noise, silence, speech, tune

WINDOW = 48_000


class Forgetful(Traits):
    """Carries nothing."""

    def advance(self) -> None:
        self.clear()


def mixed(seed: int) -> Samples:
    """Return a minute of all sorts, cut anywhere, at any level, half of it as a telephone brings it."""
    draw = np.random.default_rng(seed)
    sounds = (speech(), noise(10, -30), silence(5), tune(6), drums(6), apply_channel(speech(), "pstn"))
    pieces = []
    for sound in draw.choice(len(sounds), 20):
        at, size = draw.integers(0, len(sounds[sound]) - 1_000), draw.integers(1_000, 80_000)
        pieces.append(sounds[sound][at : at + size] * np.float32(10 ** draw.uniform(-1.5, 0)))
    return np.concatenate(pieces)[: 60 * SAMPLE_RATE_HZ]


def windows(audio: Samples, traits: type[Traits], hop_s: float, seed: int) -> list[Window]:
    """Cut a leg that comes in pieces of any size, with losses short and long."""
    cutter = Windower(WINDOW / SAMPLE_RATE_HZ, hop_s, Activity())
    cutter._traits = traits(round(hop_s * SAMPLE_RATE_HZ))
    draw = np.random.default_rng(seed)
    found, at, media_s = [], 0, 0.0
    while at < len(audio):
        piece = audio[at : at + draw.integers(1, 8_000)]
        gap_s = float(draw.choice([0, 0.02, 0.15, 0.5, 2.3], p=[0.92, 0.04, 0.02, 0.01, 0.01]))
        media_s += gap_s
        found += cutter.push(media_s, piece, gap_s)
        media_s += len(piece) / SAMPLE_RATE_HZ
        at += len(piece)
    return found + cutter.flush()


@given(seed=st.integers(0, 1_000), hop_s=st.sampled_from([0.5, 1.0, 2.0, 3.0]))
@settings(max_examples=12, deadline=None)
def test_windows_with_gaps_and_tails_are_told_alike(seed: int, hop_s: float) -> None:
    carried, anew = (windows(mixed(seed), traits, hop_s, seed) for traits in (Traits, Forgetful))
    assert len(carried) == len(anew) > 2
    for left, right in zip(carried, anew, strict=True):
        assert np.array_equal(left.samples, right.samples)
        for fact in ("start_s", "fresh_samples", "speech_s", "fresh_speech_s", "snr_db", "out_of_domain"):
            assert getattr(left, fact) == getattr(right, fact)


@pytest.mark.parametrize("hop", [STEP_SAMPLES, 16_000, 32_000, WINDOW, 8_000])
@pytest.mark.parametrize("asked", [1, 2, 3])
def test_traits_are_those_of_the_window_alone(hop: int, asked: int) -> None:
    """Of every `asked`-th window: the others have no speech, say."""
    audio, traits = mixed(1)[: 20 * SAMPLE_RATE_HZ], Traits(hop)
    for index, at in enumerate(range(0, len(audio) - WINDOW + 1, hop)):
        if index % asked == 0:
            notes, bands = traits.of(audio[at : at + WINDOW])
            alone, bands_alone = Traits(hop).of(audio[at : at + WINDOW])
            assert np.array_equal(notes.loudness, alone.loudness)
            assert np.array_equal(notes.steadiness[4:], alone.steadiness[4:])  # 160 ms before lie in the window
            assert np.array_equal(bands, bands_alone)
        traits.advance()


def test_a_piece_too_short_for_a_spectrum_has_none() -> None:
    notes, bands = Traits(16_000).of(speech()[:1_000])
    assert notes.loudness.size == notes.steadiness.size == bands.size == 0
