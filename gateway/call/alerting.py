"""Publishes the alert of one leg: its id, events, log lines and audio evidence.  [IO]"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog

from detection import AlertState, Change, Verification, VerifierWindow
from gateway import clock
from gateway.alerts.event import AlertCleared, AlertEvidence, AlertRaised, AlertVerified
from gateway.call.leg import Run
from gateway.evidence.clip import Alert
from gateway.evidence.recorder import STORED, LegEvidence, Outcome


@dataclass(frozen=True, slots=True)
class VerifierAnswer:
    """A score of the verifier, and its window."""

    verification: Verification
    question: VerifierWindow
    model: str
    """The verifier's name."""
    received_s: float
    """Arrival of the audio that completed the window, by `clock.monotonic_s`."""


class LegAlerts:
    """Publishes the changes of one leg's alert. `publish` takes an event class and the fields that differ from other
    events."""

    def __init__(
        self, publish: Callable[..., None], logger: structlog.stdlib.BoundLogger, evidence: LegEvidence | None
    ) -> None:
        self._publish = publish
        self._logger = logger
        self._evidence = evidence
        """Keeps the leg's audio, if evidence is on."""
        self._stored_id: str | None = None
        """Id of the last alert whose audio was requested."""
        self._alert_id: str | None = None
        """Id of the active alert."""
        self.confirmed = 0
        """Alerts that reached `confirmed`."""

    def moved(self, change: Change, received_s: float, **model: object) -> None:
        """Publish a change of the alert.

        Args:
            change: the change.
            received_s: arrival of the decisive audio, by `clock.monotonic_s`.
            judge: `model`, if the decisive window was not one of the light model.
        """
        self._name(change)
        self.confirmed += change.state is AlertState.CONFIRMED
        facts: dict[str, object] = model | {
            "media_time_s": change.at_s,
            "p_synthetic": change.p_synthetic,
            "reason": change.reason,
            "alert_id": self._alert_id,
        }
        fields = {"media_time_s": round(change.at_s, 2), "p": round(change.p_synthetic, 4), "reason": change.reason}
        if change.state is AlertState.CLEARED:
            self._publish(AlertCleared, **facts)
            self._logger.info("alert cleared", **fields)
            self._alert_id = None
        else:
            self._publish(AlertRaised, stage=change.state.value, lag_ms=_lag_ms(received_s), **facts)
            self._logger.warning("alert raised", stage=change.state.value, **fields)
            self._store(change, facts)

    def add(self, run: Run) -> None:
        """Pass the leg's next audio to the evidence."""
        if self._evidence:
            self._evidence.add(run.start_s, run.samples)

    def end(self) -> None:
        """Called when no more audio and no more changes will come."""
        if self._evidence:
            self._evidence.end()

    def verified(self, answer: VerifierAnswer) -> None:
        """Publish a score of the verifier, then the change of the alert that it caused."""
        verification, question = answer.verification, answer.question
        if verification.change is not None:
            self._name(verification.change)
        self._publish(
            AlertVerified,
            media_time_s=question.end_s,
            p_synthetic=verification.p_synthetic,
            model=answer.model,
            reason="verifier_synthetic" if verification.p_synthetic > 0.5 else "verifier_human",
            verdict=verification.outcome.value,
            alert_id=self._alert_id,
            judged_speech_s=round(question.window.speech_s, 3),
            filter_p_synthetic=verification.light_p_synthetic,
            lag_ms=_lag_ms(answer.received_s),
        )
        if verification.change is not None:
            self.moved(verification.change, answer.received_s, model=answer.model)

    def _store(self, change: Change, facts: dict[str, object]) -> None:
        """Have the audio around a newly raised alert stored, once."""
        if self._evidence and self._alert_id is not None and self._alert_id != self._stored_id:
            self._stored_id = self._alert_id
            alert = Alert(self._alert_id, change.at_s, clock.utc_now(), change.p_synthetic, change.reason)
            self._evidence.capture(alert, partial(self._report_evidence, facts))

    def _report_evidence(self, facts: dict[str, object], outcome: Outcome) -> None:
        audio = outcome.audio
        self._publish(
            AlertEvidence,
            **facts
            | {
                "reason": outcome.reason,
                "outcome": "stored" if outcome.reason == STORED else "lost",
                "start_s": audio and round(audio.start_s, 3),
                "end_s": audio and round(audio.end_s, 3),
                "missing_s": audio and round(audio.missing_s, 3),
            },
        )

    def _name(self, change: Change) -> None:
        """Create the id of an alert that is about to be raised."""
        if change.state is AlertState.PROVISIONAL and self._alert_id is None:
            self._alert_id = uuid.uuid4().hex


def _lag_ms(received_s: float) -> float:
    return 1000 * (clock.monotonic_s() - received_s)
