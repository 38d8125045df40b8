"""What a message costs on its way from the socket to its leg's queue, in every websocket dialect.

    python -m tests.benchmarks.bench_dialects [--dialects twilio plain] [--seconds 3]

The floor, in the same run: a bare websocket server on uvloop that receives the same messages and parses them, JSON into
dicts, and does nothing more. Ours reads frames, checks pace and size, understands, takes the base64 off and puts each
payload to its leg. Both get every message as a piece of its own, `SPEED` times as fast as a call brings it, from one
other process.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import sys
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from typing import Any
from uuid import uuid4

import msgspec
import numpy as np
import uvloop
from rich.console import Console
from rich.table import Table
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame, Opcode

from gateway.client.asterisk import AsteriskChannel
from gateway.client.forks import FreeSwitchFork, JambonzListen, LiveKitTrack, VonageSocket
from gateway.client.genesys import AudioHookCall
from gateway.client.media import MediaSocket, PlainStream, TwilioCall
from gateway.client.tracks import BandwidthCall, ExotelCall, PlivoCall, SignalWireCall, TelnyxCall, TrackCall
from gateway.config import Settings
from gateway.config_loading import load
from gateway.http.host import Host
from gateway.http.web import _media_routes
from gateway.ingest.events import AudioReceived, StreamStarted
from gateway.ingest.kinds import KINDS
from tests.benchmarks.processes import Server, served
from tests.gateway.granted import Granted
from tests.gateway.loudness import speech

SOCKETS = 10
SPEED = 4
PACKET_S = 0.02
AIM = 1.5
MODULE = "tests.benchmarks.bench_dialects"
CALLS: dict[str, Callable[[str, str], MediaSocket]] = {
    "asterisk": lambda url, call: AsteriskChannel(url, call, "caller"),
    "bandwidth": lambda url, call: BandwidthCall(url, call, ["inbound"]),
    "exotel": lambda url, call: ExotelCall(url, call, ["inbound"], encoding="s16le"),
    "freeswitch": lambda url, call: FreeSwitchFork(url, {"call_id": call}, "stereo"),
    "genesys": lambda url, _call: AudioHookCall(url, str(uuid4())),
    "jambonz": lambda url, call: JambonzListen(url, {"callSid": call}),
    "livekit": lambda url, call: LiveKitTrack(url, {"call_id": call, "leg": "caller"}, "t"),
    "plain": lambda url, call: PlainStream(url, call, "caller"),
    "plivo": lambda url, call: PlivoCall(url, call, ["inbound"]),
    "signalwire": lambda url, call: SignalWireCall(url, call, ["inbound"]),
    "telnyx": lambda url, call: TelnyxCall(url, call, ["inbound"]),
    "twilio": lambda url, call: TwilioCall(url, call, tracks=["inbound"]),
    "vonage": lambda url, call: VonageSocket(url, {"call_id": call}),
}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dialects", nargs="+", default=sorted(KINDS), choices=sorted(KINDS))
    parser.add_argument("--seconds", type=float, default=3, help="of each server and dialect")
    parser.add_argument("--serve", choices=("bare", "ours"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.serve:
        uvloop.run(_bare() if args.serve == "bare" else _ours())
        return 0
    table = Table("dialect", "bare µs a message", "ours", "ratio", f"aim: at most {AIM}")
    with served("-m", MODULE, "--serve", "bare") as bare, served("-m", MODULE, "--serve", "ours") as ours:
        for dialect in args.dialects:
            floor_us, ours_us = (_measure(server, ours.url, dialect, args.seconds) for server in (bare, ours))
            ratio = ours_us / floor_us
            table.add_row(
                dialect, f"{floor_us:.1f}", f"{ours_us:.1f}", f"{ratio:.2f}", "met" if ratio <= AIM else "missed"
            )
    Console().print(table)
    return 0


def _measure(server: Server, ours: str, dialect: str, seconds: float) -> float:
    """Return microseconds of CPU a message."""
    here, there = Pipe()
    player = Process(target=_play, args=(server.url, ours, dialect, seconds, there))
    player.start()
    there.close()  # so that the end of the player is heard
    here.recv()  # all connected
    cpu_s = server.scheduled_s()
    messages: int = here.recv()  # all sent
    cpu_s = server.scheduled_s() - cpu_s
    here.send("stop")
    player.join()
    return 1e6 * cpu_s / messages


def _play(url: str, ours: str, dialect: str, seconds: float, report: Connection) -> None:
    uvloop.run(_play_calls(url.replace("http", "ws", 1), url == ours, dialect, seconds, report))


async def _play_calls(url: str, is_ours: bool, dialect: str, seconds: float, report: Connection) -> None:
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        transports = []
        for index in range(SOCKETS):
            call = CALLS[dialect](url, f"call-{index}")
            if is_ours:
                await stack.enter_async_context(call)
                assert isinstance(call._socket, ClientConnection)
                transports.append(call._socket.transport)
            else:
                transports.append((await stack.enter_async_context(connect(url, ping_interval=None))).transport)
        frames = await _frames(CALLS[dialect](url, "call"), seconds * SPEED)
        report.send("connected")
        began_s = loop.time()
        for index, frame in enumerate(frames):
            for offset, transport in enumerate(transports):
                due_s = began_s + (index + offset / SOCKETS) * PACKET_S / SPEED
                if due_s > loop.time():
                    await asyncio.sleep(due_s - loop.time())
                transport.write(frame)
        await asyncio.sleep(0.2)
        report.send(SOCKETS * len(frames))
        await asyncio.to_thread(report.recv)


async def _frames(call: MediaSocket, seconds: float) -> list[bytes]:
    """Return what a call would send of so much audio, frame by frame, masked."""
    frames: list[bytes] = []

    class Recorded(type(call)):  # type: ignore[misc]
        async def transmit(self, packet: str | bytes) -> None:
            opcode, data = (Opcode.TEXT, packet.encode()) if isinstance(packet, str) else (Opcode.BINARY, packet)
            frames.append(Frame(opcode, data).serialize(mask=True))

    call.__class__ = Recorded
    if isinstance(call, TrackCall):
        call.opening(["inbound"])  # some number their messages from there
    samples = np.resize(speech(5, synthetic=True), round(seconds * 16_000))
    if getattr(call, "_channels", None) or getattr(call, "mix", "") == "stereo":
        samples = np.stack((samples, samples), axis=1)
    tracks = ("inbound",) if isinstance(call, TrackCall | TwilioCall) else ()
    await call.send(*tracks, samples)  # type: ignore[attr-defined]
    return frames


async def _bare() -> None:
    async def receive(socket: ServerConnection) -> None:
        async for message in socket:
            if isinstance(message, str):
                msgspec.json.decode(message)

    async with serve(receive, "127.0.0.1", 0, compression=None, ping_interval=None) as server:
        host, port = server.sockets[0].getsockname()[:2]
        print(f"http://{host}:{port}", flush=True)
        await asyncio.get_running_loop().create_future()


async def _ours() -> None:
    doors: dict[str, Any] = {name: {"allow_mixed": True} for name in KINDS}
    settings: Settings = load(environ={}, doors=doors, max_burst_s=600.0)
    app = Granted(Starlette(routes=_media_routes(settings, _Sinks())))
    listener = socket.create_server(("127.0.0.1", 0))
    serving = Host(app, settings).start([listener])
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    await serving


class _Sinks:
    """Lets everybody in, and queues what it hears."""

    def open(self, _started: StreamStarted) -> _Sink:
        return _Sink()


@dataclass
class _Sink:
    queue: deque[AudioReceived] = field(default_factory=lambda: deque(maxlen=100))
    never: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def receive(self, audio: AudioReceived) -> None:
        self.queue.append(audio)

    def close(self, reason: str) -> None:
        pass

    async def closed(self) -> str:
        return await self.never


if __name__ == "__main__":
    sys.exit(main())
