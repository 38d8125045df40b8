"""A candidate beside what is live: the same windows, another model or other thresholds, and never an alert.  [IO]

What it would have said is told as ``shadow.compared``: when a leg ends, and once for either side that has an alert
which the other has not. A candidate model has a queue, a thread of low priority and a share of CPU of its own; windows
beyond that are not heard by it, and no live leg ever waits for it.
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
"""Behind the verifier, too."""
ALERT_STANDS = (AlertState.PROVISIONAL, AlertState.CONFIRMED)
NOT_JUDGED = (FORMAT_MISMATCH, EXPECTED_SYNTHETIC)
"""Reasons of verdicts that do not hang on what models say of the leg's speaker; a candidate's would be the same."""

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
    """What all legs share of the candidate. `start` before the first leg, `close` after the last."""

    def __init__(self, policies: Policies, load: Load, llr: Llr, detector: Detector | None, cpu_share: float) -> None:
        """Take the candidate's rules and what it is to hear.

        Args:
            load: says when the candidate model must hear nothing.
            llr: the live fusion, for a candidate that is another policy only.
            detector: the candidate model; None: what is live scores for both.
            cpu_share: of one core, for that model.
        """
        self.policies = policies
        self.load = load
        self.llr = llr
        self.detector = detector
        share = CpuShare(cpu_share, clock.monotonic_s())
        self.scorer = Scorer(detector, Fifo(QUEUE_WINDOWS), 1, METERS, NICENESS, share) if detector else None

    def start(self) -> None:
        """Begin to score. Must be called on the event loop."""
        if self.scorer:
            self.scorer.start()

    async def close(self) -> None:
        """Stop."""
        if self.scorer:
            await self.scorer.close()

    def follow(
        self, stream: StreamStarted, leg: LegDescription, live: LegPolicy, publish: Callable[..., None]
    ) -> LegShadow | None:
        """Return the candidate's part in a leg; None where nothing is scored.

        `publish` takes a kind of event and what differs from others.
        """
        return LegShadow(self, self.policies.for_leg(stream, leg), publish) if live.screen else None


@dataclass(slots=True)
class _Heard:
    """A window, in the order of the leg."""

    window: Window
    live: AlertState
    """Where the live alert stood when the live model had scored it."""
    due: bool
    """Whether the candidate model has still to say something of it."""
    score: Score | None = None
    """None: it is no evidence."""


class LegShadow:
    """The candidate's part in one leg; a `ScoredLeg` of its model. It tells nothing after `end`."""

    def __init__(self, shadow: Shadow, policy: LegPolicy, publish: Callable[..., None]) -> None:
        self._shadow = shadow
        self._version = policy.version
        self._publish = publish
        self._verified = policy.verifier and shadow.detector is None
        self._decider = Decider(policy.rules, shadow.llr if self._verified else light_alone)
        self._heard: deque[_Heard] = deque()
        self._alerted = {"live": False, "candidate": False}
        self._told: set[str] = set()
        self._ended = False
        if shadow.detector is not None:
            self.frontend = shadow.detector.frontend()

    def hear(self, window: Window, score: Score, live: Decider, received_s: float) -> None:
        """Take a window that `live` has taken, with its score."""
        scorer = self._shadow.scorer
        if scorer is None:
            self._heard.append(_Heard(window, live.state, due=False, score=score))
        elif self._shadow.load.step is not Step.NONE:
            METERS.windows.labels("overload").inc()
            self._heard.append(_Heard(window, live.state, due=False))
        else:
            self._heard.append(_Heard(window, live.state, due=True))
            scorer.offer(self, window, received_s)
        self._follow()

    def skip(self, window: Window, live: Decider) -> None:
        """Take a window that is no evidence."""
        self._heard.append(_Heard(window, live.state, due=False))
        self._follow()

    def answer(self, start_s: float, end_s: float, log_odds: float, live: Decider) -> None:
        """Take an answer of the verifier that `live` has taken."""
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
        """Compare for the last time; what the candidate model has not scored by now is left out."""
        candidate = self._decider.verdict()
        said = word(live) if live.reason in NOT_JUDGED else word(candidate)
        LEGS.labels(word(live), said).inc()
        by = [name for name, alerted in self._alerted.items() if alerted]
        if by:
            ALERTED.labels("both" if len(by) > 1 else by[0]).inc()
        self._tell("leg_ended", live=word(live), candidate=said, p=candidate.p_synthetic, p_synthetic=live.p_synthetic)
        self._ended = True
        self._heard.clear()

    def _settle(self, window: Window, score: Score | None) -> None:
        for heard in self._heard:
            if heard.window is window:
                heard.due, heard.score = False, score
        self._follow()

    def _follow(self) -> None:
        """Take what is complete, in the order of the leg."""
        while self._heard and not self._heard[0].due:
            heard = self._heard.popleft()
            if heard.score is None:
                self._decider.skip(heard.window)
            else:
                self._decider.update(heard.score)
            self._compare(heard.live, heard.window.end_s)

    def _compare(self, live: AlertState, at_s: float) -> None:
        stands = {"live": live in ALERT_STANDS, "candidate": self._decider.state in ALERT_STANDS}
        for name, stands_now in stands.items():
            self._alerted[name] |= stands_now
        alone = [name for name, stands_now in stands.items() if stands_now]
        if len(alone) == 1 and alone[0] not in self._told:
            self._told.add(alone[0])
            self._tell(f"alert_{alone[0]}_only", p=self._decider.recent_p_synthetic, media_time_s=at_s)

    def _tell(
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
