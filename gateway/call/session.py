"""A leg's life: payloads in, windows to the scorer, scores to the decider, events out.  [IO]

This is the way of one audio frame through the gateway; every step of it is a call below.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from detection import (
    Activity,
    AlertState,
    Change,
    Decider,
    Detector,
    Score,
    Verdict,
    Window,
    Windower,
)
from detection.types import SAMPLE_RATE_HZ
from gateway import clock, logs
from gateway.alerts.event import CoverageReduced, EventData, LegEnded, LegStarted, Scored, VoiceExpected
from gateway.call.alerting import LegAlerts
from gateway.call.coverage import Coverage
from gateway.call.crosstalk import Crosstalk
from gateway.call.expected import Expectation, ExpectedMachine
from gateway.call.format_watch import FORMAT_MISMATCH, FormatWatch
from gateway.call.leg import Leg, Run
from gateway.call.load import Load
from gateway.call.policies import LegPolicy, Policies
from gateway.call.scorer import WINDOWS, Scorer
from gateway.call.shadow import Shadow
from gateway.call.verdicts import EXPECTED_SYNTHETIC, NOT_SCREENED, verdict_on, word
from gateway.call.verification import LegVerification, Verifier
from gateway.errors import ProtocolError
from gateway.evidence.recorder import LegEvidence, Recorder
from gateway.ingest.events import AudioReceived, LegDescription, StreamStarted
from gateway.pace import Pace

CROSSTALK = "crosstalk"
"""What becomes of a window that holds another leg's voice."""
_log = logs.get(__name__)


class Publisher(Protocol):
    """Where events go: the bus, or the process that has it."""

    @property
    def healthy(self) -> bool:
        """Whether events are being stored and sent, as far as is known here."""
        ...

    def publish(self, data: EventData) -> object:
        """Send an event on its way; never waits."""
        ...


@dataclass(frozen=True, slots=True)
class Engine:
    """What all legs share: the models, their queues, the rules of decision, and where events go."""

    detector: Detector
    scorer: Scorer
    policies: Policies
    bus: Publisher
    load: Load
    expected: tuple[ExpectedMachine, ...] = ()
    verifier: Verifier | None = None
    shadow: Shadow | None = None
    evidence: Recorder | None = None


class LegSession:
    """One speaker of one call, from its first payload to its verdict. Lives on the event loop."""

    def __init__(
        self,
        stream: StreamStarted,
        description: LegDescription,
        engine: Engine,
        crosstalk: Crosstalk,
        pace: Pace,
        on_ended: Callable[[LegSession], None],
    ) -> None:
        """Publishes ``leg.started``. `crosstalk` is the call's, `pace` the limit on this leg's audio.

        `on_ended` is called once, after ``leg.ended``.
        """
        self.description = description
        self.frontend = engine.detector.frontend()
        self._of_call = {"call_id": stream.call_id, "tenant": stream.tenant}
        self.source = stream.source
        self._speaker = description.leg if stream.separation == "separate" else None
        self._judging = engine
        self._crosstalk, self._pace = crosstalk, pace
        self._on_ended = on_ended
        self._leg = Leg(description.format, description.reorder_payloads)
        self._windower = Windower(engine.detector.window_s, engine.detector.hop_s, Activity())
        self._leg.due_s = self._windower.due_s
        self._policy = engine.policies.for_leg(stream, description)
        verifier = engine.verifier if self._policy.verifier else None
        self._decider = Decider(self._policy.rules, *([verifier.fusion.llr] if verifier else []))
        self._expectation = Expectation(engine.expected, stream, description)
        self._expected_decider = Decider(self._policy.rules)
        """Judges what is said where a machine is expected, so that it is no evidence for the other."""
        self._media_time_s = self._received_s = 0.0
        self._waiting_windows = self._skipped_windows = self._leaked_windows = 0
        self._machine_heard = False
        self._end_reason: str | None = None
        logger = _log.bind(call_id=stream.call_id, leg=description.leg)
        evidence = _evidence_of(stream, description, self._policy, engine, self._expectation)
        self._alerts = LegAlerts(self._publish, logger, evidence)
        self._format = FormatWatch(description.format, stream.source, logger)
        shadow = engine.shadow
        self._shadow = shadow.follow(stream, description, self._policy, self._publish) if shadow else None
        self._verification = verifier and LegVerification(
            verifier, self._decider, self._alerts, self._end_when_done, self._shadow
        )
        self._coverage = Coverage(self._leg.counters)
        self._publish(LegStarted, reason="media_started", **_at_the_start(stream, description, self._policy))

    @property
    def verdict(self) -> str:
        """``synthetic``, ``human``, ``indeterminate`` or ``expected_machine``, as of now."""
        return word(self._verdict())

    @property
    def ending(self) -> bool:
        """Whether no more audio is taken."""
        return self._end_reason is not None

    def state(self) -> dict[str, object]:
        """The leg as ``GET /v1/calls/{id}`` shows it."""
        verdict = self._verdict()
        return {
            "leg": self.description.leg,
            "speaker": self._speaker,
            "role": self.description.role,
            "direction": self.description.direction,
            "encoding": self.description.format.encoding,
            "media_time_s": round(self._media_time_s, 3),
            "speech_s": round(verdict.speech_s, 2),
            "p_synthetic": round(verdict.p_synthetic, 4),
            "verdict": word(verdict),
            "reason": verdict.reason,
            "windows_crosstalk": self._leaked_windows,
            "alert": self._decider.state.value,
        }

    def receive(self, audio: AudioReceived) -> None:
        """Take one payload. Raises ProtocolError when it cannot be decoded, or too much came."""
        self._received_s = clock.monotonic_s()
        counters = self._leg.counters
        offered_s, shed_s = counters.offered_s, counters.shed_s
        self._leg.shedding = self._judging.load.is_late(self._received_s)
        runs = self._leg.push(audio)
        self._pace.take(counters.offered_s - offered_s, self._received_s)
        if counters.shed_s == shed_s:
            self._check_format(audio)
        elif self._coverage.note_shed():
            self._follow_load()  # nothing may be wanted for long, by a stride that holds no more
            self._report_coverage()
        for run in runs:
            self._listen(run)

    def _check_format(self, audio: AudioReceived) -> None:
        duration_s = self._leg.duration_s(audio.payload) if audio.payload else 0.0
        reason = self._format.hear(audio, duration_s, self._received_s)
        if reason and self._policy.screen and self._coverage.is_new(reason):
            self._publish(CoverageReduced, reason=reason, **self._coverage.counts(self._skipped_windows))

    def close(self, reason: str) -> None:
        """Take no more audio; the leg ends as soon as its last window is scored."""
        if self.ending:
            return
        with contextlib.suppress(ProtocolError):  # what cannot be decoded is no evidence; the verdict stands without it
            for run in self._leg.flush():
                self._listen(run)
        for window in self._windower.flush():
            self._offer(window)
        self._end_reason = reason
        self._end_when_done()

    def _follow_load(self) -> None:
        self._windower.stride = self._judging.load.stride
        self._leg.due_s, self._leg.wanted_from_s = self._windower.due_s, self._windower.next_start_s

    def _listen(self, run: Run) -> None:
        self._windower.stride = self._judging.load.stride
        self._alerts.hear(run)
        self._crosstalk.hear(self.description.leg, run.start_s, run.samples, self._received_s)
        for window in self._windower.push(run.start_s, run.samples, run.gap_s):
            self._offer(window)
        self._follow_load()
        self._media_time_s = run.start_s + len(run.samples) / SAMPLE_RATE_HZ
        self._report_coverage()

    def _offer(self, window: Window) -> None:
        if (why_not := self._why_not(window)) is None:
            self._waiting_windows += 1
            self._judging.scorer.offer(self, window, self._received_s)
            return
        WINDOWS.labels(why_not).inc()
        self._skipped_windows += why_not == FORMAT_MISMATCH
        self._leaked_windows += why_not == CROSSTALK
        self._skip(window)

    def _why_not(self, window: Window) -> str | None:
        """Return why a window is not to be scored; None: it is."""
        if not self._policy.screen:
            return NOT_SCREENED
        if self._format.in_doubt:
            return FORMAT_MISMATCH
        if window.speech_s < self._policy.rules.min_window_speech_s:
            return "no_speech"
        return CROSSTALK if self._crosstalk.is_leak(self.description.leg, window) else None

    def _skip(self, window: Window) -> None:
        """A window is no evidence for or against this leg's speaker."""
        self._decider.skip(window)
        if self._shadow:
            self._shadow.skip(window, self._decider)
        if self._verification and not self._waiting_windows:  # else it is not its turn yet
            self._verification.skip(window, self._received_s)

    def scored(self, window: Window, score: Score, received_s: float) -> None:
        """Take a score; see `ScoredLeg`."""
        self._waiting_windows -= 1
        if self._format.in_doubt:  # it came up while the window waited
            self._skipped_windows += 1
            self._skip(window)
            self._end_when_done()
            return
        expected = self._expectation.covers(window.start_s, window.end_s)
        if expected:
            self._skip(window)
        decider = self._expected_decider if expected else self._decider
        change = decider.update(score)
        self._publish(
            Scored,
            media_time_s=window.end_s,
            p_synthetic=decider.recent_p_synthetic,
            reason="machine_expected" if expected else "window_scored",
            window_start_s=window.start_s,
            window_speech_s=window.speech_s,
            window_p_synthetic=1 / (1 + math.exp(-score.log_odds)),
        )
        if change is not None and expected:
            self._tell_expected(change)
        elif change is not None:
            self._alerts.moved(change, received_s)
        if self._shadow and not expected:
            self._shadow.hear(window, score, self._decider, received_s)
        if self._verification and not expected:
            self._verification.hear(window, received_s)
        self._end_when_done()

    def skipped(self, window: Window) -> None:
        """Be told of a window that is not scored; see `ScoredLeg`."""
        self._waiting_windows -= 1
        self._skipped_windows += 1
        self._skip(window)
        self._report_coverage()
        self._end_when_done()

    def _tell_expected(self, change: Change) -> None:
        """Say, instead of an alert, that an expected machine was heard."""
        if change.state is AlertState.PROVISIONAL and not self._machine_heard:
            self._machine_heard = True
            self._publish(
                VoiceExpected, media_time_s=change.at_s, p_synthetic=change.p_synthetic, reason=EXPECTED_SYNTHETIC
            )

    def _verdict(self) -> Verdict:
        unjudged = FORMAT_MISMATCH if self._format.in_doubt else None
        return verdict_on(self._decider, self._expected_decider, unjudged if self._policy.screen else NOT_SCREENED)

    def _report_coverage(self) -> None:
        if self._format.in_doubt or not self._policy.screen:
            return  # told already, and all that follows is the same
        step = (self._verification or self._judging.load).step
        for reason in self._coverage.new_reasons(self._skipped_windows, step):
            self._publish(CoverageReduced, reason=reason, **self._coverage.counts(self._skipped_windows))

    def _end_when_done(self) -> None:
        if self._end_reason is None or self._waiting_windows:
            return
        if self._verification:
            if not self._verification.ended(self._received_s):
                return
            self._verification.close()
        self._alerts.end()
        verdict = self._verdict()
        if self._shadow:
            self._shadow.end(verdict)
        self._publish(
            LegEnded,
            reason=verdict.reason,
            p_synthetic=verdict.p_synthetic,
            verdict=word(verdict),
            ended_by=self._end_reason,
            audio_s=round(self._leg.counters.received_s, 3),
            **self._coverage.counts(self._skipped_windows),
            windows_scored=verdict.windows,
            windows_crosstalk=self._leaked_windows,
            alerts=self._alerts.confirmed,
            coverage_reduced=self._coverage.told,
        )
        self._on_ended(self)

    def _publish(self, kind: type[EventData], *, reason: str, **facts: object) -> None:
        """Publish an event of this leg, with the facts that all events state."""
        common: dict[str, object] = self._of_call | {
            "leg": self.description.leg,
            "speaker": self._speaker,
            "role": self.description.role,
            "media_time_s": self._media_time_s,
            "p_synthetic": self._decider.recent_p_synthetic,
            "speech_s": round(self._decider.speech_s, 3),
            "model": self._judging.detector.name,
            "reason": reason,
        }
        self._judging.bus.publish(kind.model_validate(common | facts))


def _at_the_start(stream: StreamStarted, leg: LegDescription, policy: LegPolicy) -> dict[str, object]:
    """Return what ``leg.started`` tells beyond the facts of all events."""
    return {
        "source": stream.source,
        "separation": stream.separation,
        "direction": leg.direction,
        "encoding": leg.format.encoding,
        "rate_hz": leg.format.rate_hz,
        "calibration": policy.calibration,
        "policy": policy.version,
        "screened": policy.screen,
    }


def _evidence_of(
    stream: StreamStarted, leg: LegDescription, policy: LegPolicy, engine: Engine, expectation: Expectation
) -> LegEvidence | None:
    """Return what keeps the leg's last seconds, where that is wanted: not of a leg that nobody judges."""
    return engine.evidence.of_leg(stream, leg, expectation.covers) if engine.evidence and policy.screen else None
