"""`callscreen attach`: sends this computer's microphone and speaker to a gateway as the two legs of a call.  [IO]"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import sys
from collections.abc import Callable
from contextlib import aclosing, nullcontext

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text
from websockets.exceptions import WebSocketException

from gateway.client.capture import Capture, CaptureError, Kind, list_devices
from gateway.client.codecs import CLIP_RATE_HZ, Samples
from gateway.client.events import EventStreamError, Failure, events_url, explain, follow
from gateway.client.media import PlainStream
from gateway.commands.watch import line

NONE = "none"
MIN_LEVEL_DB = -60.0
_BAR = 24


class AttachError(Exception):
    """A device cannot be used, or the gateway refuses; a retry would not help."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `run`."""
    parser.description = (
        "Send this computer's microphone and the output of its speaker to a gateway, as the two legs of "
        "a call, and print the gateway's events of it, until Ctrl-C. Reconnects after a lost connection."
    )
    parser.epilog = "example: callscreen attach --legs agent,customer --call-id desk-17"
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="URL of the gateway (%(default)s)")
    parser.add_argument(
        "--token", default=os.environ.get("CALLSCREEN_TOKEN"), help="bearer token (else from CALLSCREEN_TOKEN)"
    )
    parser.add_argument("--mic", default="default", metavar="DEVICE", help="microphone (default); `none` leaves it out")
    parser.add_argument("--speaker", default="default", metavar="DEVICE", help="speaker, likewise")
    parser.add_argument("--call-id", metavar="ID", help="id of the call; default: a random one, which is shown")
    parser.add_argument(
        "--legs",
        type=_two_names,
        default=("mic", "speaker"),
        metavar="MIC,SPEAKER",
        help="names of the two legs (mic,speaker); a name such as `agent` or `customer` is its role as well",
    )
    parser.add_argument("--list-devices", action="store_true", help="list the sound devices, and exit")


def run(args: argparse.Namespace) -> int:
    """Attach until stopped; return the exit code."""
    fault: BaseException | None = None
    try:
        asyncio.run(_list_devices() if args.list_devices else _attach(args))
    except* (AttachError, CaptureError, ValueError) as faults:
        fault = faults.exceptions[0]
    if fault is not None:
        sys.stderr.write(f"callscreen attach: {fault}\n")
    return int(fault is not None)


def _two_names(text: str) -> tuple[str, str]:
    mic, _, speaker = text.partition(",")
    if not mic or not speaker or mic == speaker or "," in speaker:
        raise argparse.ArgumentTypeError(f"expected two different names with a comma between, got {text!r}")
    return mic, speaker


async def _list_devices() -> None:
    table = Table("device", "kind", "description")
    for device in await list_devices():
        table.add_row(device.name, device.kind, device.description)
    Console(soft_wrap=True).print(table)


async def _attach(args: argparse.Namespace) -> None:
    events_url(args.url)  # validates the URL before a device is opened
    call_id = args.call_id or f"attach-{secrets.token_hex(4)}"
    kinds: tuple[Kind, Kind] = ("microphone", "speaker")
    wanted = zip(args.legs, kinds, (args.mic, args.speaker), strict=True)
    legs = [Leg(name, kind, device) for name, kind, device in wanted if device != NONE]
    if not legs:
        raise AttachError("--mic, --speaker: expected at least one device, got none for both")
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"call {call_id} on {args.url}")

    def stream(leg: str) -> PlainStream:
        return PlainStream(args.url, call_id, leg, "s16le", CLIP_RATE_HZ, token=args.token)

    def log(text: str) -> None:
        console.print(Text(text, "dim"))

    meters = Live(console=console, get_renderable=lambda: _meters(legs), refresh_per_second=10, transient=True)
    with meters if console.is_terminal else nullcontext():
        async with asyncio.TaskGroup() as group:
            group.create_task(_show_events(args.url, args.token, call_id, console))
            for leg in legs:
                group.create_task(leg.run(stream, log))


async def _show_events(url: str, token: str | None, call_id: str, console: Console) -> None:
    try:
        async with aclosing(follow(url, token=token, call_id=call_id)) as events:
            async for event in events:
                console.print(line(event))
    except EventStreamError as error:
        raise AttachError(str(error)) from error


class Leg:
    """One device whose audio is sent to the gateway."""

    def __init__(self, name: str, kind: Kind, device: str) -> None:
        self.name = name
        self.device = device
        self.state = "connecting"
        self.peak = 0.0
        """Recent peak level, in [0, 1]."""
        self._kind = kind
        self._has_recorded = False

    async def run(self, stream: Callable[[str], PlainStream], log: Callable[[str], None]) -> None:
        """Record and send for ever. Audio without a connection is discarded, since only live audio is useful.

        Raises:
            AttachError: the device never delivered audio, or the gateway refuses the leg.
        """
        failures = 0
        while True:
            try:
                async with Capture(self.device, self._kind) as capture, stream(self.name) as out:
                    while True:
                        samples = await capture.read()
                        await out.send(samples)
                        if self.state != "listening":
                            self.state, self._has_recorded, failures = "listening", True, 0
                            log(f"{self.name}: listening to {self.device}")
                        self._measure(samples)
            except CaptureError as error:
                if not self._has_recorded:
                    raise AttachError(str(error)) from error
                failure = Failure(str(error))
            except (OSError, WebSocketException) as error:  # TimeoutError is an OSError
                failure = explain(error)
                if failure.is_final:
                    raise AttachError(failure.reason) from error
            if failure.reason != self.state:
                log(f"{self.name}: {failure.reason}; trying again")
            self.state, self.peak = failure.reason, 0.0
            await asyncio.sleep(failure.pause_s(failures))
            failures += 1

    def _measure(self, samples: Samples) -> None:
        self.peak = max(float(np.max(np.abs(samples))), 0.8 * self.peak)


def _meters(legs: list[Leg]) -> Table:
    table = Table.grid(padding=(0, 2))
    for leg in legs:
        level_db = max(MIN_LEVEL_DB, 20 * float(np.log10(leg.peak + 1e-6)))
        lit = round(_BAR * (1 - level_db / MIN_LEVEL_DB))
        style = "red" if level_db > -1 else "green"  # red: clipping
        bar = Text("█" * lit, style) + Text("·" * (_BAR - lit), "dim")
        table.add_row(leg.name, bar, f"{level_db:.0f} dB", Text(leg.state, "dim"))
    return table
