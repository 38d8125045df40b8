"""What the gateway said of each leg: events in, one record a leg out.  [S]"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.alerts.cloud_event import CloudEvent
from gateway.alerts.event import (
    AlertCleared,
    AlertRaised,
    CoverageReduced,
    EventData,
    LegEnded,
    LegStarted,
    Scored,
    VoiceExpected,
)

MAX_ALERTS = 100
"""Kept per leg; an alert that chatters more than this has been proven to chatter."""


MAX_SCORES = 4000
"""Kept per leg: an hour of them."""


@dataclass(frozen=True, slots=True)
class Alert:
    """An ``alert.raised``."""

    stage: str
    """``provisional`` or ``confirmed``."""
    media_time_s: float
    """End of the audio that tipped the scale, on the leg's own time."""
    received_s: float
    """When the subscriber had it, on the scenario's clock."""
    p_synthetic: float
    lag_ms: float
    """In the gateway: from that audio's arrival to the event."""
    session: int = 0
    """Which of the leg's connections it was raised on, from 0."""


@dataclass(frozen=True, slots=True)
class WindowScore:
    """A ``score``."""

    media_time_s: float
    """End of the window, on the leg's own time."""
    p_synthetic: float
    """Of all evidence up to then."""
    window_p_synthetic: float
    session: int = 0
    """See `Alert`."""


@dataclass(slots=True)
class Observed:
    """All that is known of one leg from outside."""

    state: str = "waiting"
    """``waiting``, ``listening``, ``provisional``, ``confirmed``, ``cleared`` or ``ended``."""
    role: str | None = None
    p_synthetic: float | None = None
    speech_s: float = 0.0
    alerts: list[Alert] = field(default_factory=list)
    scores: list[WindowScore] = field(default_factory=list)
    """Where they were asked for."""
    sessions: int = 0
    """How many connections the leg had."""
    expected_voice: bool = False
    """Whether a machine was heard where one was declared."""
    verdict: str | None = None
    reason: str = ""
    """Why that verdict; of the last connection, as all that follows."""
    ended_by: str = ""
    """``stopped`` and ``disconnected`` are in order."""
    windows_skipped: int = 0
    missing_s: float = 0.0
    model: str | None = None


class Ledger:
    """Sorts events by leg, for the legs it was told of; the rest is other people's traffic."""

    def __init__(self, legs: Iterable[tuple[str, str]]) -> None:
        self.legs = {leg: Observed() for leg in legs}
        """By ``(call_id, leg)``."""

    def update(self, event: CloudEvent, received_s: float) -> tuple[str, str] | None:
        """Take one event; return the leg it told something new of, if it is one of ours."""
        data = event.data
        if not isinstance(data, EventData):
            return None
        key = (data.call_id or "", data.leg or "")
        if (seen := self.legs.get(key)) is None:
            return None
        seen.role = data.role or seen.role
        seen.model = data.model or seen.model
        seen.p_synthetic = seen.p_synthetic if data.p_synthetic is None else data.p_synthetic
        seen.speech_s = max(seen.speech_s, data.speech_s or 0.0)
        self._apply(seen, data, received_s)
        return key

    @staticmethod
    def _apply(seen: Observed, data: EventData, received_s: float) -> None:
        session = max(0, seen.sessions - 1)
        match data:
            case LegStarted():
                seen.state, seen.verdict = "listening", None
                seen.sessions += 1
            case Scored():
                if len(seen.scores) < MAX_SCORES:
                    p, window_p = round(data.p_synthetic, 4), round(data.window_p_synthetic, 4)
                    seen.scores.append(WindowScore(data.media_time_s, p, window_p, session))
            case VoiceExpected():
                seen.expected_voice = True
            case AlertRaised():
                seen.state = data.stage
                if len(seen.alerts) < MAX_ALERTS:
                    p, lag_ms = data.p_synthetic, data.lag_ms
                    seen.alerts.append(Alert(data.stage, data.media_time_s, received_s, p, lag_ms, session))
            case AlertCleared():
                seen.state = "cleared"
            case CoverageReduced():
                seen.windows_skipped, seen.missing_s = data.windows_skipped, data.missing_s
            case LegEnded():
                seen.state, seen.verdict, seen.reason = "ended", data.verdict, data.reason
                seen.ended_by = data.ended_by
                seen.windows_skipped = data.windows_skipped or 0  # null when the gateway was restarted meanwhile
                seen.missing_s = data.missing_s or 0.0
