"""Response bodies of the routes under ``/v1/calls``: calls, legs, alerts and timelines.  [S]"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from gateway.alerts.event import Count, Probability, Seconds, Separation, Stage, Verdict, VerifierVerdict
from gateway.contract.answers import Answer

Alert = Literal["undecided", "clear", "provisional", "confirmed"]


class Leg(Answer):
    """A speaker of a live or ended call. Unknown facts are null."""

    leg: str
    """The leg's name."""
    speaker: str | None
    """The leg's name, or null if it carries several speakers."""
    role: str | None
    """``caller``, ``callee``, ``agent``, ``customer`` or ``unknown``."""
    direction: str | None
    """``received_from_party`` or ``sent_to_party``."""
    encoding: str | None
    """Encoding of the audio received."""
    rate_hz: int | None
    """Sampling rate of the audio received, in hertz."""
    media_time_s: Seconds | None
    """Position in the leg's audio, in seconds."""
    speech_s: Seconds | None
    """Speech received so far, in seconds."""
    p_synthetic: Probability | None
    """Calibrated probability that the voice is synthetic."""
    verdict: Verdict | None
    """Verdict; of a live leg, the verdict if it ended now."""
    reason: str | None
    """Why that verdict: a short stable word."""
    windows_crosstalk: Count | None
    """Windows that were not scored because they held another leg's voice."""
    windows_scored: Count | None
    """As in ``leg.ended``; null for a live leg, like the following fields except `alert`."""
    windows_skipped: Count | None
    """As in ``leg.ended``."""
    audio_s: Seconds | None
    """As in ``leg.ended``."""
    missing_s: Seconds | None
    """As in ``leg.ended``."""
    coverage_reduced: list[str] | None
    """As in ``leg.ended``."""
    ended_by: str | None
    """As in ``leg.ended``."""
    alert: Alert | None
    """State of a live leg's alert; ``undecided`` until there is enough speech."""


class CallAlert(Answer):
    """An alert on one leg of a call."""

    alert_id: str
    """As in its events."""
    leg: str
    """The leg."""
    stage: Stage | None
    """The highest stage that it reached."""
    raised: datetime | None
    """When it was raised; null if that event was deleted from the journal."""
    cleared: datetime | None
    """When it was cleared; null if it was not."""
    media_time_s: Seconds | None
    """Position in the leg's audio of the last ``alert.raised``; the following fields are from that event, too."""
    p_synthetic: Probability | None
    """The rolling confidence."""
    model: str | None
    """The decisive model."""
    reason: str | None
    """Why it was raised: a short stable word."""
    feedback: AlertFeedback | None
    """What was said of it last."""
    evidence: Literal["stored", "lost"] | None
    """Whether the audio around it was stored; it may have been deleted since. Null where that was not wanted."""


class AlertFeedback(Answer):
    """Feedback on an alert."""

    verdict: Literal["confirmed", "dismissed"]
    """As in ``feedback.given``."""
    note: str | None
    """As in ``feedback.given``."""
    time: datetime
    """When it was given."""


class CallFacts(Answer):
    """Facts of every call."""

    call_id: str
    """As in its events."""
    source: str
    """As in ``call.started``."""
    separation: Separation
    """As in ``call.started``."""
    tenant: str | None
    """As in ``call.started``."""
    started: datetime
    """When its first leg started."""
    ended: datetime | None
    """When its last leg ended; null while it is live."""


class Call(CallFacts):
    """A live or ended call."""

    live: bool
    """Whether it is live."""
    age_s: Seconds | None
    """Seconds since the first leg of a live call started."""
    legs: list[Leg]
    """All legs; one that ended and started again is listed twice."""
    alerts: list[CallAlert]
    """Oldest first."""


class Calls(Answer):
    """A page of calls."""

    calls: list[Call]
    """Newest first."""
    next: str | None
    """`cursor` of the next page; null on the last page."""


class TimelineWindow(Answer):
    """A window that was scored."""

    start_s: Seconds
    """Start in the leg's audio, in seconds."""
    end_s: Seconds
    """End in the leg's audio, in seconds."""
    speech_s: Seconds
    """Speech in the window, in seconds."""
    p_window: Probability
    """`p_synthetic` of this window alone."""
    p_synthetic: Probability
    """The rolling probability after this window."""
    reason: str
    """``window_scored``, or ``machine_expected``."""


class TimelineGap(Answer):
    """A part of the leg's audio in no scored window."""

    start_s: Seconds
    """Start in the leg's audio, in seconds."""
    end_s: Seconds
    """End in the leg's audio, in seconds."""


class TimelineExclusion(Answer):
    """A ``coverage.reduced`` event."""

    at_s: Seconds | None
    """Position in the leg's audio, in seconds."""
    reason: str
    """As in the event."""
    windows_skipped: Count
    """Windows of the leg that were skipped so far."""
    missing_s: Seconds
    """Missing audio of the leg so far, in seconds."""


class TimelineVerification(Answer):
    """A score of the verifier."""

    at_s: Seconds | None
    """End of its window in the leg's audio, in seconds."""
    p_synthetic: Probability | None
    """The verifier's probability for that window alone."""
    model: str | None
    """The verifier."""
    verdict: VerifierVerdict
    """As in ``alert.verified``."""
    judged_speech_s: Seconds
    """Speech in the window, in seconds."""
    alert_id: str | None
    """As in ``alert.verified``."""


class TimelineMachine(Answer):
    """An expected machine was detected."""

    at_s: Seconds | None
    """Position in the leg's audio, in seconds."""
    p_synthetic: Probability | None
    """The rolling probability."""


class TimelineMove(Answer):
    """A change of the alert."""

    alert_id: str
    """The alert."""
    at_s: Seconds | None
    """Position in the leg's audio, in seconds."""
    move: Literal["provisional", "confirmed", "cleared"]
    """The new state."""
    time: datetime
    """When."""
    p_synthetic: Probability | None
    """The rolling probability."""
    speech_s: Seconds | None
    """Speech received so far, in seconds."""
    model: str | None
    """The decisive model."""
    reason: str
    """Why: a short stable word."""


class TimelineLeg(Leg):
    """The timeline of a leg. Fields of a live leg that are not in the journal are null."""

    alert: None = None
    """Always null here."""
    duration_s: Seconds
    """Last known position in the leg's audio, in seconds."""
    models: list[str]
    """Models that scored the leg."""
    calibration: str | None
    """As in ``leg.started``."""
    windows: list[TimelineWindow]
    """In the order of scoring."""
    gaps: list[TimelineGap] | None
    """Null if windows were deleted from the journal."""
    excluded: list[TimelineExclusion]
    """Reductions of coverage."""
    verifications: list[TimelineVerification]
    """Scores of the verifier."""
    expected_machine: list[TimelineMachine]
    """Detections of an expected machine."""
    alerts: list[TimelineMove]
    """Changes of the alert."""


class Timeline(CallFacts):
    """The timeline of a call."""

    windows_kept: bool
    """False if scores of this call may have been deleted from the journal."""
    legs: list[TimelineLeg]
    """In the order of their start."""


class EvidenceFile(Answer):
    """The audio around an alert, encrypted."""

    call_id: str
    """As in the events."""
    tenant: str | None
    """As in the events."""
    leg: str
    """Whose audio it is."""
    alert_id: str
    """The alert."""
    size_bytes: Count
    """Of the encrypted file."""
    stored: datetime
    """When."""
    expires: datetime
    """When it is deleted for its age, to the hour."""


class EvidenceFiles(Answer):
    """The audio evidence of a call."""

    evidence: list[EvidenceFile]
    """The oldest first."""


class EvidenceDeleted(Answer):
    """The files of a call are gone."""

    deleted: Count
    """How many."""


MODELS: tuple[type[Answer], ...] = (
    AlertFeedback,
    Call,
    CallAlert,
    Calls,
    EvidenceDeleted,
    EvidenceFile,
    EvidenceFiles,
    Leg,
    Timeline,
    TimelineExclusion,
    TimelineGap,
    TimelineLeg,
    TimelineMachine,
    TimelineMove,
    TimelineVerification,
    TimelineWindow,
)
