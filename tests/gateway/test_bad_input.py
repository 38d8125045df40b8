"""Bad input over real sockets: a clear error, that stream alone, nothing lost."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from websockets.asyncio.client import connect

from gateway.ingest.tolerance import IGNORED, MAX_BAD_MESSAGES
from tests.gateway.conftest import Serve
from tests.gateway.wire import (
    SILENCE,
    TWILIO_STOP,
    closed,
    refused,
    subscribed,
    twilio_media,
    twilio_start,
    ws_url,
)

pytestmark = pytest.mark.usefixtures("detector")

TWILIO = "/v1/media/twilio"
PLAIN = "/v1/media/plain?call_id=c-1&leg=caller"


MANY = MAX_BAD_MESSAGES


@pytest.mark.parametrize(
    ("messages", "code", "says"),
    [
        (["{nonsense"] * MANY, 4400, "message: expected JSON"),
        (["{}"] * MANY, 4400, "event: expected the type of this message"),
        (
            [twilio_start("CA1")] + [twilio_media(0).replace('"payload": "', '"payload": "*')] * MANY,
            4400,
            "media.payload: invalid base64",
        ),
        ([twilio_start("CA1")] + [b"\xff" * 160] * MANY, 1003, "expected a JSON text frame, got a binary one"),
        ([twilio_start("CA1").replace("x-mulaw", "x-l16")], 4415, "start.mediaFormat: expected encoding audio/x-mulaw"),
        ([twilio_start("CA1").replace("8000", "16000")], 4415, "start.mediaFormat: expected"),
        ([twilio_start("CA1"), twilio_start("CA2")], 4400, "event: expected one stream on this connection"),
        ([twilio_start("CA1"), '{"pad":"' + "x" * 5000 + '"}'], 1009, "message: expected at most 4096 bytes, got 5010"),
    ],
)
async def test_what_a_stream_cannot_go_on_with_ends_it_and_no_other(
    serve: Serve, messages: list[str | bytes], code: int, says: str
) -> None:
    server = await serve(max_message_bytes=4096)
    async with (
        subscribed(server) as events,
        connect(ws_url(server, TWILIO)) as good,
        connect(ws_url(server, TWILIO)) as bad,
    ):
        await good.send(twilio_start("CAgood", ("inbound",)))
        for message in messages:
            await bad.send(message)
        got_code, reason = await closed(bad)
        assert (got_code, says in reason) == (code, True), reason
        for index in range(50):
            await good.send(twilio_media(index))
        await good.send(TWILIO_STOP)
        ended = await events.until("leg.ended", call_id="CAgood")
        assert ended["data"]["audio_s"] == 1.0
        assert ended["data"]["verdict"] == "indeterminate"
        if any(event["data"].get("call_id") == "CA1" for event in events.seen):
            broken = [e["data"] for e in events.seen if e["type"] == "leg.ended" and e["data"]["call_id"] == "CA1"]
            assert {data["ended_by"] for data in broken} == {"protocol_error"}


ODD: list[str | bytes] = [
    "{nonsense",
    "{}",
    '{"event":"surprise","start":7}',
    b"\xff" * 160,
    twilio_start("CA1"),
    twilio_media(0, "sideways"),
    twilio_media(0).replace('"payload": "', '"payload": "*'),
    twilio_media(0).replace('"0"', '"soon"'),
    '{"event":"media","media":null}',
]
REASONS = ("not_json", "bad_field", "unknown_event", "wrong_frame_kind", "repeated_start", "unknown_track")


def ignored(source: str) -> dict[str, float]:
    return {reason: IGNORED.labels(source, reason)._value.get() for reason in REASONS}


async def test_a_call_goes_on_without_the_messages_that_nobody_can_use(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    server = await serve()
    before = ignored("twilio")
    start = json.loads(twilio_start("CA1"))
    start["start"] |= {"customParameters": None, "streamSid": None}
    async with subscribed(server) as events, connect(ws_url(server, TWILIO)) as socket:
        for message in (*ODD[:4], json.dumps(start)):
            await socket.send(message)
        for index in range(10 * MANY):  # 1 of 10 is good: there are never too many bad ones in a row
            await socket.send(ODD[index % len(ODD)])
            if index % 5 == 0:
                await socket.send(twilio_media(index // 5))
        await socket.send(TWILIO_STOP)
        ended = await events.until("leg.ended", leg="inbound")
        assert (ended["data"]["audio_s"], ended["data"]["ended_by"]) == (2 * MANY * 0.02, "stopped")
    counted = {reason: count - before[reason] for reason, count in ignored("twilio").items()}
    assert min(counted.values()) >= MANY, counted
    assert capsys.readouterr().out.count("media message ignored") <= len(REASONS), "one line a reason"


async def test_a_message_far_too_big_is_cut_off(serve: Serve) -> None:
    server = await serve(max_message_bytes=4096)
    async with connect(ws_url(server, TWILIO)) as socket:
        await socket.send("x" * 100_000)
        assert (await closed(socket))[0] == 1009


async def test_a_stream_that_never_starts_is_closed(serve: Serve) -> None:
    server = await serve(start_deadline_s=0.2)
    async with connect(ws_url(server, TWILIO)) as socket:
        await socket.send('{"event":"connected","protocol":"Call","version":"1.0.0"}')
        assert await closed(socket) == (4408, "no start of the stream within 0.2 s: expected `start`")


async def test_a_stream_that_never_starts_gets_its_last_error(serve: Serve) -> None:
    server = await serve(start_deadline_s=0.2)
    async with connect(ws_url(server, TWILIO)) as socket:
        await socket.send("hello")
        code, reason = await closed(socket)
        assert (code, reason.partition(", got")[0]) == (
            4408,
            "no start of the stream within 0.2 s: message: expected JSON",
        )


async def test_a_stream_that_stalls_is_closed_and_gets_its_verdict(serve: Serve) -> None:
    server = await serve(idle_deadline_s=0.3)
    async with subscribed(server) as events, connect(ws_url(server, TWILIO)) as socket:
        await socket.send(twilio_start("CA1", ("inbound",)))
        await socket.send(twilio_media(0))
        for _ in range(4):  # words that are not media keep nothing alive
            await socket.send('{"event":"mark","mark":{"name":"x"}}')
            await asyncio.sleep(0.05)
        assert await closed(socket) == (4408, "no media for 0.3 s")
        ended = await events.until("leg.ended")
        assert (ended["data"]["reason"], ended["data"]["ended_by"]) == ("too_little_speech", "timeout")


async def test_a_stream_that_its_address_opens_may_be_silent_for_as_long_as_any(serve: Serve) -> None:
    """Its start is not awaited any more: the deadline for one must not end it."""
    server = await serve(start_deadline_s=0.1, idle_deadline_s=0.6)
    async with connect(ws_url(server, PLAIN)) as socket:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(closed(socket), 0.3)
        assert await closed(socket) == (4408, "no media for 0.6 s")


async def test_media_keeps_a_stream_alive(serve: Serve) -> None:
    server = await serve(idle_deadline_s=0.3)
    async with subscribed(server) as events, connect(ws_url(server, PLAIN)) as socket:
        for _ in range(20):
            await socket.send(SILENCE)
            await asyncio.sleep(0.05)
        await socket.close()
        ended = await events.until("leg.ended")
        assert (ended["data"]["audio_s"], ended["data"]["ended_by"]) == (0.4, "disconnected")


async def test_a_leg_is_listened_to_once(serve: Serve) -> None:
    server = await serve()
    async with subscribed(server) as events, connect(ws_url(server, PLAIN)) as first:
        await first.send(SILENCE)
        async with connect(ws_url(server, PLAIN)) as second:
            assert await closed(second) == (4409, "leg: 'caller' of this call has a stream already")
        async with connect(ws_url(server, PLAIN.replace("caller", "callee"))) as other:
            await other.send(SILENCE)
            await events.until("leg.started", leg="callee")
            await first.close()
            assert (await events.until("leg.ended"))["data"]["leg"] == "caller"
        await events.until("call.ended", verdicts={"caller": "indeterminate", "callee": "indeterminate"})


async def test_both_tracks_claimed_by_two_sockets(serve: Serve) -> None:
    server = await serve()
    async with (
        subscribed(server) as events,
        connect(ws_url(server, TWILIO)) as first,
        connect(ws_url(server, TWILIO)) as second,
    ):
        await first.send(twilio_start("CA1"))
        await events.until("leg.started", leg="outbound")
        await second.send(twilio_start("CA1"))
        assert (await closed(second))[0] == 4409
        await first.send(twilio_media(0, "inbound"))
        await first.send(TWILIO_STOP)
        ended = await events.until("call.ended")
        assert ended["data"]["verdicts"] == {"inbound": "indeterminate", "outbound": "indeterminate"}


@pytest.mark.parametrize(
    ("query", "status", "says"),
    [
        ("leg=caller", 400, "call_id: expected in the URL's query"),
        ("call_id=c&leg=a&encoding=mp3", 415, "encoding: expected one of"),
        ("call_id=c&leg=a&rate=1000", 415, "rate: expected 8000 to 192000 Hz, got 1000"),
        ("call_id=c&leg=a&chanels=2", 400, "chanels: unknown parameter"),
    ],
)
async def test_a_bad_plain_url_is_refused_before_the_upgrade(serve: Serve, query: str, status: int, says: str) -> None:
    server = await serve()
    got, problem = await refused(ws_url(server, f"/v1/media/plain?{query}"))
    assert (got, problem["status"]) == (status, status)
    assert says in problem["detail"]


async def test_text_on_a_plain_stream(serve: Serve) -> None:
    server = await serve()
    async with connect(ws_url(server, PLAIN)) as socket:
        for _ in range(MANY):
            await socket.send("hello")
        assert await closed(socket) == (1003, "message: expected a binary frame of audio, got a text one")


async def test_one_call_too_many(serve: Serve) -> None:
    server = await serve(max_calls=1)
    async with connect(ws_url(server, PLAIN)) as first:
        await first.send(SILENCE)
        async with connect(ws_url(server, PLAIN.replace("c-1", "c-2"))) as second:
            assert await closed(second) == (1013, "all 1 calls are taken")
        async with connect(ws_url(server, PLAIN.replace("caller", "callee"))) as same_call:
            await same_call.send(SILENCE)
            async with httpx.AsyncClient() as client:
                (call,) = (await client.get(f"{server.url}/v1/calls")).json()["calls"]
            assert [leg["leg"] for leg in call["legs"]] == ["caller", "callee"]


async def test_a_call_that_is_too_long_ends_with_its_verdict(serve: Serve) -> None:
    server = await serve(max_call_s=0.3)
    async with subscribed(server) as events, connect(ws_url(server, PLAIN)) as socket:
        await socket.send(SILENCE)
        assert await closed(socket) == (1001, "call_too_long")
        assert (await events.until("leg.ended"))["data"]["ended_by"] == "call_too_long"


async def test_unknown_paths_and_calls(serve: Serve) -> None:
    server = await serve()
    async with httpx.AsyncClient(base_url=server.url) as client:
        missing = await client.get("/v1/calls/nobody")
        assert (missing.status_code, missing.json()["detail"]) == (
            404,
            "call_id: there is no call 'nobody', live or in the journal",
        )
        assert missing.headers["content-type"] == "application/problem+json"
        assert (await client.get("/v1/elsewhere")).status_code == 404


async def test_an_error_names_the_field_in_the_close_frame_even_when_it_is_long(serve: Serve) -> None:
    server = await serve()
    async with connect(ws_url(server, TWILIO)) as socket:
        await socket.send(twilio_start("CA1").replace("CA1", "é" * 200))
        code, reason = await closed(socket)
        assert code == 4400
        assert len(reason.encode()) <= 123
