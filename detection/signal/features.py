"""Model inputs: frame features, computed from streaming audio, or the samples themselves.

Frame features are a short-time spectrum, triangular bands, decibels and, for MFCC, a cosine transform. The results
equal librosa's (`melspectrogram(center=False)`, `power_to_db(top_db=None)`, `mfcc`) and do not depend on the chunks in
which the audio arrives. librosa's default `top_db=80` clips relative to the loudest frame of a whole clip, which a
stream does not know, so it is off here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Discriminator, Field, PositiveInt, Tag, model_validator
from scipy import fft

from detection.signal.framing import spans
from detection.types import SAMPLE_RATE_HZ, Samples, Window

Frames = NDArray[np.float32]
"""Feature frames, shape ``(n_frames, n_features)``; of a network that takes samples, ``(n_samples, 1)``."""

FLOOR_POWER = 1e-10
"""Power below which a band counts as silent: -100 dB, as in librosa."""


class FeatureSpec(BaseModel):
    """Parameters of frame features of audio at 16 kHz; a part of the model's contract in its card."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fft_samples: PositiveInt = 512
    """Length of the Hann window and of the transform."""
    hop_samples: PositiveInt = 160
    scale: Literal["mel", "linear"] = "mel"
    """Spacing of the bands: Slaney's mel scale or even steps of frequency."""
    bands: PositiveInt = 64
    low_hz: float = 0.0
    high_hz: float = SAMPLE_RATE_HZ / 2
    coefficients: PositiveInt | None = None
    """Number of cosine coefficients (MFCC, LFCC); None for the log band energies themselves."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.hop_samples > self.fft_samples:
            raise ValueError("hop_samples: expected at most fft_samples")
        if not 0 <= self.low_hz < self.high_hz <= SAMPLE_RATE_HZ / 2:
            raise ValueError("low_hz, high_hz: expected 0 <= low < high <= 8000")
        if self.coefficients is not None and self.coefficients > self.bands:
            raise ValueError("coefficients: expected at most bands")
        return self

    @property
    def n_features(self) -> int:
        """Numbers in one frame."""
        return self.coefficients or self.bands

    def n_frames(self, n_samples: int) -> int:
        """Return how many whole frames lie in `n_samples`."""
        return max(0, 1 + (n_samples - self.fft_samples) // self.hop_samples)

    def stream(self) -> FeatureStream:
        """Return a stream that turns chunks of audio into frames."""
        return FeatureStream(self)


class Waveform(BaseModel):
    """The samples themselves, each a frame of one number, for networks that learn their own filters."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["waveform"] = "waveform"

    @property
    def hop_samples(self) -> int:
        """Every sample is a frame."""
        return 1

    @property
    def n_features(self) -> int:
        """Numbers in one frame."""
        return 1

    def n_frames(self, n_samples: int) -> int:
        """Return `n_samples`: every sample is a frame."""
        return n_samples

    def stream(self) -> WaveformStream:
        """Return a stream that returns chunks of audio as frames."""
        return WaveformStream()


class ComplexSpectrum(BaseModel):
    """The short-time Fourier transform itself, its magnitude compressed and its phase kept.

    A frame has the real parts of all bins, then their imaginary parts. This is the input of DistillMOS (Stahl and
    Gamper, ICASSP 2025), without padding at both ends.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["complex"] = "complex"
    fft_samples: PositiveInt = 320
    """Length of the Hann window and of the transform."""
    hop_samples: PositiveInt = 160
    compression: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Exponent of the magnitude, 0 to 1."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.hop_samples > self.fft_samples:
            raise ValueError("hop_samples: expected at most fft_samples")
        return self

    @property
    def n_bins(self) -> int:
        """Bins of the transform, from 0 Hz to half the sampling rate."""
        return self.fft_samples // 2 + 1

    @property
    def n_features(self) -> int:
        """Numbers in one frame."""
        return 2 * self.n_bins

    def n_frames(self, n_samples: int) -> int:
        """Return how many whole frames lie in `n_samples`."""
        return max(0, 1 + (n_samples - self.fft_samples) // self.hop_samples)

    def stream(self) -> SpectrumStream:
        """Return a stream that turns chunks of audio into frames."""
        return SpectrumStream(self)


def _kind(contract: Any) -> str:
    given = contract.get("kind") if isinstance(contract, dict) else getattr(contract, "kind", None)
    return given if given in ("waveform", "complex") else "frames"


Features = Annotated[
    Annotated[FeatureSpec, Tag("frames")]
    | Annotated[Waveform, Tag("waveform")]
    | Annotated[ComplexSpectrum, Tag("complex")],
    Discriminator(_kind),
]
"""Any of the three, distinguished by the field `kind`, which band features do not have."""


class Stream(Protocol):
    """Turns chunks of audio of any size into frames."""

    def clear(self) -> None:
        """Drop the audio of the incomplete frame, as after a gap."""

    def push(self, samples: Samples) -> Frames:
        """Take the next samples and return the frames they complete, shape ``(n, n_features)``, oldest first."""
        ...


class WaveformStream:
    """Returns copies of the samples, so that the caller may reuse its memory."""

    def clear(self) -> None:
        """Do nothing: there is no state."""

    def push(self, samples: Samples) -> Frames:
        """Return the samples as frames, shape ``(n, 1)``."""
        return np.array(samples[:, None], np.float32)


class _FrameStream:
    """Cuts audio into overlapping frames and transforms them; subclasses compute features from the spectra."""

    def __init__(self, fft_samples: int, hop_samples: int, n_features: int) -> None:
        self._hop_samples = hop_samples
        self._fft_samples = fft_samples
        self._n_features = n_features
        self._window = hann(fft_samples)
        self._pending: Samples = np.empty(0, np.float32)

    def clear(self) -> None:
        """Drop the audio of the incomplete frame, as after a gap."""
        self._pending = np.empty(0, np.float32)

    def push(self, samples: Samples) -> Frames:
        """Take the next samples and return the frames they complete, shape ``(n, n_features)``, oldest first."""
        audio = np.concatenate((self._pending, samples)) if len(self._pending) else samples
        n_frames = max(0, 1 + (len(audio) - self._fft_samples) // self._hop_samples)
        self._pending = audio[n_frames * self._hop_samples :].copy()
        if n_frames == 0:
            return np.empty((0, self._n_features), np.float32)
        framed = spans(audio, self._fft_samples, self._hop_samples)
        # scipy transforms several frames per instruction; numpy does not.
        return self._described(fft.rfft(framed * self._window))

    def _described(self, spectrum: NDArray[np.complex64]) -> Frames:
        """Return the features ``(n, n_features)`` of spectra ``(n, n_bins)``."""
        raise NotImplementedError


class FeatureStream(_FrameStream):
    """Turns chunks of audio of any size into band features."""

    def __init__(self, spec: FeatureSpec) -> None:
        super().__init__(spec.fft_samples, spec.hop_samples, spec.n_features)
        self._bands = band_weights(spec)
        self._cosines = None if spec.coefficients is None else cosine_basis(spec.bands, spec.coefficients)

    def _described(self, spectrum: NDArray[np.complex64]) -> Frames:
        decibels = to_decibels((spectrum.real**2 + spectrum.imag**2) @ self._bands)
        return np.asarray(decibels if self._cosines is None else decibels @ self._cosines, np.float32)


class SpectrumStream(_FrameStream):
    """Turns chunks of audio of any size into compressed complex spectra."""

    def __init__(self, spec: ComplexSpectrum) -> None:
        super().__init__(spec.fft_samples, spec.hop_samples, spec.n_features)
        self._exponent = np.float32((spec.compression - 1) / 2)

    def _described(self, spectrum: NDArray[np.complex64]) -> Frames:
        power = np.maximum(spectrum.real**2 + spectrum.imag**2, np.float32(FLOOR_POWER))
        compressed = spectrum * power**self._exponent
        return np.concatenate((compressed.real, compressed.imag), axis=1).astype(np.float32, copy=False)


def to_decibels(power: NDArray[np.floating]) -> NDArray[np.float32]:
    """Convert powers to decibels in place, at least `FLOOR_POWER`; return the same array."""
    np.maximum(power, np.float32(FLOOR_POWER), out=power)
    decibels = np.log10(power, out=power)
    decibels *= np.float32(10)
    return np.asarray(decibels, np.float32)


class WindowFrontend:
    """The `Frontend` of every model here; computes only the frames that the leg's previous windows did not have."""

    def __init__(self, spec: Features, window_samples: int) -> None:
        self._spec = spec
        self._stream: Stream = spec.stream()
        self._frames: Frames = np.empty((0, spec.n_features), np.float32)
        self._n_frames = spec.n_frames(window_samples)
        self._end_samples = -1

    def inputs(self, window: Window) -> Frames:
        """Return the frames of `window`, shape ``(n_frames, n_features)``.

        Frames are carried over only when `window` goes on exactly where the last one seen ended; after a gap, or when
        a window in between was skipped, all are computed anew.
        """
        end_samples = round(window.start_s * SAMPLE_RATE_HZ) + len(window.samples)
        fresh = window.fresh_samples
        goes_on = end_samples - fresh == self._end_samples and fresh % self._spec.hop_samples == 0
        if goes_on and fresh < len(window.samples):
            new = self._stream.push(window.samples[len(window.samples) - fresh :])
            self._frames = np.concatenate((self._frames[len(new) :], new))
        else:
            self._stream.clear()
            self._frames = self._stream.push(window.samples)
        self._end_samples = end_samples
        assert len(self._frames) == self._n_frames, "windows of a model are all equally long"
        return self._frames


@lru_cache
def hann(n_samples: int) -> Samples:
    """Return the periodic Hann window, shape ``(n_samples,)``."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_samples) / n_samples)).astype(np.float32)


@lru_cache
def band_weights(spec: FeatureSpec) -> NDArray[np.float32]:
    """Return the triangular filters as a matrix of shape ``(fft_samples // 2 + 1, bands)``, each of unit area."""
    bins_hz = np.linspace(0, SAMPLE_RATE_HZ / 2, spec.fft_samples // 2 + 1)
    edges_hz = _band_edges_hz(spec)
    rising = (bins_hz[:, None] - edges_hz[:-2]) / np.diff(edges_hz)[:-1]
    falling = (edges_hz[2:] - bins_hz[:, None]) / np.diff(edges_hz)[1:]
    triangles = np.maximum(0, np.minimum(rising, falling))
    return (triangles * 2 / (edges_hz[2:] - edges_hz[:-2])).astype(np.float32)


def band_centres_hz(spec: FeatureSpec) -> NDArray[np.float64]:
    """Return the centre frequency of each band in Hz, shape ``(bands,)``."""
    return _band_edges_hz(spec)[1:-1]


def _band_edges_hz(spec: FeatureSpec) -> NDArray[np.float64]:
    if spec.scale == "linear":
        return np.linspace(spec.low_hz, spec.high_hz, spec.bands + 2)
    low_mel, high_mel = _hz_to_mel(np.array([spec.low_hz, spec.high_hz]))
    return _mel_to_hz(np.linspace(low_mel, high_mel, spec.bands + 2))


# Slaney's Auditory Toolbox (1998), librosa's default: linear below 1 kHz, logarithmic above.
_HZ_PER_MEL = 200 / 3
_LOG_FROM_HZ = 1_000.0
_LOG_STEP = np.log(6.4) / 27


def _hz_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    log_part = _LOG_FROM_HZ / _HZ_PER_MEL + np.log(np.maximum(hz, _LOG_FROM_HZ) / _LOG_FROM_HZ) / _LOG_STEP
    return np.where(hz < _LOG_FROM_HZ, hz / _HZ_PER_MEL, log_part)


def _mel_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    log_from = _LOG_FROM_HZ / _HZ_PER_MEL
    return np.where(mel < log_from, mel * _HZ_PER_MEL, _LOG_FROM_HZ * np.exp(_LOG_STEP * (mel - log_from)))


@lru_cache
def cosine_basis(n_bands: int, n_coefficients: int) -> NDArray[np.float32]:
    """Return the orthonormal DCT-II as a matrix of shape ``(n_bands, n_coefficients)``."""
    angle = np.pi / n_bands * np.outer(np.arange(n_bands) + 0.5, np.arange(n_coefficients))
    basis: NDArray[np.float64] = np.cos(angle) * np.sqrt(2 / n_bands)
    basis[:, 0] /= np.sqrt(2)
    return basis.astype(np.float32)
