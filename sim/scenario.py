"""Scenarios: which calls are made, who speaks in them, what else is heard, over which line, and what is expected.  [S]

A TOML file; docs/simulate.md lists every key. An unknown key is refused by its name.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from sim.clips import Label
from sim.network import PERFECT, Network

Transport = Literal[
    "twilio",
    "signalwire",
    "telnyx",
    "plivo",
    "bandwidth",
    "exotel",
    "freeswitch",
    "jambonz",
    "livekit",
    "plain",
    "webrtc",
]
"""The attach points that have a client."""
TWILIO_TRACKS = ("inbound", "outbound")
FIXED_LEGS: dict[str, tuple[str, ...]] = {
    "twilio": TWILIO_TRACKS,
    "signalwire": TWILIO_TRACKS,
    "telnyx": TWILIO_TRACKS,
    "plivo": TWILIO_TRACKS,
    "bandwidth": TWILIO_TRACKS,
    "exotel": ("caller",),
    "freeswitch": TWILIO_TRACKS,
    "jambonz": TWILIO_TRACKS,
}
"""What the legs of an attach point are called, where the gateway decides."""
STEREO = ("freeswitch", "jambonz")
"""Both legs are there, as the two channels of one stream."""
VENDOR_NAMES: dict[str, str] = {"twilio": "Twilio", "freeswitch": "FreeSWITCH"}

Seconds = Annotated[float, msgspec.Meta(ge=0.0)]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Between = tuple[Seconds, Seconds]
"""Least and most; drawn evenly."""

VOICES: dict[str, tuple[Label, ...]] = {
    "human": ("human",),
    "synthetic": ("synthetic",),
    "none": (),
    "human-then-synthetic": ("human", "synthetic"),
    "synthetic-then-human": ("synthetic", "human"),
    "human-then-synthetic-then-human": ("human", "synthetic", "human"),
}
"""Who speaks one after the other, by the name of it."""


class ScenarioError(Exception):
    """A scenario cannot be played; the text names the file, the line and the key."""


class Sound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that is heard on a leg besides its speaker."""

    kind: Literal["hold-music", "ringback", "busy", "ivr", "voicemail", "dtmf", "beep", "silence"]
    at_s: Seconds = 0.0
    duration_s: Positive | None = None
    """How long; ``dtmf`` and ``beep`` last as long as they do. By default 6 s."""
    digits: Annotated[str, msgspec.Meta(pattern=r"^[0-9A-D*#]{1,32}$")] = "1234#"
    """What ``dtmf`` dials."""
    level_db: Annotated[float, msgspec.Meta(ge=-80.0, le=0.0)] = -20.0
    """Of tones and music, RMS against full scale."""
    voice: Literal["human", "synthetic"] = "synthetic"
    """Who speaks an ``ivr`` prompt or a ``voicemail`` greeting."""
    system: str = "*"

    @property
    def ends_s(self) -> float:
        """When it is over; ``dtmf`` and ``beep`` interrupt nobody, so they end at once."""
        return self.at_s if self.kind in ("dtmf", "beep") else self.at_s + (self.duration_s or 6.0)


class LegPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who speaks on one leg, what else is heard there, and what is expected."""

    voice: Literal[
        "human",
        "synthetic",
        "none",
        "human-then-synthetic",
        "synthetic-then-human",
        "human-then-synthetic-then-human",
    ]
    system: str = "*"
    """Only voices of systems that match this pattern (``flite_*``), where it is synthetic."""
    speaker: str = "*"
    """Only people whose name matches this pattern, where it is human."""
    clips: list[str] = []
    """Recordings, or folders of them, of this leg's voice; relative to the scenario."""
    manifest: str = ""
    """A manifest (CSV) to choose this leg's voices from; relative to the scenario."""
    split: str = ""
    """Only rows of the manifest with this split."""
    role: Literal["", "caller", "callee", "agent", "customer"] = ""
    """Told to the gateway, where the attach point can tell it."""
    alert: bool | None = None
    """Whether an alert is expected; by default where the voice is, or becomes, synthetic."""
    alert_within_s: Positive | None = None
    """The confirmed alert must come so soon after the first synthetic speech."""
    verdict: list[Literal["synthetic", "human", "indeterminate", "expected_machine"]] = []
    """One of these must be the verdict; empty: any."""
    ended_by: str = ""
    """What ``leg.ended`` must give as the reason; empty: any."""
    sound: list[Sound] = []
    noise: str = ""
    """``white``, ``pink``, ``babble``, or a recording; relative to the scenario."""
    noise_snr_db: Annotated[float, msgspec.Meta(ge=-20.0, le=80.0)] = 20.0
    room_s: Annotated[float, msgspec.Meta(ge=0.0, le=5.0)] = 0.0
    """Reverberation time (RT60) of the speaker's room; 0: none."""
    echo_db: Annotated[float, msgspec.Meta(ge=-80.0, le=0.0)] | None = None
    """The other leg is heard here this much quieter; none: not at all."""
    echo_ms: Annotated[float, msgspec.Meta(ge=0.0, le=1000.0)] = 120.0
    codec: list[str] = []
    """Codecs that the voice goes through before the wire's own, one after the other (`sim.line.CODECS`)."""

    @property
    def labels(self) -> tuple[Label, ...]:
        """Who speaks, one after the other: ``human``, ``synthetic``."""
        return VOICES[self.voice]

    @property
    def expects_alert(self) -> bool:
        """Whether this leg ought to raise an alert."""
        return "synthetic" in self.labels if self.alert is None else self.alert


class Talk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How people take turns."""

    turn_s: Between = (3.0, 7.0)
    pause_s: Between = (0.2, 0.9)
    overlap: Share = 0.0
    """Share of turns that begin before the other's has ended."""
    overlap_s: Between = (0.3, 1.2)
    backchannel: Share = 0.0
    """Share of turns during which the listener says something short ("mhm")."""


class Cut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The call's connections end before the call does."""

    at_s: Positive
    how: Literal["drop", "stop"] = "drop"
    """``drop``: the connection just goes away; ``stop``: the platform says that the stream has ended."""
    back_after_s: Seconds | None = None
    """Connects again so much later, under the same call id; none: that was the end of the call."""


class CallPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One call, or `count` calls of a kind."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    """Becomes the call id, with a mark of the run behind it."""
    transport: Transport
    legs: dict[str, LegPlan]
    count: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1
    start_s: Seconds = 0.0
    """When the first of them starts, counted from the start of the scenario."""
    every_s: Seconds = 0.0
    """The next of `count` calls starts this much later."""
    duration_s: Positive = 40.0
    swap_s: Positive | list[Positive] | None = None
    """When voices change; by default at even distances, a single change after 40 % of the call."""
    talk: Talk = Talk()
    network: Network = PERFECT
    cut: list[Cut] = []
    reconnect_s: Positive | None = None
    """When the gateway hangs up, or is gone, try again each so many seconds; none: the call has failed."""

    @property
    def names(self) -> list[str]:
        """Names of its calls: its own, numbered where there are several."""
        return [self.name] if self.count == 1 else [f"{self.name}-{copy + 1}" for copy in range(self.count)]

    def swaps_s(self, changes: int) -> tuple[float, ...]:
        """Return when voices change, on a leg that changes so often."""
        if self.swap_s is None:
            first = 0.4 if changes <= 1 else 1 / (changes + 1)
            return tuple(self.duration_s * first * (change + 1) for change in range(changes))
        given = self.swap_s if isinstance(self.swap_s, list) else [self.swap_s]
        return tuple(given[:changes])


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All calls of a play."""

    call: list[CallPlan]
    name: str = ""
    about: str = ""
    """What it shows and what is expected, in a sentence or two."""
    seed: int = 0
    speed: Positive = 1.0
    """How much faster than real time; WebRTC knows real time only."""
    gateway: dict[str, Any] = {}
    """Settings of the gateway, where it is started for the play."""
    restart_s: list[Positive] = []
    """When the gateway is stopped and started again; only where it is started for the play."""
    restart_takes_s: Seconds = 1.0

    def at_speed(self, speed: float | None) -> Scenario:
        """Return the same scenario at another speed. Raises ScenarioError where a transport cannot do that."""
        changed = self if speed is None else msgspec.structs.replace(self, speed=speed)
        if not changed.speed > 0:
            raise ScenarioError(f"speed: expected more than 0, got {changed.speed:g}")
        if changed.speed != 1.0 and any(plan.transport == "webrtc" for plan in changed.call):
            raise ScenarioError(f"speed: WebRTC calls run in real time only, got {changed.speed:g}")
        return changed

    @property
    def duration_s(self) -> float:
        """From the start of the first call to the end of the last."""
        return max(plan.start_s + (plan.count - 1) * plan.every_s + plan.duration_s for plan in self.call)

    @property
    def call_s(self) -> float:
        """Seconds of all calls together."""
        return sum(plan.count * plan.duration_s for plan in self.call)
