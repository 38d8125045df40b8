"""Decoders of telephone codecs: payloads to mono float32.  [S]

G.711 and linear PCM are table look-ups. G.722 and Opus use libav, with one decoder per leg, because they keep state
between packets. Decoders take a list of payloads, since a leg is decoded in blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import av
import numpy as np
from av.error import FFmpegError
from numpy.typing import NDArray

from gateway.errors import BadMessage, UnsupportedMedia
from gateway.ingest.events import AudioFormat

Pcm = NDArray[np.float32]
UNDECODABLE = "undecodable"
"""Reason by which such payloads are counted."""


class Decoder(Protocol):
    """The decoder of one leg. It keeps state: call `reset` after a gap."""

    rate_hz: int
    """Sampling rate of the decoded audio."""

    def samples_in(self, payload: bytes) -> int:
        """Return the number of samples (at `rate_hz`) in `payload`. Raises BadMessage if it is invalid."""
        ...

    def decode(self, payloads: Sequence[bytes]) -> Pcm:
        """Decode successive payloads to float32 in [-1, 1], shape ``(n,)``. Raises BadMessage."""
        ...

    def reset(self) -> None:
        """Reset the state, after lost audio."""
        ...


def open_decoder(audio: AudioFormat) -> Decoder:
    """Return a decoder for a leg. Raises UnsupportedMedia if the rate is out of range."""
    if not 8_000 <= audio.rate_hz <= 192_000:
        raise UnsupportedMedia(f"rate: expected 8000 to 192000 Hz, got {audio.rate_hz}")
    match audio.encoding:
        case "mulaw" | "alaw":
            return _Table(MULAW if audio.encoding == "mulaw" else ALAW, audio.rate_hz)
        case "s16le" | "s16be":
            return _Linear("<i2" if audio.encoding == "s16le" else ">i2", audio.rate_hz)
        case "g722":
            return _Libav("g722", rate_hz=16_000)
        case "opus":
            return _Opus("libopus", rate_hz=48_000)


def _mulaw_table() -> Pcm:
    """ITU-T G.711 table 2b: invert, then sign, 3 bits of exponent, 4 of mantissa, bias 132."""
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = (((code & 0x0F) * 8 + 132) << ((code >> 4) & 7)) - 132
    return (np.where(code & 0x80, -magnitude, magnitude) / 32768).astype(np.float32)


def _alaw_table() -> Pcm:
    """ITU-T G.711 table 1b: even bits inverted, the sign bit set for positive."""
    code = np.arange(256, dtype=np.int32) ^ 0x55
    exponent, mantissa = (code >> 4) & 7, code & 0x0F
    magnitude = np.where(exponent == 0, 16 * mantissa + 8, (16 * mantissa + 264) << np.maximum(exponent - 1, 0))
    return (np.where(code & 0x80, magnitude, -magnitude) / 32768).astype(np.float32)


MULAW = _mulaw_table()
ALAW = _alaw_table()


class _Table:
    """G.711: one byte per sample."""

    def __init__(self, table: Pcm, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._table = table

    def samples_in(self, payload: bytes) -> int:
        return len(payload)

    def decode(self, payloads: Sequence[bytes]) -> Pcm:
        return self._table.take(np.frombuffer(b"".join(payloads), dtype=np.uint8))

    def reset(self) -> None:
        pass


class _Linear:
    """16-bit linear PCM in either byte order."""

    def __init__(self, dtype: str, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._dtype = np.dtype(dtype)

    def samples_in(self, payload: bytes) -> int:
        if len(payload) % 2:
            raise BadMessage(f"payload: expected whole 16-bit samples, got {len(payload)} bytes", UNDECODABLE)
        return len(payload) // 2

    def decode(self, payloads: Sequence[bytes]) -> Pcm:
        return np.frombuffer(b"".join(payloads), dtype=self._dtype).astype(np.float32) / np.float32(32768)

    def reset(self) -> None:
        pass


class _Libav:
    """A codec decoded by libav, packet by packet; two samples per byte, as in G.722 (ITU-T G.722, 64 kbit/s)."""

    def __init__(self, codec: str, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        self._codec = codec
        self.reset()

    def samples_in(self, payload: bytes) -> int:
        return 2 * len(payload)

    def decode(self, payloads: Sequence[bytes]) -> Pcm:
        try:
            frames = [frame for payload in payloads for frame in self._context.decode(av.Packet(payload))]
        except FFmpegError as error:
            raise BadMessage(f"payload: not {self._codec}: {error.strerror}", UNDECODABLE) from None
        return _joined(frames) if frames else np.zeros(0, np.float32)

    def reset(self) -> None:
        self._context = cast("av.AudioCodecContext", av.CodecContext.create(self._codec, "r"))
        self._context.sample_rate = self.rate_hz
        self._context.layout = "mono"


class _Opus(_Libav):
    """Opus (RFC 6716); the first byte of a packet determines its length."""

    def samples_in(self, payload: bytes) -> int:
        if not payload:
            raise BadMessage("payload: expected an Opus packet, got nothing", UNDECODABLE)
        return opus_samples(payload)


# RFC 6716 table 2: frame length in samples at 48 kHz by the five bits of `config`.
_OPUS_FRAME = [480, 960, 1920, 2880] * 3 + [480, 960] * 2 + [120, 240, 480, 960] * 4


def opus_samples(packet: bytes) -> int:
    """Return the number of samples at 48 kHz in an Opus packet (RFC 6716, 3.1 and 3.2).

    Raises:
        BadMessage: the packet is longer than the allowed 120 ms, or truncated.
    """
    frame = _OPUS_FRAME[packet[0] >> 3]
    code = packet[0] & 3
    if code == 3 and len(packet) < 2:
        raise BadMessage("payload: an Opus packet of code 3 needs a frame count (RFC 6716, 3.2.5)", UNDECODABLE)
    count = (1, 2, 2, packet[1] & 0x3F if code == 3 else 0)[code]
    if not 0 < frame * count <= 5760:
        raise BadMessage(
            f"payload: expected at most 120 ms in an Opus packet, got {frame * count / 48:g} ms", UNDECODABLE
        )
    return frame * count


def _joined(frames: Sequence[av.AudioFrame]) -> Pcm:
    """Return the samples of mono 16-bit frames, which both decoders make, as float32, shape ``(n,)``.

    The planes are read directly: `AudioFrame.to_ndarray` costs a fifth of what decoding does.
    """
    planes = [cast("memoryview", frame.planes[0]) for frame in frames]  # they have the buffer protocol
    pcm = np.concatenate(
        [np.frombuffer(plane, np.int16, frame.samples) for plane, frame in zip(planes, frames, strict=True)]
    )
    return pcm.astype(np.float32) / np.float32(32768)
