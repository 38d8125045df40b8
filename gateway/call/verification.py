"""The heavy verifier beside the light model: what it hears, in which order, and at what expense.  [IO]

Each leg's speech is cut for it once over (`detection.decision.coverage`), and every window is offered to a second
`Scorer`, whose thread stands back behind all others and takes no more than its share of CPU, or to a pool of other
processes (`gateway.pool`): no call, no score of the light model and no alert ever waits for it. Windows wait by the
need of their legs (`Rank`); what there is no room or no time for is dropped and counted, and its leg goes on with what
the light model says.

A leg that ends waits for answers that are due, for `ANSWER_WITHIN_S` at most: its call is over, and nobody else waits
with it.
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
from gateway.call.alerting import Answered, LegAlerts
from gateway.call.load import Load
from gateway.call.overload import Step
from gateway.call.scorer import Dropped, Job, Meters, Scorer, Scoring
from gateway.call.shadow import LegShadow
from gateway.call.share import CpuShare

AUTO, OFF = "auto", "off"
"""Values of the setting `verifier` that name no model."""
ANSWER_WITHIN_S = 2.0
"""Of wall time after a leg's last score."""
QUEUE_WINDOWS = 64
NICENESS = 10
"""A tenth of what others get of a busy core: an answer comes late then, but it comes."""

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
    """Whose windows are verified first."""

    DOUBTFUL = 0
    """`Decider.in_doubt`."""
    ALERTED = 1
    NEW = 2
    """None of the leg's windows was answered yet."""
    REST = 3
    AGAIN = 4
    """Windows of doubtful legs of which others hold everything: all is heard once before anything is heard twice."""


def verifier_name(setting: str, cpu_share: float) -> str | None:
    """Return which model the settings `verifier` and `verifier_cpu_share` mean, a name or a path; None: none."""
    if setting == OFF or not cpu_share:
        return None
    return VERIFIER if setting == AUTO else setting


def seconds_a_window(detector: Detector) -> float:
    """Measure what one window costs in CPU time, features and model; the best of a few."""
    noise = np.random.default_rng(0).normal(0, 0.03, round(detector.window_s * SAMPLE_RATE_HZ)).astype(np.float32)
    window = Window(0.0, noise, len(noise), detector.window_s, detector.window_s)

    def once() -> float:
        began_s = clock.thread_cpu_s()
        detector.score(detector.frontend().inputs(window)[None])
        return clock.thread_cpu_s() - began_s

    return min(once() for _ in range(3))


def own_scorer(detector: Detector, cpu_share: float) -> Scorer:
    """Return what scores in a thread of this process, with so many CPU seconds a second, above 0 and up to 1."""
    share = CpuShare(cpu_share, clock.monotonic_s())
    return Scorer(detector, ByRank(QUEUE_WINDOWS), 1, METERS, NICENESS, share)


class Verifier:
    """The heavy model, and who scores with it. `start` before the first leg, `close` after the last."""

    def __init__(self, detector: Detector, fusion: Fusion, scorer: Scoring, load: Load) -> None:
        """Take how its answers are fused with the light model's; `load` says when to hear less."""
        self.name = detector.name
        self._load = load
        self.window_s, self.hop_s = detector.window_s, detector.hop_s
        self.fusion = fusion
        self._detector = detector
        self._scorer = scorer
        INSTALLED.labels(self.name).set(1)

    def start(self) -> None:
        """Begin to verify. Must be called on the event loop."""
        self._scorer.start()

    @property
    def healthy(self) -> bool:
        """Whether windows are being verified."""
        return self._scorer.healthy

    @property
    def fault(self) -> str | None:
        """Why nothing is verified now, through no fault of this process; None: it is."""
        return self._scorer.fault

    @property
    def step(self) -> Step:
        """What is given up now, of a leg that is verified."""
        return max(self._load.step, Step.FEWER_VERIFICATIONS if self.fault else Step.NONE)

    async def close(self) -> None:
        """Stop. What is still asked stays without an answer."""
        await self._scorer.close()
        INSTALLED.labels(self.name).set(0)

    def _last_rank(self) -> int:
        """Return up to which rank windows are heard under the present load."""
        if self._load.step >= Step.FEWER_WINDOWS:
            return -1
        return Rank.ALERTED if self._load.step else Rank.AGAIN

    def ask(self, leg: LegVerification, question: VerifierWindow, received_s: float) -> None:
        """Have a window of a leg scored; never waits. `leg` is told, later: `answered` or `unanswered`.

        Args:
            received_s: when the newest audio came, by `clock.monotonic_s`.
        """
        if leg.rank(question) > self._last_rank():
            METERS.windows.labels("overload").inc()
            asyncio.get_running_loop().call_soon(leg.unanswered)
            return
        self._scorer.offer(_Asked(leg, question, self._detector), question.window, received_s)


class _Asked:
    """One question of one leg; a `ScoredLeg`."""

    def __init__(self, leg: LegVerification, question: VerifierWindow, detector: Detector) -> None:
        self.leg, self.question = leg, question
        self.frontend = detector.frontend()

    @property
    def rank(self) -> Rank:
        """How soon it should be answered, as of now."""
        return self.leg.rank(self.question)

    def scored(self, window: Window, score: Score, received_s: float) -> None:  # noqa: ARG002
        """See `ScoredLeg`."""
        asyncio.get_running_loop().call_soon(self.leg.answered, self.question, score.log_odds, received_s)

    def skipped(self, window: Window) -> None:  # noqa: ARG002
        """See `ScoredLeg`."""
        asyncio.get_running_loop().call_soon(self.leg.unanswered)


class ByRank:
    """The first rank first, within a rank who came first; where it is full, the oldest of the last rank is dropped.

    Ranks are those of the moment: a leg that falls into doubt takes its waiting windows with it.
    """

    def __init__(self, limit: int) -> None:
        """Take how many windows may wait; they are looked through one by one."""
        self._jobs: list[tuple[_Asked, Job]] = []
        self._limit = limit

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job) -> list[Dropped]:
        """See `Backlog`."""
        assert isinstance(job.leg, _Asked)
        self._jobs.append((job.leg, job))
        if len(self._jobs) <= self._limit:
            return []
        last = max(range(len(self._jobs)), key=lambda place: self._jobs[place][0].rank)
        return [(self._jobs.pop(last)[1], "queue_full")]

    def take(self, most: int) -> tuple[list[Job], list[Dropped]]:
        """See `Backlog`."""
        lapsed = [(job, why) for asked, job in self._jobs if (why := asked.leg.why_not(asked.question))]
        gone = {id(job) for job, _ in lapsed}
        left = [entry for entry in self._jobs if id(entry[1]) not in gone]
        first = sorted(range(len(left)), key=lambda place: (left[place][0].rank, place))[:most]
        self._jobs = [entry for place, entry in enumerate(left) if place not in first]
        return [left[place][1] for place in first], lapsed


class LegVerification:
    """The verifier's part in one leg: `hear` each window that the leg's decider took, until it has `ended`."""

    def __init__(
        self,
        verifier: Verifier,
        decider: Decider,
        alerts: LegAlerts,
        on_settled: Callable[[], None],
        shadow: LegShadow | None = None,
    ) -> None:
        """`alerts` is told each answer; `on_settled` is called after each, and when none is waited for any longer.

        `shadow` hears each answer that `decider` takes.
        """
        self._shadow = shadow
        self._verifier = verifier
        self._decider = decider
        self._alerts = alerts
        self._on_settled = on_settled
        self._coverage = Coverage(verifier.window_s, verifier.hop_s)
        self._end_s = 0.0
        self._due = 0
        """Questions without an answer."""
        self._heard = False
        self._deadline: asyncio.TimerHandle | None = None
        self._too_late = False

    def hear(self, window: Window, received_s: float) -> None:
        """Take a window that the decider took; ask the verifier about what is complete with it."""
        self._end_s = window.end_s
        self._ask(self._coverage.add(window, overlapping=self._decider.in_doubt), received_s)

    def skip(self, window: Window, received_s: float) -> None:
        """Take a window that the decider skipped: its audio is not verified."""
        self._ask(self._coverage.skip(window), received_s)

    def ended(self, received_s: float) -> bool:
        """The leg's last window was heard: whether all answers that are waited for came, for `ANSWER_WITHIN_S`."""
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().call_later(ANSWER_WITHIN_S, self._give_up)
            self._ask(self._coverage.end(), received_s)
        return self._too_late or not self._due

    @property
    def step(self) -> Step:
        """What is given up now."""
        return self._verifier.step

    def close(self) -> None:
        """The leg has ended."""
        self._too_late = True
        if self._deadline is not None:
            self._deadline.cancel()

    def rank(self, question: VerifierWindow) -> Rank:
        """Return how soon a question should be answered, as of now."""
        if question.overlapping:
            return Rank.AGAIN
        if self._decider.in_doubt:
            return Rank.DOUBTFUL
        if self._decider.state is AlertState.CONFIRMED:
            return Rank.ALERTED
        return Rank.REST if self._heard else Rank.NEW

    def why_not(self, question: VerifierWindow) -> str | None:
        """Return why a question needs no answer any more; None: it does."""
        if self._too_late:
            return "too_late"
        return "too_old" if question.end_s < self._end_s - MEMORY_S else None

    def answered(self, question: VerifierWindow, log_odds: float, received_s: float) -> None:
        """Take what the verifier says of a window; `received_s` is when its audio came. What is no number says nothing.

        An answer after the leg's end, or about speech that is no longer remembered, is counted and dropped.
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
            self._alerts.verified(Answered(verification, question, self._verifier.name, received_s))
        self._settle()

    def unanswered(self) -> None:
        """A question will not be answered."""
        self._due -= 1
        self._settle()

    def _ask(self, questions: Iterable[VerifierWindow], received_s: float) -> None:
        for question in questions:
            if not self._too_late:
                self._due += 1
                self._verifier.ask(self, question, received_s)

    def _settle(self) -> None:
        if not self._too_late:
            self._on_settled()

    def _give_up(self) -> None:
        self._too_late = True
        self._on_settled()
