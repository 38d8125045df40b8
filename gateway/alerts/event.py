"""The events: what the `data` of each one holds. The envelope around it is in `cloud_event`.  [S]

Every event carries the same nine facts in `data` (`EventData`), null where one does not apply, and some carry more.

    call.started          the first leg of a call appeared
    call.ended            the last leg went; with each leg's verdict
    leg.started           a speaker is being listened to
    leg.ended             with the final verdict: synthetic, human, indeterminate or expected_machine, and why
    score                 one window of one leg (only for subscribers who ask)
    alert.raised          a voice sounds synthetic: stage `provisional`, then, with more speech, `confirmed`
    alert.cleared         it no longer does
    alert.verified        the heavy verifier heard a window: what it says, and how that stands to the alert
    alert.evidence        whether the audio around an alert was stored; only where that is on
    voice.expected        a voice sounds synthetic where the operator expects a machine: no alarm
    feedback.given        somebody confirmed or dismissed an alert; the last word counts
    coverage.reduced      some audio was not judged: overload, lost or late media, a wrong format
    shadow.compared       what a candidate says of a leg beside what is live; only where one is being tried

and, made for one subscriber and never stored:

    gap                   events between two cursors are gone from the journal
    heartbeat             nothing is wrong; the newest cursor

`gateway.contract` makes the published schemas from these models: the docstring of a field is its description there.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Verdict = Literal["synthetic", "human", "indeterminate", "expected_machine"]
Stage = Literal["provisional", "confirmed"]
Ruling = Literal["confirmed", "cleared", "escalated", "inconclusive"]
Separation = Literal["separate", "mixed"]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Seconds = Annotated[float, Field(ge=0.0)]
Milliseconds = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=0)]


class Contract(BaseModel):
    """What all models here have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class EventData(Contract):
    """The facts that every event states; null where one does not apply."""

    call_id: str | None
    """The call, as the source names it: Twilio's callSid, the `call_id` of the URL."""
    leg: str | None
    """One stream of audio of that call: Twilio's track ``inbound`` or ``outbound``, the `leg` of the URL. Null where
    the event is about the whole call."""
    speaker: str | None
    """The speaker that the event is about: the leg's name, or null where one leg carries several speakers."""
    role: str | None
    """``caller``, ``callee``, ``agent``, ``customer`` or ``unknown``."""
    media_time_s: Seconds | None
    """Position in the leg's audio, in seconds from its start; not the time of day."""
    p_synthetic: Probability | None
    """Calibrated probability that the voice is synthetic: 0 is certainly human, 1 certainly synthetic."""
    speech_s: Seconds | None
    """Speech heard on this leg so far, in seconds."""
    model: str | None
    """The model that judged: its name, ``@``, and the start of its file's SHA-256."""
    reason: str
    """Why this event was sent: a short stable word. More words may be added."""
    tenant: str | None = Field(default=None, exclude_if=lambda tenant: tenant is None)
    """Whose call it is, where the gateway serves several tenants; absent where it is nobody's in particular."""


class LegEvent(EventData):
    """An event about one leg."""

    call_id: str
    """The call, as the source names it: Twilio's callSid, the `call_id` of the URL."""
    leg: str
    """One stream of audio of that call: Twilio's track ``inbound`` or ``outbound``, the `leg` of the URL."""
    role: str
    """``caller``, ``callee``, ``agent``, ``customer`` or ``unknown``."""


class Judged(LegEvent):
    """An event about what was heard of one leg."""

    media_time_s: Seconds
    """Position in the leg's audio, in seconds from its start; not the time of day."""
    p_synthetic: Probability
    """Calibrated probability that the voice is synthetic: 0 is certainly human, 1 certainly synthetic."""
    speech_s: Seconds
    """Speech heard on this leg so far, in seconds."""
    model: str
    """The model that judged: its name, ``@``, and the start of its file's SHA-256."""


class CallStarted(EventData):
    """The first leg of a call appeared."""

    call_id: str
    """The call, as the source names it: Twilio's callSid, the `call_id` of the URL."""
    source: str
    """How the call is attached: ``twilio``, ``plain``, ``whip``, ``sip`` and so on."""
    separation: Separation
    """``separate``: each leg is one speaker. ``mixed``: one leg carries several, so no result is about one of them."""
    tenant: str | None
    """Whose call it is, where the gateway serves several tenants."""


class CallEnded(EventData):
    """The last leg of a call went."""

    call_id: str
    """The call, as the source names it: Twilio's callSid, the `call_id` of the URL."""
    verdicts: dict[str, Verdict]
    """Final verdict of each leg that took part, by the leg's name."""


class LegStarted(LegEvent):
    """A speaker is being listened to."""

    source: str
    """As in ``call.started``."""
    separation: Separation
    """As in ``call.started``."""
    tenant: str | None
    """As in ``call.started``."""
    direction: str
    """``received_from_party``, or ``sent_to_party``: then it may hold prompts and hold music."""
    encoding: str
    """Of the audio as it arrives: ``mulaw``, ``alaw``, ``s16le``, ``s16be``, ``g722`` or ``opus``."""
    rate_hz: Annotated[int, Field(gt=0)]
    """Sampling rate of the audio as it arrives, in hertz."""
    calibration: str | None = None
    """Which calibration, of the light model or of its fusion with the verifier, makes `p_synthetic`; a hash."""
    policy: str | None = None
    """Which policy file holds for this leg, to its end: the start of the file's SHA-256. Null: there is none."""
    screened: bool = True
    """Whether the leg is scored. False: the policy leaves it out, and it ends ``indeterminate``, reason
    ``not_screened``."""


class LegEnded(LegEvent):
    """A speaker is no longer listened to."""

    verdict: Verdict
    """How the whole leg sounded. ``indeterminate``: it cannot be told, and `reason` says why."""
    ended_by: str
    """``stopped``, ``disconnected``, ``timeout``, ``protocol_error``, ``too_fast``, ``shutdown``, ``call_too_long``,
    ``codec_changed``, a reason that the source gave, or ``gateway_restarted``: the gateway died and was started again,
    and the counts below are null, because they are not known."""
    audio_s: Seconds | None
    """Audio received, in seconds."""
    missing_s: Seconds | None
    """Audio that never came, in seconds."""
    windows_scored: Count | None
    """Windows that were scored."""
    windows_skipped: Count | None
    """Windows with enough speech that were not scored, because of overload."""
    windows_crosstalk: Count | None
    """Windows that were not scored, because they held another leg's voice, leaked into this one."""
    alerts: Count | None
    """Alerts that reached the stage ``confirmed``."""
    shed_s: Seconds | None = None
    """Audio received that was left unheard, because of overload, in seconds."""
    coverage_reduced: tuple[str, ...] | None = None
    """Reasons of this leg's ``coverage.reduced`` events, in the order in which they came up."""


class Scored(Judged):
    """One window of one leg was scored."""

    window_start_s: Seconds
    """Where the window starts in the leg's audio, in seconds."""
    window_speech_s: Seconds
    """Speech in the window, in seconds."""
    window_p_synthetic: Probability
    """As `p_synthetic`, of this window alone; `p_synthetic` is of all recent windows."""


class AlertRaised(Judged):
    """A voice sounds synthetic.

    `p_synthetic` is the fusion of all models that heard the leg's recent speech; `model` the one that tipped the scale.
    """

    alert_id: str
    """The same for all events about one alert."""
    stage: Stage
    """``provisional``, then, if more speech agrees, ``confirmed``."""
    lag_ms: Milliseconds
    """Delay in milliseconds from the end of the audio that decided, as received, to the making of this event."""


class AlertCleared(Judged):
    """The voice no longer sounds synthetic, on enough fresh speech."""

    alert_id: str
    """Of the ``alert.raised`` that this takes back."""


class AlertVerified(Judged):
    """The verifier heard a window of the leg. `model` and `p_synthetic` are the verifier's, of that window alone.

    For information: alerts hang on what both models say. Where that moves the alert, ``alert.raised`` or
    ``alert.cleared`` follows. `reason` is ``verifier_synthetic`` or ``verifier_human``: to which side it leans.
    """

    verdict: Ruling
    """``escalated``: its answer raised an alert. ``confirmed``: it leans synthetic, and an alert stands. ``cleared``:
    it leans human, and no alert stands. ``inconclusive``: else."""
    alert_id: str | None
    """Of the alert that stands, stood or is raised by this; null where there is none."""
    judged_speech_s: Seconds
    """Speech in that window, in seconds."""
    filter_p_synthetic: Probability
    """As `p_synthetic`, of all recent windows and by the light model alone."""
    lag_ms: Milliseconds
    """Delay in milliseconds from the end of the audio that completed the window, as received, to the making of this
    event."""


class AlertEvidence(Judged):
    """Whether the audio around the raising of an alert was stored. Sent once for each alert, maybe after the call.

    The common facts are those of the alert, but for `speech_s`, which is that of the leg so far.
    `reason`: ``stored``; ``queue_full``, ``limit_reached``, ``disk_full``, ``write_failed``, ``no_audio``.
    """

    alert_id: str
    """The alert."""
    outcome: Literal["stored", "lost"]
    """Whether there is a file."""
    start_s: Seconds | None
    """Where the audio begins in the leg's audio, in seconds."""
    end_s: Seconds | None
    """Where it ends."""
    missing_s: Seconds | None
    """How much is missing in between, in seconds; there the file has silence."""


class VoiceExpected(Judged):
    """A voice sounds synthetic as surely as for an alert, where a machine was declared to be expected. Told once."""


class FeedbackGiven(Judged):
    """Somebody confirmed or dismissed an alert. The common facts are those of the alert.

    It may come when the call has ended; of several for one alert the last one counts.
    """

    alert_id: str
    """The alert."""
    verdict: Literal["confirmed", "dismissed"]
    """``confirmed``: the voice was synthetic. ``dismissed``: it was not, the alert was a false alarm."""
    note: Annotated[str, Field(max_length=500)] | None
    """What was said about it."""


class CoverageReduced(EventData):
    """Some audio of this leg was not judged. Told once for each `reason`; ``leg.ended`` has the final counts.

    - ``overload``: windows were skipped, or audio was left unheard; ``fewer_verifications``, ``longer_hop``,
      ``fewer_windows``: what an overloaded gateway gives up before that, in this order; ``no_new_calls``: the call was
      refused for it, and `leg` is null.
    - ``fewer_verifications`` also where a pool of verifiers is set, and none is there.
    - ``media_lost``: audio never came; ``unknown_codec``: it comes in a codec that was not agreed on, and is not heard
      until the peer comes back to the one that was.
    - ``format_mismatch``: what arrives isn't what was declared, and nothing is judged until it is; the log names the
      setting that is likely wrong.
    """

    windows_skipped: Count
    """Windows of this leg that were not scored so far, because of overload."""
    missing_s: Seconds
    """Audio of this leg that never came so far, in seconds."""
    shed_s: Seconds = 0.0
    """Audio of this leg that was left unheard so far, because of overload, in seconds."""


class ShadowCompared(Judged):
    """What a candidate, another model or another policy, says of the leg beside what is live. It never is an alert.

    `reason`: ``alert_candidate_only`` or ``alert_live_only``, once for each leg, when one side has an alert that the
    other has not; ``leg_ended``. `p_synthetic` and `model` are what is live.
    """

    candidate_model: str | None
    """As `model`, of the candidate; null: the candidate is another policy, and what is live scores for it."""
    candidate_policy: str | None
    """Version of the candidate's policy file, as `policy` in ``leg.started``; null: it has none."""
    candidate_p_synthetic: Probability
    """As `p_synthetic`, by the candidate: of recent windows, or, when the leg has ended, of the whole leg."""
    candidate_windows_scored: Count
    """Windows that the candidate has scored so far."""
    verdict: Verdict | None
    """As in ``leg.ended``; null before that."""
    candidate_verdict: Verdict | None
    """The same, by the candidate."""


class Gap(Contract):
    """Events were lost to this subscriber: they are gone from the journal."""

    after: str | None
    """The cursor that the subscriber gave."""
    resumed_at: str | None
    """From this cursor on nothing is missing; what is still there before it is sent as well. Null: nothing is there."""
    reason: Literal["cursor_too_old", "cursor_unknown"]
    """``cursor_too_old``: the journal has been pruned beyond it. ``cursor_unknown``: it is of another journal."""


class Heartbeat(Contract):
    """Sent when nothing else was, so that a subscriber sees silent loss."""

    last_event_id: str | None
    """The newest cursor: resume from it, as from the `id` of an event."""


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
