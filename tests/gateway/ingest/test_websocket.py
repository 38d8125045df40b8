"""The shell: what a dialect wants to say is said, after each message and at the end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect

from gateway.errors import Forbidden, ProtocolError
from gateway.http.connection import Connection
from gateway.http.host import UnsignalledServer
from gateway.ingest.dialects.base import Dialect, Handshake
from gateway.ingest.doors import Door
from gateway.ingest.events import (
    AudioFormat,
    AudioReceived,
    CallId,
    IngestEvent,
    LegDescription,
    LegId,
    StreamStarted,
    StreamStopped,
)
from gateway.ingest.websocket import serve_media
from gateway.pace import messages
from tests.gateway.ingest.whip_door import RecordedCalls

LEG = LegDescription(LegId("a"), AudioFormat("mulaw", 8000))
ENGINE: type[asyncio.Protocol] | str = Connection


@pytest.fixture(params=[Connection, "websockets-sansio"], ids=["at once", "by the queue"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages are heard when they come, and on any other server too."""
    monkeypatch.setattr(f"{__name__}.ENGINE", request.param)


class Talkative(Dialect):
    """Answers every message, and says why it goes."""

    subprotocol = "talk"

    def __init__(self) -> None:
        self._last = ""

    def receive(self, message: str | bytes) -> list[IngestEvent]:
        self._last = str(message)
        match message:
            case "start":
                return [StreamStarted(CallId("c"), "talk", (LEG,))]
            case "mixed":
                return [StreamStarted(CallId("c"), "talk", (LEG,), separation="mixed")]
            case "stop":
                return [StreamStopped("asked")]
            case "fault":
                raise KeyError("of ours")
            case "bad":
                raise ProtocolError("message: bad")
            case bytes():
                return [AudioReceived(LegId("a"), message)]
        return []

    def replies(self) -> list[str | bytes]:
        return [f"heard {self._last}", b"\x01"]

    def goodbye(self, reason: str) -> list[str | bytes]:
        return [f"bye: {reason}"]


@contextlib.asynccontextmanager
async def talk(calls: RecordedCalls, **door: object) -> AsyncIterator[str]:
    limits = {"start_deadline_s": 5, "idle_deadline_s": 5, "max_message_bytes": 1000}

    async def serve(websocket: WebSocket) -> None:
        await serve_media(websocket, Talkative(), calls, Door.model_validate(limits | door), messages(400, 30))

    app = Starlette(routes=[WebSocketRoute("/", serve)])
    server = UnsignalledServer(uvicorn.Config(app, port=0, lifespan="off", log_config=None, ws=ENGINE))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.005)
    try:
        yield f"ws://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        await serving


async def test_replies_follow_each_message_even_the_last() -> None:
    calls = RecordedCalls()
    async with talk(calls) as url, connect(url, subprotocols=["talk"]) as socket:  # type: ignore[list-item]
        assert socket.subprotocol == "talk"
        for message in ("start", "stop"):
            await socket.send(message)
            assert (await socket.recv(), await socket.recv()) == (f"heard {message}", b"\x01")
        await socket.wait_closed()
        assert (socket.close_code, socket.close_reason) == (1000, "asked")
        assert calls.streams[0].reason == "asked"


@pytest.mark.parametrize(
    ("last", "code", "reason"), [("bad", 4400, "message: bad"), ("mixed", Forbidden.close_code, "separation: ")]
)
async def test_goodbye_comes_before_the_close(last: str, code: int, reason: str) -> None:
    async with talk(RecordedCalls()) as url, connect(url, subprotocols=["talk"]) as socket:  # type: ignore[list-item]
        await socket.send(last)
        said = await socket.recv()
        assert isinstance(said, str)
        assert said.startswith(f"bye: {reason}")
        await socket.wait_closed()
        assert socket.close_code == code


async def test_goodbye_when_the_gateway_ends_it() -> None:
    calls = RecordedCalls()
    async with talk(calls) as url, connect(url, subprotocols=["talk"]) as socket:  # type: ignore[list-item]
        await socket.send("start")
        assert (await socket.recv(), await socket.recv()) == ("heard start", b"\x01")
        calls.streams[0].ended.set_result("shutdown")
        assert await socket.recv() == "bye: shutdown"
        await socket.wait_closed()
        assert (socket.close_code, calls.streams[0].reason) == (1001, "shutdown")


async def test_a_fault_of_ours_ends_that_stream_and_is_called_one() -> None:
    calls = RecordedCalls()
    async with talk(calls) as url, connect(url, subprotocols=["talk"]) as socket:  # type: ignore[list-item]
        for message in ("start", "fault"):
            await socket.send(message)
        await socket.wait_closed()
        assert (socket.close_code, socket.close_reason, calls.streams[0].reason) == (1011, "internal error", "failed")


async def test_audio_keeps_its_order_amid_fragments_pings_and_replies() -> None:
    calls = RecordedCalls()
    sent = [b"%d" % index for index in range(60)]
    async with talk(calls) as url, connect(url, subprotocols=["talk"], max_queue=None) as socket:  # type: ignore[list-item]
        await socket.send("start")
        for index, body in enumerate(sent):
            await socket.send([body[:1], body[1:]] if index % 7 == 3 else body)
            if index % 10 == 0:
                await (await socket.ping())
        await socket.send("stop")
        await socket.wait_closed()
    assert [audio.payload for _, audio in calls.streams[0].heard] == sent


@pytest.mark.parametrize(("frame", "code"), [(b"\x81\x82mask\x92\xa0", 1007), (b"\x81\x05plain", 1002)])
async def test_an_invalid_frame_ends_the_connection(frame: bytes, code: int) -> None:
    calls = RecordedCalls()
    async with talk(calls) as url, connect(url, subprotocols=["talk"]) as socket:  # type: ignore[list-item]
        await socket.send("start")
        await socket.recv()
        socket.transport.write(frame)
        await socket.wait_closed()
        assert socket.close_code == code
    assert calls.streams[0].reason == "disconnected"


def test_tokens_are_no_subprotocols() -> None:
    handshake = Handshake("", {}, {"sec-websocket-protocol": "bearer.x, media,"}, "", 0.0)
    assert handshake.subprotocols == ["media"]
