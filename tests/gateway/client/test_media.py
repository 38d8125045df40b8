from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError

from gateway.client.media import PlainStream, TwilioCall, twilio_signature, websocket_url

SILENCE_20_MS = np.zeros(320, np.float32)


class Recorder:
    """A gateway that only listens."""

    def __init__(self) -> None:
        self.url = ""
        self.path = ""
        self.headers: dict[str, str] = {}
        self.messages: list[str | bytes] = []
        self.closed = asyncio.Event()

    async def listen(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.path = connection.request.path
        self.headers = {name.lower(): value for name, value in connection.request.headers.raw_items()}
        async for message in connection:
            self.messages.append(message)
        self.closed.set()

    def json(self) -> list[dict[str, Any]]:
        return [json.loads(message) for message in self.messages]


@contextlib.asynccontextmanager
async def recording() -> AsyncIterator[Recorder]:
    recorder = Recorder()
    async with serve(recorder.listen, "127.0.0.1", 0) as server:
        recorder.url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        yield recorder


@pytest.mark.parametrize(
    ("url", "signature"),
    [
        ("wss://gw.example.com/twilio/media", "xOtUNom2O6Ixz0xt8ODDv8MkQUY="),
        ("wss://gw.example.com:443/twilio/media", "l1kCkxwGIXa39FwZNOU5zimZCp0="),
        ("https://gw.example.com/twilio/media", "l0WzXexllA+2Nr2uoD32CYvxCeo="),
    ],
)
def test_the_signature_is_twilios(url: str, signature: str) -> None:
    assert twilio_signature("12345", url) == signature


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h:1", "ws://h:1/door"),
        ("https://h/", "wss://h/door"),
        ("ws://h/other", "ws://h/other"),
        ("wss://h/other?a=b", "wss://h/other?a=b"),
    ],
)
def test_a_base_address_gets_the_path(url: str, expected: str) -> None:
    assert websocket_url(url, "/door") == expected


async def test_a_call_is_sent_as_twilio_messages() -> None:
    async with recording() as gateway:
        async with TwilioCall(gateway.url, "CA1", auth_token="12345", parameters={"role_inbound": "caller"}) as call:
            for _ in range(10):
                await call.send("inbound", SILENCE_20_MS)
                await call.send("outbound", SILENCE_20_MS)
            await call.stop()
        await gateway.closed.wait()

    connected, start, *media, stop = gateway.json()
    stream, account = start["streamSid"], start["start"]["accountSid"]
    assert gateway.path == "/v1/media/twilio"
    assert gateway.headers["x-twilio-signature"] == twilio_signature("12345", f"ws{gateway.url[4:]}/v1/media/twilio")
    assert "authorization" not in gateway.headers
    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert start == {
        "event": "start",
        "sequenceNumber": "1",
        "start": {
            "accountSid": account,
            "streamSid": stream,
            "callSid": "CA1",
            "tracks": ["inbound", "outbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"role_inbound": "caller"},
        },
        "streamSid": stream,
    }
    assert [message["sequenceNumber"] for message in media] == [str(number) for number in range(2, 22)]
    assert [message["media"]["chunk"] for message in media] == [str(number) for number in range(1, 21)]
    for track in ("inbound", "outbound"):
        heard = [message["media"] for message in media if message["media"]["track"] == track]
        assert [packet["timestamp"] for packet in heard] == [str(20 * number) for number in range(10)]
        assert all(base64.b64decode(packet["payload"]) == b"\xff" * 160 for packet in heard)
    assert stop == {
        "event": "stop",
        "sequenceNumber": "22",
        "stop": {"accountSid": account, "callSid": "CA1"},
        "streamSid": stream,
    }


async def test_a_packet_that_is_not_transmitted_leaves_a_hole_in_the_numbers() -> None:
    async with recording() as gateway:
        async with TwilioCall(gateway.url, "CA1", tracks=["inbound"]) as call:
            packets = call.packets("inbound", np.zeros(3200, np.float32))
            del packets[1]
            for packet in packets:
                await call.transmit(packet)
        await gateway.closed.wait()
    media = [message["media"] for message in gateway.json()[2:]]
    assert [packet["timestamp"] for packet in media[:3]] == ["0", "40", "60"]
    assert [packet["chunk"] for packet in media[:3]] == ["1", "3", "4"]


async def test_plain_frames_are_described_by_the_url() -> None:
    async with recording() as gateway:
        async with PlainStream(gateway.url, "call 1", "caller,callee", "s16le", 16000, 2, token="t0p") as stream:
            await stream.send(np.tile(np.array([[0.25, -0.25]], np.float32), (640, 1)))
            await stream.stop()
        await gateway.closed.wait()
    assert gateway.path == "/v1/media/plain?call_id=call+1&leg=caller%2Ccallee&encoding=s16le&rate=16000&channels=2"
    assert gateway.headers["authorization"] == "Bearer t0p"
    assert gateway.messages == [b"\x00\x20\x00\xe0" * 320] * 2


async def test_the_reason_of_a_refusal_is_shown() -> None:
    async def refuse(connection: ServerConnection) -> None:
        await connection.close(4409, "leg: already there")

    async with serve(refuse, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with PlainStream(f"ws://127.0.0.1:{port}", "c", "caller") as stream:
            with pytest.raises(ConnectionClosedError, match="leg: already there"):
                await keep_sending(stream)


async def keep_sending(stream: PlainStream) -> None:
    for _ in range(100):
        await stream.send(SILENCE_20_MS)
        await asyncio.sleep(0.01)


async def test_nobody_there_is_an_oserror() -> None:
    with pytest.raises(OSError, match="Connect call failed"):
        async with TwilioCall("http://127.0.0.1:9", "CA1"):
            pass


async def test_sending_before_connecting_is_a_mistake() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await PlainStream("http://127.0.0.1:9", "c", "caller").transmit(b"")
