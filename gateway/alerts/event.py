"""The event contract: CloudEvents 1.0 in JSON, one event per message.  [S]

Every event carries the same nine facts in `data` (`EventData`), null where one does not apply, and some carry more.
The names are final. The version of the contract is in `dataschema`, so that `type` can stay short.

    call.started          the first leg of a call appeared
    call.ended            the last leg went; with each leg's verdict
    leg.started           a speaker is being listened to
    leg.ended             with the final verdict: synthetic, human, indeterminate or expected_machine, and why
    score                 one window of one leg (only for subscribers who ask)
    alert.raised          a voice sounds synthetic: stage `provisional`, then, with more speech, `confirmed`
    alert.cleared         it no longer does
    alert.verified        the heavy verifier heard a window: what it says, and how that stands to the alert
    voice.expected        a voice sounds synthetic where the operator expects a machine: no alarm
    coverage.reduced      some audio was not judged: overload, lost or late media, a wrong format

and, made for one subscriber and never stored:

    gap                   events between two cursors are gone from the journal
    heartbeat             nothing is wrong; the newest cursor
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SUBPROTOCOL = "cloudevents.json"
"""CloudEvents WebSocket binding 1.0, section 3: structured mode, JSON."""
DATASCHEMA = "urn:callscreen:events:v1"

Verdict = Literal["synthetic", "human", "indeterminate", "expected_machine"]
Stage = Literal["provisional", "confirmed"]
Ruling = Literal["confirmed", "cleared", "escalated", "inconclusive"]
Separation = Literal["separate", "mixed"]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Seconds = Annotated[float, Field(ge=0.0)]


class EventData(BaseModel):
    """The facts that every event states; null where one does not apply."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    call_id: str | None
    """As the peer named it: Twilio's callSid, the `call_id` of the URL."""
    leg: str | None
    """One stream of audio. Twilio: ``inbound`` or ``outbound``."""
    speaker: str | None
    """Who is spoken of: the leg where it is one speaker, null where the speakers are mixed."""
    role: str | None
    """``caller``, ``callee``, ``agent``, ``customer`` or ``unknown``."""
    media_time_s: Seconds | None
    """Position in the leg's audio that the event speaks of, not the time of day."""
    p_synthetic: Probability | None
    """0: surely a person; 1: surely synthetic. Calibrated."""
    speech_s: Seconds | None
    """Seconds of speech heard of this leg so far."""
    model: str | None
    """Name and hash of the model that judged."""
    reason: str
    """Why this event was sent, as a short stable word."""


class CallStarted(EventData):
    """The first leg of a call appeared."""

    source: str
    """How the call is attached: ``twilio``, ``plain``, ``whip``."""
    separation: Separation
    """``separate``: each leg is one speaker. ``mixed``: all of them in one, so nothing can be put down to anyone."""
    tenant: str | None


class CallEnded(EventData):
    """The last leg of a call went."""

    verdicts: dict[str, Verdict]
    """Final verdict of each leg that took part."""


class LegStarted(EventData):
    """A speaker is being listened to."""

    source: str
    separation: Separation
    tenant: str | None
    direction: str
    """``received_from_party`` or ``sent_to_party`` (then it may hold prompts and hold music)."""
    encoding: str
    rate_hz: int


class LegEnded(EventData):
    """A speaker is no longer listened to."""

    verdict: Verdict
    ended_by: str
    """``stopped``, ``disconnected``, ``timeout``, ``protocol_error``, ``too_fast``, ``shutdown``, ``call_too_long``,
    ``codec_changed``, or
    ``gateway_restarted``: the gateway died and was started again; then the counts below are null, for nobody knows
    them. What the peer gives as its reason stands here, too."""
    audio_s: Seconds | None
    """Audio received, in seconds."""
    missing_s: Seconds | None
    """Audio that never came, in seconds."""
    windows_scored: int | None
    windows_skipped: int | None
    """Windows with enough speech that were not scored, because of overload."""
    windows_crosstalk: int | None
    """Windows that were not scored, because they held another leg's voice, leaked into this one."""
    alerts: int | None
    """Alerts that reached `confirmed`."""
    coverage_reduced: tuple[str, ...] | None = None
    """Reasons of this leg's ``coverage.reduced``, in the order in which they came up; the counts above are final."""


class Scored(EventData):
    """One window of one leg was scored."""

    window_start_s: Seconds
    window_speech_s: Seconds
    window_p_synthetic: Probability
    """Of this window alone; `p_synthetic` is the rolling confidence."""


class AlertRaised(EventData):
    """A voice sounds synthetic.

    `p_synthetic` is the fusion of all models that heard the leg's recent speech; `model` the one that tipped the scale.
    """

    alert_id: str
    stage: Stage
    lag_ms: float
    """From the end of the audio that tipped the scale, as received, to the making of this event."""


class AlertCleared(EventData):
    """The voice no longer sounds synthetic, on enough fresh speech."""

    alert_id: str


class AlertVerified(EventData):
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
    """Seconds of speech in that window."""
    filter_p_synthetic: Probability
    """The rolling confidence by what the light model alone says."""
    lag_ms: float
    """From the end of the audio that completed the window, as received, to the making of this event."""


class VoiceExpected(EventData):
    """A voice sounds synthetic as surely as for an alert, where a machine was declared to be expected. Told once."""


class CoverageReduced(EventData):
    """Some audio of this leg was not judged. Told once for each `reason`; ``leg.ended`` has the final counts.

    - ``overload``: windows were skipped; ``fewer_verifications``, ``longer_hop``, ``fewer_windows``: what an overloaded
      gateway gives up before that, in this order; ``no_new_calls``: the call was refused for it, and `leg` is null.
    - ``media_lost``: audio never came; ``unknown_codec``: it comes in a codec that was not agreed on, and is not heard
      until the peer comes back to the one that was.
    - ``format_mismatch``: what arrives isn't what was declared, and nothing is judged until it is; the log names the
      setting that is likely wrong.
    """

    windows_skipped: int
    """Of the whole leg so far."""
    missing_s: Seconds
    """Of the whole leg so far."""


class Gap(BaseModel):
    """Events were lost to this subscriber: they are gone from the journal."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    after: str | None
    """The cursor the subscriber gave."""
    resumed_at: str | None
    """From this cursor on nothing is missing; what is still there before it is sent as well. Null: nothing is there."""
    reason: Literal["cursor_too_old", "cursor_unknown"]


class Heartbeat(BaseModel):
    """Sent when nothing else was, so that a subscriber sees silent loss."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    last_event_id: str | None


EVENT_TYPES: dict[type[BaseModel], str] = {
    CallStarted: "call.started",
    CallEnded: "call.ended",
    LegStarted: "leg.started",
    LegEnded: "leg.ended",
    Scored: "score",
    AlertRaised: "alert.raised",
    AlertCleared: "alert.cleared",
    AlertVerified: "alert.verified",
    VoiceExpected: "voice.expected",
    CoverageReduced: "coverage.reduced",
    Gap: "gap",
    Heartbeat: "heartbeat",
}
"""The wire name of each kind of `data`."""
STORED_TYPES = tuple(name for kind, name in EVENT_TYPES.items() if issubclass(kind, EventData))
"""The types that are kept in the journal and can be asked for: all but `gap` and `heartbeat`."""


class CloudEvent(BaseModel):
    """The envelope (CloudEvents 1.0, JSON format)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    specversion: Literal["1.0"] = "1.0"
    id: str
    """The cursor: unique per `source`, the same on redelivery, to be given back as `last_event_id`."""
    source: str
    """``/callscreen/<journal id>``."""
    type: str
    subject: str | None = None
    """``<call_id>/<leg>``, for routers that do not look into `data`."""
    time: datetime
    datacontenttype: Literal["application/json"] = "application/json"
    dataschema: str = DATASCHEMA
    sequence: str | None = None
    """Zero-padded counter of stored events (CloudEvents sequence extension); null for `gap` and `heartbeat`."""
    data: dict[str, Any]


def envelope(data: BaseModel, *, event_id: str, source: str, time: datetime, sequence: str | None) -> CloudEvent:
    """Wrap `data` (one of the keys of `EVENT_TYPES`) in its CloudEvent."""
    call_id, leg = getattr(data, "call_id", None), getattr(data, "leg", None)
    return CloudEvent(
        id=event_id,
        source=source,
        type=EVENT_TYPES[type(data)],
        subject="/".join(part for part in (call_id, leg) if part) or None,
        time=time,
        sequence=sequence,
        data=data.model_dump(mode="json"),
    )
