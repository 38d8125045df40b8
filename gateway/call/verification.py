"""The verifier: which windows it scores, in which order, and within which share of CPU.  [IO]

The speech of each leg is divided into windows for it (`detection.decision.coverage`). They are offered to a second
`Scorer`, whose thread has low priority and a limited share of CPU, or to a pool of other processes (`gateway.pool`): no
call, no score of the light model and no alert ever waits for it. Windows are ordered by the need of their legs
(`Rank`); those without room or time are dropped and counted, and their legs continue with the light model's scores.

A leg that ends waits for pending scores, at most `ANSWER_WITHIN_S`; nothing else waits with it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from enum import IntEnum

import numpy as np
from prometheus_client import Counter, Gauge, Histogram

from detection import (
    SAMPLE_RATE_HZ,
    VERIFIER,
    AlertState,
    Coverage,
    Decider,
    Detector,
    Fusion,
    Score,
    VerifierWindow,
    Window,
)
from detection.decision.evidence import MEMORY_S
from gateway import clock
from gateway.call.alerting import LegAlerts, VerifierAnswer
from gateway.call.load import Load
from gateway.call.overload import Step
from gateway.call.scorer import Dropped, Job, Meters, Scorer, Scoring
from gateway.call.shadow import LegShadow
from gateway.call.share import CpuShare

AUTO, OFF = "auto", "off"
"""Values of the setting `verifier` that are no model names."""
ANSWER_WITHIN_S = 2.0
"""Wall time after a leg's last score."""
QUEUE_WINDOWS = 64
NICENESS = 10
"""A tenth of the CPU time that other threads get on a busy core: scores are late, but they come."""

VERIFICATIONS = Counter("callscreen_verifications_total", "Answers of the verifier, by what came of them.", ["outcome"])
INSTALLED = Gauge("callscreen_verifier", "1 for the verifier in use.", ["model"])
METERS = Meters(
    "verifier",
    Counter("callscreen_verifier_windows_total", "Windows for the verifier, by what became of them.", ["outcome"]),
    Gauge("callscreen_verifier_queue_windows", "Windows waiting for the verifier."),
    Histogram("callscreen_verifier_batch_windows", "Windows verified in one go.", buckets=(1,)),
    Histogram(
        "callscreen_verifying_seconds",
        "From the end of the light model's window that completed it, as received, to the verifier's score.",
        buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
    ),
    Counter("callscreen_verifier_cpu_seconds_total", "CPU time spent on verifying."),
)


class Rank(IntEnum):
    """Order of verification."""

    DOUBTFUL = 0
    """`Decider.in_doubt`."""
    ALERTED = 1
    NEW = 2
    """No window of the leg was scored yet."""
    REST = 3
    AGAIN = 4
    """Overlapping windows of legs in doubt: all speech is scored once before any is scored twice."""


def verifier_name(setting: str, cpu_share: float) -> str | None:
    """Return the model that the settings `verifier` and `verifier_cpu_share` select, a name or a path; None: none."""
    if setting == OFF or not cpu_share:
        return None
    return VERIFIER if setting == AUTO else setting


def seconds_per_window(detector: Detector) -> float:
    """Measure the CPU time of one window, features and model; the best of three."""
    noise = np.random.default_rng(0).normal(0, 0.03, round(detector.window_s * SAMPLE_RATE_HZ)).astype(np.float32)
    window = Window(0.0, noise, len(noise), detector.window_s, detector.window_s)

    def once() -> float:
        began_s = clock.thread_cpu_s()
        detector.score(detector.frontend().inputs(window)[None])
        return clock.thread_cpu_s() - began_s

    return min(once() for _ in range(3))


def own_scorer(detector: Detector, cpu_share: float) -> Scorer:
    """Return a scorer in a thread of this process, limited to `cpu_share` CPU seconds per second, above 0 and up to
    1."""
    share = CpuShare(cpu_share, clock.monotonic_s())
    return Scorer(detector, ByRank(QUEUE_WINDOWS), 1, METERS, NICENESS, share)


class Verifier:
    """The verifier and its scorer. Call `start` before the first leg, `close` after the last."""

    def __init__(self, detector: Detector, fusion: Fusion, scorer: Scoring, load: Load) -> None:
        """Prepare the verifier.

        Args:
            detector: the model.
            fusion: fuses its scores with those of the light model.
            scorer: scores the windows.
            load: determines when to score less.
        """
        self.name = detector.name
        self._load = load
        self.window_s, self.hop_s = detector.window_s, detector.hop_s
        self.fusion = fusion
        self._detector = detector
        self._scorer = scorer
        INSTALLED.labels(self.name).set(1)

    def start(self) -> None:
        """Start to score. Needs a running loop."""
        self._scorer.start()

    @property
    def healthy(self) -> bool:
        """Whether windows are being scored."""
        return self._scorer.healthy

    @property
    def fault(self) -> str | None:
        """Why nothing is scored now for an external reason; None: windows are scored."""
        return self._scorer.fault

    @property
    def step(self) -> Step:
        """The step of overload for a leg that is verified."""
        return max(self._load.step, Step.FEWER_VERIFICATIONS if self.fault else Step.NONE)

    async def close(self) -> None:
        """Stop. Pending windows get no score."""
        await self._scorer.close()
        INSTALLED.labels(self.name).set(0)

    def _last_rank(self) -> int:
        """Return the last rank that is scored under the current load."""
        if self._load.step >= Step.FEWER_WINDOWS:
            return -1
        return Rank.ALERTED if self._load.step else Rank.AGAIN

    def request(self, leg: LegVerification, requested: VerifierWindow, received_s: float) -> None:
        """Have a window of a leg scored; never waits. Later `leg.answered` or `leg.unanswered` is called.

        Args:
            leg: the leg.
            requested: the window.
            received_s: arrival of the newest audio, by `clock.monotonic_s`.
        """
        if leg.rank(requested) > self._last_rank():
            METERS.windows.labels("overload").inc()
            asyncio.get_running_loop().call_soon(leg.unanswered)
            return
        self._scorer.offer(_Request(leg, requested, self._detector), requested.window, received_s)


class _Request:
    """One window of one leg; a `ScoredLeg`."""

    def __init__(self, leg: LegVerification, requested: VerifierWindow, detector: Detector) -> None:
        self.leg, self.requested = leg, requested
        self.frontend = detector.frontend()

    @property
    def rank(self) -> Rank:
        """Current rank of the window."""
        return self.leg.rank(self.requested)

    def scored(self, window: Window, score: Score, received_s: float) -> None:  # noqa: ARG002
        """See `ScoredLeg`."""
        asyncio.get_running_loop().call_soon(self.leg.answered, self.requested, score.log_odds, received_s)

    def skipped(self, window: Window) -> None:  # noqa: ARG002
        """See `ScoredLeg`."""
        asyncio.get_running_loop().call_soon(self.leg.unanswered)


class ByRank:
    """A backlog ordered by rank, then by age. If it is full, the oldest window of the last rank is dropped.

    Ranks are current ones: if a leg falls into doubt, its waiting windows move forward.
    """

    def __init__(self, limit: int) -> None:
        """`limit` is the number of windows that may wait; they are searched linearly."""
        self._jobs: list[tuple[_Request, Job]] = []
        self._limit = limit

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job) -> list[Dropped]:
        """See `Backlog`."""
        assert isinstance(job.leg, _Request)
        self._jobs.append((job.leg, job))
        if len(self._jobs) <= self._limit:
            return []
        last = max(range(len(self._jobs)), key=lambda place: self._jobs[place][0].rank)
        return [(self._jobs.pop(last)[1], "queue_full")]

    def take(self, most: int) -> tuple[list[Job], list[Dropped]]:
        """See `Backlog`."""
        lapsed = [(job, why) for request, job in self._jobs if (why := request.leg.why_not(request.requested))]
        gone = {id(job) for job, _ in lapsed}
        left = [entry for entry in self._jobs if id(entry[1]) not in gone]
        first = sorted(range(len(left)), key=lambda place: (left[place][0].rank, place))[:most]
        self._jobs = [entry for place, entry in enumerate(left) if place not in first]
        return [left[place][1] for place in first], lapsed


class LegVerification:
    """The verification of one leg: `add` each window that the leg's decider has taken, until `ended`."""

    def __init__(
        self,
        verifier: Verifier,
        decider: Decider,
        alerts: LegAlerts,
        on_settled: Callable[[], None],
        shadow: LegShadow | None = None,
    ) -> None:
        """Start the verification of a leg.

        Args:
            verifier: scores the windows.
            decider: the leg's decider.
            alerts: gets each score of the verifier.
            on_settled: called after each score, and when none is awaited any longer.
            shadow: gets each score that `decider` takes.
        """
        self._shadow = shadow
        self._verifier = verifier
        self._decider = decider
        self._alerts = alerts
        self._on_settled = on_settled
        self._coverage = Coverage(verifier.window_s, verifier.hop_s)
        self._end_s = 0.0
        self._due = 0
        """Number of pending windows."""
        self._heard = False
        self._deadline: asyncio.TimerHandle | None = None
        self._too_late = False

    def add(self, window: Window, received_s: float) -> None:
        """Add a window that the decider has taken; request the verifier's windows that are complete with it."""
        self._end_s = window.end_s
        self._request(self._coverage.add(window, overlapping=self._decider.in_doubt), received_s)

    def skip(self, window: Window, received_s: float) -> None:
        """Add a window that the decider has skipped; its audio is not verified."""
        self._request(self._coverage.skip(window), received_s)

    def ended(self, received_s: float) -> bool:
        """Called after the leg's last window; return whether no score is awaited any longer (at most
        `ANSWER_WITHIN_S`)."""
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().call_later(ANSWER_WITHIN_S, self._give_up)
            self._request(self._coverage.end(), received_s)
        return self._too_late or not self._due

    @property
    def step(self) -> Step:
        """Current step of overload."""
        return self._verifier.step

    def close(self) -> None:
        """Called when the leg has ended."""
        self._too_late = True
        if self._deadline is not None:
            self._deadline.cancel()

    def rank(self, question: VerifierWindow) -> Rank:
        """Return the current rank of a window."""
        if question.overlapping:
            return Rank.AGAIN
        if self._decider.in_doubt:
            return Rank.DOUBTFUL
        if self._decider.state is AlertState.CONFIRMED:
            return Rank.ALERTED
        return Rank.REST if self._heard else Rank.NEW

    def why_not(self, question: VerifierWindow) -> str | None:
        """Return why a window need not be scored any more; None: it must."""
        if self._too_late:
            return "too_late"
        return "too_old" if question.end_s < self._end_s - MEMORY_S else None

    def answered(self, question: VerifierWindow, log_odds: float, received_s: float) -> None:
        """Process a score of the verifier; NaN is ignored.

        A score after the leg's end, or on speech that is no longer remembered, is counted and dropped.

        Args:
            question: the window.
            log_odds: the raw score.
            received_s: arrival of its audio, by `clock.monotonic_s`.
        """
        self._due -= 1
        if self._too_late or math.isnan(log_odds):
            VERIFICATIONS.labels("too_late" if self._too_late else "no_number").inc()
        elif (verification := self._decider.add_verifier_score(question.start_s, question.end_s, log_odds)) is None:
            VERIFICATIONS.labels("too_old").inc()
        else:
            self._heard = True
            if self._shadow:
                self._shadow.answer(question.start_s, question.end_s, log_odds, self._decider)
            VERIFICATIONS.labels(verification.outcome.value).inc()
            self._alerts.verified(VerifierAnswer(verification, question, self._verifier.name, received_s))
        self._settle()

    def unanswered(self) -> None:
        """Called when a window will not be scored."""
        self._due -= 1
        self._settle()

    def _request(self, windows: Iterable[VerifierWindow], received_s: float) -> None:
        for requested in windows:
            if not self._too_late:
                self._due += 1
                self._verifier.request(self, requested, received_s)

    def _settle(self) -> None:
        if not self._too_late:
            self._on_settled()

    def _give_up(self) -> None:
        self._too_late = True
        self._on_settled()
