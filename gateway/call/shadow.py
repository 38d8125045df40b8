"""Runs a candidate model or policy in the shadow of the live one: same windows, never an alert.  [IO]

Results are ``shadow.compared`` events: when a leg ends, and once for either side that has an alert which the other has
not. A candidate model has its own queue, thread of low priority and share of CPU; windows beyond that are not scored by
it, and no live leg ever waits for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram

from detection import AlertState, Decider, Detector, Score, Verdict, Window
from detection.decision.evidence import Llr, light_alone
from gateway import clock
from gateway.alerts.event import ShadowCompared
from gateway.call.format_watch import FORMAT_MISMATCH
from gateway.call.load import Load
from gateway.call.overload import Step
from gateway.call.policies import LegPolicy, Policies
from gateway.call.scorer import Fifo, Meters, Scorer
from gateway.call.share import CpuShare
from gateway.call.verdicts import EXPECTED_SYNTHETIC, word
from gateway.ingest.events import LegDescription, StreamStarted

QUEUE_WINDOWS = 64
NICENESS = 15
"""Lower priority than the verifier."""
ALERT_ACTIVE = (AlertState.PROVISIONAL, AlertState.CONFIRMED)
MODEL_INDEPENDENT = (FORMAT_MISMATCH, EXPECTED_SYNTHETIC)
"""Reasons of verdicts that do not depend on scores of the leg's speaker; a candidate's verdict would be the same."""

LEGS = Counter("callscreen_shadow_legs_total", "Legs that a candidate heard, by both verdicts.", ["live", "candidate"])
ALERTED = Counter("callscreen_shadow_alerts_total", "The same, by who raised an alert: both, live, candidate.", ["by"])
METERS = Meters(
    "shadow",
    Counter("callscreen_shadow_windows_total", "Windows for the candidate model, by what became of them.", ["outcome"]),
    Gauge("callscreen_shadow_queue_windows", "Windows waiting for the candidate model."),
    Histogram("callscreen_shadow_batch_windows", "Windows scored by it in one go.", buckets=(1,)),
    Histogram(
        "callscreen_shadow_scoring_seconds",
        "From a window's end, as received, to the candidate's score.",
        buckets=(0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2),
    ),
    Counter("callscreen_shadow_cpu_seconds_total", "CPU time spent on the candidate model."),
)


class Shadow:
    """The part of the candidate that all legs share. Call `start` before the first leg, `close` after the last."""

    def __init__(self, policies: Policies, load: Load, llr: Llr, detector: Detector | None, cpu_share: float) -> None:
        """Prepare the candidate.

        Args:
            policies: the candidate's policies.
            load: the candidate model scores nothing while it is overloaded.
            llr: the live fusion, for a candidate that is only a policy.
            detector: the candidate model; None: the live scores are used.
            cpu_share: share of one core for that model.
        """
        self.policies = policies
        self.load = load
        self.llr = llr
        self.detector = detector
        share = CpuShare(cpu_share, clock.monotonic_s())
        self.scorer = Scorer(detector, Fifo(QUEUE_WINDOWS), 1, METERS, NICENESS, share) if detector else None

    def start(self) -> None:
        """Start to score. Needs a running loop."""
        if self.scorer:
            self.scorer.start()

    async def close(self) -> None:
        """Stop."""
        if self.scorer:
            await self.scorer.close()

    def follow(
        self, stream: StreamStarted, leg: LegDescription, live: LegPolicy, publish: Callable[..., None]
    ) -> LegShadow | None:
        """Return the shadow of a leg; None if the leg is not scored.

        `publish` takes an event class and the fields that differ from other events of the leg.
        """
        return LegShadow(self, self.policies.for_leg(stream, leg), publish) if live.screen else None


@dataclass(slots=True)
class _Entry:
    """A window, in the order of the leg."""

    window: Window
    live: AlertState
    """State of the live alert after the live model's score."""
    due: bool
    """Whether the candidate model's score is pending."""
    score: Score | None = None
    """None: the window is not scored."""


class LegShadow:
    """The shadow of one leg; a `ScoredLeg` of the candidate model. It publishes nothing after `end`."""

    def __init__(self, shadow: Shadow, policy: LegPolicy, publish: Callable[..., None]) -> None:
        self._shadow = shadow
        self._version = policy.version
        self._publish = publish
        self._verified = policy.verifier and shadow.detector is None
        self._decider = Decider(policy.rules, shadow.llr if self._verified else light_alone)
        self._entries: deque[_Entry] = deque()
        self._alerted = {"live": False, "candidate": False}
        self._published: set[str] = set()
        self._ended = False
        if shadow.detector is not None:
            self.frontend = shadow.detector.frontend()

    def add(self, window: Window, score: Score, live: Decider, received_s: float) -> None:
        """Add a window that `live` has taken, with its score."""
        scorer = self._shadow.scorer
        if scorer is None:
            self._entries.append(_Entry(window, live.state, due=False, score=score))
        elif self._shadow.load.step is not Step.NONE:
            METERS.windows.labels("overload").inc()
            self._entries.append(_Entry(window, live.state, due=False))
        else:
            self._entries.append(_Entry(window, live.state, due=True))
            scorer.offer(self, window, received_s)
        self._follow()

    def skip(self, window: Window, live: Decider) -> None:
        """Add a window that is not scored."""
        self._entries.append(_Entry(window, live.state, due=False))
        self._follow()

    def answer(self, start_s: float, end_s: float, log_odds: float, live: Decider) -> None:
        """Add a score of the verifier that `live` has taken."""
        if self._verified:
            self._decider.add_verifier_score(start_s, end_s, log_odds)
            self._compare(live.state, end_s)

    def scored(self, window: Window, score: Score, received_s: float) -> None:  # noqa: ARG002
        """See `ScoredLeg`."""
        self._settle(window, score)

    def skipped(self, window: Window) -> None:
        """See `ScoredLeg`."""
        self._settle(window, None)

    def end(self, live: Verdict) -> None:
        """Publish the final comparison; windows that the candidate model has not scored by now are left out."""
        candidate = self._decider.verdict()
        verdict = word(live) if live.reason in MODEL_INDEPENDENT else word(candidate)
        LEGS.labels(word(live), verdict).inc()
        by = [name for name, alerted in self._alerted.items() if alerted]
        if by:
            ALERTED.labels("both" if len(by) > 1 else by[0]).inc()
        self._report(
            "leg_ended", live=word(live), candidate=verdict, p=candidate.p_synthetic, p_synthetic=live.p_synthetic
        )
        self._ended = True
        self._entries.clear()

    def _settle(self, window: Window, score: Score | None) -> None:
        for entry in self._entries:
            if entry.window is window:
                entry.due, entry.score = False, score
        self._follow()

    def _follow(self) -> None:
        """Process complete entries, in the order of the leg."""
        while self._entries and not self._entries[0].due:
            entry = self._entries.popleft()
            if entry.score is None:
                self._decider.skip(entry.window)
            else:
                self._decider.update(entry.score)
            self._compare(entry.live, entry.window.end_s)

    def _compare(self, live: AlertState, at_s: float) -> None:
        active = {"live": live in ALERT_ACTIVE, "candidate": self._decider.state in ALERT_ACTIVE}
        for name, is_active in active.items():
            self._alerted[name] |= is_active
        alone = [name for name, is_active in active.items() if is_active]
        if len(alone) == 1 and alone[0] not in self._published:
            self._published.add(alone[0])
            self._report(f"alert_{alone[0]}_only", p=self._decider.recent_p_synthetic, media_time_s=at_s)

    def _report(
        self, reason: str, *, p: float, live: str | None = None, candidate: str | None = None, **facts: object
    ) -> None:
        if self._ended:
            return
        self._publish(
            ShadowCompared,
            reason=reason,
            candidate_model=self._shadow.detector.name if self._shadow.detector else None,
            candidate_policy=self._version,
            candidate_p_synthetic=p,
            candidate_windows_scored=self._decider.verdict().windows,
            verdict=live,
            candidate_verdict=candidate,
            **facts,
        )
