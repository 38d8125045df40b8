"""What a WebRTC leg costs, against bare aiortc that only receives.

    python -m tests.benchmarks.bench_webrtc [--legs 8] [--seconds 20]

Without the verifier: it takes what CPU it is given, whatever the legs (`bench_verifier`).

The floor, in the same run: aiortc's own peer connection on the same HTTP server and event loop, its frames read and
dropped. All servers get the same Opus packets, 50 a second and leg, in real time, from one other process.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import uvicorn
import uvloop
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from rich.console import Console
from rich.table import Table
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.call.leg import Leg
from gateway.client.whip import PACKET_MS, WhipPublisher
from gateway.config_loading import load
from gateway.ingest.events import AudioReceived, StreamStarted
from gateway.ingest.webrtc.whip import ENDPOINT, Whip
from tests.benchmarks.processes import Server, gateway, served
from tests.gateway.granted import Granted
from tests.gateway.loudness import speech

WARM_UP_S = 2
TURN_S = 5
AIM = 0.5
"""Ratio of the whole gateway to bare aiortc, at most."""
SERVERS = {
    "bare": "aiortc, receives and decodes",
    "packets": "callscreen, receives",
    "audio": "callscreen, receives, decodes, 16 kHz",
    "gateway": "callscreen, the whole gateway",
}


@dataclass(frozen=True)
class Load:
    """What happened while the legs played."""

    cpu_s: float
    seconds: float
    rss_mb: float
    sender_late_ms: float
    """How late the sender itself was, at worst: beyond 200 ms the machine is full and the figures are about that."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--legs", type=int, default=8)
    parser.add_argument("--seconds", type=int, default=20, help="of each server")
    parser.add_argument("--serve", choices=SERVERS, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.serve:
        uvloop.run(_serve(args.serve))
        return 0
    table = Table(
        f"{args.legs} legs, {args.seconds} s", "% of a core a leg", "ratio", "aim", "legs a core", "RSS", "sender late"
    )
    floor: float | None = None
    for name, title in SERVERS.items():
        load = _measure(name, args.legs, args.seconds)
        share = load.cpu_s / load.seconds / args.legs
        floor = floor or share
        table.add_row(
            title,
            f"{share:.2%}",
            f"{share / floor:.2f}",
            f"{AIM:g}" if name == "gateway" else "",
            f"{1 / share:.0f}",
            f"{load.rss_mb:.0f} MB",
            f"{load.sender_late_ms:.0f} ms",
        )
    Console(width=120).print(table)
    return 0


def _measure(name: str, legs: int, seconds: int) -> Load:
    with tempfile.TemporaryDirectory() as folder:
        command, environ = gateway(Path(folder), max_calls=str(legs), verifier="off")
        if name != "gateway":
            command, environ = ("-m", "tests.benchmarks.bench_webrtc", "--serve", name), {}
        with served(*command, **environ) as server:
            return _load(server, legs, seconds)


def _load(server: Server, legs: int, seconds: int) -> Load:
    """Play from another process; measure the server meanwhile."""
    ours, theirs = Pipe()
    player = Process(target=_play, args=(server.url, legs, seconds, theirs))
    player.start()
    ours.recv()  # all connected, warmed up
    cpu_s, began_s = server.cpu_s(), time.monotonic()
    late_ms = ours.recv()  # played
    load = Load(server.cpu_s() - cpu_s, time.monotonic() - began_s, server.rss_mb(), late_ms)
    ours.send("stop")
    player.join()
    return load


def _play(url: str, legs: int, seconds: int, report: Connection) -> None:
    uvloop.run(_play_legs(url, legs, seconds, report))


async def _play_legs(url: str, legs: int, seconds: int, report: Connection) -> None:
    """Publish `legs` legs, two a call; one talks while the other listens, as in any call."""
    turn = speech(TURN_S, synthetic=True)
    line_noise = np.random.default_rng(0).normal(0, 3e-4, len(turn)).astype(np.float32)
    length = (seconds + WARM_UP_S) * 16_000
    talks = [np.resize(np.concatenate(turns), length) for turns in ((turn, line_noise), (line_noise, turn))]
    loop = asyncio.get_running_loop()
    late_s = 0.0
    async with AsyncExitStack() as stack:
        publishers = [
            await stack.enter_async_context(WhipPublisher(url, f"call-{leg // 2}", ("caller", "callee")[leg % 2]))
            for leg in range(legs)
        ]
        packets = [publisher.packets(talks[leg % 2]) for leg, publisher in enumerate(publishers)]
        began_s = loop.time()
        for index, moment in enumerate(zip(*packets, strict=True)):
            wait_s = began_s + index * PACKET_MS / 1000 - loop.time()
            late_s = max(late_s, -wait_s)
            await asyncio.sleep(max(0.0, wait_s))
            if index == WARM_UP_S * 1000 // PACKET_MS:
                report.send("playing")
            for publisher, packet in zip(publishers, moment, strict=True):
                await publisher.transmit(packet)
        report.send(1000 * late_s)
        report.recv()


async def _serve(name: str) -> None:
    """Serve one of the servers of our own on a free port, until killed."""
    routes = [Route(ENDPOINT, _bare_endpoint(), methods=["POST"])]
    if name != "bare":
        routes = Whip(_Sinks(decode=name == "audio"), load(environ={})).routes
    server = uvicorn.Server(uvicorn.Config(Granted(Starlette(routes=routes)), port=0, lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    print(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", flush=True)
    await serving


def _bare_endpoint() -> Callable[[Request], Awaitable[Response]]:
    """The least that aiortc needs for receiving."""
    peers: list[RTCPeerConnection] = []
    tasks: list[asyncio.Task[None]] = []

    async def drop_frames(track: MediaStreamTrack) -> None:
        try:
            while True:
                await track.recv()
        except MediaStreamError:
            pass

    async def endpoint(request: Request) -> Response:
        peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        peers.append(peer)
        peer.on("track", lambda track: tasks.append(asyncio.ensure_future(drop_frames(track))))
        await peer.setRemoteDescription(RTCSessionDescription((await request.body()).decode(), "offer"))
        gatherer = peer.getReceivers()[0].transport.transport.iceGatherer
        await gatherer.gather()
        connection = gatherer._connection
        connection._local_candidates += await connection.get_component_candidates(1, ["127.0.0.1"])
        await peer.setLocalDescription()
        return Response(peer.localDescription.sdp, 201, {"Location": request.url.path}, "application/sdp")

    return endpoint


@dataclass
class _Sinks:
    """Lets everybody in, and makes nothing of what it hears."""

    decode: bool

    def open(self, started: StreamStarted) -> _Sink:
        return _Sink(Leg(started.legs[0].format) if self.decode else None)


@dataclass
class _Sink:
    leg: Leg | None
    never: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def receive(self, audio: AudioReceived) -> None:
        if self.leg:
            self.leg.push(audio)

    def close(self, reason: str) -> None:
        pass

    async def closed(self) -> str:
        return await self.never


if __name__ == "__main__":
    sys.exit(main())
