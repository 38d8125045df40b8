"""Response bodies of the routes under ``/v1/calls``: calls, legs, alerts and timelines.  [S]"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from gateway.alerts.event import Count, Probability, Ruling, Seconds, Separation, Stage, Verdict
from gateway.contract.answers import Answer

Alert = Literal["undecided", "clear", "provisional", "confirmed"]


class Leg(Answer):
    """A speaker of a call, live or ended. What is not known, or not yet, is null."""

    leg: str
    """Its name."""
    speaker: str | None
    """The leg's name, or null where it carries several speakers."""
    role: str | None
    """``caller``, ``callee``, ``agent``, ``customer`` or ``unknown``."""
    direction: str | None
    """``received_from_party`` or ``sent_to_party``."""
    encoding: str | None
    """Of the audio as it arrives."""
    rate_hz: int | None
    """Sampling rate of the audio as it arrives, in hertz."""
    media_time_s: Seconds | None
    """Position in the leg's audio, in seconds."""
    speech_s: Seconds | None
    """Speech heard so far, in seconds."""
    p_synthetic: Probability | None
    """Calibrated probability that the voice is synthetic, by what was heard so far."""
    verdict: Verdict | None
    """Of a live leg what ``leg.ended`` would say now."""
    reason: str | None
    """Why that verdict: a short stable word."""
    windows_crosstalk: Count | None
    """Windows that were not scored, because they held another leg's voice."""
    windows_scored: Count | None
    """As in ``leg.ended``; null of a live leg, as all that follows but `alert`."""
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
    """Where the alert of a live leg stands; ``undecided`` until there was enough speech."""


class CallAlert(Answer):
    """An alert on one leg of a call."""

    alert_id: str
    """As in its events."""
    leg: str
    """Of whom it is."""
    stage: Stage | None
    """The highest that it reached."""
    raised: datetime | None
    """When it was raised; null where that event is gone from the journal."""
    cleared: datetime | None
    """When it was cleared; null where it stands, or stood to the end."""
    media_time_s: Seconds | None
    """Where in the leg's audio, of the last ``alert.raised``, as all that follows."""
    p_synthetic: Probability | None
    """The rolling confidence."""
    model: str | None
    """The model that tipped the scale."""
    reason: str | None
    """Why it was raised: a short stable word."""
    feedback: AlertFeedback | None
    """What was said of it last."""
    evidence: Literal["stored", "lost"] | None
    """Whether the audio around it was stored; it may have been deleted since. Null where that was not wanted."""


class AlertFeedback(Answer):
    """What was said of an alert."""

    verdict: Literal["confirmed", "dismissed"]
    """As in ``feedback.given``."""
    note: str | None
    """As in ``feedback.given``."""
    time: datetime
    """When."""


class CallFacts(Answer):
    """What is known of every call."""

    call_id: str
    """As in its events."""
    source: str
    """As in ``call.started``."""
    separation: Separation
    """As in ``call.started``."""
    tenant: str | None
    """As in ``call.started``."""
    started: datetime
    """When its first leg appeared."""
    ended: datetime | None
    """When its last leg went; null while it is live."""


class Call(CallFacts):
    """A call, live or ended."""

    live: bool
    """Whether it is being listened to."""
    age_s: Seconds | None
    """Of a live call, since its first leg appeared, in seconds."""
    legs: list[Leg]
    """All that it had; one that left and came back is listed twice."""
    alerts: list[CallAlert]
    """Oldest first."""


class Calls(Answer):
    """A page of calls."""

    calls: list[Call]
    """Newest first."""
    next: str | None
    """The `cursor` of the next page; null where there is none."""


class TimelineWindow(Answer):
    """A window that was scored."""

    start_s: Seconds
    """Where it begins in the leg's audio."""
    end_s: Seconds
    """Where it ends."""
    speech_s: Seconds
    """Seconds of speech in it."""
    p_window: Probability
    """Of this window alone."""
    p_synthetic: Probability
    """The rolling confidence after it."""
    reason: str
    """``window_scored``, or ``machine_expected``."""


class TimelineGap(Answer):
    """A stretch of the leg's audio in no scored window."""

    start_s: Seconds
    """Where it begins in the leg's audio."""
    end_s: Seconds
    """Where it ends."""


class TimelineExclusion(Answer):
    """A ``coverage.reduced`` event."""

    at_s: Seconds | None
    """Where in the leg's audio."""
    reason: str
    """As in the event."""
    windows_skipped: Count
    """Of the leg so far."""
    missing_s: Seconds
    """Of the leg so far."""


class TimelineVerification(Answer):
    """An answer of the verifier."""

    at_s: Seconds | None
    """Where in the leg's audio its window ends."""
    p_synthetic: Probability | None
    """The verifier's, of that window alone."""
    model: str | None
    """The verifier."""
    verdict: Ruling
    """As in ``alert.verified``."""
    judged_speech_s: Seconds
    """Seconds of speech in the window."""
    alert_id: str | None
    """As in ``alert.verified``."""


class TimelineMachine(Answer):
    """Where an expected machine was heard."""

    at_s: Seconds | None
    """Where in the leg's audio."""
    p_synthetic: Probability | None
    """The rolling confidence."""


class TimelineMove(Answer):
    """A move of the alert."""

    alert_id: str
    """Of the alert."""
    at_s: Seconds | None
    """Where in the leg's audio."""
    move: Literal["provisional", "confirmed", "cleared"]
    """What it became."""
    time: datetime
    """When."""
    p_synthetic: Probability | None
    """The rolling confidence."""
    speech_s: Seconds | None
    """Seconds of speech heard by then."""
    model: str | None
    """The model that tipped the scale."""
    reason: str
    """Why: a short stable word."""


class TimelineLeg(Leg):
    """A leg along its audio; the fields of a live leg that only memory has are null."""

    alert: None = None
    """Not told here."""
    duration_s: Seconds
    """The last position that is known of."""
    models: list[str]
    """Models that heard it."""
    calibration: str | None
    """Id of the calibration that makes probabilities of their output."""
    windows: list[TimelineWindow]
    """In the order in which they were scored."""
    gaps: list[TimelineGap] | None
    """Null where windows are gone from the journal."""
    excluded: list[TimelineExclusion]
    """Why audio was not judged."""
    verifications: list[TimelineVerification]
    """Answers of the verifier."""
    expected_machine: list[TimelineMachine]
    """Where one was heard."""
    alerts: list[TimelineMove]
    """Moves of the alert."""


class Timeline(CallFacts):
    """A call along its audio."""

    windows_kept: bool
    """False where scores of this call may be gone from the journal."""
    legs: list[TimelineLeg]
    """In the order in which they came."""


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
