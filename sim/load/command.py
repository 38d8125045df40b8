"""`callscreen sim load`: measures how many calls a gateway holds."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from sim.arguments import number
from sim.caller import Gateway
from sim.load.drive import INTERRUPTED, LoadError, drive
from sim.load.result import LoadResult, Plan, over_time, summary
from sim.own import own_gateway
from sim.terminal import Display, standard_output

CALLS_A_PROCESS = 100
LINE_EVERY_S = 5
"""Interval of the lines where there is no terminal."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that `run` reads, without the gateway's address."""
    add = parser.add_argument
    add("--calls", metavar="N", type=number(int, 1, 100_000), required=True, help="two-party Twilio calls at once")
    add("--ramp", metavar="CALLS_PER_S", type=_positive, default=10.0, help="calls started in a second (%(default)g)")
    add("--seconds", metavar="S", type=_positive, default=30.0, help="how long all calls are held (%(default)g)")
    add("--processes", metavar="P", type=number(int, 1, 100_000), help=f"senders (one for {CALLS_A_PROCESS} calls)")
    add(
        "--setting",
        metavar="NAME=VALUE",
        type=_setting,
        action="append",
        default=[],
        help="setting of the started gateway, as in the environment: verifier=off, workers=2; may be repeated",
    )
    add("--report", metavar="DIR", type=Path, help="write load.json there")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Drive the load; return the exit code. Raises LoadError, GatewayError."""
    processes = args.processes or math.ceil(args.calls / CALLS_A_PROCESS)
    plan = Plan(args.calls, args.ramp, args.seconds, min(processes, args.calls))
    if args.gateway and args.setting:
        raise LoadError("--setting: expected without --gateway: it applies to a gateway started here")
    console = standard_output()
    result = asyncio.run(_drive(plan, args, console))
    console.print(over_time(result), summary(result))
    if args.report is not None:
        args.report.mkdir(parents=True, exist_ok=True)
        file = args.report / "load.json"
        file.write_text(json.dumps(result.as_json(), indent=1) + "\n", encoding="utf-8")
        console.print(f"written: {file}" + (" (partial)" if result.partial else ""), highlight=False)
    if result.partial == INTERRUPTED:
        return 130
    return 1 if result.faults() else 0


async def _drive(plan: Plan, args: argparse.Namespace, console: Console) -> LoadResult:
    with _LoadDisplay(console) as display:
        if args.gateway:
            return await drive(plan, Gateway(args.gateway, args.token, args.twilio_auth_token), display.moment)
        settings: dict[str, Any] = {"max_calls": plan.calls + 1, "subscriber_queue_events": 100_000}
        settings |= dict(args.setting)
        async with own_gateway(settings=settings) as own:
            gateway = Gateway(own.url, settings.get("token"), settings.get("twilio_auth_token"))
            return await drive(plan, gateway, display.moment)


class _LoadDisplay(Display):
    """Shows the current state: in place on a terminal, otherwise as a line every few seconds."""

    def moment(self, result: LoadResult) -> None:
        """Show the newest state."""
        now = result.moments[-1]
        line = f"{now.at_s:5.0f} of {result.plan.duration_s:.0f} s  {result.open_calls} calls"
        if now.cpu_cores is not None:
            line += f"  {now.cpu_cores:.2f} cores  {now.rss_mb:.0f} MB  {now.windows_skipped} windows skipped"
        if now.delay_p50_ms is not None:
            line += f"  delay {now.delay_p50_ms:.0f} / {now.delay_p99_ms:.0f} ms"
        if result.failed:
            line += f"  {len(result.failed)} failed"
        if self.live is not None:
            self.live.update(Text(line))
        elif len(result.moments) % LINE_EVERY_S == 0:
            self.console.print(line, highlight=False)


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError(f"expected more than 0, got {text}")
    return number


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, got {text!r}")
    return name, value
