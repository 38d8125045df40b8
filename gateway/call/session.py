"""One leg, from its first payload to its verdict: payloads -> audio -> windows -> scores -> decision -> events.  [IO]

Every step that an audio frame takes through the gateway is a call in this module.
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
"""Outcome of a window that contains another leg's voice."""
_log = logs.get(__name__)


class Publisher(Protocol):
    """Takes events: the bus, or the connection to the process that owns it."""

    @property
    def healthy(self) -> bool:
        """Whether events are stored and sent, as far as this process knows."""
        ...

    def publish(self, data: EventData) -> object:
        """Queue an event; never waits."""
        ...


@dataclass(frozen=True, slots=True)
class Engine:
    """The parts that all legs share: models, scorers, policies, bus, load."""

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
    """One speaker of one call. All methods run on the event loop. Publishes ``leg.started``.

    Args:
        stream: the announcement of the call.
        description: this leg, as announced.
        engine: shared by all legs.
        crosstalk: shared by the legs of this call.
        pace: limit on this leg's media rate.
        on_ended: called once, after ``leg.ended``.
    """

    def __init__(
        self,
        stream: StreamStarted,
        description: LegDescription,
        engine: Engine,
        crosstalk: Crosstalk,
        pace: Pace,
        on_ended: Callable[[LegSession], None],
    ) -> None:
        self.description = description
        self.frontend = engine.detector.frontend()
        self._of_call = {"call_id": stream.call_id, "tenant": stream.tenant}
        self.source = stream.source
        self._speaker = description.leg if stream.separation == "separate" else None
        self._engine = engine
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
        """Takes the scores of audio in which a machine is expected; they do not count for `_decider`."""
        self._media_time_s = self._received_s = 0.0
        self._waiting_windows = self._skipped_windows = self._leaked_windows = 0
        self._machine_detected = False
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
        """The current verdict: ``synthetic``, ``human``, ``indeterminate`` or ``expected_machine``."""
        return word(self._verdict())

    @property
    def ending(self) -> bool:
        """Whether `close` was called: no more audio is accepted."""
        return self._end_reason is not None

    def state(self) -> dict[str, object]:
        """Return the leg as in the answer to ``GET /v1/calls/{id}``."""
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
        """Process one payload. Raises ProtocolError: it cannot be decoded, or the media rate is too high."""
        self._received_s = clock.monotonic_s()
        counters = self._leg.counters
        offered_s, shed_s = counters.offered_s, counters.shed_s
        self._leg.shedding = self._engine.load.is_late(self._received_s)
        runs = self._leg.push(audio)
        self._pace.take(counters.offered_s - offered_s, self._received_s)
        if counters.shed_s == shed_s:
            self._check_format(audio)
        elif self._coverage.note_shed():
            self._follow_load()  # the stride may be lower by now, so that audio is needed again
            self._report_coverage()
        for run in runs:
            self._process(run)

    def _check_format(self, audio: AudioReceived) -> None:
        duration_s = self._leg.duration_s(audio.payload) if audio.payload else 0.0
        reason = self._format.hear(audio, duration_s, self._received_s)
        if reason and self._policy.screen and self._coverage.is_new(reason):
            self._publish(CoverageReduced, reason=reason, **self._coverage.counts(self._skipped_windows))

    def close(self, reason: str) -> None:
        """Accept no more audio. ``leg.ended`` follows when the last window is scored."""
        if self.ending:
            return
        with contextlib.suppress(ProtocolError):  # the verdict does not need the last block
            for run in self._leg.flush():
                self._process(run)
        for window in self._windower.flush():
            self._offer(window)
        self._end_reason = reason
        self._end_when_done()

    def _follow_load(self) -> None:
        self._windower.stride = self._engine.load.stride
        self._leg.due_s, self._leg.wanted_from_s = self._windower.due_s, self._windower.next_start_s

    def _process(self, run: Run) -> None:
        self._windower.stride = self._engine.load.stride
        self._alerts.add(run)
        self._crosstalk.add(self.description.leg, run.start_s, run.samples, self._received_s)
        for window in self._windower.push(run.start_s, run.samples, run.gap_s):
            self._offer(window)
        self._follow_load()
        self._media_time_s = run.start_s + len(run.samples) / SAMPLE_RATE_HZ
        self._report_coverage()

    def _offer(self, window: Window) -> None:
        if (why_not := self._why_not(window)) is None:
            self._waiting_windows += 1
            self._engine.scorer.offer(self, window, self._received_s)
            return
        WINDOWS.labels(why_not).inc()
        self._skipped_windows += why_not == FORMAT_MISMATCH
        self._leaked_windows += why_not == CROSSTALK
        self._skip(window)

    def _why_not(self, window: Window) -> str | None:
        """Return the reason for not scoring a window; None where it is to be scored."""
        if not self._policy.screen:
            return NOT_SCREENED
        if self._format.in_doubt:
            return FORMAT_MISMATCH
        if window.speech_s < self._policy.rules.min_window_speech_s:
            return "no_speech"
        return CROSSTALK if self._crosstalk.is_leak(self.description.leg, window) else None

    def _skip(self, window: Window) -> None:
        """Count a window without a score: it is no evidence for either verdict."""
        self._decider.skip(window)
        if self._shadow:
            self._shadow.skip(window, self._decider)
        if self._verification and not self._waiting_windows:  # windows reach the verifier in order
            self._verification.skip(window, self._received_s)

    def scored(self, window: Window, score: Score, received_s: float) -> None:
        """See `ScoredLeg`."""
        self._waiting_windows -= 1
        if self._format.in_doubt:  # since the window was offered
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
            self._report_expected(change)
        elif change is not None:
            self._alerts.moved(change, received_s)
        if self._shadow and not expected:
            self._shadow.add(window, score, self._decider, received_s)
        if self._verification and not expected:
            self._verification.add(window, received_s)
        self._end_when_done()

    def skipped(self, window: Window) -> None:
        """See `ScoredLeg`."""
        self._waiting_windows -= 1
        self._skipped_windows += 1
        self._skip(window)
        self._report_coverage()
        self._end_when_done()

    def _report_expected(self, change: Change) -> None:
        """Publish that the expected machine was detected, in place of an alert."""
        if change.state is AlertState.PROVISIONAL and not self._machine_detected:
            self._machine_detected = True
            self._publish(
                VoiceExpected, media_time_s=change.at_s, p_synthetic=change.p_synthetic, reason=EXPECTED_SYNTHETIC
            )

    def _verdict(self) -> Verdict:
        unjudged = FORMAT_MISMATCH if self._format.in_doubt else None
        return verdict_on(self._decider, self._expected_decider, unjudged if self._policy.screen else NOT_SCREENED)

    def _report_coverage(self) -> None:
        if self._format.in_doubt or not self._policy.screen:
            return  # reported already; it covers everything that follows
        step = (self._verification or self._engine.load).step
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
            coverage_reduced=self._coverage.reported,
        )
        self._on_ended(self)

    def _publish(self, kind: type[EventData], *, reason: str, **facts: object) -> None:
        """Publish an event of this leg; adds the fields that all events have."""
        common: dict[str, object] = self._of_call | {
            "leg": self.description.leg,
            "speaker": self._speaker,
            "role": self.description.role,
            "media_time_s": self._media_time_s,
            "p_synthetic": self._decider.recent_p_synthetic,
            "speech_s": round(self._decider.speech_s, 3),
            "model": self._engine.detector.name,
            "reason": reason,
        }
        self._engine.bus.publish(kind.model_validate(common | facts))


def _at_the_start(stream: StreamStarted, leg: LegDescription, policy: LegPolicy) -> dict[str, object]:
    """Return the fields that only ``leg.started`` has."""
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
    """Return the evidence recorder of a leg; None where evidence is off or the leg is not screened."""
    return engine.evidence.of_leg(stream, leg, expectation.covers) if engine.evidence and policy.screen else None
