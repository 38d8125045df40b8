"""Wire messages for tests, and the events that came of them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from detection import Samples
from gateway.app import Server
from gateway.call.registry import Call

SILENCE = b"\xff" * 160


def ws_url(server: Server, path: str) -> str:
    return server.url.replace("http", "ws", 1) + path


def twilio_start(call_sid: str, tracks: tuple[str, ...] = ("inbound", "outbound"), **parameters: str) -> str:
    media_format = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    start = {
        "streamSid": f"MZ{call_sid}",
        "accountSid": "AC0",
        "callSid": call_sid,
        "tracks": tracks,
        "customParameters": parameters,
        "mediaFormat": media_format,
    }
    return json.dumps({"event": "start", "sequenceNumber": "1", "start": start, "streamSid": f"MZ{call_sid}"})


def twilio_media(index: int, track: str = "inbound", payload: bytes = SILENCE) -> str:
    media = {
        "track": track,
        "chunk": str(index + 1),
        "timestamp": str(20 * index),
        "payload": base64.b64encode(payload).decode(),
    }
    return json.dumps({"event": "media", "sequenceNumber": str(index + 2), "media": media, "streamSid": "MZ"})


TWILIO_STOP = json.dumps({"event": "stop", "sequenceNumber": "9", "stop": {}, "streamSid": "MZ"})


async def closed(socket: ClientConnection, within_s: float = 5) -> tuple[int, str]:
    """Wait until the gateway closes; return code and reason."""
    async with asyncio.timeout(within_s):
        await socket.wait_closed()
    return socket.close_code or 0, socket.close_reason or ""


async def refused(url: str, **options: Any) -> tuple[int, dict[str, Any]]:
    """Try an upgrade that must be refused; return status and problem."""
    with pytest.raises(InvalidStatus) as fault:
        await connect(url, **options)
    return fault.value.response.status_code, json.loads(fault.value.response.body)


def call_of(server: Server, call_id: str) -> Call:
    """Return a live call."""
    return next(call for call in server.registry.calls() if call.call_id == call_id)


def pcm(samples: Samples) -> list[bytes]:
    """16 kHz audio as plain frames of 20 ms."""
    data = np.round(samples * 32767).astype("<i2").tobytes()
    return [data[at : at + 640] for at in range(0, len(data), 640)]


def plain(server: Server, leg: str, call_id: str = "c-1") -> connect:
    return connect(ws_url(server, f"/v1/media/plain?call_id={call_id}&leg={leg}&encoding=s16le&rate=16000"))


async def say(socket: ClientConnection, samples: Samples) -> None:
    for frame in pcm(samples):
        await socket.send(frame)


class Events:
    """What a subscriber has received so far."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.seen: list[dict[str, Any]] = []

    async def until(self, kind: str, *, within_s: float = 10, **facts: Any) -> dict[str, Any]:
        """Receive until an event of that type with those facts in its data; return it."""
        async with asyncio.timeout(within_s):
            while True:
                event = json.loads(await self._socket.recv())
                self.seen.append(event)
                if event["type"] == kind and facts.items() <= event["data"].items():
                    found: dict[str, Any] = event
                    return found


@asynccontextmanager
async def subscribed(server: Server, query: str = "") -> AsyncIterator[Events]:
    async with connect(ws_url(server, f"/v1/events{query}"), subprotocols=["cloudevents.json"]) as socket:  # type: ignore[list-item]
        yield Events(socket)
