"""Audio files into samples: whatever libav reads, at any rate, with any number of channels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from detection.errors import AudioError
from detection.types import SAMPLE_RATE_HZ, Samples

LOUDEST = 1e3
"""The largest sample that can still be sound, 60 dB over full scale.

Files of floats may exceed full scale, by a few dB where a mix was not limited. What lies far beyond is written on
another scale, such as that of 16 bits, up to 32,768, or is no audio; features overflow on the largest of such numbers.
"""


def read_audio(path: Path | str) -> Samples:
    """Return the first audio track of a file, mixed down to mono and resampled to `SAMPLE_RATE_HZ`.

    Raises `AudioError`, naming the file and why, when it can't be read to its end, has no audio track, holds no
    samples or holds samples that aren't finite, or are beyond `LOUDEST`.
    """
    # libav's own mix of two channels is 3 dB louder
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is refused below
        return _checked(path, _read(path).mean(axis=0))


def read_channels(path: Path | str) -> list[Samples]:
    """Return each channel of a file's first audio track by itself, first to last; else as `read_audio`."""
    return [_checked(path, samples) for samples in _read(path)]


def _read(path: Path | str) -> Samples:
    """Return all channels, shape ``(channels, n)``."""
    try:
        pieces = list(_decode(str(path)))
        samples = np.concatenate(pieces, axis=1) if pieces else np.zeros((1, 0), np.float32)
    except (av.FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioError(f"{path}: cannot be read: {reason}") from error
    if not samples.shape[1]:
        raise AudioError(f"{path}: holds no audio")
    return samples


def _checked(path: Path | str, samples: Samples) -> Samples:
    if not np.isfinite(samples).all():
        raise AudioError(f"{path}: holds samples that are not finite numbers")
    loudest = max(samples.max(), -samples.min())
    if loudest > LOUDEST:
        raise AudioError(f"{path}: expected samples of about -1 to 1; one is as large as {loudest:.3g}")
    return samples


def _decode(path: str) -> Iterator[Samples]:
    with av.open(path) as container:
        if not container.streams.audio:
            raise ValueError("no audio track")
        resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE_HZ)
        for frame in container.decode(container.streams.audio[0]):
            for piece in resampler.resample(frame):
                yield np.asarray(piece.to_ndarray(), np.float32)
        for piece in resampler.resample(None):
            yield np.asarray(piece.to_ndarray(), np.float32)
