"""Scenarios: calls, their speakers, sounds and lines, and the expected results.  [S]

The form of the TOML files; docs/how-to/simulate.md describes every key. Unknown keys are refused by name.
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
"""Attach points with a client."""
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
"""Names of the legs, for attach points where the gateway sets them."""
STEREO = ("freeswitch", "jambonz")
"""Attach points that send both legs as two channels of one stream."""
VENDOR_NAMES: dict[str, str] = {"twilio": "Twilio", "freeswitch": "FreeSWITCH"}

Seconds = Annotated[float, msgspec.Meta(ge=0.0)]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Between = tuple[Seconds, Seconds]
"""Least and most, uniformly distributed."""

VOICES: dict[str, tuple[Label, ...]] = {
    "human": ("human",),
    "synthetic": ("synthetic",),
    "none": (),
    "human-then-synthetic": ("human", "synthetic"),
    "synthetic-then-human": ("synthetic", "human"),
    "human-then-synthetic-then-human": ("human", "synthetic", "human"),
}
"""Labels of the speakers in order, by the value of `LegPlan.voice`."""


class ScenarioError(Exception):
    """A scenario cannot be played; the text names file, line and key."""


class Sound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sound on a leg besides its speaker."""

    kind: Literal["hold-music", "ringback", "busy", "ivr", "voicemail", "dtmf", "beep", "silence"]
    at_s: Seconds = 0.0
    duration_s: Positive | None = None
    """6 s by default; ``dtmf`` and ``beep`` have their own length."""
    digits: Annotated[str, msgspec.Meta(pattern=r"^[0-9A-D*#]{1,32}$")] = "1234#"
    """Keys of ``dtmf``."""
    level_db: Annotated[float, msgspec.Meta(ge=-80.0, le=0.0)] = -20.0
    """RMS of tones and music relative to full scale."""
    voice: Literal["human", "synthetic"] = "synthetic"
    """Voice of an ``ivr`` prompt or a ``voicemail`` greeting."""
    system: str = "*"

    @property
    def ends_s(self) -> float:
        """When speech may go on; at once after ``dtmf`` and ``beep``, which do not interrupt."""
        return self.at_s if self.kind in ("dtmf", "beep") else self.at_s + (self.duration_s or 6.0)


class LegPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Speaker, sounds and line of one leg, and the expected result."""

    voice: Literal[
        "human",
        "synthetic",
        "none",
        "human-then-synthetic",
        "synthetic-then-human",
        "human-then-synthetic-then-human",
    ]
    system: str = "*"
    """Pattern for the systems of synthetic voices (``flite_*``)."""
    speaker: str = "*"
    """Pattern for the names of human speakers."""
    clips: list[str] = []
    """Recordings of this leg's voice, or folders of them; relative to the scenario."""
    manifest: str = ""
    """Manifest (CSV) of voices for this leg; relative to the scenario."""
    split: str = ""
    """Only rows of the manifest with this split."""
    role: Literal["", "caller", "callee", "agent", "customer"] = ""
    """Sent to the gateway, if the attach point can."""
    alert: bool | None = None
    """Whether an alert is expected; by default if any of the leg's voices is synthetic."""
    alert_within_s: Positive | None = None
    """Latest time of the confirmed alert, after the first synthetic speech."""
    verdict: list[Literal["synthetic", "human", "indeterminate", "expected_machine"]] = []
    """Accepted verdicts; empty for any."""
    ended_by: str = ""
    """Expected reason of ``leg.ended``; empty for any."""
    sound: list[Sound] = []
    noise: str = ""
    """``white``, ``pink``, ``babble``, or a recording; relative to the scenario."""
    noise_snr_db: Annotated[float, msgspec.Meta(ge=-20.0, le=80.0)] = 20.0
    room_s: Annotated[float, msgspec.Meta(ge=0.0, le=5.0)] = 0.0
    """Reverberation time (RT60) of the speaker's room; 0 for none."""
    echo_db: Annotated[float, msgspec.Meta(ge=-80.0, le=0.0)] | None = None
    """Level of the other leg's echo on this leg; None for no echo."""
    echo_ms: Annotated[float, msgspec.Meta(ge=0.0, le=1000.0)] = 120.0
    codec: list[str] = []
    """Codecs before the wire's own, in series (`sim.line.CODECS`)."""

    @property
    def labels(self) -> tuple[Label, ...]:
        """Labels of the speakers in order."""
        return VOICES[self.voice]

    @property
    def expects_alert(self) -> bool:
        """Whether an alert is expected on this leg."""
        return "synthetic" in self.labels if self.alert is None else self.alert


class Talk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Turn-taking."""

    turn_s: Between = (3.0, 7.0)
    pause_s: Between = (0.2, 0.9)
    overlap: Share = 0.0
    """Share of turns that begin before the other's end."""
    overlap_s: Between = (0.3, 1.2)
    backchannel: Share = 0.0
    """Share of turns with a short word of the listener ("mhm")."""


class Cut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An end of the call's connections before its end."""

    at_s: Positive
    how: Literal["drop", "stop"] = "drop"
    """``drop``: the connection is lost; ``stop``: the platform ends the stream."""
    back_after_s: Seconds | None = None
    """Reconnect after this time with the same call id; None: the call is over."""


class CallPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One call, or `count` equal calls."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    """First part of the call id; the id of the run follows."""
    transport: Transport
    legs: dict[str, LegPlan]
    count: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1
    start_s: Seconds = 0.0
    """Start of the first call, from the start of the scenario."""
    every_s: Seconds = 0.0
    """Time between the starts of `count` calls."""
    duration_s: Positive = 40.0
    swap_s: Positive | list[Positive] | None = None
    """When voices change; by default evenly spaced, a single change after 40 % of the call."""
    talk: Talk = Talk()
    network: Network = PERFECT
    cut: list[Cut] = []
    reconnect_s: Positive | None = None
    """Interval of new attempts when the gateway hangs up or is gone; None: the call fails."""

    @property
    def names(self) -> list[str]:
        """Names of its calls, numbered if there are several."""
        return [self.name] if self.count == 1 else [f"{self.name}-{copy + 1}" for copy in range(self.count)]

    def swaps_s(self, changes: int) -> tuple[float, ...]:
        """Return the times of this many changes of voice."""
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
    """What it shows and what is expected, in one or two sentences."""
    seed: int = 0
    speed: Positive = 1.0
    """Speed relative to real time; WebRTC needs real time."""
    gateway: dict[str, Any] = {}
    """Settings of a gateway started for the play."""
    restart_s: list[Positive] = []
    """Times of restarts of the gateway; only if it is started for the play."""
    restart_takes_s: Seconds = 1.0

    def at_speed(self, speed: float | None) -> Scenario:
        """Return the scenario at another speed. Raises ScenarioError if a transport does not allow it."""
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
        """Duration of all calls together, in seconds."""
        return sum(plan.count * plan.duration_s for plan in self.call)
