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
    """Id of the ``feedback.given`` event."""


class Feedback(Answer):
    """Feedback on an alert."""

    verdict: Literal["confirmed", "dismissed"]
    """``confirmed``: the voice was synthetic. ``dismissed``: it was not."""
    note: Annotated[str, Field(max_length=500)] | None = None
    """Free text."""


class Alive(Answer):
    """The process answers."""

    alive: Literal[True]
    """Always true."""


class Ready(Answer):
    """Whether calls can be sent here now."""

    ready: bool
    """True if there are no reasons against it."""
    reasons: list[str]
    """Reasons why not, for people."""
    warnings: list[str]
    """Problems that do not keep the gateway from serving calls, for people."""


class Problem(Answer):
    """Problem details (RFC 9457)."""

    title: str
    """The kind of error."""
    status: int
    """The HTTP status."""
    detail: str
    """What is wrong; for invalid input the field and what was expected."""


class Schemas(Answer):
    """Paths of the events' schemas."""

    schemas: dict[str, str]
    """Path of the schema, by event type."""


class DeadLetter(Answer):
    """An event whose delivery was given up."""

    webhook: str
    """The webhook's name."""
    event_id: str
    """Id of the event, and ``webhook-id`` of its deliveries."""
    type: str
    """Event type."""
    attempts: Count
    """Number of attempts."""
    first_attempt: datetime
    """Time of the first attempt."""
    error: str
    """Why the last one failed, for people."""


class DeadLetters(Answer):
    """Events whose delivery was given up."""

    dead: list[DeadLetter]
    """By webhook, then oldest first."""


class Replayed(Answer):
    """Result of a replay."""

    replayed: Count
    """Number of events that will be delivered again."""


class WebhookTest(Answer):
    """Result of a test delivery."""

    delivered: bool
    """Whether the receiver accepted it."""
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
