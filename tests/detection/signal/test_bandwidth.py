"""Narrow channels told from wide ones by ear, whatever a network is shown and whatever comes after the narrow one."""

from __future__ import annotations

import numpy as np
import pytest

from detection import Samples
from detection.signal.bandwidth import is_narrow
from detection.signal.channels import apply_channel
from detection.signal.features import ComplexSpectrum, Features, FeatureSpec, Waveform

KINDS = [
    FeatureSpec(bands=64),
    FeatureSpec(bands=64, coefficients=32),
    FeatureSpec(bands=96, scale="linear"),
    Waveform(),
    ComplexSpectrum(),
]


def hissing(seed: int = 0) -> Samples:
    """Return three seconds of what matters of speech here: a loud low part, and fricatives 30 dB below it."""
    rng = np.random.default_rng(seed)
    seconds = np.arange(48_000) / 16_000
    voice = 0.2 * np.sign(np.sin(2 * np.pi * 120 * seconds)) * (np.sin(2 * np.pi * 2 * seconds) > 0)
    spectrum = np.fft.rfft(voice)
    spectrum[np.fft.rfftfreq(len(voice), 1 / 16_000) > 3_000] = 0
    fricatives = 0.01 * rng.standard_normal(len(voice)) * (np.sin(2 * np.pi * 2 * seconds) < -0.8)
    return (np.fft.irfft(spectrum, len(voice)) + fricatives + 1e-5 * rng.standard_normal(len(voice))).astype(np.float32)


def heard(spec: Features, *channels: str, gain: float = 1.0) -> bool:
    samples = hissing() * np.float32(gain)
    for channel in channels:
        samples = apply_channel(samples, channel)
    (narrow,) = is_narrow(spec.stream().push(samples)[None], spec)
    return bool(narrow)


@pytest.mark.parametrize("spec", KINDS, ids=str)
@pytest.mark.parametrize("gain", [1.0, 0.05])
def test_telephone_lines_are_narrow_also_inside_a_wider_codec(spec: Features, gain: float) -> None:
    for narrow in ("pstn", "amrnb", "gsm", "pstn opus24"):
        assert heard(spec, *narrow.split(), gain=gain), narrow
    for wide in ("", "g722", "opus24"):
        assert not heard(spec, *wide.split(), gain=gain), wide


def test_each_window_of_a_batch_is_told_by_itself() -> None:
    spec = FeatureSpec(bands=64)
    wide, narrow = hissing(), apply_channel(hissing(1), "mulaw")
    batch = np.stack([spec.stream().push(samples) for samples in (wide, narrow, wide)])
    assert is_narrow(batch, spec).tolist() == [False, True, False]


def test_a_network_that_hears_no_more_than_a_telephone_carries_has_one_class() -> None:
    spec = FeatureSpec(bands=40, high_hz=4_000)
    assert not is_narrow(spec.stream().push(apply_channel(hissing(), "mulaw"))[None], spec).any()
