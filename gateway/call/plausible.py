"""Whether the audio of a leg is what its peer declared: sample type, channels, bytes per second.  [S]

Peers declare wrongly: LiveKit's egress may send two channels where one was declared, an AudioSocket without `c(slin)`
sends G.711 under the type of linear samples. Read as declared, such audio is noise
or slow speech, and whatever a model says of it is wrong. Three signs tell, in a leg's first seconds:

*Another reading is smooth.* Sound at these rates moves little from sample to sample. Where the correlation of
neighbours is beyond `SMOOTH`, and `SMOOTHER` times nearer to 1 than as declared, as another sample type or byte
order, the audio is that; likewise where every second sample goes with the next but one and not with its neighbour, as
two interleaved channels. Noise is rough in any reading, speech, music and most tones are smooth in the declared one; a
tone at a quarter of the rate is rough, but no other reading of it is smooth.

*Pairs.* Two channels that are alike, or one louder than the other, make every second sample another than its neighbour
in step or in level. A rate doubled by repeating samples looks alike, so audio must also come faster than time passes.

*Too few bytes.* Payloads that come in an even beat, each of a half, a third, a quarter or a sixth of that beat. Only
where a peer neither counts nor times its payloads: there a loss looks alike. That audio comes too fast is no sign by
itself: recordings may be replayed, and stalls are made up for.
"""

from __future__ import annotations

from collections import Counter, deque

import numpy as np
from numpy.typing import NDArray

from gateway.ingest.codecs import ALAW, MULAW
from gateway.ingest.events import AudioFormat

BLOCK_S = 0.1
"""Of declared time: so much is looked at in one go."""
SOUNDING_BLOCKS = 10
"""How many blocks that are no silence are asked for, before anything is said of them."""
AGREEING = 0.7
"""Share of them that must be unlike what was declared, or like it again."""
CALM_STEP = 3
"""While all blocks seen last are what was declared, or silent, one in so many is looked at: a look costs 30 µs."""
WATCHED_BLOCKS = 40
"""Sounding blocks looked at after which a leg that was never in doubt is looked at no longer: some 10 s of sound."""
ROUGH, SMOOTH = 0.35, 0.6
SMOOTHER = 1.7
"""How many times nearer to 1 the correlation of neighbours must be in another reading."""
PAIRED = 3.0
"""Energy of the steps between pairs over that of the steps within them."""
UNEQUAL = 1.5
"""Energy of one channel over that of the other."""
HASTE, HASTE_S = 1.3, 0.5
"""Audio that is this many times longer than the time it took to come, and so much more."""
BEATS = 50
"""Arrivals that make out a beat."""
BEAT_S = 0.008
"""No packets come in a shorter beat."""
TWO_CHANNELS = "two interleaved channels"
LINEAR = "16-bit linear samples"
SWAPPED = "the other byte order, or samples that begin one byte later"
_QUIET = 1e-4
"""Variance, full scale 1, of a block that is taken for silence in whatever reading: -40 dB."""
READINGS = ("s16le", "s16be", "mulaw", "alaw")
"""What audio is tried as."""
_FRACTIONS = np.array([1 / 2, 1 / 3, 1 / 4, 1 / 6])
_NEAR = 0.06

Sample = NDArray[np.float32]


class Plausibility:
    """Follows one leg: `hear` with each payload; `doubt` is what is known so far."""

    def __init__(self, declared: AudioFormat) -> None:
        """Take what was declared; G.722 and Opus are judged by their beat alone."""
        self.doubt: str | None = None
        """What the audio seems to be instead, in words for the operator; None while it may be what was declared."""
        self._encoding = declared.encoding
        self._block_bytes = round(BLOCK_S * declared.rate_hz) * (2 if declared.encoding.startswith("s16") else 1)
        self._is_read = declared.encoding in READINGS
        self._bytes = bytearray()
        self._seen: deque[str] = deque(maxlen=SOUNDING_BLOCKS)
        self._sounding = 0
        self._blocks = 0
        self._is_silent = False
        self._gaps_s: list[float] = []
        self._is_short = False
        """Whether the last beat brought too few bytes."""
        self._first_s: float | None = None
        self._last_s = 0.0
        self._heard_s = 0.0

    def hear(self, payload: bytes, duration_s: float, now_s: float, *, is_timed: bool) -> bool:
        """Take one payload; return whether `doubt` has come or gone.

        Args:
            payload: as it came.
            duration_s: as declared.
            now_s: when it came, on a clock that only goes on.
            is_timed: the peer counts or times its payloads, so that their beat says nothing.
        """
        before = self.doubt
        if not payload:
            return False
        self._heard_s += duration_s
        if self._first_s is None:
            self._first_s = now_s
        elif not is_timed:
            self._follow_beat(duration_s, now_s - self._last_s)
        self._last_s = now_s
        if self._is_read and (self.doubt or self._sounding < WATCHED_BLOCKS):
            self._bytes += payload
            while len(self._bytes) >= self._block_bytes:
                block = bytes(self._bytes[: self._block_bytes])
                del self._bytes[: self._block_bytes]
                self._blocks += 1
                if self._blocks % CALM_STEP == 0 or not (self._is_silent or self._is_calm()):
                    self._look(block)
        return self.doubt != before

    def _is_calm(self) -> bool:
        return self.doubt is None and len(self._seen) == SOUNDING_BLOCKS and not any(self._seen)

    def _look(self, block: bytes) -> None:
        hasty = self._heard_s > HASTE * (self._last_s - (self._first_s or 0.0)) + HASTE_S
        seen = looks_like(block, self._encoding, is_hasty=hasty)
        self._is_silent = seen is None
        if seen is None:
            return
        self._sounding += 1
        self._seen.append(seen)
        if len(self._seen) < SOUNDING_BLOCKS:
            return
        others = Counter(name for name in self._seen if name)
        if others.total() >= AGREEING * SOUNDING_BLOCKS:
            self.doubt = self.doubt or others.most_common(1)[0][0]
        elif others.total() <= (1 - AGREEING) * SOUNDING_BLOCKS and not self._is_short:
            self.doubt = None

    def _follow_beat(self, duration_s: float, gap_s: float) -> None:
        self._gaps_s.append(gap_s)
        if len(self._gaps_s) < BEATS:
            return
        gaps_s, self._gaps_s = np.array(self._gaps_s), []
        beat_s = float(np.median(gaps_s))
        even = np.mean(np.abs(gaps_s - beat_s) < 0.5 * beat_s) >= AGREEING
        if not even or beat_s < BEAT_S:
            return
        part = duration_s / beat_s
        short = np.abs(part / _FRACTIONS - 1) < _NEAR
        self._is_short = bool(short.any())
        if self._is_short:
            times = round(1 / float(_FRACTIONS[int(short.argmax())]))
            self.doubt = self.doubt or f"1/{times} of the declared bytes a second"
        elif self.doubt and self.doubt.startswith("1/"):
            self.doubt = None


def looks_like(block: bytes, encoding: str, *, is_hasty: bool) -> str | None:
    """Say what a block seems to be: empty for what was declared, None for silence.

    Args:
        block: at least 20 samples, of ``s16le``, ``s16be``, ``mulaw`` or ``alaw``.
        encoding: as declared.
        is_hasty: whether audio has come faster than time passes.
    """
    declared = _Centred(_read(block, encoding))
    if declared.variance < _QUIET:
        return None
    near = declared.correlation(1)
    if near < -ROUGH:  # a tone near half the rate: smooth it would be in a wrong reading
        return ""
    needed = max(SMOOTH, 1 - (1 - near) / SMOOTHER)
    smoothest, correlation = encoding, near
    for name in READINGS:
        if name == encoding:
            continue
        other = _Centred(_read(block, name))
        if other.variance > _QUIET and (of_other := other.correlation(1)) > correlation:
            smoothest, correlation = name, of_other
    if correlation > needed:
        if smoothest.startswith("s16"):  # of soft sound both orders are smooth
            return SWAPPED if encoding.startswith("s16") else LINEAR
        return smoothest
    if near < ROUGH and declared.correlation(2) > SMOOTH:
        return TWO_CHANNELS
    return TWO_CHANNELS if is_hasty and _is_paired(declared) else ""


def _read(block: bytes, encoding: str) -> Sample:
    if encoding == "mulaw" or encoding == "alaw":
        return (MULAW if encoding == "mulaw" else ALAW).take(np.frombuffer(block, np.uint8))
    order = "<i2" if encoding == "s16le" else ">i2"
    return np.frombuffer(block, order, len(block) // 2).astype(np.float32) * np.float32(1 / 32768)


class _Centred:
    """A reading, its mean taken out; the sums are BLAS's, for `np.var` alone takes as long as all of this."""

    def __init__(self, samples: Sample) -> None:
        self.samples = samples - np.add.reduce(samples) / np.float32(len(samples))
        self._energy = float(self.samples @ self.samples)
        self.variance = self._energy / len(samples)

    def correlation(self, lag: int) -> float:
        """Of samples and those `lag` later, -1 to 1."""
        return float(self.samples[:-lag] @ self.samples[lag:]) / self._energy if self._energy else 0.0


def _is_paired(declared: _Centred) -> bool:
    samples = declared.samples
    steps = np.diff(samples) ** 2
    within, between = sorted((float(steps[0::2].mean()), float(steps[1::2].mean())))
    softer, louder = sorted((float(samples[0::2].var()), float(samples[1::2].var())))
    return (between > PAIRED * within or louder > UNEQUAL * softer) and declared.correlation(2) > 0.5


HINTS = {
    "asterisk": "the codec of the dial string, `c(…)`, and of the websocket's channel",
    "audiosocket": "`c(slin)` on the channel that dials AudioSocket, and `audiosocket.slin_rate_hz`",
    "freeswitch": "`rate` and `mix` in the metadata, and what the fork was started with",
    "jambonz": "`sampleRate` and `mixType` of `listen`",
    "livekit": "`channels=2` and `rate` in websocket_url",
    "plain": "`encoding`, `rate` and `channels` in the URL",
    "rtp": "`payload_types` of the port",
}


def hint(source: str) -> str:
    """Return the setting that is likely wrong where a leg's audio isn't what was declared, by its `source`."""
    return HINTS.get(source, "the media format that the peer announces")
