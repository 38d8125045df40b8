"""Collects the gateway's events by leg.  [S]"""

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
"""Alerts kept for each leg; enough to show that an alert flaps."""


MAX_SCORES = 4000
"""Scores kept for each leg: about an hour."""


@dataclass(frozen=True, slots=True)
class Alert:
    """An ``alert.raised``."""

    stage: str
    """``provisional`` or ``confirmed``."""
    media_time_s: float
    """End of the audio that caused it, in the leg's media time."""
    received_s: float
    """Arrival at the subscriber, in scenario time."""
    p_synthetic: float
    lag_ms: float
    """Delay in the gateway, from the arrival of that audio to the event."""
    session: int = 0
    """Index of the leg's connection on which it was raised."""


@dataclass(frozen=True, slots=True)
class WindowScore:
    """A ``score``."""

    media_time_s: float
    """End of the window, in the leg's media time."""
    p_synthetic: float
    """Rolling probability of all evidence at that time."""
    window_p_synthetic: float
    session: int = 0
    """See `Alert`."""


@dataclass(slots=True)
class Observed:
    """The observed state of one leg."""

    state: str = "waiting"
    """``waiting``, ``listening``, ``provisional``, ``confirmed``, ``cleared`` or ``ended``."""
    role: str | None = None
    p_synthetic: float | None = None
    speech_s: float = 0.0
    alerts: list[Alert] = field(default_factory=list)
    scores: list[WindowScore] = field(default_factory=list)
    """Empty unless `score` events were requested."""
    sessions: int = 0
    """Number of connections of the leg."""
    expected_voice: bool = False
    """Whether a synthetic voice was recognised as an expected machine."""
    verdict: str | None = None
    reason: str = ""
    """Reason of the verdict; this and all fields below are of the last connection."""
    ended_by: str = ""
    """``stopped`` and ``disconnected`` are regular."""
    windows_skipped: int = 0
    missing_s: float = 0.0
    model: str | None = None


class Ledger:
    """Sorts events by leg, for given legs; events of other calls are ignored."""

    def __init__(self, legs: Iterable[tuple[str, str]]) -> None:
        self.legs = {leg: Observed() for leg in legs}
        """By ``(call_id, leg)``."""

    def update(self, event: CloudEvent, received_s: float) -> tuple[str, str] | None:
        """Apply an event; return its leg, if it is one of the given ones."""
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
