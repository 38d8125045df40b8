"""Plays a scenario from start to end: makes the calls, plays them, checks the alerts.  [IO]"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from sim import inprocess, report
from sim.caller import Gateway
from sim.calls import Call, cast_calls
from sim.clips import Library
from sim.fleet import Fleet
from sim.judge import LegResult, judge, metrics
from sim.live import Screen, faults, results_table
from sim.scenario import Scenario, ScenarioError

VIRTUAL_RUN = "virtual"
"""Run id on the virtual clock: constant, because the gateway is new each time and the report must be the same."""


@dataclass(frozen=True, slots=True)
class Play:
    """A played scenario and its results."""

    scenario: Scenario
    fleet: Fleet
    results: list[LegResult]
    figures: dict[str, Any]
    times_real_time: float | None = None
    """Seconds of call for each second of computing, on the virtual clock; None over sockets."""

    @property
    def failure(self) -> str | None:
        """Why not all calls were played to their end; None if they were."""
        failures = self.fleet.failures
        if not failures:
            return None
        call_id, reason = next(iter(failures.items()))
        return f"{len(failures)} of {len(self.fleet.calls)} calls were not played to their end; {call_id}: {reason}"

    @property
    def passed(self) -> bool:
        """Whether all alerts were correct."""
        return all(result.passed for result in self.results)

    def show(self, console: Console) -> None:
        """Print the results of all legs, and the figures."""
        console.print(results_table(self.results, f"{self.scenario.name}: results"))
        if not self.passed:
            console.print(faults(self.results))
        console.print(report.summary(self.figures))
        if self.times_real_time is not None:
            text = f"  played in this process, {self.times_real_time:.0f} times as fast as real time"
            console.print(text, style="dim", highlight=False)


async def play_scenario(scenario: Scenario, library: Library, gateway: Gateway, console: Console) -> Play:
    """Play `scenario` at `gateway`, show it on `console`, and check it.

    Raises:
        ClipError: no voice matches, or a recording cannot be read.
        FleetError: the gateway's events cannot be followed.
        ScenarioError: it restarts the gateway, which was not started here.
    """
    if scenario.restart_s and gateway.restart is None:
        raise ScenarioError("restart_s: expected a gateway started for the play (--serve)")
    calls = cast_calls(scenario, library, run_id=secrets.token_hex(3))
    return await _play(scenario, calls, gateway, console)


def play_virtually(
    scenario: Scenario, library: Library, console: Console, settings: dict[str, Any] | None = None
) -> Play:
    """Play `scenario` on a virtual clock against a gateway in this process: the same result each time.

    Args:
        settings: settings of the gateway, over those of the scenario.

    Raises:
        ClipError: no voice matches, or a recording cannot be read.
        ScenarioError: it has WebRTC calls, or a setting of the gateway is wrong.
    """
    inprocess.check(scenario)
    scenario = scenario.at_speed(1.0)
    wanted = inprocess.settings_for(scenario) | (settings or {})
    calls = cast_calls(scenario, library, VIRTUAL_RUN)
    began_s = time.perf_counter()

    async def body(folder: Path) -> Play:
        server = inprocess.InProcess(wanted, folder)
        await server.start()
        try:
            return await _play(scenario, calls, server.gateway, console)
        finally:
            await server.stop()

    played = inprocess.run(body)
    return Play(
        played.scenario,
        played.fleet,
        played.results,
        played.figures,
        scenario.call_s / (time.perf_counter() - began_s),
    )


async def _play(scenario: Scenario, calls: list[Call], gateway: Gateway, console: Console) -> Play:
    fleet = Fleet(calls, gateway, scenario.speed, scenario.restart_s, scenario.restart_takes_s)
    with Screen(console, fleet) as screen:
        await fleet.run(screen.on_event)
    results = judge(calls, fleet.ledger, fleet.failures)
    return Play(scenario, fleet, results, metrics(results, calls))
