"""Golden frames of chan_websocket, and the whole way over a real socket."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.asyncio.client import connect

from gateway.client.asterisk import AsteriskChannel
from gateway.errors import ProtocolError, UnsupportedMedia
from gateway.http.connection import Connection
from gateway.ingest.dialects.asterisk_websocket import AsteriskWebsocket
from gateway.ingest.dialects.base import Handshake
from gateway.ingest.dialects.early import MAX_BYTES, MAX_FRAMES
from gateway.ingest.events import (
    AudioFormat,
    AudioReceived,
    CallId,
    LegDescription,
    LegId,
    MessageIgnored,
    StreamStarted,
)
from tests.gateway.conftest import Serve
from tests.gateway.loudness import LoudnessDetector, speech
from tests.gateway.wire import closed, refused, subscribed, ws_url

LEG = LegId("caller")
QUERY = {"call_id": "1763800000.10", "leg": "caller"}
PLAIN = (
    "MEDIA_START connection_id:media_connection1 channel:WebSocket/callscreen/0x7f2d channel_id:1763800000.12 "
    "format:{} optimal_frame_size:640 ptime:20"
)
JSON = (
    '{{"event":"MEDIA_START","connection_id":"media_connection1","channel":"WebSocket/callscreen/0x7f2d",'
    '"channel_id":"1763800000.12","format":"{}","optimal_frame_size":640,"ptime":20,"channel_variables":{{"A":"1"}}}}'
)


def handshake(query: dict[str, str] | None = None, protocol: str = "media") -> Handshake:
    headers = {"sec-websocket-protocol": protocol}
    return Handshake("wss://gw/v1/media/asterisk", QUERY if query is None else query, headers, "192.0.2.1", 0.0)


def dialect(query: dict[str, str] | None = None) -> AsteriskWebsocket:
    return AsteriskWebsocket(handshake(query), {})


@pytest.mark.parametrize("start", [PLAIN, JSON], ids=["plain", "json"])
@pytest.mark.parametrize(
    ("codec", "audio"),
    [
        ("ulaw", AudioFormat("mulaw", 8_000)),
        ("alaw", AudioFormat("alaw", 8_000)),
        ("g722", AudioFormat("g722", 16_000)),
        ("opus", AudioFormat("opus", 48_000)),
        ("slin", AudioFormat("s16le", 8_000)),
        ("slin16", AudioFormat("s16le", 16_000)),
        ("slin44", AudioFormat("s16le", 44_100)),
        ("slin192", AudioFormat("s16le", 192_000)),
    ],
)
def test_a_stream(start: str, codec: str, audio: AudioFormat) -> None:
    asterisk = dialect()
    legs = (LegDescription(LEG, audio, "caller"),)
    assert asterisk.receive(start.format(codec)) == [StreamStarted(CallId("1763800000.10"), "asterisk", legs, QUERY)]
    assert asterisk.receive(b"\1\2") == [AudioReceived(LEG, b"\1\2")]
    assert asterisk.replies() == []
    assert asterisk.goodbye("shutdown") == (["HANGUP"] if start == PLAIN else ['{"command":"HANGUP"}'])


@pytest.mark.parametrize(
    "message",
    [
        "DTMF_END digit:5",
        "MEDIA_XOFF",
        "QUEUE_DRAINED",
        "STATUS queue_length:43 xon_level:800 xoff_level:900 queue_full:false bulk_media:false media_paused:false",
        '{"event":"DTMF_END","digit":"5"}',
        '{"event":"ERROR","error_text":"?"}',
    ],
)
def test_other_control_is_of_no_concern(message: str) -> None:
    asterisk = dialect()
    asterisk.receive(PLAIN.format("ulaw"))
    assert asterisk.receive(message) == []


def test_the_parameter_says_the_role() -> None:
    started = dialect(QUERY | {"role": "agent", "token": "t0p"}).receive(PLAIN.format("ulaw"))[0]
    assert isinstance(started, StreamStarted)
    assert started.legs[0].role == "agent"
    assert "token" not in started.parameters


@pytest.mark.parametrize(
    ("messages", "error", "text"),
    [
        ([b"\0"] * (MAX_FRAMES + 1), ProtocolError, "message: expected MEDIA_START before so much audio"),
        ([bytes(MAX_BYTES), b"\0"], ProtocolError, "message: expected MEDIA_START before so much audio"),
        ([PLAIN.format("ulaw"), PLAIN.format("alaw")], ProtocolError, "format: expected that of the first MEDIA_START"),
        ([PLAIN.format("g729")], UnsupportedMedia, "format: expected one of ulaw, .* got 'g729'"),
        (["MEDIA_START"], UnsupportedMedia, "format: .* got ''"),
        (["{"], ProtocolError, "message: expected JSON"),
        (['{"format":"ulaw"}'], ProtocolError, "event"),
    ],
)
def test_invalid_messages_are_refused_by_field(messages: list[Any], error: type[ProtocolError], text: str) -> None:
    asterisk = dialect()
    for message in messages[:-1]:
        asterisk.receive(message)
    with pytest.raises(error, match=text):
        asterisk.receive(messages[-1])


@pytest.mark.parametrize("query", [{}, {"call_id": "c"}, {"leg": "caller"}, {"call_id": "a b", "leg": "caller"}])
def test_the_dial_string_must_have_call_and_leg(query: dict[str, str]) -> None:
    with pytest.raises(ProtocolError, match=r"^(call_id|leg): expected"):
        dialect(query)


def test_the_subprotocol_is_asked_for() -> None:
    with pytest.raises(ProtocolError, match="Sec-WebSocket-Protocol: expected `media`"):
        AsteriskWebsocket(handshake(protocol="other"), {})


@pytest.mark.parametrize("start", [PLAIN, JSON], ids=["plain", "json"])
def test_audio_that_comes_too_early_waits_for_its_format(start: str) -> None:
    asterisk = dialect()
    early = [bytes([index]) * 160 for index in range(5)]
    assert [asterisk.receive(frame) for frame in early] == [[]] * 5
    started, *heard = asterisk.receive(start.format("alaw"))
    assert isinstance(started, StreamStarted)
    assert heard == [AudioReceived(LEG, frame) for frame in early]
    assert asterisk.receive(start.format("alaw")) == [MessageIgnored("repeated_start")]
    assert asterisk.receive(b"\5") == [AudioReceived(LEG, b"\5")]


@pytest.mark.parametrize("word", ["SING", '{"event":"SING","song":null}'])
def test_words_of_later_versions_are_let_pass(word: str) -> None:
    assert dialect().receive(word) == [MessageIgnored("unknown_event")]


@pytest.mark.parametrize(
    "spelling", ["MEDIA_START  format:ULAW ", '{"event":"media_start","format":"Ulaw","ptime":null}']
)
def test_spelling_does_not_matter(spelling: str) -> None:
    started = dialect().receive(spelling)[0]
    assert isinstance(started, StreamStarted)
    assert started.legs[0].format == AudioFormat("mulaw", 8_000)


async def test_two_channels_are_one_call(serve: Serve, detector: LoudnessDetector) -> None:
    server = await serve(doors={"asterisk": {}})
    async with (
        subscribed(server) as events,
        AsteriskChannel(server.url, "1763800000.10", "caller", "ulaw") as caller,
        AsteriskChannel(server.url, "1763800000.10", "callee", "slin16", "json") as callee,
    ):
        await asyncio.gather(caller.send(speech(8, synthetic=True)), callee.send(speech(8, synthetic=False)))
        raised = await events.until("alert.raised", stage="confirmed")
        await caller.stop()
        await callee.stop()
    assert (raised["data"]["leg"], raised["data"]["call_id"]) == ("caller", "1763800000.10")


async def test_asterisk_is_never_pinged(
    serve: Serve, detector: LoudnessDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinged: list[str] = []
    monkeypatch.setattr(Connection, "schedule_ping", lambda self: pinged.append(self.scope["path"]))
    server = await serve(doors={"asterisk": {}})
    async with AsteriskChannel(server.url, "c-1", "caller") as caller, subscribed(server) as events:
        await caller.send(speech(0.5, synthetic=False))
        assert events.seen == []
    assert pinged == ["/v1/events"]


async def test_an_upgrade_without_the_subprotocol_media_is_refused(serve: Serve, detector: LoudnessDetector) -> None:
    server = await serve(doors={"asterisk": {"token": "t0p"}})
    url = ws_url(server, "/v1/media/asterisk?call_id=c&leg=caller")
    assert (await refused(url))[0] == 401
    assert (await refused(f"{url}&token=t0p"))[0] == 400
    async with connect(f"{url}&token=t0p", subprotocols=["media"]) as socket:  # type: ignore[list-item]
        assert socket.subprotocol == "media"
        await socket.send("MEDIA_START format:g729")
        assert await socket.recv() == "HANGUP"
        assert (await closed(socket))[0] == 4415
