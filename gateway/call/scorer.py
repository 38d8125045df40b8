"""One bounded queue of windows for all legs, one worker thread, micro-batches.  [IO]

The event loop only offers windows and is told the scores; it never waits for the model. When windows come faster than
the model scores them the queue fills, and then a window is skipped, counted and told to its leg: coverage shrinks,
delay does not grow.

There is one `Scorer` for the light model, which hears every leg, and one for the verifier, which hears what its share
of CPU allows; each with a thread, a backlog and meters of its own.
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
"""Outcome of a window for which there is no room, that the model failed on, or that waits when all ends."""


@dataclass(frozen=True, slots=True)
class Meters:
    """What Prometheus is told of one scorer."""

    name: str
    """Of its thread and its task."""
    windows: Counter
    """By `outcome`: ``scored``, `SKIPPED`, what a backlog says of windows it drops, others where they are offered."""
    queued: Gauge
    batch: Histogram
    seconds: Histogram
    """From a window's end, as received, to its score."""
    cpu: Counter
    """Seconds of CPU time of the thread."""


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
    Counter("callscreen_scorer_cpu_seconds_total", "CPU time spent on features and the model."),
)
WINDOWS = FILTER_METERS.windows


class ScoredLeg(Protocol):
    """What the scorer needs of a leg. `frontend` is touched by the worker thread only, the rest by the loop only."""

    frontend: Frontend

    def scored(self, window: Window, score: Score, received_s: float) -> None:
        """Take the score of a window that was offered; `received_s` is given back."""
        ...

    def skipped(self, window: Window) -> None:
        """Be told that a window will never be scored."""
        ...


@dataclass(frozen=True, slots=True)
class Job:
    """A window that waits for the model."""

    leg: ScoredLeg
    window: Window
    received_s: float


Dropped = tuple[Job, str]
"""A window that will never be scored, and the `outcome` that it is counted under."""


class Backlog(Protocol):
    """The windows that wait: bounded."""

    def __len__(self) -> int: ...

    def put(self, job: Job) -> list[Dropped]:
        """Take a window; return what there is no room for, maybe that very one."""
        ...

    def take(self, most: int) -> tuple[list[Job], list[Dropped]]:
        """Return up to `most` windows to be scored next, and those that it is too late for."""
        ...


class Scoring(Protocol):
    """Who has windows scored: a `Scorer` in this process, or other processes."""

    @property
    def healthy(self) -> bool:
        """Whether windows are taken and told of."""
        ...

    @property
    def fault(self) -> str | None:
        """Why no window can be scored now, through no fault of this process; None: they can."""
        ...

    def start(self) -> None:
        """Begin. Must be called on the event loop."""
        ...

    async def close(self) -> None:
        """Stop; what waits is skipped."""
        ...

    def offer(self, leg: ScoredLeg, window: Window, received_s: float) -> None:
        """Take a window; never waits. `leg` hears of it, by `scored` or `skipped`, exactly once.

        Args:
            received_s: when the audio that completed the window came, by `clock.monotonic_s`.
        """
        ...


LATEST_S = 2.0
"""A window that has waited for so long is not scored any more: what it says is of no use to a live call."""


class Fifo:
    """First come, first scored; what comes when `limit` windows wait is dropped, and what waits for `LATEST_S`."""

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
        """Return for how long the window that is scored next has waited; 0 when none does."""
        return clock.monotonic_s() - self._jobs[0].received_s if self._jobs else 0.0


class Scorer:
    """Scores the windows of all legs. `start` before the first offer, `close` when no leg is left."""

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
        """Take where windows wait, how many are scored in one go, and how far the thread stands back.

        Args:
            niceness: 0 to 19, as of `nice`, against the other threads of this process too; on Linux only.
            share: how much CPU time the thread may take; None: as much as it needs.
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
        waiting, dropped = self._backlog.take(len(self._backlog))
        self._skip([*dropped, *((job, SKIPPED) for job in waiting)])

    def offer(self, leg: ScoredLeg, window: Window, received_s: float) -> None:
        """Queue a window; never waits. `leg` hears of it later, by `scored` or `skipped`, exactly once.

        Args:
            received_s: when the audio that completed the window came, by `clock.monotonic_s`.
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
        except Exception:  # task root: a model that fails on one batch must not end all calls
            _log.exception("scoring failed", windows=len(batch))
            self._skip((job, SKIPPED) for job in batch)
            return
        self._meters.cpu.inc(cpu_s)
        if self._share:
            self._share.spend(cpu_s)
        self._tell(batch, said)

    def _said(self, batch: list[Job]) -> tuple[WindowScores, float]:
        """Runs in the worker thread; returns also the CPU time it took."""
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
    """Runs first in the worker thread. On Linux each thread has a niceness of its own (sched(7))."""
    if niceness and sys.platform == "linux":
        os.nice(niceness)
