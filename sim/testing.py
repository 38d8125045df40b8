"""Calls in tests: speakers, results, and failure texts with a timeline.

    from sim.testing import human, synthetic

    def test_a_clone_is_detected(place_call, expect_alert, expect_no_alert):
        call = place_call(caller=synthetic("flite_slt"), callee=human("clips/anna.wav"))
        expect_alert(call, on="caller", within_s=30)
        expect_no_alert(call, on="callee")

The fixtures are in `sim.pytest_plugin`, which pytest loads automatically.
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
"""Largest width of a timeline."""


def human(*clips: str | Path, **keys: Any) -> LegPlan:
    """Return a leg with a human voice.

    Args:
        clips: recordings, or folders of them, relative to the test's file; without any, a voice is chosen.
        keys: other keys of a leg in a scenario (``codec=["amrnb"]``, ``noise="babble"``).

    Raises:
        ScenarioError: an unknown key or a wrong value.
    """
    return _leg({"voice": "human", "clips": [str(clip) for clip in clips], **keys})


def synthetic(system: str = "*", *clips: str | Path, **keys: Any) -> LegPlan:
    """Return a leg with a synthetic voice: one whose system matches the pattern, or `clips`. See `human`."""
    return _leg({"voice": "synthetic", "system": system, "clips": [str(clip) for clip in clips], **keys})


def takeover(system: str = "*", **keys: Any) -> LegPlan:
    """Return a leg with a human voice that changes to a synthetic one at ``swap_s`` of the call. See `human`."""
    return _leg({"voice": "human-then-synthetic", "system": system, **keys})


def listener(**keys: Any) -> LegPlan:
    """Return a silent leg. See `human`."""
    return _leg({"voice": "none", **keys})


@dataclass(frozen=True, slots=True)
class PlacedCall:
    """A played call, with its results."""

    call: Call
    results: Mapping[str, LegResult]
    """By leg."""
    failure: str | None
    """Why it was not played to its end; None if it was."""

    def leg(self, name: str) -> Observed:
        """Return the observed alerts, verdict and scores of a leg. Raises KeyError."""
        return self._result(name).observed

    def verdict(self, name: str) -> str | None:
        """Return a leg's verdict: ``synthetic``, ``human``, ``indeterminate`` or ``expected_machine``."""
        return self._result(name).observed.verdict

    def missing_alert(self, on: str, within_s: float | None = None) -> str | None:
        """Return why a confirmed alert on a leg is missing or late; None if it is neither."""
        result = self._result(on)
        after_s = result.time_to_alert_s.get("confirmed")
        if self.failure is not None:
            return self._with_timeline(on, f"the call was not played to its end: {self.failure}")
        if after_s is None:
            stages = [alert.stage for alert in result.observed.alerts] or ["none"]
            return self._with_timeline(on, f"expected a confirmed alert on {on!r}, got {stages[-1]}")
        if within_s is not None and after_s > within_s:
            wanted = f"within {within_s:g} s of the first synthetic speech"
            return self._with_timeline(
                on, f"expected a confirmed alert on {on!r} {wanted}, got it after {after_s:.1f} s"
            )
        return None

    def unwanted_alert(self, on: str | None = None) -> str | None:
        """Return the first alert on a leg, or on any leg; None if there is none."""
        if self.failure is not None:
            return self._with_timeline(
                on or next(iter(self.results)), f"the call was not played to its end: {self.failure}"
            )
        for name in [on] if on else list(self.results):
            if alerts := self._result(name).observed.alerts:
                first = alerts[0]
                what = f"{first.stage} at {first.media_time_s:.1f} s, p {first.p_synthetic:.2f}"
                return self._with_timeline(name, f"expected no alert on {name!r}, got {what}")
        return None

    def timeline(self, name: str) -> str:
        """Return a leg as text: speech, probability and alerts over time."""
        return timeline(self.call.parts[name], self._result(name).observed, self.call.plan.duration_s)

    def _result(self, name: str) -> LegResult:
        if name not in self.results:
            raise KeyError(f"leg: expected one of {', '.join(self.results)}, got {name!r}")
        return self.results[name]

    def _with_timeline(self, name: str, fault: str) -> str:
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
        """Take a gateway; None for one in this process, with these settings, on a virtual clock.

        `voices` is called if the shipped voices, which are all synthetic, do not suffice; relative paths are relative
        to `folder`.
        """
        self._gateway, self._voices, self._settings, self._folder = gateway, voices, dict(settings), folder

    def __call__(
        self, *, name: str = "call", transport: str = "plain", seed: int = 0, duration_s: float = 40.0, **legs: Any
    ) -> PlacedCall:
        """Play a call; return its result.

        Args:
            name: of the call.
            transport: the attach point; with ``plain`` legs can have any names, others have fixed ones.
            seed: determines all random choices.
            duration_s: length of the call.
            legs: speakers by leg (`human`, `synthetic`, `takeover`, `listener`), and other keys of a call in a
            scenario:
                ``network={"loss": 0.05}``, ``talk={"overlap": 0.2}``, ``swap_s=20.0``.

        Raises:
            ScenarioError, ClipError: it cannot be played; the text gives the reason.
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
        """Return a copy with further settings of the gateway in this process."""
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
    """Return whether any leg needs a human voice and has no recordings."""
    legs = [leg for plan in scenario.call for leg in plan.legs.values()]
    return any(
        ("human" in leg.labels and not (leg.clips or leg.manifest))
        or leg.noise == "babble"
        or any(sound.kind in ("ivr", "voicemail") and sound.voice == "human" for sound in leg.sound)
        for leg in legs
    )


def timeline(part: Part, seen: Observed, duration_s: float) -> str:
    """Draw a leg; a column is one second, or more in long calls."""
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
