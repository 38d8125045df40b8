"""Plays every call in every cell, on a virtual clock against a gateway in this process.  [IO]"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gateway.alerts.cloud_event import CloudEvent
from sim import inprocess
from sim.calls import Call, cast_calls
from sim.clips import Library, Voice
from sim.fleet import Fleet
from sim.judge import STAGES, LegResult, judge
from sim.matrix.cast import Cast
from sim.matrix.cells import Cell, scenario
from sim.matrix.legs import Played, PlayedLeg
from sim.scenario import TWILIO_TRACKS

CALLS_AT_ONCE = 16
"""Calls rendered and held in memory at a time."""
INTERRUPTED = "interrupted"


def play(
    cells: Sequence[Cell],
    cast: Cast,
    seed: int,
    noise: str,
    settings: Mapping[str, Any],
    on_batch: Callable[[Played, Cell], None],
) -> Played:
    """Play every call of `cast` in every cell; Ctrl-C ends it with the results so far.

    Args:
        cells: the conditions.
        cast: the speakers.
        seed: determines turns and losses.
        noise: kind of noise, in cells with noise.
        settings: settings of the gateway.
        on_batch: called after each batch of calls.

    Raises:
        ClipError: a recording cannot be used.
        ScenarioError: a setting of the gateway is wrong.
    """
    played = Played(cells, problems=list(cast.problems))
    people = Library(voice for voice in cast.voices if voice.label == "human")

    async def body(folder: Path) -> None:
        server = inprocess.InProcess({"max_calls": 2 * CALLS_AT_ONCE, **settings}, folder)
        await server.start()
        played.models, played.alert_p = server.models, server.alert_p
        try:
            for number, cell in enumerate(cells):
                for first in range(0, len(cast.pairs), CALLS_AT_ONCE):
                    pairs = cast.pairs[first : first + CALLS_AT_ONCE]
                    calls = cast_calls(scenario(cell, pairs, first, seed, noise), people, f"cell-{number + 1}")
                    fleet = Fleet(calls, server.gateway, 1.0)
                    await fleet.run(_nothing)
                    if fleet.interrupted:
                        played.problems.append(f"{INTERRUPTED} in cell {number + 1} of {len(cells)}")
                        return
                    _note(played, number, calls, fleet, pairs)
                    on_batch(played, cell)
        finally:
            await server.stop()

    try:
        inprocess.run(body)
    except KeyboardInterrupt:  # between two batches
        played.problems.append(INTERRUPTED)
    return played


def _nothing(_event: CloudEvent, _received_s: float) -> None:
    pass


def _note(
    played: Played, cell: int, calls: Sequence[Call], fleet: Fleet, pairs: Sequence[tuple[Voice, Voice | None]]
) -> None:
    judged = {(result.call_id, result.leg): result for result in judge(calls, fleet.ledger, fleet.failures)}
    by_name = {call.plan.name: call for call in calls}
    for plan_name, pair in zip(by_name, pairs, strict=True):
        call = by_name[plan_name]
        if failure := fleet.failures.get(call.call_id):
            played.problems.append(f"cell {cell + 1}: {plan_name}: not played to its end: {failure}")
            continue
        played.calls_done += 1
        for leg, voice in zip(TWILIO_TRACKS, pair, strict=True):
            if voice is not None:
                played.legs.append(_played_leg(cell, call, leg, voice, judged[call.call_id, leg]))


def _played_leg(cell: int, call: Call, leg: str, voice: Voice, result: LegResult) -> PlayedLeg:
    seen, part = result.observed, call.parts[leg]
    return PlayedLeg(
        cell=cell,
        call=call.plan.name,
        leg=leg,
        label=voice.label,
        system=voice.system,
        speaker=voice.speaker,
        talk_s=round(part.talk_s(voice.label), 3),
        turns=tuple((round(turn.start_s, 2), round(turn.end_s, 2)) for turn in part.turns),
        scores=tuple((round(score.media_time_s, 2), score.p_synthetic) for score in seen.scores),
        alerts=tuple((alert.stage, round(alert.media_time_s, 2), round(alert.p_synthetic, 4)) for alert in seen.alerts),
        time_to_alert_s={
            stage: round(result.time_to_alert_s[stage], 3) for stage in STAGES if stage in result.time_to_alert_s
        },
        verdict=seen.verdict,
        p_synthetic=None if not seen.scores or seen.p_synthetic is None else round(seen.p_synthetic, 4),
    )
