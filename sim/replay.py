"""Replays a stereo recording of a call, one speaker on each channel, at a gateway.  [IO]"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import random
import re
import secrets
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from gateway import logs
from gateway.client.codecs import CLIP_RATE_HZ, Samples
from sim import inprocess
from sim.caller import Gateway
from sim.calls import Call
from sim.clips import ClipError, load_channels
from sim.fleet import Fleet
from sim.live import Screen
from sim.network import PERFECT, Line
from sim.own import own_gateway
from sim.play import VIRTUAL_RUN
from sim.scenario import TWILIO_TRACKS, CallPlan, LegPlan
from sim.talk import Part
from sim.terminal import standard_output

INTERRUPTED = 130


@dataclass(slots=True)
class Recording(Call):
    """A recorded call."""

    audio: dict[str, Samples] = field(default_factory=dict)
    """Audio of each leg: float32, 16 kHz, mono."""

    def render(self) -> dict[str, Samples]:
        """Return the audio of each leg."""
        return self.audio


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that `run` reads, without the gateway's address."""
    add = parser.add_argument
    add("recording", metavar="RECORDING", type=Path, help="a stereo file in any format that libav reads")
    add(
        "--legs",
        metavar="LEFT,RIGHT",
        type=_legs,
        default=TWILIO_TRACKS,
        help=f"leg of the left and of the right channel ({','.join(TWILIO_TRACKS)})",
    )
    add("--speed", metavar="X", type=float, default=1.0, help="X times real time, over sockets (%(default)g)")
    add("--report", metavar="DIR", type=Path, help="write replay.json there")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Replay the recording; return the exit code. Raises ClipError, FleetError, GatewayError."""
    if not 0.0 < args.speed <= 1000.0:
        raise ClipError(f"--speed: expected more than 0 and at most 1000, got {args.speed:g}")
    console = standard_output()
    over_sockets = args.gateway or args.serve
    call = recorded_call(args.recording, args.legs, secrets.token_hex(3) if over_sockets else VIRTUAL_RUN)
    if over_sockets:
        fleet = asyncio.run(_over_sockets(call, args, console))
    else:
        logs.configure("error", "auto")
        fleet = _virtually(call, console)
    console.print(_table(fleet, args.legs))
    failure = fleet.failures.get(call.call_id)
    if args.report is not None:
        args.report.mkdir(parents=True, exist_ok=True)
        found = json.dumps(_as_json(fleet, args.recording, args.legs, failure), indent=1)
        (args.report / "replay.json").write_text(found + "\n", encoding="utf-8")
        console.print(f"written: {args.report / 'replay.json'}{' (partial)' if failure else ''}", highlight=False)
    if failure is not None:
        sys.stderr.write(f"sim: {args.recording}: not played to its end: {failure}\n")
    return INTERRUPTED if fleet.interrupted else 2 if failure else 0


def recorded_call(recording: Path, legs: tuple[str, str], run_id: str) -> Recording:
    """Return a recording as a call: the left channel is the first of `legs`, the right one the second.

    Raises:
        ClipError: it cannot be read, or does not have two channels.
    """
    channels = load_channels(recording)
    if len(channels) != 2:
        raise ClipError(f"{recording}: expected two channels, one speaker each, got {len(channels)}")
    name = re.sub(r"[^A-Za-z0-9._-]", "-", recording.stem)[:64] or "recording"
    plan = CallPlan(name, "twilio", dict.fromkeys(legs, LegPlan("none")), duration_s=len(channels[0]) / CLIP_RATE_HZ)
    return Recording(
        call_id=f"{name}.{run_id}",
        plan=plan,
        start_s=0.0,
        parts={leg: Part(()) for leg in legs},
        lines={leg: Line(PERFECT, random.Random(0)) for leg in legs},
        audio=dict(zip(legs, channels, strict=True)),
    )


async def _over_sockets(call: Recording, args: argparse.Namespace, console: Console) -> Fleet:
    if args.gateway:
        return await _play(call, Gateway(args.gateway, args.token, args.twilio_auth_token), args.speed, console)
    async with own_gateway(settings={"max_speed": max(2.0, 2 * args.speed)}) as own:
        return await _play(call, Gateway(own.url), args.speed, console)


def _virtually(call: Recording, console: Console) -> Fleet:
    async def body(folder: Path) -> Fleet:
        server = inprocess.InProcess({}, folder)
        await server.start()
        try:
            return await _play(call, server.gateway, 1.0, console)
        finally:
            await server.stop()

    return inprocess.run(body)


async def _play(call: Recording, gateway: Gateway, speed: float, console: Console) -> Fleet:
    fleet = Fleet([call], gateway, speed)
    with Screen(console, fleet) as screen:
        await fleet.run(screen.on_event)
    return fleet


def _table(fleet: Fleet, legs: tuple[str, str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, header_style="bold")
    for name in ("channel", "leg", "verdict", "reason", "p synthetic", "speech", "alerts"):
        table.add_column(name)
    (call,) = fleet.calls
    for channel, leg in zip(("left", "right"), legs, strict=True):
        seen = fleet.ledger.legs[call.call_id, leg]
        alerts = ", ".join(f"{alert.stage} at {alert.media_time_s:.1f} s" for alert in seen.alerts)
        p = "" if seen.p_synthetic is None else f"{seen.p_synthetic:.2f}"
        verdict = seen.verdict or "none"
        table.add_row(channel, leg, verdict, seen.reason, p, f"{seen.speech_s:.1f} s", alerts or "none")
    return table


def _as_json(fleet: Fleet, recording: Path, legs: tuple[str, str], failure: str | None) -> dict[str, Any]:
    (call,) = fleet.calls
    return {
        "recording": str(recording),
        "duration_s": round(call.plan.duration_s, 3),
        "partial": failure is not None,
        "failure": failure,
        "legs": [
            {"channel": channel, "leg": leg} | dataclasses.asdict(fleet.ledger.legs[call.call_id, leg])
            for channel, leg in zip(("left", "right"), legs, strict=True)
        ],
    }


def _legs(text: str) -> tuple[str, str]:
    left, _, right = text.partition(",")
    if {left, right} != set(TWILIO_TRACKS):
        raise argparse.ArgumentTypeError(f"expected {' and '.join(TWILIO_TRACKS)}, separated by a comma, got {text!r}")
    return left, right
