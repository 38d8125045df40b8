"""Calls in tests: who speaks, the result, and what to print when it is not what was expected.

    from sim.testing import human, synthetic

    def test_a_clone_is_heard(place_call, expect_alert, expect_no_alert):
        call = place_call(caller=synthetic("flite_slt"), callee=human("clips/anna.wav"))
        expect_alert(call, on="caller", within_s=30)
        expect_no_alert(call, on="callee")

The fixtures are in `sim.pytest_plugin`, which pytest finds by itself.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from sim.caller import Gateway
from sim.calls import Call
from sim.clips import Library, shipped
from sim.files import check
from sim.judge import LegResult
from sim.observe import Observed
from sim.play import Play, play_scenario, play_virtually
from sim.scenario import CallPlan, LegPlan, Scenario, ScenarioError
from sim.talk import Part

COLUMNS = 100
"""Width of a timeline."""


def human(*clips: str | Path, **keys: Any) -> LegPlan:
    """Return a leg on which a person speaks.

    Args:
        clips: recordings, or folders of them, relative to the test's file; none: a voice is chosen.
        keys: any other key of a leg in a scenario (``codec=["amrnb"]``, ``noise="babble"``).

    Raises:
        ScenarioError: a key is unknown or its value wrong.
    """
    return _leg({"voice": "human", "clips": [str(clip) for clip in clips], **keys})


def synthetic(system: str = "*", *clips: str | Path, **keys: Any) -> LegPlan:
    """Return a leg on which a machine speaks: a voice whose system matches the pattern, or `clips`. See `human`."""
    return _leg({"voice": "synthetic", "system": system, "clips": [str(clip) for clip in clips], **keys})


def takeover(system: str = "*", **keys: Any) -> LegPlan:
    """Return a leg on which a person opens and a machine goes on, from ``swap_s`` of the call on. See `human`."""
    return _leg({"voice": "human-then-synthetic", "system": system, **keys})


def listener(**keys: Any) -> LegPlan:
    """Return a leg on which nobody speaks. See `human`."""
    return _leg({"voice": "none", **keys})


@dataclass(frozen=True, slots=True)
class PlacedCall:
    """A call that was played, and what the gateway said of it."""

    call: Call
    results: Mapping[str, LegResult]
    """By leg."""
    failure: str | None
    """Why it was not played to its end; None when it was."""

    def leg(self, name: str) -> Observed:
        """Return what the gateway said of a leg: its alerts, verdict, scores. Raises KeyError."""
        return self._result(name).observed

    def verdict(self, name: str) -> str | None:
        """Return a leg's verdict: ``synthetic``, ``human``, ``indeterminate`` or ``expected_machine``."""
        return self._result(name).observed.verdict

    def missing_alert(self, on: str, within_s: float | None = None) -> str | None:
        """Return why no confirmed alert came on a leg, in time; None: it came."""
        result = self._result(on)
        after_s = result.time_to_alert_s.get("confirmed")
        if self.failure is not None:
            return self._told(on, f"the call was not played to its end: {self.failure}")
        if after_s is None:
            stages = [alert.stage for alert in result.observed.alerts] or ["none"]
            return self._told(on, f"expected a confirmed alert on {on!r}; the last that came: {stages[-1]}")
        if within_s is not None and after_s > within_s:
            wanted = f"within {within_s:g} s of the first synthetic speech"
            return self._told(on, f"expected a confirmed alert on {on!r} {wanted}; it came after {after_s:.1f} s")
        return None

    def unwanted_alert(self, on: str | None = None) -> str | None:
        """Return which alert came on a leg, or on any; None: none came."""
        if self.failure is not None:
            return self._told(on or next(iter(self.results)), f"the call was not played to its end: {self.failure}")
        for name in [on] if on else list(self.results):
            if alerts := self._result(name).observed.alerts:
                first = alerts[0]
                what = f"{first.stage} at {first.media_time_s:.1f} s, p {first.p_synthetic:.2f}"
                return self._told(name, f"expected no alert on {name!r}; got one: {what}")
        return None

    def timeline(self, name: str) -> str:
        """Return a leg as text: who spoke when, how synthetic it sounded, which alerts stood."""
        return timeline(self.call.parts[name], self._result(name).observed, self.call.plan.duration_s)

    def _result(self, name: str) -> LegResult:
        if name not in self.results:
            raise KeyError(f"there is no leg {name!r} in this call; it has {', '.join(self.results)}")
        return self.results[name]

    def _told(self, name: str, fault: str) -> str:
        seen, plan = self._result(name).observed, self.call.plan
        voices = " → ".join(self._result(name).voices) or "nobody"
        head = f"call {plan.name!r} by {plan.transport}, {plan.duration_s:g} s; {name}: {voices}"
        ended = f"verdict {seen.verdict} ({seen.reason}), ended by {seen.ended_by}, {seen.speech_s:.1f} s of speech"
        return "\n".join([fault, "", head, ended, "", self.timeline(name)])


class PlaceCall:
    """Places calls; the fixture ``place_call``."""

    def __init__(
        self, gateway: Gateway | None, voices: Callable[[], Library], settings: Mapping[str, Any], folder: Path
    ) -> None:
        """Take where to call; None: a gateway in this process, with these settings, on a virtual clock.

        `voices` is asked where the shipped ones, which are all synthetic, do not suffice; relative paths are relative
        to `folder`.
        """
        self._gateway, self._voices, self._settings, self._folder = gateway, voices, dict(settings), folder

    def __call__(
        self, *, name: str = "call", transport: str = "plain", seed: int = 0, duration_s: float = 40.0, **legs: Any
    ) -> PlacedCall:
        """Play a call, and return its result.

        Args:
            name: of the call.
            transport: the attach point; ``plain`` lets legs have any names, others have theirs.
            seed: decides what is drawn.
            duration_s: length of the call.
            legs: who speaks, by leg (`human`, `synthetic`, `takeover`, `listener`); and any other key of a call in a
                scenario: ``network={"loss": 0.05}``, ``talk={"overlap": 0.2}``, ``swap_s=20.0``.

        Raises:
            ScenarioError, ClipError: it cannot be played like that; the text says why.
        """
        speakers = {leg: plan for leg, plan in legs.items() if isinstance(plan, LegPlan)}
        keys = {key: value for key, value in legs.items() if key not in speakers}
        fields = {"name": name, "transport": transport, "duration_s": duration_s, "legs": {}, **keys}
        try:
            plan = msgspec.convert(fields, CallPlan)
        except msgspec.ValidationError as error:
            raise ScenarioError(f"place_call: {error}") from None
        scenario = Scenario([msgspec.structs.replace(plan, legs=speakers)], name=name, seed=seed)
        return self.play(scenario)[name]

    def with_settings(self, **settings: Any) -> PlaceCall:
        """Return the same with further settings of the gateway, where it is in this process."""
        return PlaceCall(self._gateway, self._voices, self._settings | settings, self._folder)

    def path(self, name_or_path: str) -> str:
        """Return a scenario's name, or its path relative to the test's file."""
        beside = self._folder / name_or_path
        return str(beside) if beside.is_file() else name_or_path

    def play(self, scenario: Scenario) -> dict[str, PlacedCall]:
        """Play all calls of a scenario; return them by name."""
        played = self._played(check(scenario, self._folder))
        placed = {}
        for call in played.fleet.calls:
            results = {result.leg: result for result in played.results if result.call_id == call.call_id}
            name = call.call_id.rpartition(".")[0]
            placed[name] = PlacedCall(call, results, played.fleet.failures.get(call.call_id))
        return placed

    def _played(self, scenario: Scenario) -> Play:
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            console = Console(file=nowhere)
            library = self._voices() if _needs_people(scenario) else Library(shipped())
            if self._gateway is None:
                return play_virtually(scenario, library, console, self._settings)
            return asyncio.run(play_scenario(scenario, library, self._gateway, console))


def _needs_people(scenario: Scenario) -> bool:
    """Whether somebody speaks who is neither a machine nor brings their own recordings."""
    legs = [leg for plan in scenario.call for leg in plan.legs.values()]
    return any(
        ("human" in leg.labels and not (leg.clips or leg.manifest))
        or leg.noise == "babble"
        or any(sound.kind in ("ivr", "voicemail") and sound.voice == "human" for sound in leg.sound)
        for leg in legs
    )


def timeline(part: Part, seen: Observed, duration_s: float) -> str:
    """Draw a leg: a column is a second, or more where it would not fit."""
    step_s = max(1.0, duration_s / COLUMNS)
    columns = round(duration_s / step_s)
    talk, p, alert = ([" "] * columns for _ in range(3))

    def column(at_s: float) -> int:
        return min(columns - 1, max(0, int(at_s / step_s)))

    for turn in part.turns:
        for place in range(column(turn.start_s), column(turn.end_s) + 1):
            talk[place] = "S" if turn.label == "synthetic" else "h"
    for score in seen.scores:
        p[column(score.media_time_s)] = str(min(9, int(10 * score.p_synthetic)))
    for raised in seen.alerts:
        alert[column(raised.media_time_s)] = "C" if raised.stage == "confirmed" else "p"
    ruler = "".join(f"{place * step_s:<10.0f}" for place in range(0, columns, 10))[:columns]
    return "\n".join(
        [
            f"seconds  {ruler}",
            f"talk     {''.join(talk).rstrip()}   (h human, S synthetic)",
            f"p        {''.join(p).rstrip()}   (tenths of p_synthetic at each window's end)",
            f"alert    {''.join(alert).rstrip()}   (p provisional, C confirmed)",
        ]
    )


def _leg(fields: dict[str, Any]) -> LegPlan:
    try:
        return msgspec.convert(fields, LegPlan)
    except msgspec.ValidationError as error:
        raise ScenarioError(f"leg: {error}") from None
