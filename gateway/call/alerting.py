"""The alert on one leg, told: its id, its events, its log lines.  [IO]"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from detection import AlertState, Change, Question, Verification
from gateway import clock
from gateway.alerts.event import AlertCleared, AlertRaised, AlertVerified


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer of the verifier, and what it was asked."""

    verification: Verification
    question: Question
    model: str
    """The verifier's name."""
    received_s: float
    """When the audio that made it be asked came, by `clock.monotonic_s`."""


class LegAlerts:
    """Turns the moves of one leg's alert into events. `publish` takes a kind of event and what differs from others."""

    def __init__(self, publish: Callable[..., None], logger: structlog.stdlib.BoundLogger) -> None:
        self._publish = publish
        self._logger = logger
        self._alert_id: str | None = None
        """Of the alert that stands."""
        self.confirmed = 0
        """Alerts that reached `confirmed`."""

    def moved(self, change: Change, received_s: float, **judge: object) -> None:
        """Tell a move of the alert.

        Args:
            received_s: when the audio that tipped the scale came, by `clock.monotonic_s`.
            judge: `model`, where it was not the light one whose window tipped the scale.
        """
        self._name(change)
        self.confirmed += change.state is AlertState.CONFIRMED
        facts: dict[str, object] = judge | {
            "media_time_s": change.at_s,
            "p_synthetic": change.p_synthetic,
            "reason": change.reason,
            "alert_id": self._alert_id,
        }
        told = {"media_time_s": round(change.at_s, 2), "p": round(change.p_synthetic, 4), "reason": change.reason}
        if change.state is AlertState.CLEARED:
            self._publish(AlertCleared, **facts)
            self._logger.info("alert cleared", **told)
            self._alert_id = None
        else:
            self._publish(AlertRaised, stage=change.state.value, lag_ms=_lag_ms(received_s), **facts)
            self._logger.warning("alert raised", stage=change.state.value, **told)

    def verified(self, answer: Answered) -> None:
        """Tell an answer of the verifier, then the move of the alert that it made."""
        verification, question = answer.verification, answer.question
        if verification.change is not None:
            self._name(verification.change)
        self._publish(
            AlertVerified,
            media_time_s=question.end_s,
            p_synthetic=verification.p_synthetic,
            model=answer.model,
            reason="verifier_synthetic" if verification.p_synthetic > 0.5 else "verifier_human",
            verdict=verification.ruling.value,
            alert_id=self._alert_id,
            judged_speech_s=round(question.window.speech_s, 3),
            filter_p_synthetic=verification.light_p_synthetic,
            lag_ms=_lag_ms(answer.received_s),
        )
        if verification.change is not None:
            self.moved(verification.change, answer.received_s, model=answer.model)

    def _name(self, change: Change) -> None:
        """Give an alert that is about to be raised its id."""
        if change.state is AlertState.PROVISIONAL and self._alert_id is None:
            self._alert_id = uuid.uuid4().hex


def _lag_ms(received_s: float) -> float:
    return 1000 * (clock.monotonic_s() - received_s)
