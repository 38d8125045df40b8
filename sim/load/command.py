"""`callscreen sim load`: how many calls a gateway holds."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from sim.arguments import number
from sim.caller import Gateway
from sim.load.drive import INTERRUPTED, LoadError, drive
from sim.load.findings import Findings, Plan, over_time, summary
from sim.own import own_gateway

CALLS_A_PROCESS = 100
TOLD_EVERY_S = 5
"""Where there is no terminal to draw on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `run` reads, but for where to call."""
    add = parser.add_argument
    add("--calls", metavar="N", type=number(int, 1, 100_000), required=True, help="two-party Twilio calls at once")
    add("--ramp", metavar="CALLS_PER_S", type=_positive, default=10.0, help="calls begun in a second (%(default)g)")
    add("--seconds", metavar="S", type=_positive, default=30.0, help="how long all are held after that (%(default)g)")
    add("--processes", metavar="P", type=number(int, 1, 100_000), help=f"that send (one for {CALLS_A_PROCESS} calls)")
    add(
        "--setting",
        metavar="NAME=VALUE",
        type=_setting,
        action="append",
        default=[],
        help="of the gateway that is started, as in the environment: verifier=off, workers=2; may be repeated",
    )
    add("--report", metavar="DIR", type=Path, help="write load.json there")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Drive the load; return the exit code. Raises LoadError, GatewayError."""
    processes = args.processes or math.ceil(args.calls / CALLS_A_PROCESS)
    plan = Plan(args.calls, args.ramp, args.seconds, min(processes, args.calls))
    if args.gateway and args.setting:
        raise LoadError("--setting: only for the gateway that is started here, so not with --gateway")
    console = Console() if sys.stdout.isatty() else Console(width=120)
    findings = asyncio.run(_drive(plan, args, console))
    console.print(over_time(findings), summary(findings))
    if args.report is not None:
        args.report.mkdir(parents=True, exist_ok=True)
        file = args.report / "load.json"
        file.write_text(json.dumps(findings.as_json(), indent=1) + "\n", encoding="utf-8")
        console.print(f"written: {file}" + (" (partial)" if findings.partial else ""), highlight=False)
    if findings.partial == INTERRUPTED:
        return 130
    return 1 if findings.faults() else 0


async def _drive(plan: Plan, args: argparse.Namespace, console: Console) -> Findings:
    with _Shown(console) as shown:
        if args.gateway:
            return await drive(plan, Gateway(args.gateway, args.token, args.twilio_auth_token), shown.moment)
        settings: dict[str, Any] = {"max_calls": plan.calls + 1, "subscriber_queue_events": 100_000}
        settings |= dict(args.setting)
        async with own_gateway(settings=settings) as own:
            gateway = Gateway(own.url, settings.get("token"), settings.get("twilio_auth_token"))
            return await drive(plan, gateway, shown.moment)


class _Shown:
    """Shows each moment: on a terminal in place, elsewhere as a line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, transient=True) if console.is_terminal else None

    def __enter__(self) -> _Shown:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._live is not None:
            self._live.stop()

    def moment(self, findings: Findings) -> None:
        """Show the newest moment."""
        now = findings.moments[-1]
        told = f"{now.at_s:5.0f} of {findings.plan.duration_s:.0f} s  {findings.open_calls} calls"
        if now.cpu_cores is not None:
            told += f"  {now.cpu_cores:.2f} cores  {now.rss_mb:.0f} MB  {now.windows_skipped} windows skipped"
        if now.delay_p50_ms is not None:
            told += f"  delay {now.delay_p50_ms:.0f} / {now.delay_p99_ms:.0f} ms"
        if findings.failed:
            told += f"  {len(findings.failed)} failed"
        if self._live is not None:
            self._live.update(Text(told))
        elif len(findings.moments) % TOLD_EVERY_S == 0:
            self._console.print(told, highlight=False)


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
