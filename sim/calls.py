"""From a scenario and a library of voices to calls that can be played: the same ones for the same seed.  [S]"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from sim.clips import Library, load
from sim.network import Line
from sim.scenario import CallPlan, LegPlan, Scenario
from sim.talk import Casting, Part, converse

SWAP_AT = 0.4
"""Where in the call a voice turns synthetic, if the scenario does not say."""


@dataclass(slots=True)
class Call:
    """One call, ready to be played."""

    call_id: str
    plan: CallPlan
    start_s: float
    """On the scenario's clock."""
    parts: dict[str, Part]
    lines: dict[str, Line]
    began_s: float | None = None
    """When its first packet was really sent, on the scenario's clock; None before."""
    late_s: float = 0.0
    """By how many real seconds its worst packet missed its time; callers that are themselves too slow prove nothing."""

    @property
    def transport(self) -> str:
        """``twilio``, ``plain`` or ``webrtc``."""
        return self.plan.transport


def cast_calls(scenario: Scenario, library: Library, run_id: str) -> list[Call]:
    """Choose voices and write every call.

    Args:
        scenario: its seed decides everything that is drawn.
        library: voices to choose from.
        run_id: goes into the call ids, so that a second run is not mistaken for the first one by the gateway.

    Raises:
        ClipError: no voice fits, or a recording cannot be read.
    """
    return sorted(_calls(scenario, library, run_id), key=lambda call: call.start_s)


def _calls(scenario: Scenario, library: Library, run_id: str) -> Iterator[Call]:
    for number, plan in enumerate(scenario.call):
        for copy, name in enumerate(plan.names):
            rng = random.Random(f"{scenario.seed}/{number}/{copy}")
            casts = {leg: _cast(plan, leg_plan, library, rng) for leg, leg_plan in plan.legs.items()}
            yield Call(
                call_id=f"{name}.{run_id}",
                plan=plan,
                start_s=plan.start_s + copy * plan.every_s,
                parts=converse(casts, plan.duration_s, load, rng),
                lines={leg: Line(plan.network, random.Random(rng.random())) for leg in plan.legs},
            )


def _cast(plan: CallPlan, leg: LegPlan, library: Library, rng: random.Random) -> Casting:
    if leg.voice == "human":
        return Casting(library.choose("human", "*", rng))
    synthetic = library.choose("synthetic", leg.system, rng)
    if leg.voice == "synthetic":
        return Casting(synthetic)
    swap_s = plan.duration_s * SWAP_AT if plan.swap_s is None else plan.swap_s
    return Casting(library.choose("human", "*", rng), synthetic, swap_s)
