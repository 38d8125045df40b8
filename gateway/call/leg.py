"""The jitter buffer of one leg: payloads in order of arrival -> continuous audio at 16 kHz.  [S]

Payloads may arrive twice, late, out of order or never. The leg holds a few payloads while one is missing, then counts
the missing one as lost. Audio is placed by the sender's clock, not by its time of arrival.

Three cases look alike on the wire:

- *Loss*: a sequence number is missing. The audio gets a gap, which the windows take into account.
- *Silence not sent* (DTX, RFC 3551, section 4.1): sequence numbers are continuous, the timestamp jumps. The jump is
  filled with silence.
- *Clock jitter*: some platforms round timestamps or read their clock late. Small steps of the timestamp are ignored.
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
"""A larger jump of the sequence number is a restart (a new SSRC, a new stream), not reordering."""
BLOCK_S = 0.2
"""Audio is decoded and resampled in blocks of this length, because the function calls cost more than the arithmetic.
The block that completes a window is decoded at once (`Leg.due_s`)."""
JITTER_S = 0.015
"""Steps of the sender's clock up to this length are ignored: less than one payload of 20 ms."""
DRIFT = 0.002
"""Share of a small step by which the sender's clock is corrected at each payload: a drift of 200 ppm would otherwise
add up to 0.7 s in an hour."""
ROUNDING_S = 0.5 / SAMPLE_RATE_HZ
"""Times are sums of durations; smaller differences are rounding errors."""
LEAD_S = 0.1
"""Decoding starts this long before the audio that is needed, so that decoder and resampling filter have settled."""
MIN_PAYLOAD_S = 0.0025
"""Shortest duration of a payload (Opus, RFC 6716 section 2.1.4). Empty payloads count as much, too."""
UNSENT_SILENCE_S = 2.0
"""Longest silence not sent that is filled in. A longer one becomes a gap, but does not count as lost."""


@dataclass(frozen=True, slots=True)
class Run:
    """Continuous audio, and the length of the gap before it."""

    start_s: float
    """Media time of the first sample."""
    samples: NDArray[np.float32]
    """At 16 kHz, shape ``(n,)``."""
    gap_s: float
    """Length of the gap that ends at `start_s`, in seconds; 0 where this run continues the previous one."""


@dataclass(slots=True)
class LegCounters:
    """Durations and numbers of payloads, for ``leg.ended`` and the metrics."""

    offered_s: float = 0.0
    """Received or filled in, with duplicates and late payloads: what the limit of the media rate counts."""
    received_s: float = 0.0
    missing_s: float = 0.0
    shed_s: float = 0.0
    """Discarded under overload before decoding."""
    duplicates: int = 0
    late: int = 0


class Leg:
    """Orders and decodes one leg's payloads: call `push` for each payload, `flush` at the end."""

    def __init__(self, audio: AudioFormat, reorder_payloads: int = REORDER_PAYLOADS) -> None:
        """Raises UnsupportedMedia where the encoding does not allow the rate."""
        self.counters = LegCounters()
        self.due_s = math.inf
        """Media time at which the next window ends: audio up to it is returned without waiting for a whole block."""
        self.shedding = False
        """Whether payloads are discarded and leave a gap. Payloads placed earlier are still decoded."""
        self.wanted_from_s = 0.0
        """Media time at which the next window starts. Audio before it is discarded as well."""
        self._reorder_payloads = reorder_payloads
        self._decoder = open_decoder(audio)
        self._resampler = Resampler(self._decoder.rate_hz)
        self._held: dict[int, AudioReceived] = {}
        self._next_seq: int | None = None
        self._origin_ms: float | None = None
        self._last: tuple[float, bytes] | None = None
        """Timestamp and payload of the last one placed, to find duplicates where there are no sequence numbers."""
        self._placed_s = 0.0
        """Media time at the end of the last payload placed."""
        self._block: list[bytes] = []
        self._block_s = 0.0
        self._run_start_s = 0.0
        """Media time of the resampler's next output sample."""
        self._gap_s = 0.0

    def push(self, audio: AudioReceived) -> list[Run]:
        """Take one payload; return the audio that is complete now, oldest first.

        Raises:
            BadMessage: the payload is not valid for this leg's codec; it is dropped, the leg continues.
        """
        self.counters.offered_s += MIN_PAYLOAD_S
        if audio.payload:  # an invalid payload is refused before it is held
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
        """Return the remaining audio. The leg may be used further."""
        runs = []
        while self._held:
            runs += self._skip_lost()
        return runs + self._decode() + self._finish_run()

    def _release(self) -> list[Run]:
        """Place the held payloads that are next in order."""
        runs = []
        while self._next_seq is not None and (audio := self._held.pop(self._next_seq, None)) is not None:
            runs += self._place(audio, lost=False)
            self._next_seq += 1
        return runs

    def _skip_lost(self) -> list[Run]:
        """Count the missing payload as lost, and continue after it."""
        seq = min(self._held)
        audio = self._held.pop(seq)
        runs = self._place(audio, lost=True)
        self._next_seq = seq + 1
        return runs + self._release()

    def _restart(self, audio: AudioReceived) -> None:
        """Accept a restart of the sender's sequence numbers and clock; media time continues."""
        self._held.clear()
        self._next_seq = audio.seq
        self._origin_ms = None

    def _place(self, audio: AudioReceived, *, lost: bool) -> list[Run]:
        """Place one payload, next in order, in media time."""
        runs: list[Run] = []
        if not audio.payload:
            return runs
        if audio.start_ms is not None:
            if audio.seq is None and (audio.start_ms, audio.payload) == self._last:
                self.counters.duplicates += 1
                return []
            self._last = (audio.start_ms, audio.payload)
            if self._origin_ms is None or audio.start_ms < self._origin_ms + 1000 * (self._placed_s - BLOCK_S):
                self._origin_ms = audio.start_ms - 1000 * self._placed_s  # first payload, or the clock went back
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
        """Whether the audio up to `due_s` is placed but not returned yet."""
        due_s = self.due_s - ROUNDING_S
        return self._run_start_s < due_s <= self._placed_s - self._resampler.ahead_s

    def _bridge(self, step_s: float, *, lost: bool) -> list[Run]:
        """Handle a step of the clock: fill in silence that was not sent, or end the run at a gap."""
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
        """Discard a payload under overload, before decoding: the expensive part."""
        runs: list[Run] = []
        if self._block or self._run_start_s < self._placed_s:  # first discarded payload in a row
            runs = self._decode() + self._finish_run()
            self._decoder.reset()
        self._placed_s += duration_s
        self.counters.shed_s += duration_s
        self._gap_s += duration_s
        self._run_start_s = self._placed_s
        return runs

    def duration_s(self, payload: bytes) -> float:
        """Return the duration of a payload of at least one byte, in the declared format. Raises BadMessage."""
        return self._decoder.samples_in(payload) / self._decoder.rate_hz

    def _decode(self) -> list[Run]:
        """Decode the pending block; a block with an undecodable payload becomes a gap, like a lost one."""
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
