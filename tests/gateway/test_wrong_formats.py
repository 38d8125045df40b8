"""Peers that declare another format than they send, over real sockets: told, and never an alert."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import connect

from gateway.app import Server
from gateway.client.audiosocket import AudioSocketStream, frame, leg_uuid
from gateway.client.codecs import encode
from tests.gateway.conftest import Serve
from tests.gateway.loudness import speech
from tests.gateway.wire import Events, subscribed, ws_url

pytestmark = pytest.mark.usefixtures("detector")

SECRET = "a secret of the house"
Send = Callable[[bytes], Awaitable[None]]


@asynccontextmanager
async def websocket(server: Server, path: str, **options: Any) -> AsyncIterator[Send]:
    async with connect(ws_url(server, path), **options) as socket:
        yield socket.send


@asynccontextmanager
async def audiosocket(server: Server, kind: int = 0x10) -> AsyncIterator[Send]:
    assert server.audiosocket is not None
    async with AudioSocketStream(*server.audiosocket, leg_uuid(SECRET, b"\1\2\3\4\5\6", 0)) as stream:
        yield lambda payload: stream.transmit(frame(kind, payload))
        await stream.stop()


async def play(send: Send, data: bytes, frame_bytes: int) -> None:
    for at in range(0, len(data) - frame_bytes + 1, frame_bytes):
        await send(data[at : at + frame_bytes])
        if at % (20 * frame_bytes) == 0:
            await asyncio.sleep(0)


async def doubted(events: Events, capsys: pytest.CaptureFixture[str]) -> str:
    """Wait for the end; return the log line. Nothing may have been alerted, whatever the detector says."""
    ended = (await events.until("leg.ended"))["data"]
    assert (ended["verdict"], ended["reason"]) == ("indeterminate", "format_mismatch")
    assert ended["alerts"] == 0
    kinds = [event["type"] for event in events.seen]
    assert "alert.raised" not in kinds
    (reduced,) = [event["data"] for event in events.seen if event["type"] == "coverage.reduced"]
    assert reduced["reason"] == "format_mismatch"
    assert reduced["media_time_s"] < 3.0, "in the first seconds"
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "audio is not what was declared" in line]
    return line


def stereo(right: float) -> bytes:
    voice = speech(8, synthetic=True)
    return encode(np.stack([voice, right * voice], axis=1).ravel().astype(np.float32), "s16le")


@pytest.mark.parametrize("right", [1.0, 0.5, 0.0])
async def test_livekit_sends_two_channels_where_one_is_declared(
    serve: Serve, right: float, capsys: pytest.CaptureFixture[str]
) -> None:
    server = await serve(doors={"livekit": {}})
    path = "/v1/media/livekit?call_id=room&leg=alice&rate=16000"
    async with subscribed(server) as events:
        async with websocket(server, path) as send:
            await play(send, stereo(right), 1280)
        line = await doubted(events, capsys)
    assert "two interleaved channels" in line
    assert "channels=2" in line


async def test_livekit_with_its_channels_declared_is_judged(serve: Serve) -> None:
    server = await serve(doors={"livekit": {}})
    path = "/v1/media/livekit?call_id=room&leg=alice&rate=16000&channels=2"
    async with subscribed(server) as events:
        async with websocket(server, path) as send:
            await play(send, stereo(1.0), 1280)
        await events.until("leg.ended", verdict="synthetic")


@pytest.mark.parametrize("encoding", ["mulaw", "alaw"])
async def test_audiosocket_brings_g711_under_the_linear_type(
    serve: Serve, encoding: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    server = await serve(audiosocket={"listen": "127.0.0.1:0", "secret": SECRET})
    async with subscribed(server) as events:
        async with audiosocket(server) as send:
            await play(send, encode(speech(16, synthetic=True)[::2], encoding), 160)
        line = await doubted(events, capsys)
    assert f"seems={encoding}" in line
    assert "c(slin)" in line


async def test_half_the_declared_bytes_a_second_are_noticed_in_real_time(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    server = await serve(audiosocket={"listen": "127.0.0.1:0", "secret": SECRET})
    loop = asyncio.get_running_loop()
    async with subscribed(server) as events:
        async with audiosocket(server, 0x12) as send:  # 16 kHz, it says
            data, began_s = encode(speech(2.4, synthetic=True)[::2], "s16le"), loop.time()
            for index in range(len(data) // 320):
                await send(data[320 * index : 320 * index + 320])
                await asyncio.sleep(max(0.0, began_s + 0.02 * (index + 1) - loop.time()))
        line = await doubted(events, capsys)
    assert "1/2 of the declared bytes a second" in line


@pytest.mark.parametrize(
    ("query", "sent"),
    [
        ("encoding=mulaw&rate=8000", "s16le"),
        ("encoding=s16le&rate=8000", "mulaw"),
        ("encoding=alaw&rate=8000", "s16le"),
    ],
)
async def test_a_plain_stream_of_another_sample_type(
    serve: Serve, query: str, sent: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    server = await serve()
    async with subscribed(server) as events:
        async with websocket(server, f"/v1/media/plain?call_id=c-1&leg=a&{query}") as send:
            await play(send, encode(speech(8, synthetic=True)[::2], sent), 320)
        line = await doubted(events, capsys)
    assert "`encoding`" in line


async def test_audio_is_scored_again_once_it_is_as_declared(serve: Serve) -> None:
    server = await serve()
    async with subscribed(server) as events:
        async with websocket(server, "/v1/media/plain?call_id=c-1&leg=a&encoding=s16le&rate=8000") as send:
            await play(send, encode(speech(3, synthetic=True)[::2], "mulaw"), 320)
            await play(send, encode(speech(12, synthetic=True)[::2], "s16le"), 320)
        await events.until("leg.ended", verdict="synthetic")
    kinds = [event["type"] for event in events.seen]
    assert kinds.index("coverage.reduced") < kinds.index("alert.raised")
