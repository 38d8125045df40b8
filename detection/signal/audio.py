"""Reads audio files: all formats that libav reads, at any rate, with any number of channels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from detection.errors import AudioError
from detection.types import SAMPLE_RATE_HZ, Samples

LOUDEST = 1e3
"""The largest accepted sample, 60 dB over full scale.

Floating-point files can exceed full scale by a few dB. Larger values have another scale, such as 16-bit integers, or
are no audio; features overflow on the largest of them.
"""


def read_audio(path: Path | str) -> Samples:
    """Return the first audio track of a file, mixed down to mono and resampled to `SAMPLE_RATE_HZ`.

    Raises:
        AudioError: it cannot be read to its end, has no audio track or no samples, or has samples that are not finite
            or exceed `LOUDEST`; names the file.
    """
    # libav's own mix of two channels is 3 dB louder
    with np.errstate(over="ignore", invalid="ignore"):  # `_checked` refuses the result
        return _checked(path, _read(path).mean(axis=0))


def read_channels(path: Path | str) -> list[Samples]:
    """Return each channel of a file's first audio track, in order; otherwise as `read_audio`."""
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
        raise AudioError(f"{path}: expected audio, got none")
    return samples


def _checked(path: Path | str, samples: Samples) -> Samples:
    if not np.isfinite(samples).all():
        raise AudioError(f"{path}: expected finite samples, got NaN or infinity")
    loudest = max(samples.max(), -samples.min())
    if loudest > LOUDEST:
        raise AudioError(f"{path}: expected samples of about -1 to 1, got {loudest:.3g}")
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
