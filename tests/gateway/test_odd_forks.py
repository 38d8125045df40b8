"""Peers that send audio in binary frames, as odd as they come, over real sockets: a call goes on, and loses nothing."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.client import connect

from gateway.client.audiosocket import AUDIO_TYPES, AudioSocketStream, frame, leg_uuid
from gateway.client.genesys import AudioHookCall
from tests.gateway.conftest import Serve
from tests.gateway.wire import Events, closed, subscribed, ws_url

pytestmark = pytest.mark.usefixtures("detector")

SECRET = "a secret of the house"
PACKETS_MS = [10, 20, 30, 60] * 5
"""0.6 s in pieces of any length."""
Send = Callable[[bytes], Awaitable[None]]
FORKS: dict[str, tuple[str, list[str], str, int]] = {
    "asterisk": ("call_id=c-1&leg=a", ["media"], "media_start  format:SLIN ptime:20", 16),
    "freeswitch": ("", [], json.dumps({"call_id": "c-1", "rate": " 8K ", "mix": "Stereo", "role_inbound": ""}), 32),
    "jambonz": ("", [], json.dumps({"callSid": " c-1 ", "sampleRate": "8000", "mixType": "MONO", "x": None}), 16),
    "vonage": ("", [], json.dumps({"uuid": "c-1", "content-type": "audio/L16; channels=1; rate=8000"}), 16),
    "livekit": ("rate=%208000&channels=2&role=Customer&leg=%20a&call_id=c-1&token=t", [], "", 32),
}
"""Query, subprotocols, what is said first, bytes of a millisecond; each is spelled otherwise than documented."""


async def send_pieces(send: Send, bytes_per_ms: int) -> None:
    """Send audio in packets of many lengths, with empty frames and frames cut short in between."""
    for packet_ms in PACKETS_MS:
        await send(b"")
        await send(bytes(bytes_per_ms * packet_ms - 1))  # worth nothing, and no harm
        await send(bytes(bytes_per_ms * packet_ms))


async def check_ended(events: Events, leg: str) -> None:
    ended = (await events.until("leg.ended", leg=leg))["data"]
    assert (ended["audio_s"], ended["missing_s"]) == (0.6, 0.0)
    assert ended["ended_by"] in ("disconnected", "stopped", "hangup")


@pytest.mark.parametrize("door", FORKS)
async def test_packets_of_any_length_among_empty_and_odd_ones(serve: Serve, door: str) -> None:
    query, subprotocols, said, bytes_per_ms = FORKS[door]
    server = await serve(doors={door: {"allow_mixed": True}})
    leg = {"asterisk": "a", "livekit": "a", "vonage": "mixed"}.get(door, "inbound")
    options: dict[str, Any] = {"subprotocols": subprotocols or None}
    async with (
        subscribed(server) as events,
        connect(ws_url(server, f"/v1/media/{door}/?{query}"), **options) as socket,
    ):
        if said:
            await socket.send(said)
        await send_pieces(socket.send, bytes_per_ms)
        await socket.close()
        await check_ended(events, leg)
    started = next(event["data"] for event in events.seen if event["type"] == "leg.started")
    assert (started["call_id"], started["rate_hz"]) == ("c-1", 8_000)
    assert started["role"] == ("customer" if door == "livekit" else "unknown")


async def test_audiosocket_frames_of_any_length(serve: Serve) -> None:
    server = await serve(audiosocket={"listen": "127.0.0.1:0", "secret": SECRET})
    assert server.audiosocket is not None
    uuid = leg_uuid(SECRET, b"abcdef", 0)
    async with subscribed(server) as events, AudioSocketStream(*server.audiosocket, uuid) as stream:
        await send_pieces(lambda payload: stream.transmit(frame(AUDIO_TYPES[8_000], payload)), 16)
        await stream.stop()
        await check_ended(events, "caller")


class OddAudioHook(AudioHookCall):
    """Spells everything otherwise, and offers what nobody knows besides what we take."""

    async def say(self, kind: str, **parameters: Any) -> None:
        """Send one message."""
        self.seq += 1
        if kind == "open":
            known = {"type": "Audio", "format": "pcmu", "channels": ["External", "Internal"], "rate": "8000"}
            parameters |= {
                "organizationId": self.organization_id.upper(),
                "participant": None,
                "customConfig": "none",
                "media": [{"type": "video"}, "audio", known | {"rate": None}, known | {"channels": None}, known],
            }
        message = {
            "version": 2,
            "id": self.session_id.upper(),
            "type": f" {kind.upper()} ",
            "seq": str(self.seq),
            "serverseq": None,
            "parameters": parameters,
        }
        await self.transmit(json.dumps(message))


async def test_an_audiohook_session_spelled_otherwise(serve: Serve) -> None:
    server = await serve(doors={"genesys": {}})
    conversation = "090eaa2f-72fa-480a-83e0-8667ff89c0ec"
    async with subscribed(server) as events:
        async with OddAudioHook(server.url, conversation) as call:
            await send_pieces(call.transmit, 16)
            await call.say("applause")
            await call.stop()
        await check_ended(events, "external")
    started = next(event["data"] for event in events.seen if event["type"] == "leg.started")
    assert (started["call_id"], started["encoding"], started["role"]) == (conversation, "mulaw", "customer")


async def test_metadata_that_says_less_unsays_nothing(serve: Serve) -> None:
    """A second text frame, with DTMF or with nothing in its fields, is none about the format."""
    server = await serve(doors={"freeswitch": {}})
    path = "/v1/media/freeswitch?mix=mono&rate=8k&call_id=c-1"
    async with subscribed(server) as events, connect(ws_url(server, path)) as socket:
        await send_pieces(socket.send, 16)
        for said in ({"rate": "", "mix": None}, {"mix": " ", "dtmf": "5"}, {"rate": 8000, "mix": "MONO"}):
            await socket.send(json.dumps(said))
        await socket.close()
        await check_ended(events, "inbound")


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [("audio/l16;rate=8000;channels=2", 4415), ("audio/opus;rate=8000", 4415), ("audio/l16", 4400)],
)
async def test_a_content_type_that_cannot_be_read_is_refused_by_name(
    serve: Serve, content_type: str, expected: int
) -> None:
    server = await serve(doors={"vonage": {"allow_mixed": True}})
    async with connect(ws_url(server, "/v1/media/vonage")) as socket:
        await socket.send(json.dumps({"uuid": "c-1", "content-type": content_type}))
        code, reason = await closed(socket)
    assert (code, reason.startswith("content-type: expected")) == (expected, True), reason
