"""`callscreen watch`: prints the events of a gateway, one per line.  [IO]"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from contextlib import aclosing
from typing import Any

from rich.console import Console
from rich.text import Text

from gateway.alerts.cloud_event import CloudEvent
from gateway.alerts.event import STORED_TYPES
from gateway.client.events import EventStreamError, follow

SCORE = "score"
STYLES = {
    "call.started": "bold",
    "call.ended": "bold",
    "score": "dim",
    "alert.raised": "bold red",
    "alert.cleared": "green",
    "alert.verified": "bold red",
    "alert.evidence": "cyan",
    "voice.expected": "cyan",
    "feedback.given": "cyan",
    "coverage.reduced": "yellow",
    "shadow.compared": "dim",
    "gap": "bold magenta",
    "provisional": "yellow",
    "cleared": "green",
    "inconclusive": "yellow",
    "synthetic": "bold red",
    "human": "green",
    "indeterminate": "yellow",
    "expected_machine": "cyan",
}
"""Style of a line, by its stage or verdict, or else its event type."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `run`."""
    parser.description = "Print the events of a gateway, one per line, until Ctrl-C. A lost connection is resumed."
    parser.epilog = "example: callscreen watch http://127.0.0.1:8080 --json --type alert.raised"
    parser.add_argument("url", metavar="URL", help="URL of the gateway, e.g. http://127.0.0.1:8080")
    parser.add_argument(
        "--token", default=os.environ.get("CALLSCREEN_TOKEN"), help="bearer token (else from CALLSCREEN_TOKEN)"
    )
    parser.add_argument("--call", metavar="CALL_ID", help="only this call")
    parser.add_argument("--leg", help="only this leg, e.g. inbound")
    parser.add_argument(
        "--type", action="append", default=[], choices=STORED_TYPES, metavar="TYPE",
        help=f"only this type; may be repeated: {', '.join(STORED_TYPES)}",
    )  # fmt: skip
    parser.add_argument(
        "--all-gateways", action="store_true", help="the events of all gateways that share a stream over NATS"
    )
    parser.add_argument(
        "--since", metavar="CURSOR",
        help="`id` of the last event received, with --all-gateways its `cursor`; later ones are sent first",
    )  # fmt: skip
    parser.add_argument("--scores", action="store_true", help="also the score of every window")
    parser.add_argument("--json", action="store_true", help="whole events (CloudEvents 1.0), one JSON object per line")


def run(args: argparse.Namespace) -> int:
    """Follow until stopped; return the exit code."""
    try:
        asyncio.run(_watch(args))
    except (EventStreamError, ValueError) as error:
        sys.stderr.write(f"callscreen watch: {_printable(str(error))}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


async def _watch(args: argparse.Namespace) -> None:
    console = Console(highlight=False, soft_wrap=True)
    types = set(args.type or (STORED_TYPES if args.scores else ()))
    if args.scores:
        types.add(SCORE)
    events = follow(
        args.url,
        token=args.token,
        call_id=args.call,
        leg=args.leg,
        types=sorted(types),
        last_event_id=args.since,
        everywhere=args.all_gateways,
        on_retry=_show_retry,
    )
    async with aclosing(events):
        async for event in events:
            if args.json:
                console.out(event.model_dump_json(exclude_none=True), highlight=False)
            else:
                console.print(line(event))


def _show_retry(reason: str, pause_s: float) -> None:
    sys.stderr.write(f"callscreen watch: {_printable(reason)}; retry in {pause_s:.1f} s\n")


def line(event: CloudEvent) -> Text:
    """Return an event as a line: time, call, speaker, type, numbers and reason."""
    data = event.data.model_dump()
    detail = data.get("stage") or data.get("verdict") or ""
    text = Text()
    text.append(f"{event.time.astimezone():%H:%M:%S}  ", style="dim")
    text.append(f"{_printable(data.get('call_id')):<20}  {_speaker(data):<20}  ")
    text.append(
        f"{' '.join(filter(None, (event.type, detail))):<28}",
        style=STYLES.get(detail) or STYLES.get(event.type, ""),
    )
    text.append(f"{_number('at', data.get('media_time_s'), '.1f', ' s'):<13}")
    text.append(f"{_number('p', data.get('p_synthetic'), '.2f'):<8}")
    text.append(f"{_number('speech', data.get('speech_s'), '.1f', ' s'):<16}")
    text.append(_printable(data.get("reason")), style="dim")
    for leg, verdict in data.get("verdicts", {}).items():
        text.append(f"  {_printable(leg)}: ")
        text.append(verdict, style=STYLES.get(verdict, ""))
    return text


def _speaker(data: dict[str, Any]) -> str:
    leg, role = _printable(data.get("leg")), _printable(data.get("role"))
    return f"{leg} ({role})" if role and role != "unknown" else leg


def _number(name: str, value: float | None, form: str, unit: str = "") -> str:
    return "" if value is None else f"{name} {value:{form}}{unit}"


def _printable(text: str | None) -> str:
    """Replace control characters: names of calls and legs are untrusted, and could control the terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text or "")
