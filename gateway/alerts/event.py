"""The events: the models of `data` by event type. `cloud_event` has the envelope.  [S]

Every event has the same nine fields in `data` (`EventData`), null where one does not apply; most have more.

    call.started          the first leg of a call started
    call.ended            the last leg ended; with the verdict of each leg
    leg.started           audio of a speaker started
    leg.ended             with the verdict: synthetic, human, indeterminate or expected_machine
    score                 one window of one leg was scored (only if subscribed to by type)
    alert.raised          a voice sounds synthetic: stage `provisional`, then, with more speech, `confirmed`
    alert.cleared         the voice no longer sounds synthetic
    alert.verified        the verifier scored a window
    alert.evidence        whether the audio around an alert was stored; only where evidence is on
    voice.expected        a voice sounds synthetic where the operator expects a machine: no alert
    feedback.given        a person confirmed or dismissed an alert
    coverage.reduced      some audio was not scored: overload, lost or late media, a wrong format
    shadow.compared       a candidate model or policy differs from the live one; only while a candidate is tried

Two are made for one subscriber and never stored:

    gap                   events between two cursors were deleted from the journal
    heartbeat             the newest cursor, after a time without events

`gateway.contract` makes the published schemas from these models; docstrings of fields become their descriptions.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Verdict = Literal["synthetic", "human", "indeterminate", "expected_machine"]
Stage = Literal["provisional", "confirmed"]
VerifierVerdict = Literal["confirmed", "cleared", "escalated", "inconclusive"]
Separation = Literal["separate", "mixed"]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Seconds = Annotated[float, Field(ge=0.0)]
Milliseconds = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=0)]


class Contract(BaseModel):
    """Base of all models here."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class EventData(Contract):
    """The fields that every event has; null where one does not apply."""

    call_id: str | None
    """The call's id from the source: Twilio's callSid, the `call_id` of the URL."""
    leg: str | None
    """One audio stream of the call: Twilio's track ``inbound`` or ``outbound``, the `leg` of the URL. Null if the event
    concerns the whole call."""
    speaker: str | None
    """The speaker: the leg's name, or null if the leg carries several speakers."""
    role: str | None
    """``caller``, ``callee``, ``agent``, ``customer`` or ``unknown``."""
    media_time_s: Seconds | None
    """Position in the leg's audio, in seconds from its start; not the time of day."""
    p_synthetic: Probability | None
    """Calibrated probability that the voice is synthetic: 0 is certainly human, 1 certainly synthetic."""
    speech_s: Seconds | None
    """Speech received on this leg so far, in seconds."""
    model: str | None
    """The model that scored: its name, ``@``, and the start of its file's SHA-256."""
    reason: str
    """Why this event was sent: a short stable word. More words may be added."""
    tenant: str | None = Field(default=None, exclude_if=lambda tenant: tenant is None)
    """The tenant, if the gateway serves several; absent if the call has none."""


class LegEvent(EventData):
    """An event about one leg."""

    call_id: str
    """The call's id from the source: Twilio's callSid, the `call_id` of the URL."""
    leg: str
    """One audio stream of the call: Twilio's track ``inbound`` or ``outbound``, the `leg` of the URL."""
    role: str
    """``caller``, ``callee``, ``agent``, ``customer`` or ``unknown``."""


class VoiceEvent(LegEvent):
    """An event about the voice on one leg."""

    media_time_s: Seconds
    """Position in the leg's audio, in seconds from its start; not the time of day."""
    p_synthetic: Probability
    """Calibrated probability that the voice is synthetic: 0 is certainly human, 1 certainly synthetic."""
    speech_s: Seconds
    """Speech received on this leg so far, in seconds."""
    model: str
    """The model that scored: its name, ``@``, and the start of its file's SHA-256."""


class CallStarted(EventData):
    """The first leg of a call started."""

    call_id: str
    """The call's id from the source: Twilio's callSid, the `call_id` of the URL."""
    source: str
    """How the call is attached: ``twilio``, ``plain``, ``whip``, ``sip`` and so on."""
    separation: Separation
    """``separate``: each leg is one speaker. ``mixed``: one leg carries several, so results concern no single one."""
    tenant: str | None
    """The tenant, if the gateway serves several; null if the call has none."""


class CallEnded(EventData):
    """The last leg of a call ended."""

    call_id: str
    """The call's id from the source: Twilio's callSid, the `call_id` of the URL."""
    verdicts: dict[str, Verdict]
    """Verdict of each leg, by the leg's name."""


class LegStarted(LegEvent):
    """Audio of a speaker started."""

    source: str
    """As in ``call.started``."""
    separation: Separation
    """As in ``call.started``."""
    tenant: str | None
    """As in ``call.started``."""
    direction: str
    """``received_from_party``, or ``sent_to_party``, which may include prompts and hold music."""
    encoding: str
    """Encoding of the audio received: ``mulaw``, ``alaw``, ``s16le``, ``s16be``, ``g722`` or ``opus``."""
    rate_hz: Annotated[int, Field(gt=0)]
    """Sampling rate of the audio received, in hertz."""
    calibration: str | None = None
    """Hash of the calibration behind `p_synthetic`: that of the light model, or of its fusion with the verifier."""
    policy: str | None = None
    """Policy of this leg, to its end: the start of the file's SHA-256. Null: no policy."""
    screened: bool = True
    """Whether the leg is scored. False: the policy excludes it, and its verdict is ``indeterminate``, reason
    ``not_screened``."""


class LegEnded(LegEvent):
    """Audio of a speaker ended."""

    verdict: Verdict
    """Verdict on the whole leg. ``indeterminate``: neither could be determined; `reason` says why."""
    ended_by: str
    """``stopped``, ``disconnected``, ``timeout``, ``protocol_error``, ``too_fast``, ``shutdown``, ``call_too_long``,
    ``codec_changed``, a reason given by the source, or ``gateway_restarted``: the gateway crashed and was restarted,
    and the counts below are null, because they are unknown."""
    audio_s: Seconds | None
    """Audio received, in seconds."""
    missing_s: Seconds | None
    """Audio that never arrived, in seconds."""
    windows_scored: Count | None
    """Windows that were scored."""
    windows_skipped: Count | None
    """Windows with enough speech that were not scored because of overload."""
    windows_crosstalk: Count | None
    """Windows that were not scored because they held crosstalk: the voice of another leg."""
    alerts: Count | None
    """Alerts that reached the stage ``confirmed``."""
    shed_s: Seconds | None = None
    """Audio received but discarded because of overload, in seconds."""
    coverage_reduced: tuple[str, ...] | None = None
    """Reasons of this leg's ``coverage.reduced`` events, in order."""


class Scored(VoiceEvent):
    """One window of one leg was scored."""

    window_start_s: Seconds
    """Start of the window in the leg's audio, in seconds."""
    window_speech_s: Seconds
    """Speech in the window, in seconds."""
    window_p_synthetic: Probability
    """`p_synthetic` of this window alone; `p_synthetic` itself covers all recent windows."""


class AlertRaised(VoiceEvent):
    """A voice sounds synthetic.

    `p_synthetic` is the fusion of all models that scored the leg's recent speech; `model` is the decisive one.
    """

    alert_id: str
    """The same for all events about one alert."""
    stage: Stage
    """``provisional``, then, if more speech agrees, ``confirmed``."""
    lag_ms: Milliseconds
    """Delay in milliseconds from the end of the decisive audio, as received, to this event."""


class AlertCleared(VoiceEvent):
    """The voice no longer sounds synthetic, according to enough new speech."""

    alert_id: str
    """The alert that this clears."""


class AlertVerified(VoiceEvent):
    """The verifier scored a window of the leg. `model` and `p_synthetic` are the verifier's, for that window alone.

    For information: alerts depend on the fusion of both models. If the fused score changes the alert, ``alert.raised``
    or ``alert.cleared`` follows. `reason` is ``verifier_synthetic`` or ``verifier_human``: the more likely of the two.
    """

    verdict: VerifierVerdict
    """``escalated``: the score raised an alert. ``confirmed``: more likely synthetic, and an alert is active.
    ``cleared``: more likely human, and no alert is active. ``inconclusive``: otherwise."""
    alert_id: str | None
    """The alert that is active, was active, or is raised by this; null if there is none."""
    judged_speech_s: Seconds
    """Speech in that window, in seconds."""
    filter_p_synthetic: Probability
    """`p_synthetic` of all recent windows by the light model alone."""
    lag_ms: Milliseconds
    """Delay in milliseconds from the end of the window's audio, as received, to this event."""


class AlertEvidence(VoiceEvent):
    """Whether the audio around an alert was stored. Sent once per alert, possibly after the call.

    The common fields are those of the alert, except `speech_s`, which is that of the leg so far.
    `reason`: ``stored``; ``queue_full``, ``limit_reached``, ``disk_full``, ``write_failed``, ``no_audio``.
    """

    alert_id: str
    """The alert."""
    outcome: Literal["stored", "lost"]
    """Whether there is a file."""
    start_s: Seconds | None
    """Start of the stored audio in the leg's audio, in seconds."""
    end_s: Seconds | None
    """End of the stored audio in the leg's audio, in seconds."""
    missing_s: Seconds | None
    """Missing audio in between, in seconds; the file has silence in its place."""


class VoiceExpected(VoiceEvent):
    """A voice sounds synthetic with the certainty of an alert, where a machine is expected. Sent once per leg."""


class FeedbackGiven(VoiceEvent):
    """A person confirmed or dismissed an alert. The common fields are those of the alert.

    It may follow the end of the call. If an alert has several, the last one counts.
    """

    alert_id: str
    """The alert."""
    verdict: Literal["confirmed", "dismissed"]
    """``confirmed``: the voice was synthetic. ``dismissed``: it was not, the alert was a false alarm."""
    note: Annotated[str, Field(max_length=500)] | None
    """Free text."""


class CoverageReduced(EventData):
    """Some audio of this leg was not scored. Sent once per `reason`; ``leg.ended`` has the final counts.

    - ``overload``: windows were skipped, or audio was discarded; ``fewer_verifications``, ``longer_hop``,
      ``fewer_windows``: steps of an overloaded gateway before that, in this order; ``no_new_calls``: the call was
      refused because of overload, and `leg` is null.
    - ``fewer_verifications`` also if a pool of verifiers is configured and none is available.
    - ``media_lost``: audio never arrived; ``unknown_codec``: it arrives in a codec that was not negotiated, and is
      discarded until the peer returns to the negotiated one.
    - ``format_mismatch``: the audio is not in the declared format, and is not scored until it is; the log names the
      setting that is probably wrong.
    """

    windows_skipped: Count
    """Windows of this leg that were not scored because of overload, so far."""
    missing_s: Seconds
    """Audio of this leg that never arrived, in seconds, so far."""
    shed_s: Seconds = 0.0
    """Audio of this leg discarded because of overload, in seconds, so far."""


class ShadowCompared(VoiceEvent):
    """A comparison of a candidate model or policy with the live one on this leg. A candidate never raises an alert.

    `reason`: ``alert_candidate_only`` or ``alert_live_only``, once per leg, when only one side has an alert;
    ``leg_ended``. `p_synthetic` and `model` are those of the live model.
    """

    candidate_model: str | None
    """`model` of the candidate; null: the candidate is a policy, and uses the scores of the live model."""
    candidate_policy: str | None
    """Version of the candidate's policy file, as `policy` in ``leg.started``; null: it has none."""
    candidate_p_synthetic: Probability
    """`p_synthetic` of the candidate: of recent windows, or, with reason ``leg_ended``, of the whole leg."""
    candidate_windows_scored: Count
    """Windows scored by the candidate so far."""
    verdict: Verdict | None
    """As in ``leg.ended``; null before that."""
    candidate_verdict: Verdict | None
    """`verdict` of the candidate."""


class Gap(Contract):
    """Events for this subscriber were deleted from the journal before they were sent."""

    after: str | None
    """The cursor from which the subscriber resumed."""
    resumed_at: str | None
    """From this cursor on nothing is missing; older events that still exist are sent as well. Null: none exists."""
    reason: Literal["cursor_too_old", "cursor_unknown"]
    """``cursor_too_old``: the events after it were deleted. ``cursor_unknown``: it is from another journal."""


class Heartbeat(Contract):
    """Sent after a time without events, so that a subscriber notices a lost connection."""

    last_event_id: str | None
    """The newest cursor; resume from it as from the `id` of an event."""


class Unknown(Contract):
    """What an event holds whose type, or version of the contract, is not known here: to be ignored or passed on."""

    model_config = ConfigDict(extra="allow")


AnyData = (
    CallStarted | CallEnded | LegStarted | LegEnded | Scored | AlertRaised | AlertCleared | AlertVerified
    | AlertEvidence | VoiceExpected | FeedbackGiven | CoverageReduced | ShadowCompared | Gap | Heartbeat | Unknown
)  # fmt: skip
EVENT_TYPES: dict[type[Contract], str] = {
    CallStarted: "call.started",
    CallEnded: "call.ended",
    LegStarted: "leg.started",
    LegEnded: "leg.ended",
    Scored: "score",
    AlertRaised: "alert.raised",
    AlertCleared: "alert.cleared",
    AlertVerified: "alert.verified",
    AlertEvidence: "alert.evidence",
    VoiceExpected: "voice.expected",
    FeedbackGiven: "feedback.given",
    CoverageReduced: "coverage.reduced",
    ShadowCompared: "shadow.compared",
    Gap: "gap",
    Heartbeat: "heartbeat",
}
"""The wire name of each kind of `data`."""
STORED_TYPES = tuple(name for kind, name in EVENT_TYPES.items() if issubclass(kind, EventData))
"""The types that are kept in the journal and can be asked for: all but `gap` and `heartbeat`."""
