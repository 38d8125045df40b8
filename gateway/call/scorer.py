"""Scores the windows of all legs: one bounded backlog, one worker thread, micro-batches.  [IO]

The event loop offers windows and receives scores by callback; it never waits for the model. When windows arrive faster
than the model scores them, the backlog fills up and windows are skipped: counted, and reported to their leg. Overload
reduces coverage; it does not increase delay.

There is one `Scorer` for the light model, which scores every leg, and one for the verifier, which scores as many
windows as its share of CPU allows. Each has its own thread, backlog and meters.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from prometheus_client import Counter, Gauge, Histogram

from detection import Detector, Frontend, Score, Window, WindowScores
from gateway import clock, logs
from gateway.call.share import CpuShare

_log = logs.get(__name__)


SKIPPED = "skipped"
"""Outcome of a window that found the backlog full, that the model failed on, or that was still queued at shutdown."""


@dataclass(frozen=True, slots=True)
class Meters:
    """The Prometheus metrics of one scorer."""

    name: str
    """Name of the thread and the task."""
    windows: Counter
    """By `outcome`: ``scored``, `SKIPPED`, a backlog's reasons for dropping windows, a leg's reasons for not offering
    them."""
    queued: Gauge
    batch: Histogram
    seconds: Histogram
    """From a window's end, as received, to its score."""
    cpu: Counter
    """CPU time of the thread, in seconds."""


FILTER_METERS = Meters(
    "scorer",
    Counter("callscreen_windows_total", "Windows of speech, by outcome.", ["outcome"]),
    Gauge("callscreen_scorer_queue_windows", "Windows waiting for the model."),
    Histogram("callscreen_scorer_batch_windows", "Windows scored in one batch.", buckets=(1, 2, 4, 8, 16, 32, 64, 128)),
    Histogram(
        "callscreen_scoring_seconds",
        "From a window's end, as received, to its score.",
        buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
    ),
    Counter("callscreen_scorer_cpu_seconds_total", "CPU time spent on features and the model."),
)
WINDOWS = FILTER_METERS.windows


class ScoredLeg(Protocol):
    """A leg, as seen by the scorer. Only the worker thread uses `frontend`; only the event loop calls the methods."""

    frontend: Frontend

    def scored(self, window: Window, score: Score, received_s: float) -> None:
        """Take the score of an offered window; `received_s` is the value given to `offer`."""
        ...

    def skipped(self, window: Window) -> None:
        """Take notice that an offered window will not be scored."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """A queued window."""

    leg: ScoredLeg
    window: Window
    received_s: float


Dropped = tuple[Job, str]
"""A window that will not be scored, and its `outcome` in the metric."""


class Backlog(Protocol):
    """A bounded queue of windows."""

    def __len__(self) -> int: ...

    def put(self, job: Job) -> list[Dropped]:
        """Add a window; return the windows dropped to make room, or the new one itself."""
        ...

    def take(self, most: int) -> tuple[list[Job], list[Dropped]]:
        """Remove and return up to `most` windows to score next, and the expired ones."""
        ...


class Scoring(Protocol):
    """Scores windows: a `Scorer` in this process, or a pool of other processes."""

    @property
    def healthy(self) -> bool:
        """Whether offered windows are handled."""
        ...

    @property
    def fault(self) -> str | None:
        """Why windows cannot be scored now, where the cause is outside this process; None where they can."""
        ...

    def start(self) -> None:
        """Start. Must be called on the event loop."""
        ...

    async def close(self) -> None:
        """Stop; queued windows are skipped."""
        ...

    def offer(self, leg: ScoredLeg, window: Window, received_s: float) -> None:
        """Queue a window without waiting. Calls `leg.scored` or `leg.skipped` exactly once, later.

        Args:
            received_s: arrival of the audio that completed the window, on `clock.monotonic_s`.
        """
        ...


LATEST_S = 2.0
"""Age at which a queued window expires: its score would come too late for a live call."""


class Fifo:
    """First in, first out. New windows are dropped when `limit` are queued; queued ones expire after `LATEST_S`."""

    def __init__(self, limit: int) -> None:
        self._jobs: deque[Job] = deque()
        self._limit = limit

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job) -> list[Dropped]:
        """See `Backlog`."""
        if len(self._jobs) >= self._limit:
            return [(job, SKIPPED)]
        self._jobs.append(job)
        return []

    def take(self, most: int) -> tuple[list[Job], list[Dropped]]:
        """See `Backlog`."""
        dropped: list[Dropped] = []
        while self._jobs and self._jobs[0].received_s < clock.monotonic_s() - LATEST_S:
            dropped.append((self._jobs.popleft(), SKIPPED))
        return [self._jobs.popleft() for _ in range(min(most, len(self._jobs)))], dropped

    def waiting_s(self) -> float:
        """Return the age of the oldest queued window, in seconds; 0 where none is queued."""
        return clock.monotonic_s() - self._jobs[0].received_s if self._jobs else 0.0


class Scorer:
    """Scores the windows of all legs. Call `start` before the first `offer`, `close` when no leg is left."""

    fault: str | None = None
    """See `Scoring`."""

    def __init__(
        self,
        detector: Detector,
        backlog: Backlog,
        batch_windows: int,
        meters: Meters = FILTER_METERS,
        niceness: int = 0,
        share: CpuShare | None = None,
    ) -> None:
        """Set up the scorer; nothing runs before `start`.

        Args:
            detector: the model.
            backlog: queue of windows.
            batch_windows: most windows in one batch.
            meters: its metrics.
            niceness: of the worker thread, 0 to 19, also relative to other threads of this process; Linux only.
            share: limit on the thread's CPU time; None for no limit.
        """
        self._detector = detector
        self._meters = meters
        self._backlog = backlog
        self._batch_windows = batch_windows
        self._share = share
        self._wake = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, meters.name, initializer=_lower_priority, initargs=(niceness,))
        self._worker: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start the worker. Must be called on the event loop."""
        self._worker = asyncio.create_task(self._work(), name=self._meters.name)

    @property
    def healthy(self) -> bool:
        """Whether windows are being scored."""
        return self._worker is not None and not self._worker.done()

    async def close(self) -> None:
        """Stop; queued windows are skipped."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)
        self._thread.shutdown(wait=False)
        waiting, dropped = self._backlog.take(len(self._backlog))
        self._skip([*dropped, *((job, SKIPPED) for job in waiting)])

    def offer(self, leg: ScoredLeg, window: Window, received_s: float) -> None:
        """Queue a window without waiting. Calls `leg.scored` or `leg.skipped` exactly once, later.

        Args:
            received_s: arrival of the audio that completed the window, on `clock.monotonic_s`.
        """
        self._skip(self._backlog.put(Job(leg, window, received_s)))
        self._wake.set()

    def _skip(self, dropped: Iterable[Dropped]) -> None:
        for job, outcome in dropped:
            self._meters.windows.labels(outcome).inc()
            job.leg.skipped(job.window)

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while len(self._backlog):
                if self._share and (wait_s := self._share.wait_s(clock.monotonic_s())):
                    await asyncio.sleep(wait_s)
                    continue
                batch, dropped = self._backlog.take(self._batch_windows)
                self._meters.queued.set(len(self._backlog))
                self._skip(dropped)
                if batch:
                    await self._score(batch)

    async def _score(self, batch: list[Job]) -> None:
        self._meters.batch.observe(len(batch))
        try:
            said, cpu_s = await asyncio.get_running_loop().run_in_executor(self._thread, self._said, batch)
        except asyncio.CancelledError:
            self._skip((job, SKIPPED) for job in batch)
            raise
        except Exception:  # task root: a failure on one batch must not end all calls
            _log.exception("scoring failed", windows=len(batch))
            self._skip((job, SKIPPED) for job in batch)
            return
        self._meters.cpu.inc(cpu_s)
        if self._share:
            self._share.spend(cpu_s)
        self._tell(batch, said)

    def _said(self, batch: list[Job]) -> tuple[WindowScores, float]:
        """Score a batch, in the worker thread; return the scores and the CPU time in seconds."""
        began_s = clock.thread_cpu_s()
        inputs = np.stack([job.leg.frontend.inputs(job.window) for job in batch])
        return self._detector.score(inputs), clock.thread_cpu_s() - began_s

    def _tell(self, batch: list[Job], said: WindowScores) -> None:
        now_s = clock.monotonic_s()
        for job, log_odds, narrow in zip(batch, said.log_odds.tolist(), said.narrow.tolist(), strict=True):
            self._meters.windows.labels("scored").inc()
            self._meters.seconds.observe(now_s - job.received_s)
            job.leg.scored(job.window, Score.of(job.window, log_odds, narrow), job.received_s)


def _lower_priority(niceness: int) -> None:
    """Set the niceness of the calling thread. On Linux it is an attribute of the thread (sched(7))."""
    if niceness and sys.platform == "linux":
        os.nice(niceness)
