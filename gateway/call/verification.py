"""The heavy verifier beside the light filter: whom it is asked about, and at what expense.  [IO]

`detection.hybrid` says when a leg is in doubt and what an answer does. Here the windows of a doubtful leg go to a
second `Scorer`, whose thread stands back behind all others: no call, no score of the filter and no alert ever waits for
it. How many legs a minute it takes is limited; half of what may come at once is kept for legs on which an alert stands.
A question there is no room for is counted and dropped, and its leg goes on as if there were no verifier.

A leg that ends waits for an answer that is under way, for `ANSWER_WITHIN_S` at most: its call is over, and nobody else
waits with it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence

import numpy as np
from prometheus_client import Counter, Gauge, Histogram

from detection import (
    SAMPLE_RATE_HZ,
    VERIFIER,
    AlertState,
    Change,
    Decider,
    Detector,
    Hybrid,
    Policy,
    Score,
    Verdict,
    Window,
)
from detection.hybrid import RECENT_WINDOWS
from gateway import clock
from gateway.call.alerting import LegAlerts
from gateway.call.scorer import Meters, Scorer

AUTO, OFF = "auto", "off"
"""Values of the setting `verifier` that name no model."""
ANSWER_WITHIN_S = 2.0
"""Of wall time after a leg's end."""
QUEUE_WINDOWS = 16
NICENESS = 10
"""A tenth of what others get of a busy core: an answer comes late then, but it comes."""

VERIFICATIONS = Counter(
    "callscreen_verifications_total", "Questions to the verifier, by what came of them.", ["outcome"]
)
INSTALLED = Gauge("callscreen_verifier", "1 for the verifier in use.", ["model"])
METERS = Meters(
    "verifier",
    Counter("callscreen_verifier_windows_total", "Windows for the verifier, by what became of them.", ["outcome"]),
    Gauge("callscreen_verifier_queue_windows", "Windows waiting for the verifier."),
    Histogram("callscreen_verifier_batch_windows", "Windows verified in one go.", buckets=(1, 2)),
    Histogram(
        "callscreen_verifying_seconds",
        "From the end of the filter's window that caused it, as received, to the verifier's score.",
        buckets=(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10),
    ),
)


def verifier_name(setting: str) -> str | None:
    """Return which model the setting `verifier` means, a name or a path; None: no verifier."""
    return VERIFIER if setting == AUTO else None if setting == OFF else setting


def seconds_a_window(detector: Detector) -> float:
    """Measure what one window costs in CPU time, features and model; the best of a few."""
    noise = np.random.default_rng(0).normal(0, 0.03, round(detector.window_s * SAMPLE_RATE_HZ)).astype(np.float32)
    window = Window(0.0, noise, len(noise), detector.window_s, detector.window_s)

    def once() -> float:
        began_s = clock.thread_cpu_s()
        detector.score(detector.frontend().inputs(window)[None])
        return clock.thread_cpu_s() - began_s

    return min(once() for _ in range(3))


class Verifier:
    """The heavy model, its queue and its budget, for all legs. `start` before the first leg, `close` after the last."""

    def __init__(self, detector: Detector, legs_per_minute: int, raise_p: float) -> None:
        """Take how many legs it may be handed, and from which probability it calls a voice synthetic."""
        self.name = detector.name
        self.window_s = detector.window_s
        self.policy = Policy(raise_p=raise_p)
        self._detector = detector
        self._scorer = Scorer(detector, QUEUE_WINDOWS, RECENT_WINDOWS, METERS, NICENESS)
        self._budget = Budget(legs_per_minute)
        INSTALLED.labels(self.name).set(1)

    def start(self) -> None:
        """Begin to verify. Must be called on the event loop."""
        self._scorer.start()

    @property
    def healthy(self) -> bool:
        """Whether windows are being verified."""
        return self._scorer.healthy

    async def close(self) -> None:
        """Stop. What is still asked stays without an answer."""
        await self._scorer.close()
        INSTALLED.labels(self.name).set(0)

    def ask(
        self, windows: Sequence[Window], received_s: float, *, urgent: bool, done: Callable[[list[Score]], None]
    ) -> None:
        """Have windows of one leg scored, in order of time; never waits.

        Args:
            received_s: when the newest audio came, by `clock.monotonic_s`.
            urgent: an alert stands.
            done: is told the scores, later; none when there was no room, or no answer.
        """
        if not self._budget.take(clock.monotonic_s(), urgent=urgent):
            VERIFICATIONS.labels("over_budget").inc()
            asyncio.get_running_loop().call_soon(done, [])
            return
        question = _Question(self._detector, len(windows), done)
        for window in windows:
            self._scorer.offer(question, window, received_s)


class _Question:
    """Gathers the scores of windows that are asked about together; a `ScoredLeg`."""

    def __init__(self, detector: Detector, count: int, done: Callable[[list[Score]], None]) -> None:
        self.frontend = detector.frontend()
        self._left = count
        self._scores: list[Score] = []
        self._done = done

    def scored(self, window: Window, log_odds: float, received_s: float) -> None:  # noqa: ARG002
        """See `ScoredLeg`. What is no number is no answer."""
        if not math.isnan(log_odds):
            self._scores.append(Score.of(window, log_odds))
        self._count_down()

    def skipped(self, window: Window) -> None:  # noqa: ARG002
        """See `ScoredLeg`."""
        self._count_down()

    def _count_down(self) -> None:
        self._left -= 1
        if not self._left:
            if not self._scores:
                VERIFICATIONS.labels("skipped").inc()
            asyncio.get_running_loop().call_soon(self._done, self._scores)


class Budget:
    """So many questions a minute, a quarter of them at once; half of these are kept for the urgent ones.  [S]"""

    def __init__(self, per_minute: int) -> None:
        self._per_s = per_minute / 60
        self._most = max(1.0, per_minute / 4)
        self._left = self._most
        self._at_s = 0.0

    def take(self, now_s: float, *, urgent: bool) -> bool:
        """Whether one more question may be put now; if so, it counts."""
        self._left = min(self._most, self._left + self._per_s * (now_s - self._at_s))
        self._at_s = now_s
        kept = 0 if urgent else self._most // 2
        if self._left < 1 + kept:
            return False
        self._left -= 1
        return True


class LegVerification:
    """What the verifier has to do with one leg: `hear` each window that the leg's decider took, `end` when it ends."""

    def __init__(
        self,
        verifier: Verifier,
        decider: Decider,
        alerts: LegAlerts,
        on_settled: Callable[[], None],
    ) -> None:
        """`alerts` is told each answer; `on_settled` is called when no answer is due any longer."""
        self._verifier = verifier
        self._decider = decider
        self._alerts = alerts
        self._on_settled = on_settled
        self._hybrid = Hybrid(decider, verifier.policy, verifier.window_s)
        self._asked_received_s: float | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._too_late = False

    @property
    def under_way(self) -> bool:
        """Whether an answer is due."""
        return self._asked_received_s is not None and not self._too_late

    def hear(self, window: Window, change: Change | None, received_s: float) -> None:
        """Take a scored window and the move of the alert that came of it; ask the verifier if it's time."""
        self._hybrid.hear(window, change)
        if self._too_late or not (windows := self._hybrid.question()):
            return
        self._asked_received_s = received_s
        urgent = self._decider.state in (AlertState.PROVISIONAL, AlertState.CONFIRMED)
        self._verifier.ask(windows, received_s, urgent=urgent, done=self._answered)

    def verdict(self) -> Verdict:
        """What to say of the leg; see `Hybrid.verdict`."""
        return self._hybrid.verdict()

    def end(self) -> None:
        """The leg ends: answers are waited for no longer than `ANSWER_WITHIN_S`."""
        self._deadline = asyncio.get_running_loop().call_later(ANSWER_WITHIN_S, self._give_up)

    def close(self) -> None:
        """The leg has ended."""
        self._too_late = True
        if self._deadline is not None:
            self._deadline.cancel()

    def _give_up(self) -> None:
        if self.under_way:
            VERIFICATIONS.labels("too_late").inc()
        self._too_late = True
        self._on_settled()

    def _answered(self, scores: list[Score]) -> None:
        received_s, self._asked_received_s = self._asked_received_s, None
        if self._too_late or received_s is None:
            return
        if scores:
            answer = self._hybrid.answered(scores)
            VERIFICATIONS.labels(answer.ruling.value).inc()
            self._alerts.verified(answer, self._verifier.name, self._decider.recent_p_synthetic, received_s)
        else:
            self._hybrid.unanswered()
        self._on_settled()
