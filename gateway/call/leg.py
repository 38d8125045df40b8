"""One speaker: payloads as they came off the wire -> ordered, continuous audio at 16 kHz.  [S]

Payloads may arrive twice, late, out of order or never. A leg keeps back a few of them while one is
missing, then declares it lost: lost audio costs exactly itself. Audio is placed by the sender's clock, not arrival.

Three things look alike on the wire and are not the same:

- *lost*: the sender counted a payload that never came. Marked as a gap, for the windows to know.
- *silence not sent* (DTX, RFC 3551, 4.1): the count goes on, the clock jumps. Filled with silence: that is what it was.
- *clock jitter*: the clock of some platforms is rounded or read late. Small steps are not steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detection.types import SAMPLE_RATE_HZ
from gateway.call.resample import Resampler
from gateway.errors import BadMessage
from gateway.ingest.codecs import open_decoder
from gateway.ingest.events import REORDER_PAYLOADS, AudioFormat, AudioReceived

RESYNC_PAYLOADS = 1000
"""A counter that jumps further than this was restarted (a new SSRC, a new stream), not reordered."""
BLOCK_S = 0.2
"""Audio is decoded and resampled in blocks of this length, for the calls cost more than the arithmetic; but at once
where something waits for it (`Leg.due_s`)."""
JITTER_S = 0.015
"""Steps of the sender's clock up to this are not steps: less than one 20 ms payload."""
DRIFT = 0.002
"""Share of a small step by which the sender's clock is set right at each payload: crystals are 200 ppm off, which over
an hour adds up to 0.7 s that was never lost."""
ROUNDING_S = 0.5 / SAMPLE_RATE_HZ
"""Times are sums of durations: those that differ by less are the same."""
LEAD_S = 0.1
"""Audio is decoded from so long before it is wanted: decoders and filters have to settle."""
MIN_PAYLOAD_S = 0.0025
"""A payload counts for as much as the shortest there is (Opus, RFC 6716 section 2.1.4): empty ones are no loophole."""
UNSENT_SILENCE_S = 2.0
"""Silence not sent is filled in up to this; a longer one is a gap, though not a loss."""


@dataclass(frozen=True, slots=True)
class Run:
    """Continuous audio, and how much is missing before it."""

    start_s: float
    """Media time of the first sample."""
    samples: NDArray[np.float32]
    """At 16 kHz, shape ``(n,)``."""
    gap_s: float
    """Seconds missing right before `start_s`; 0 when this run continues the one before."""


@dataclass(slots=True)
class LegCounters:
    """What became of the payloads; for ``leg.ended`` and the metrics."""

    offered_s: float = 0.0
    """All that came or was filled in, duplicates and what came too late too: what the leg costs."""
    received_s: float = 0.0
    missing_s: float = 0.0
    shed_s: float = 0.0
    """Came, and was left unheard for want of CPU."""
    duplicates: int = 0
    late: int = 0


class Leg:
    """Accumulates one speaker's payloads: `push` them as they come, `flush` at the end."""

    def __init__(self, audio: AudioFormat, reorder_payloads: int = REORDER_PAYLOADS) -> None:
        """Raises UnsupportedMedia when encoding and rate do not go together."""
        self.counters = LegCounters()
        self.due_s = math.inf
        """Media time up to which audio is waited for: it is returned as soon as it is certain, whatever the block."""
        self.shedding = False
        """Whether what is placed now is left unheard, as a gap; what came before is heard to its end."""
        self.wanted_from_s = 0.0
        """Media time before which audio is not wanted, and so left unheard, too."""
        self._reorder_payloads = reorder_payloads
        self._decoder = open_decoder(audio)
        self._resampler = Resampler(self._decoder.rate_hz)
        self._held: dict[int, AudioReceived] = {}
        self._next_seq: int | None = None
        self._origin_ms: float | None = None
        self._last: tuple[float, bytes] | None = None
        """Time and payload of the last one placed: the same again is a duplicate, where nothing is counted."""
        self._placed_s = 0.0
        """Media time after the last payload put into the block."""
        self._block: list[bytes] = []
        self._block_s = 0.0
        self._run_start_s = 0.0
        """Media time of the next sample that the resampler returns."""
        self._gap_s = 0.0

    def push(self, audio: AudioReceived) -> list[Run]:
        """Take one payload; return the audio that became ready, if any.

        Raises:
            BadMessage: the payload is not one of this leg's codec; the leg goes on without it.
        """
        self.counters.offered_s += MIN_PAYLOAD_S
        if audio.payload:  # nonsense is refused before it is held back
            self.counters.offered_s += max(0.0, self.duration_s(audio.payload) - MIN_PAYLOAD_S)
        if audio.seq is None:
            return self._place(audio, lost=False)
        if self._next_seq is None or abs(audio.seq - self._next_seq) > RESYNC_PAYLOADS:
            self._restart(audio)
        assert self._next_seq is not None
        if audio.seq < self._next_seq:
            self.counters.late += 1
            return []
        if audio.seq in self._held:
            self.counters.duplicates += 1
            return []
        self._held[audio.seq] = audio
        runs = self._release()
        while len(self._held) > self._reorder_payloads:
            runs += self._skip_lost()
        return runs

    def flush(self) -> list[Run]:
        """Return all that is left. The leg may go on afterwards."""
        runs = []
        while self._held:
            runs += self._skip_lost()
        return runs + self._decode() + self._finish_run()

    def _release(self) -> list[Run]:
        """Place what is next in order, as far as it is there."""
        runs = []
        while self._next_seq is not None and (audio := self._held.pop(self._next_seq, None)) is not None:
            runs += self._place(audio, lost=False)
            self._next_seq += 1
        return runs

    def _skip_lost(self) -> list[Run]:
        """Give up on the missing payload and go on behind it."""
        seq = min(self._held)
        audio = self._held.pop(seq)
        runs = self._place(audio, lost=True)
        self._next_seq = seq + 1
        return runs + self._release()

    def _restart(self, audio: AudioReceived) -> None:
        """The sender's counter and clock begin anew; media time goes on."""
        self._held.clear()
        self._next_seq = audio.seq
        self._origin_ms = None

    def _place(self, audio: AudioReceived, *, lost: bool) -> list[Run]:
        """Put one payload, in its turn, at its place in media time."""
        runs: list[Run] = []
        if not audio.payload:
            return runs
        if audio.start_ms is not None:
            if audio.seq is None and (audio.start_ms, audio.payload) == self._last:
                self.counters.duplicates += 1
                return []
            self._last = (audio.start_ms, audio.payload)
            if self._origin_ms is None or audio.start_ms < self._origin_ms + 1000 * (self._placed_s - BLOCK_S):
                self._origin_ms = audio.start_ms - 1000 * self._placed_s  # the first payload, or the clock went back
            step_s = (audio.start_ms - self._origin_ms) / 1000 - self._placed_s
            if step_s > JITTER_S:
                runs += self._bridge(step_s, lost=lost or audio.seq is None)
            else:
                self._origin_ms += 1000 * DRIFT * step_s
        duration_s = self.duration_s(audio.payload)
        if self.shedding or self._placed_s + duration_s <= self.wanted_from_s - LEAD_S:
            return runs + self._shed(duration_s)
        self._block.append(audio.payload)
        self._block_s += duration_s
        self._placed_s += duration_s
        self.counters.received_s += duration_s
        is_due = self._is_due()
        if is_due or self._block_s >= BLOCK_S - 1e-9:
            runs += self._decode()
        return runs + self._run(self._resampler.settle()) if is_due else runs

    def _is_due(self) -> bool:
        """Whether what is waited for, and was not returned yet, can be had now."""
        due_s = self.due_s - ROUNDING_S
        return self._run_start_s < due_s <= self._placed_s - self._resampler.ahead_s

    def _bridge(self, step_s: float, *, lost: bool) -> list[Run]:
        """The clock stepped ahead: fill silence that was not sent, or end the run at a gap."""
        runs = self._decode()
        self._placed_s += step_s
        if lost:
            self.counters.missing_s += step_s
        elif step_s <= UNSENT_SILENCE_S:
            self.counters.offered_s += step_s
            return runs + self._resampled(np.zeros(round(step_s * self._decoder.rate_hz), np.float32))
        self._decoder.reset()
        runs += self._finish_run()
        self._gap_s += step_s
        self._run_start_s = self._placed_s
        return runs

    def _shed(self, duration_s: float) -> list[Run]:
        """Leave so much unheard: decoding and all that follows are most of what a payload costs."""
        runs: list[Run] = []
        if self._block or self._run_start_s < self._placed_s:  # the first of a row
            runs = self._decode() + self._finish_run()
            self._decoder.reset()
        self._placed_s += duration_s
        self.counters.shed_s += duration_s
        self._gap_s += duration_s
        self._run_start_s = self._placed_s
        return runs

    def duration_s(self, payload: bytes) -> float:
        """Return how long a payload is, as declared; at least one byte. Raises BadMessage."""
        return self._decoder.samples_in(payload) / self._decoder.rate_hz

    def _decode(self) -> list[Run]:
        """Decode what waits; a block in which anything cannot be decoded is a gap, as if it had been lost."""
        block, block_s = self._block, self._block_s
        self._block, self._block_s = [], 0.0
        if not block:
            return []
        try:
            return self._resampled(self._decoder.decode(block))
        except BadMessage:
            self._decoder.reset()
            runs = self._finish_run()
            self.counters.missing_s += block_s
            self._gap_s += block_s
            self._run_start_s = self._placed_s
            return runs

    def _resampled(self, samples: NDArray[np.float32]) -> list[Run]:
        return self._run(self._resampler.push(samples))

    def _finish_run(self) -> list[Run]:
        return self._run(self._resampler.flush())

    def _run(self, samples: NDArray[np.float32]) -> list[Run]:
        if not len(samples):
            return []
        run = Run(self._run_start_s, samples, self._gap_s)
        self._run_start_s += len(samples) / SAMPLE_RATE_HZ
        self._gap_s = 0.0
        return [run]
