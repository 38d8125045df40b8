"""Request and response bodies of the HTTP routes, for the OpenAPI document; `call_answers` has those of calls.  [S]"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.alerts.event import Count


class Answer(BaseModel):
    """Base of all bodies."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class FeedbackTaken(Answer):
    """The feedback is stored and sent to subscribers."""

    event_id: str
    """Of the ``feedback.given`` event."""


class Feedback(Answer):
    """What is said of an alert."""

    verdict: Literal["confirmed", "dismissed"]
    """``confirmed``: the voice was synthetic. ``dismissed``: it was not."""
    note: Annotated[str, Field(max_length=500)] | None = None
    """For people."""


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
    warnings: list[str]
    """What does not work, though calls are served; for people."""


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


class DeadLetter(Answer):
    """An event that was given up."""

    webhook: str
    """The endpoint's name."""
    event_id: str
    """Of the event, and ``webhook-id`` of its attempts."""
    type: str
    """Of the event."""
    attempts: Count
    """How many were made."""
    first_attempt: datetime
    """When the first was made."""
    error: str
    """Why the last one failed, for people."""


class DeadLetters(Answer):
    """Events that were given up."""

    dead: list[DeadLetter]
    """By endpoint, then oldest first."""


class Replayed(Answer):
    """What is sent again."""

    replayed: Count
    """How many events."""


class WebhookTest(Answer):
    """How the attempt went."""

    delivered: bool
    """Whether the endpoint took it."""
    error: str | None
    """Why not, for people."""


MODELS: tuple[type[Answer], ...] = (
    Alive,
    DeadLetter,
    DeadLetters,
    Feedback,
    FeedbackTaken,
    Problem,
    Ready,
    Replayed,
    Schemas,
    WebhookTest,
)
