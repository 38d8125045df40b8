"""Detects audio that is not in the declared format: sample type, channels, bytes per second.  [S]

Peers declare formats wrongly: LiveKit's egress may send two channels instead of one, an AudioSocket without `c(slin)`
sends G.711 under the type of linear samples. Parsed as declared, such audio is noise or slow speech, and scores of it
are meaningless. Three signs reveal it in the first seconds of a leg:

*Another interpretation is smooth.* At these rates audio changes little from sample to sample. If, in another sample
type or byte order, the correlation of neighbours is above `SMOOTH`, and `SMOOTHER` times nearer to 1 than as declared,
the audio is in that format. If every second sample correlates with the next but one and not with its neighbour, it has
two interleaved channels. Noise is rough in any interpretation; speech, music and most tones are smooth as declared; a
tone at a quarter of the rate is rough, but no other interpretation of it is smooth.

*Pairs.* In two channels that are alike, or of which one is louder, neighbouring samples differ alternately in step or
in level. A rate doubled by repeating samples looks the same, so audio must also arrive faster than real time.

*Too few bytes.* Payloads arrive at a regular interval, each with a half, a third, a quarter or a sixth of that
duration. Only if the peer neither numbers nor times its payloads, because loss looks the same otherwise. Audio that
arrives too fast is no sign by itself: recordings may be replayed, and stalls are caught up.
"""

from __future__ import annotations

from collections import Counter, deque

import numpy as np
from numpy.typing import NDArray

from gateway.ingest.codecs import ALAW, MULAW
from gateway.ingest.events import AudioFormat

BLOCK_S = 0.1
"""Declared duration of a block, the unit of examination."""
SOUNDING_BLOCKS = 10
"""Number of blocks with sound on which a result is based."""
AGREEING = 0.7
"""Share of them that must contradict the declared format, or agree with it again."""
CALM_STEP = 3
"""While the last blocks agree with the declared format or are silent, one block in this many is examined, which takes
30 µs."""
WATCHED_BLOCKS = 40
"""Blocks with sound after which a leg that was never in doubt is no longer examined: some 10 s of sound."""
ROUGH, SMOOTH = 0.35, 0.6
SMOOTHER = 1.7
"""Factor by which the correlation of neighbours must be nearer to 1 in another interpretation."""
PAIRED = 3.0
"""Ratio of the energy of the steps between pairs to that within pairs."""
UNEQUAL = 1.5
"""Ratio of the energies of the two channels."""
HASTE, HASTE_S = 1.3, 0.5
"""Factor and offset by which the duration of audio exceeds the time in which it arrived."""
BEATS = 50
"""Number of arrivals from which an interval is determined."""
BEAT_S = 0.008
"""Shortest interval of packets."""
TWO_CHANNELS = "two interleaved channels"
LINEAR = "16-bit linear samples"
SWAPPED = "the other byte order, or samples that begin one byte later"
_QUIET = 1e-4
"""Variance (full scale 1) below which a block is silence in any interpretation: -40 dB."""
INTERPRETATIONS = ("s16le", "s16be", "mulaw", "alaw")
"""The interpretations that are tried."""
_FRACTIONS = np.array([1 / 2, 1 / 3, 1 / 4, 1 / 6])
_NEAR = 0.06

Sample = NDArray[np.float32]


class Plausibility:
    """Examines one leg: call `add` with each payload; `doubt` is the current result."""

    def __init__(self, declared: AudioFormat) -> None:
        """Start with the declared format; for G.722 and Opus only the interval of packets is examined."""
        self.doubt: str | None = None
        """The apparent format, in words for the operator; None if it agrees with the declared one."""
        self._encoding = declared.encoding
        self._block_bytes = round(BLOCK_S * declared.rate_hz) * (2 if declared.encoding.startswith("s16") else 1)
        self._is_read = declared.encoding in INTERPRETATIONS
        self._bytes = bytearray()
        self._seen: deque[str] = deque(maxlen=SOUNDING_BLOCKS)
        self._sounding = 0
        self._blocks = 0
        self._is_silent = False
        self._gaps_s: list[float] = []
        self._is_short = False
        """Whether the last intervals had too few bytes."""
        self._first_s: float | None = None
        self._last_s = 0.0
        self._added_s = 0.0

    def add(self, payload: bytes, duration_s: float, now_s: float, *, is_timed: bool) -> bool:
        """Add one payload; return whether `doubt` has appeared or disappeared.

        Args:
            payload: as received.
            duration_s: duration in the declared format.
            now_s: time of arrival, on a monotonic clock.
            is_timed: whether the peer numbers or times its payloads; then their interval means nothing.
        """
        before = self.doubt
        if not payload:
            return False
        self._added_s += duration_s
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
        hasty = self._added_s > HASTE * (self._last_s - (self._first_s or 0.0)) + HASTE_S
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
    """Return the apparent format of a block: empty for the declared one, None for silence.

    Args:
        block: at least 20 samples, of ``s16le``, ``s16be``, ``mulaw`` or ``alaw``.
        encoding: the declared encoding.
        is_hasty: whether audio has arrived faster than real time.
    """
    declared = _Centred(_read(block, encoding))
    if declared.variance < _QUIET:
        return None
    near = declared.correlation(1)
    if near < -ROUGH:  # a tone near half the rate would be smooth in a wrong interpretation
        return ""
    needed = max(SMOOTH, 1 - (1 - near) / SMOOTHER)
    smoothest, correlation = encoding, near
    for name in INTERPRETATIONS:
        if name == encoding:
            continue
        other = _Centred(_read(block, name))
        if other.variance > _QUIET and (of_other := other.correlation(1)) > correlation:
            smoothest, correlation = name, of_other
    if correlation > needed:
        if smoothest.startswith("s16"):  # soft sound is smooth in both byte orders
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
    """Samples without their mean. The sums use BLAS, since `np.var` alone takes as long as all of this."""

    def __init__(self, samples: Sample) -> None:
        self.samples = samples - np.add.reduce(samples) / np.float32(len(samples))
        self._energy = float(self.samples @ self.samples)
        self.variance = self._energy / len(samples)

    def correlation(self, lag: int) -> float:
        """Return the autocorrelation at a lag, from -1 to 1."""
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
    """Return the setting that is probably wrong if a leg's audio is not in the declared format, by its `source`."""
    return HINTS.get(source, "the media format that the peer announces")
