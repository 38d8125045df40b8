"""Scenarios: which calls are made, who speaks in them, over which line.  [S]

A TOML file; `sim/scenarios/demo.toml` explains every key. An unknown key is refused by its name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from sim.network import PERFECT, Network

Transport = Literal["twilio", "plain", "webrtc"]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]

SHIPPED = Path(__file__).parent / "scenarios"
TWILIO_TRACKS = ("inbound", "outbound")


class ScenarioError(Exception):
    """A scenario cannot be played; the text names the file and the key."""


class LegPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who speaks on one leg."""

    voice: Literal["human", "synthetic", "human-then-synthetic"]
    system: str = "*"
    """Only voices of systems that match this pattern (``flite_*``), where it is synthetic."""
    alert: bool | None = None
    """Whether an alert is expected; by default where the voice is, or becomes, synthetic."""

    @property
    def expects_alert(self) -> bool:
        """Whether this leg ought to raise an alert."""
        return self.voice != "human" if self.alert is None else self.alert


class CallPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One call, or `count` calls of a kind."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    """Becomes the call id, with a mark of the run behind it."""
    transport: Transport
    legs: dict[str, LegPlan]
    count: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1
    start_s: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0
    """When the first of them starts, counted from the start of the scenario."""
    every_s: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0
    """The next of `count` calls starts this much later."""
    duration_s: Positive = 40.0
    swap_s: Positive | None = None
    """When ``human-then-synthetic`` changes; by default after 40 % of the call."""
    network: Network = PERFECT

    @property
    def names(self) -> list[str]:
        """Names of its calls: its own, numbered where there are several."""
        return [self.name] if self.count == 1 else [f"{self.name}-{copy + 1}" for copy in range(self.count)]


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All calls of a play."""

    call: list[CallPlan]
    name: str = ""
    seed: int = 0
    speed: Positive = 1.0
    """How much faster than real time; WebRTC knows real time only."""

    def at_speed(self, speed: float | None) -> Scenario:
        """Return the same scenario at another speed. Raises ScenarioError where a transport cannot do that."""
        changed = self if speed is None else msgspec.structs.replace(self, speed=speed)
        if not changed.speed > 0:
            raise ScenarioError(f"speed: expected more than 0, got {changed.speed:g}")
        if changed.speed != 1.0 and any(plan.transport == "webrtc" for plan in changed.call):
            raise ScenarioError(f"speed: WebRTC calls run in real time only, got {changed.speed:g}")
        return changed


def load(name_or_path: str) -> Scenario:
    """Read a scenario: a shipped one by its name (``demo``), any other by its path.

    Raises:
        ScenarioError: not there, not TOML, or a key is unknown or wrong.
    """
    path = SHIPPED / f"{name_or_path}.toml"
    if not path.is_file():
        path = Path(name_or_path)
    try:
        scenario = msgspec.toml.decode(path.read_bytes(), type=Scenario)
    except OSError as error:
        names = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.toml")))
        raise ScenarioError(f"{path}: {error.strerror} (shipped scenarios: {names})") from None
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{path}: {error}") from None
    except msgspec.DecodeError as error:
        raise ScenarioError(f"{path}: not TOML: {error}") from None
    try:
        _check(scenario)
    except ScenarioError as error:
        raise ScenarioError(f"{path}: {error}") from None
    return scenario if scenario.name else msgspec.structs.replace(scenario, name=path.stem)


def _check(scenario: Scenario) -> None:
    if not scenario.call:
        raise ScenarioError("call: expected at least one [[call]]")
    scenario.at_speed(None)
    names: set[str] = set()
    for number, plan in enumerate(scenario.call):
        where = f"call[{number}]"
        if taken := names & set(plan.names):
            raise ScenarioError(f"{where}.name: {min(taken)!r} is the name of another call")
        names |= set(plan.names)
        if not plan.legs:
            raise ScenarioError(f"{where}.legs: expected at least one leg")
        if plan.transport == "twilio" and not set(plan.legs) <= set(TWILIO_TRACKS):
            raise ScenarioError(f"{where}.legs: Twilio's legs are inbound and outbound, got {', '.join(plan.legs)}")
        if plan.transport == "plain" and plan.network != PERFECT:
            raise ScenarioError(f"{where}.network: plain frames carry no time, so the line cannot lose any")
        if plan.transport == "twilio" and (plan.network.reorder or plan.network.duplicate):
            raise ScenarioError(f"{where}.network: a websocket keeps order, so only loss and jitter_ms make sense")
        if plan.swap_s is not None and plan.swap_s >= plan.duration_s:
            raise ScenarioError(f"{where}.swap_s: expected less than duration_s ({plan.duration_s:g})")
