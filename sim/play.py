"""One play from end to end: cast, call, watch, judge.  [IO]"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from sim import report
from sim.caller import Gateway
from sim.calls import cast_calls
from sim.clips import Library
from sim.fleet import Fleet
from sim.judge import LegResult, judge, metrics
from sim.live import Screen, faults, results_table
from sim.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Play:
    """A scenario that was played, and what came of it."""

    scenario: Scenario
    fleet: Fleet
    results: list[LegResult]
    figures: dict[str, Any]

    @property
    def failure(self) -> str | None:
        """Why not all calls were played to their end; None when they were."""
        failures = self.fleet.failures
        if not failures:
            return None
        call_id, reason = next(iter(failures.items()))
        return f"{len(failures)} of {len(self.fleet.calls)} calls were not played to their end; {call_id}: {reason}"

    @property
    def passed(self) -> bool:
        """Whether every alert was right."""
        return all(result.passed for result in self.results)

    def show(self, console: Console) -> None:
        """Print what came of every leg, and the figures."""
        console.print(results_table(self.results, f"{self.scenario.name}: what came of it"))
        if not self.passed:
            console.print(faults(self.results))
        console.print(report.summary(self.figures))


async def play_scenario(scenario: Scenario, library: Library, gateway: Gateway, console: Console) -> Play:
    """Play `scenario` against `gateway`, telling it on `console` as it goes on, and judge it.

    Raises:
        ClipError: no voice fits, or a recording cannot be read.
        FleetError: the gateway's events cannot be followed.
    """
    calls = cast_calls(scenario, library, run_id=secrets.token_hex(3))
    fleet = Fleet(calls, gateway, scenario.speed)
    with Screen(console, fleet) as screen:
        await fleet.run(screen.on_event)
    results = judge(calls, fleet.ledger, fleet.failures)
    return Play(scenario, fleet, results, metrics(results, calls))
