"""Encoders of the clients, written independently of the gateway's decoders so that errors cannot cancel out.  [S]

G.711 (ITU-T G.711) by table: every 16-bit sample is encoded as the nearest of the 256 decoder levels.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import soxr
from numpy.typing import NDArray

CLIP_RATE_HZ = 16_000
"""Sampling rate of the samples given to clients."""

Samples = NDArray[np.float32]
"""Float32 in [-1, 1] at `CLIP_RATE_HZ`; shape ``(n,)``, or ``(n, channels)`` for a format with several channels."""
Encoding = Literal["mulaw", "alaw", "s16le"]


def _g711_table(levels: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Return the code of each 16-bit sample, indexed by ``sample + 32768``.

    Args:
        levels: decoder levels of the positive codes 0x80 … 0xFF, shape ``(128,)``. Negative ones have bit 7 clear.
    """
    order = np.argsort(levels)
    midpoints = (levels[order][1:] + levels[order][:-1]) / 2
    samples = np.arange(-32768, 32768)
    positive = 0x80 + order[np.searchsorted(midpoints, np.abs(samples))]
    return np.where(samples < 0, positive & 0x7F, positive).astype(np.uint8)


def _mulaw_levels() -> NDArray[np.int32]:
    bits = ~np.arange(0x80, 0x100) & 0xFF
    return (((bits & 0x0F) * 8 + 132) << ((bits >> 4) & 7)) - 132


def _alaw_levels() -> NDArray[np.int32]:
    bits = np.arange(0x80, 0x100) ^ 0x55
    exponent, mantissa = (bits >> 4) & 7, bits & 0x0F
    return np.where(exponent == 0, 16 * mantissa + 8, (16 * mantissa + 264) << np.maximum(exponent - 1, 0))


_G711 = {"mulaw": _g711_table(_mulaw_levels()), "alaw": _g711_table(_alaw_levels())}


def encode(samples: Samples, encoding: Encoding) -> bytes:
    """Encode samples of any rate, clipped to [-1, 1]; channels are interleaved.

    Returns:
        One byte per sample for ``mulaw`` and ``alaw``, two (little-endian) for ``s16le``.
    """
    pcm = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int32)
    coded = pcm.astype("<i2") if encoding == "s16le" else _G711[encoding][pcm + 32768]
    return bytes(coded.tobytes())


class Packetizer:
    """Encodes samples at 16 kHz into packets of 20 ms, for input of any length."""

    def __init__(self, encoding: Encoding, rate_hz: int, channels: int = 1) -> None:
        self._encoding = encoding
        # "MQ" is transparent for a telephone band, and delays by 26 ms instead of 66
        self._resampler = soxr.ResampleStream(CLIP_RATE_HZ, rate_hz, channels, dtype="float32", quality="MQ")
        self._packet_samples = rate_hz // 50
        self._packet_bytes = self._packet_samples * channels * (2 if encoding == "s16le" else 1)
        self._waiting: Samples = np.empty((0,) if channels == 1 else (0, channels), np.float32)

    def push(self, samples: Samples) -> list[bytes]:
        """Add samples; return the full packets. The resampler delays by about 26 ms."""
        return self._cut(self._resampler.resample_chunk(np.asarray(samples, np.float32)))

    def flush(self) -> list[bytes]:
        """Return the rest; the last packet is padded with silence."""
        tail = self._cut(self._resampler.resample_chunk(self._waiting[:0], last=True))
        if len(self._waiting):
            missing = self._packet_samples - len(self._waiting)
            silence = np.zeros((missing, *self._waiting.shape[1:]), np.float32)
            tail += self._cut(silence)
        return tail

    def _cut(self, resampled: Samples) -> list[bytes]:
        self._waiting = np.concatenate([self._waiting, resampled])
        full = len(self._waiting) // self._packet_samples * self._packet_samples
        coded, self._waiting = self._waiting[:full], self._waiting[full:]
        wire = encode(coded, self._encoding)
        return [wire[start : start + self._packet_bytes] for start in range(0, len(wire), self._packet_bytes)]
