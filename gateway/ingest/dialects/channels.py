"""Splits interleaved channels into one payload per channel.  [S]"""

from __future__ import annotations

import numpy as np

from gateway.errors import BadMessage
from gateway.ingest.codecs import UNDECODABLE


def deinterleave(message: bytes, channels: int, sample_bytes: int) -> list[bytes]:
    """Return the payload of each channel. Raises BadMessage if `message` does not hold whole frames."""
    frame_bytes = channels * sample_bytes
    if len(message) % frame_bytes:
        raise BadMessage(f"message: expected a multiple of {frame_bytes} bytes, got {len(message)}", UNDECODABLE)
    if channels == 1:
        return [message]
    frames = np.frombuffer(message, np.dtype(f"V{sample_bytes}")).reshape(-1, channels)
    return [frames[:, channel].tobytes() for channel in range(channels)]
