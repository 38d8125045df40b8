"""A WHIP endpoint on a real port, with a recorder behind it in place of the rest of the house."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import uvicorn
from starlette.applications import Starlette

from gateway.config import Settings
from gateway.errors import CallscreenError, DuplicateStream, Overloaded
from gateway.http.host import UnsignalledServer
from gateway.http.web import problem
from gateway.ingest.events import AudioReceived, StreamStarted
from gateway.ingest.webrtc.whip import Whip
from tests.gateway.granted import Granted


@dataclass
class RecordedStream:
    """What one stream brought."""

    started: StreamStarted
    heard: list[tuple[float, AudioReceived]] = field(default_factory=list)
    """With the time of the event loop at which it came."""
    reason: str | None = None
    refuse: CallscreenError | None = None
    """Raised at the next payload."""
    ended: asyncio.Future[str] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """What `closed` waits for."""

    def receive(self, audio: AudioReceived) -> None:
        if self.refuse:
            raise self.refuse
        self.heard.append((asyncio.get_running_loop().time(), audio))

    def close(self, reason: str) -> None:
        self.reason = self.reason or reason

    async def closed(self) -> str:
        return await asyncio.shield(self.ended)


@dataclass
class RecordedCalls:
    """The `Calls` that lets everybody in, once."""

    streams: list[RecordedStream] = field(default_factory=list)
    full: bool = False

    def open(self, started: StreamStarted) -> RecordedStream:
        if self.full:
            raise Overloaded("all calls are taken")
        for stream in self.streams:
            if stream.reason is None and stream.started.legs[0].leg == started.legs[0].leg:
                raise DuplicateStream("leg: already being listened to")
        self.streams.append(RecordedStream(started))
        return self.streams[-1]


@dataclass
class Door:
    """Where the endpoint is, and what came in."""

    url: str
    calls: RecordedCalls
    whip: Whip

    @property
    def stream(self) -> RecordedStream:
        """The only stream."""
        (stream,) = self.calls.streams
        return stream


@contextlib.asynccontextmanager
async def open_door(settings: Settings) -> AsyncIterator[Door]:
    """Serve WHIP on a free port of loopback."""
    calls = RecordedCalls()
    whip = Whip(calls, settings)
    handlers = {CallscreenError: lambda _request, error: problem(error)}
    app = Granted(Starlette(routes=whip.routes, exception_handlers=handlers))
    server = UnsignalledServer(uvicorn.Config(app, port=0, lifespan="off", log_config=None, ws="none"))
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    try:
        yield Door(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", calls, whip)
    finally:
        await whip.close()
        server.should_exit = True
        await serving


async def until(holds: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(timeout_s):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
