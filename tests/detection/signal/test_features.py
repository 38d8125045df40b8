"""Frame features: librosa's numbers, whatever the chunks; and frames carried over between windows of one leg."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from detection.card import Contract
from detection.signal.features import ComplexSpectrum, FeatureSpec, FeatureStream, Waveform, WindowFrontend
from detection.types import Samples, Window

WINDOW = 16_000
HOP = 8_000
SPEC = FeatureSpec(bands=40, coefficients=20)


def speechlike(n_samples: int, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    seconds = np.arange(n_samples) / 16_000
    voiced = np.sign(np.sin(2 * np.pi * 120 * seconds)) * np.maximum(0, np.sin(2 * np.pi * 3 * seconds))
    return (0.2 * voiced + 1e-3 * rng.standard_normal(n_samples)).astype(np.float32)


def librosa_features(samples: Samples, spec: FeatureSpec) -> NDArray[np.float32]:
    mel = librosa.feature.melspectrogram(
        y=samples, sr=16_000, n_fft=spec.fft_samples, hop_length=spec.hop_samples, center=False, n_mels=spec.bands,
        fmin=spec.low_hz, fmax=spec.high_hz,
    )  # fmt: skip
    decibels = librosa.power_to_db(mel, top_db=None)
    if spec.coefficients is None:
        return np.asarray(decibels.T)
    return np.asarray(librosa.feature.mfcc(S=decibels, n_mfcc=spec.coefficients).T)


@pytest.mark.parametrize(
    "spec",
    [
        SPEC,
        FeatureSpec(bands=64, coefficients=32),
        FeatureSpec(bands=64),
        FeatureSpec(bands=32, fft_samples=400, hop_samples=200, low_hz=100, high_hz=3_800),
    ],
)
def test_equals_librosa(spec: FeatureSpec) -> None:
    samples = speechlike(20_000)
    expected = librosa_features(samples, spec)
    # 1e-4, or the last digits of float32 where the first coefficient is in the hundreds
    assert FeatureStream(spec).push(samples) == pytest.approx(expected, abs=1e-4, rel=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3_000), min_size=1, max_size=20))
def test_any_chunking_gives_the_same_frames(sizes: list[int]) -> None:
    samples = speechlike(sum(sizes))
    whole = FeatureStream(SPEC).push(samples)
    stream = FeatureStream(SPEC)
    pieces = [stream.push(piece) for piece in np.split(samples, np.cumsum(sizes)[:-1])]
    assert len(whole) == SPEC.n_frames(len(samples))
    assert np.concatenate(pieces) == pytest.approx(whole, abs=1e-4)


def test_digital_silence_is_the_floor() -> None:
    frames = FeatureStream(FeatureSpec(bands=40)).push(np.zeros(2_000, np.float32))
    assert frames.min() == frames.max() == pytest.approx(-100)


def test_clear_forgets_the_unfinished_frame() -> None:
    samples = speechlike(4_000)
    stream = FeatureStream(SPEC)
    stream.push(samples[:700])
    stream.clear()
    assert np.array_equal(stream.push(samples), FeatureStream(SPEC).push(samples))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"hop_samples": 600}, "hop_samples"),
        ({"low_hz": 9_000.0}, "low_hz"),
        ({"coefficients": 65}, "coefficients"),
        ({"mels": 64}, "mels"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(wrong: dict[str, float], named: str) -> None:
    with pytest.raises(ValidationError, match=named):
        FeatureSpec.model_validate(wrong)


def window(audio: Samples, start: int, fresh: int) -> Window:
    piece = audio[start : start + WINDOW]
    return Window(start / 16_000, piece, fresh, speech_s=1.0, fresh_speech_s=fresh / 16_000)


def test_successive_windows_share_frames_and_say_the_same() -> None:
    audio = speechlike(5 * WINDOW)
    frontend = WindowFrontend(SPEC, WINDOW)
    for start in range(0, 4 * WINDOW, HOP):
        frames = frontend.inputs(window(audio, start, WINDOW if start == 0 else HOP))
        assert frames.shape == (SPEC.n_frames(WINDOW), 20)
        assert frames == pytest.approx(FeatureStream(SPEC).push(audio[start : start + WINDOW]), abs=1e-3)


def test_frames_are_computed_once_only() -> None:
    audio = speechlike(2 * WINDOW)
    frontend = WindowFrontend(SPEC, WINDOW)
    before = frontend.inputs(window(audio, 0, WINDOW))
    changed = audio.copy()
    changed[:WINDOW] = 0  # audio that the second window shares with the first must not be looked at again
    after = frontend.inputs(window(changed, HOP, HOP))
    kept = SPEC.n_frames(WINDOW) - HOP // SPEC.hop_samples
    assert np.array_equal(after[:kept], before[-kept:])


@pytest.mark.parametrize(
    ("start", "fresh"),
    [(2 * HOP, HOP), (HOP, WINDOW), (HOP + 80, HOP + 80), (3 * WINDOW, WINDOW)],
    ids=["a window between was skipped", "told to start over", "off the frame grid", "after a gap"],
)
def test_starts_over_where_windows_do_not_join(start: int, fresh: int) -> None:
    audio = speechlike(5 * WINDOW)
    frontend = WindowFrontend(SPEC, WINDOW)
    frontend.inputs(window(audio, 0, WINDOW))
    frames = frontend.inputs(window(audio, start, fresh))
    assert np.array_equal(frames, FeatureStream(SPEC).push(audio[start : start + WINDOW]))
    following = frontend.inputs(window(audio, start + HOP, HOP))
    assert following == pytest.approx(FeatureStream(SPEC).push(audio[start + HOP : start + HOP + WINDOW]), abs=1e-3)


def test_a_network_of_samples_is_given_them_whatever_the_window_shares() -> None:
    audio = speechlike(5 * WINDOW)
    frontend = WindowFrontend(Waveform(), WINDOW)
    for start, fresh in ((0, WINDOW), (HOP, HOP), (HOP + 81, 81), (3 * WINDOW, WINDOW)):
        frames = frontend.inputs(window(audio, start, fresh))
        assert np.array_equal(frames, audio[start : start + WINDOW, None])
        assert frames.dtype == np.float32
    kept = frames.copy()
    audio[:] = 0  # the window's memory may be used again
    assert np.array_equal(frames, kept)


def test_a_complex_spectrum_keeps_phase_and_compresses_magnitude_whatever_the_chunks() -> None:
    spec = ComplexSpectrum()
    audio = speechlike(5_000)
    whole = spec.stream().push(audio)
    assert whole.shape == (spec.n_frames(5_000), 322)
    second = np.fft.rfft(audio[160:480] * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(320) / 320)))
    expected = np.abs(second) ** 0.3 * np.exp(1j * np.angle(second))
    assert whole[1, :161] == pytest.approx(expected.real, abs=1e-3)
    assert whole[1, 161:] == pytest.approx(expected.imag, abs=1e-3)
    stream = spec.stream()
    pieces = [stream.push(audio[start : start + 333]) for start in range(0, 5_000, 333)]
    assert np.concatenate(pieces) == pytest.approx(whole, abs=1e-5)


def test_silence_has_a_finite_spectrum() -> None:
    assert np.all(ComplexSpectrum().stream().push(np.zeros(1_000, np.float32)) == 0)


def test_a_contract_says_which_and_refuses_a_mix() -> None:
    samples = Contract(window_s=1.0, hop_s=0.5, features=Waveform())
    assert samples.input_shape == (16_000, 1)
    assert Contract.model_validate_json(samples.model_dump_json()) == samples
    frames = Contract(window_s=1.0, hop_s=0.5, features=SPEC)
    assert Contract.model_validate_json(frames.model_dump_json()) == frames
    spectrum = Contract(window_s=1.0, hop_s=0.5, features=ComplexSpectrum())
    assert spectrum.input_shape == (99, 322)
    assert Contract.model_validate_json(spectrum.model_dump_json()) == spectrum
    for wrong, named in (
        ({"kind": "waveform", "bands": 64}, "bands"),
        ({"kind": "wavelets"}, "kind"),
        ({"kind": "complex", "hop_samples": 321}, "hop_samples"),
    ):
        with pytest.raises(ValidationError, match=named):
            Contract.model_validate({"window_s": 1.0, "hop_s": 0.5, "features": wrong})
