"""Encoders of the client side, written apart from the gateway's decoders so that no mistake can cancel out.  [S]

G.711 (ITU-T G.711) by table: every 16-bit sample is coded as the nearest of the 256 levels that a decoder can give.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import soxr
from numpy.typing import NDArray

CLIP_RATE_HZ = 16_000
"""Rate of the samples that the clients take."""

Samples = NDArray[np.float32]
"""Float32 in [-1, 1] at `CLIP_RATE_HZ`; shape ``(n,)``, or ``(n, channels)`` where a wire has several channels."""
Encoding = Literal["mulaw", "alaw", "s16le"]


def _g711_table(levels: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Return the code of each 16-bit sample, indexed by ``sample + 32768``.

    Args:
        levels: what the positive codes 0x80 … 0xFF decode to, shape ``(128,)``. Their negatives have bit 7 clear.
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
    """Code samples of any rate, clipped to [-1, 1]; channels come out interleaved.

    Returns:
        One byte a sample for ``mulaw`` and ``alaw``, two (little-endian) for ``s16le``.
    """
    pcm = np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int32)
    coded = pcm.astype("<i2") if encoding == "s16le" else _G711[encoding][pcm + 32768]
    return bytes(coded.tobytes())


class Packetizer:
    """Samples at 16 kHz in, coded packets of 20 ms out, whatever the pieces they come in."""

    def __init__(self, encoding: Encoding, rate_hz: int, channels: int = 1) -> None:
        self._encoding = encoding
        # "MQ": transparent for a telephone band, and it holds back 26 ms instead of 66
        self._resampler = soxr.ResampleStream(CLIP_RATE_HZ, rate_hz, channels, dtype="float32", quality="MQ")
        self._packet_samples = rate_hz // 50
        self._packet_bytes = self._packet_samples * channels * (2 if encoding == "s16le" else 1)
        self._waiting: Samples = np.empty((0,) if channels == 1 else (0, channels), np.float32)

    def push(self, samples: Samples) -> list[bytes]:
        """Take samples; return the packets that are full. The resampler holds back about 26 ms."""
        return self._cut(self._resampler.resample_chunk(np.asarray(samples, np.float32)))

    def flush(self) -> list[bytes]:
        """Return what is left, the last packet filled up with silence."""
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
