"""Events to publish, and a served bus, for all tests of what goes out."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp

from gateway.alerts.bus import Bus
from gateway.alerts.event import AlertRaised, CallEnded, CallStarted, EventData, LegEnded, LegStarted, Scored
from gateway.alerts.subscribers import SharedEvents, serve_events
from gateway.auth.access import EVERYTHING, Access
from gateway.config import Settings
from gateway.http.connection import Connection
from gateway.http.host import UnsignalledServer
from tests.gateway.granted import Granted

ATTACHED: dict[str, Any] = {"source": "twilio", "separation": "separate", "tenant": None}


def facts(call_id: str = "CA1", leg: str | None = "inbound", **more: Any) -> dict[str, Any]:
    """What every event states."""
    return {
        "call_id": call_id,
        "leg": leg,
        "speaker": leg,
        "role": "caller",
        "media_time_s": 4.0,
        "p_synthetic": 0.97,
        "speech_s": 3.5,
        "model": "test@0000",
        "reason": "because",
    } | more


def score(**more: Any) -> EventData:
    """Return a score."""
    return Scored(**facts(**more), window_start_s=0.0, window_speech_s=3.0, window_p_synthetic=0.9)


def alert(**more: Any) -> EventData:
    """Return an alert."""
    return AlertRaised(**facts(**more), alert_id="a1", stage="confirmed", lag_ms=12.0)


def call_started(call_id: str = "CA1") -> EventData:
    """Return the start of a call."""
    return CallStarted(**facts(call_id, None), **ATTACHED)


def call_ended(call_id: str = "CA1") -> EventData:
    """Return the end of a call."""
    return CallEnded(**facts(call_id, None), verdicts={"inbound": "synthetic"})


def leg_started(call_id: str = "CA1", leg: str = "inbound") -> EventData:
    """Return the start of a leg."""
    return LegStarted(
        **facts(call_id, leg), **ATTACHED, direction="received_from_party", encoding="mulaw", rate_hz=8000
    )


def leg_ended(call_id: str = "CA1", leg: str = "inbound") -> EventData:
    """Return the end of a leg."""
    counts: dict[str, Any] = {
        "audio_s": 9.0,
        "missing_s": 0.0,
        "windows_scored": 5,
        "windows_skipped": 0,
        "windows_crosstalk": 0,
        "alerts": 1,
    }
    return LegEnded(**facts(call_id, leg), verdict="synthetic", ended_by="stopped", **counts)


def sequences(texts: list[str]) -> list[int]:
    """Return the sequence numbers of events given as JSON."""
    return [int(json.loads(text)["sequence"]) for text in texts]


class ImpatientConnection(Connection):
    """The gateway's engine, with less patience for those who do not read."""

    linger_s = 0.2


@dataclass
class Served:
    """Something that is being served."""

    url: str
    """Of the event socket."""
    server: UnsignalledServer

    def abandoned(self) -> bool:
        """Whether no connection is left."""
        return not self.server.server_state.connections


@asynccontextmanager
async def serving(app: ASGIApp, port: int = 0) -> AsyncIterator[Served]:
    """Serve `app` on loopback. Its connections have small buffers, so that a slow peer soon shows."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
    listener.bind(("127.0.0.1", port))
    listener.listen()
    server = UnsignalledServer(
        uvicorn.Config(
            app, ws=ImpatientConnection, lifespan="off", log_config=None, access_log=False, ws_per_message_deflate=False
        )
    )
    with listener:
        task = asyncio.create_task(server.serve([listener]))
        while not server.started:  # noqa: ASYNC110  uvicorn has no event for it
            await asyncio.sleep(0.005)
        try:
            yield Served(f"ws://127.0.0.1:{listener.getsockname()[1]}/v1/events", server)
        finally:
            server.should_exit = True
            await task


@asynccontextmanager
async def served(
    bus: Bus, port: int = 0, access: Access = EVERYTHING, shared: SharedEvents | None = None, **settings: Any
) -> AsyncIterator[Served]:
    """Serve the events of `bus`, and of `shared`."""
    endpoint = partial(serve_events, bus=bus, settings=Settings(**settings), shared=shared)
    async with serving(Granted(Starlette(routes=[WebSocketRoute("/v1/events", endpoint)]), access), port) as gateway:
        yield gateway


@asynccontextmanager
async def deaf_peer(served: Served, query: str = "") -> AsyncIterator[socket.socket]:
    """Upgrade a connection, and never read from it again."""
    host, port = served.url.removeprefix("ws://").partition("/")[0].split(":")
    loop = asyncio.get_running_loop()
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.setblocking(False)
        await loop.sock_connect(peer, (host, int(port)))
        upgrade = (
            f"GET /v1/events?{query} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        await loop.sock_sendall(peer, upgrade.encode())
        assert (await loop.sock_recv(peer, 12)).endswith(b" 101")
        yield peer


async def until(true: Callable[[], bool]) -> None:
    """Wait until `true()`."""
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110  what we look at has no event for it
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(bus: Bus) -> AsyncIterator[Bus]:
    """Start and close a bus."""
    bus.start()
    try:
        yield bus
    finally:
        await bus.close()
