"""What the HTTP routes answer, for the OpenAPI document.  [S]"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from gateway.alerts.event import Count, Probability, Seconds, Separation, Verdict

Alert = Literal["undecided", "clear", "provisional", "confirmed"]


class Answer(BaseModel):
    """What all models here have in common."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Leg(Answer):
    """A speaker of a live call."""

    leg: str
    """Its name."""
    speaker: str | None
    """The leg's name, or null where it carries several speakers."""
    role: str
    """``caller``, ``callee``, ``agent``, ``customer`` or ``unknown``."""
    direction: str
    """``received_from_party`` or ``sent_to_party``."""
    encoding: str
    """Of the audio as it arrives."""
    media_time_s: Seconds
    """Audio received so far, in seconds."""
    speech_s: Seconds
    """Speech heard so far, in seconds."""
    p_synthetic: Probability
    """Calibrated probability that the voice is synthetic, by what was heard so far."""
    verdict: Verdict
    """What ``leg.ended`` would say now."""
    reason: str
    """Why that verdict: a short stable word."""
    windows_crosstalk: Count
    """Windows that were not scored, because they held another leg's voice."""
    alert: Alert
    """Where its alert stands; ``undecided`` until there was enough speech."""


class Call(Answer):
    """A live call."""

    call_id: str
    """As in its events."""
    source: str
    """As in ``call.started``."""
    separation: Separation
    """As in ``call.started``."""
    tenant: str | None
    """As in ``call.started``."""
    age_s: Seconds
    """Since its first leg appeared, in seconds."""
    legs: list[Leg]
    """Those that are being listened to."""


class Calls(Answer):
    """The live calls."""

    calls: list[Call]
    """Oldest first."""


class Alive(Answer):
    """The process answers."""

    alive: Literal[True]
    """Always."""


class Ready(Answer):
    """Whether calls may be sent here now."""

    ready: bool
    """Whether there is no reason against it."""
    reasons: list[str]
    """Why not, for people."""


class Problem(Answer):
    """Problem details (RFC 9457)."""

    title: str
    """The kind of error."""
    status: int
    """The HTTP status."""
    detail: str
    """What is wrong; for bad input the name of the field and what was expected."""


class Schemas(Answer):
    """Where the schema of each event is."""

    schemas: dict[str, str]
    """Path of the schema, by type of event."""


MODELS = (Alive, Call, Calls, Leg, Problem, Ready, Schemas)
