"""One bounded queue of windows for all legs, one worker thread, micro-batches.  [IO]

The event loop only offers windows and is told the scores; it never waits for the model. When windows come faster than
the model scores them the queue fills, and then a window is skipped, counted and told to its leg: coverage shrinks,
delay does not grow.

There is one `Scorer` for the filter, which hears every leg, and one for the verifier, which hears a few; each with a
thread and meters of its own.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from prometheus_client import Counter, Gauge, Histogram

from detection import Detector, Frontend, Window
from gateway import clock, logs

_log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Meters:
    """What Prometheus is told of one scorer."""

    name: str
    """Of its thread and its task."""
    windows: Counter
    """By `outcome`: ``scored`` and ``skipped`` here, others where windows are offered."""
    queued: Gauge
    batch: Histogram
    seconds: Histogram
    """From a window's end, as received, to its score."""


FILTER_METERS = Meters(
    "scorer",
    Counter("callscreen_windows_total", "Windows of speech, by what became of them.", ["outcome"]),
    Gauge("callscreen_scorer_queue_windows", "Windows waiting for the model."),
    Histogram("callscreen_scorer_batch_windows", "Windows scored in one go.", buckets=(1, 2, 4, 8, 16, 32, 64, 128)),
    Histogram(
        "callscreen_scoring_seconds",
        "From a window's end, as received, to its score.",
        buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
    ),
)
WINDOWS = FILTER_METERS.windows


class ScoredLeg(Protocol):
    """What the scorer needs of a leg. `frontend` is touched by the worker thread only, the rest by the loop only."""

    frontend: Frontend

    def scored(self, window: Window, log_odds: float, received_s: float) -> None:
        """Take the score of a window that was offered; `received_s` is given back."""
        ...

    def skipped(self, window: Window) -> None:
        """Be told that a window will never be scored."""
        ...


@dataclass(frozen=True, slots=True)
class _Job:
    leg: ScoredLeg
    window: Window
    received_s: float


class Scorer:
    """Scores the windows of all legs. `start` before the first offer, `close` when no leg is left."""

    def __init__(
        self,
        detector: Detector,
        queue_windows: int,
        batch_windows: int,
        meters: Meters = FILTER_METERS,
        niceness: int = 0,
    ) -> None:
        """Take how many windows may wait, how many are scored in one go, and how far the thread stands back.

        Args:
            niceness: 0 to 19, as of `nice`, against the other threads of this process too; on Linux only.
        """
        self._detector = detector
        self._meters = meters
        self._limit = queue_windows
        self._batch_windows = batch_windows
        self._jobs: deque[_Job] = deque()
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, meters.name, initializer=_stand_back, initargs=(niceness,))
        self._worker: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to score. Must be called on the event loop."""
        self._worker = asyncio.create_task(self._work(), name=self._meters.name)

    @property
    def healthy(self) -> bool:
        """Whether windows are being scored."""
        return self._worker is not None and not self._worker.done()

    async def close(self) -> None:
        """Stop. Windows still queued are skipped."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        self._thread.shutdown(wait=False)
        while self._jobs:
            self._skip(self._jobs.popleft())

    def offer(self, leg: ScoredLeg, window: Window, received_s: float) -> None:
        """Queue a window; never waits. `leg` hears of it later, by `scored` or `skipped`, exactly once.

        Args:
            received_s: when the audio that completed the window came, by `clock.monotonic_s`.
        """
        job = _Job(leg, window, received_s)
        if len(self._jobs) >= self._limit:
            self._skip(job)
            return
        self._jobs.append(job)
        self._wake.set()

    def _skip(self, job: _Job) -> None:
        self._meters.windows.labels("skipped").inc()
        job.leg.skipped(job.window)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._jobs:
                batch = [self._jobs.popleft() for _ in range(min(self._batch_windows, len(self._jobs)))]
                self._meters.queued.set(len(self._jobs))
                self._meters.batch.observe(len(batch))
                try:
                    log_odds = await loop.run_in_executor(self._thread, self._score, batch)
                except asyncio.CancelledError:
                    self._jobs.extendleft(reversed(batch))
                    raise
                except Exception:  # task root: a model that fails on one batch must not end all calls
                    _log.exception("scoring failed", windows=len(batch))
                    for job in batch:
                        self._skip(job)
                    continue
                self._tell(batch, log_odds)

    def _score(self, batch: list[_Job]) -> list[float]:
        """Runs in the worker thread."""
        inputs = np.stack([job.leg.frontend.inputs(job.window) for job in batch])
        return [float(value) for value in self._detector.score(inputs)]

    def _tell(self, batch: list[_Job], log_odds: list[float]) -> None:
        now_s = clock.monotonic_s()
        for job, value in zip(batch, log_odds, strict=True):
            self._meters.windows.labels("scored").inc()
            self._meters.seconds.observe(now_s - job.received_s)
            job.leg.scored(job.window, value, job.received_s)


def _stand_back(niceness: int) -> None:
    """Runs first in the worker thread. On Linux each thread has a niceness of its own (sched(7))."""
    if niceness and sys.platform == "linux":
        os.nice(niceness)
