"""Who sends faster than a live call ends that call, and no other."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import connect

from gateway.errors import TooFast
from gateway.pace import Pace, media, messages
from tests.gateway.conftest import Serve
from tests.gateway.rtp import packet, send
from tests.gateway.wire import SILENCE, closed, subscribed, twilio_start, ws_url

PLAIN = "/v1/media/plain?call_id=c-1&leg=caller"
SLOW: dict[str, Any] = {"max_speed": 1.0, "max_burst_s": 1.0}


def sent_until_refused(pace: Pace, amount: float, every_s: float, most: int = 10_000) -> int:
    for index in range(most):
        try:
            pace.take(amount, 100 + index * every_s)
        except TooFast:
            return index
    return most


@given(st.floats(1, 10), st.floats(0.5, 60))
def test_audio_in_real_time_is_never_limited(speed: float, burst_s: float) -> None:
    assert sent_until_refused(media(speed, burst_s), 0.02, 0.02 / speed * 1.0001) == 10_000


@given(st.floats(1, 10), st.integers(1, 60))
def test_a_burst_is_accepted_up_to_its_limit(speed: float, burst_s: int) -> None:
    assert sent_until_refused(media(speed, burst_s), 0.25, 0.0) == 4 * burst_s


def test_twice_as_fast_as_allowed_uses_the_burst_up() -> None:
    assert sent_until_refused(media(2.0, 30.0), 0.02, 0.005) == pytest.approx(30 / 0.01, abs=2)


def test_the_error_names_the_setting() -> None:
    with pytest.raises(
        TooFast, match=r"media: expected at most 2 times real time \(`max_speed`\), got more for too long"
    ):
        media(2.0, 30.0).take(31, 0)
    with pytest.raises(TooFast, match=r"messages: expected at most 400 a second \(`max_messages_per_s`\)"):
        messages(400, 0.01).take(5, 0)


async def test_audio_faster_than_live_ends_its_call_and_no_other(serve: Serve) -> None:
    server = await serve(**SLOW)
    async with (
        subscribed(server) as events,
        connect(ws_url(server, PLAIN)) as fast,
        connect(ws_url(server, PLAIN.replace("c-1", "c-2"))) as live,
    ):
        for _ in range(100):  # 2 s of audio
            await fast.send(SILENCE)
        assert await closed(fast) == (
            4429,
            "media: expected at most 1 times real time (`max_speed`), got more for too long",
        )
        ended = (await events.until("leg.ended"))["data"]
        assert (ended["call_id"], ended["ended_by"]) == ("c-1", "too_fast")
        assert 0.9 < ended["audio_s"] < 1.5
        await live.send(SILENCE)
        await live.close()
        assert (await events.until("leg.ended"))["data"]["ended_by"] == "disconnected"
    async with httpx.AsyncClient() as client:
        assert 'callscreen_too_fast_total{what="media"}' in (await client.get(f"{server.url}/metrics")).text


async def test_a_fast_peer_is_served_where_that_is_configured(serve: Serve) -> None:
    server = await serve(max_speed=1000, max_burst_s=1.0)
    async with subscribed(server) as events, connect(ws_url(server, PLAIN)) as fast:
        for _ in range(100):
            await fast.send(SILENCE)
            await asyncio.sleep(0.001)
        await fast.close()
        assert (await events.until("leg.ended"))["data"]["audio_s"] == 2.0


async def test_words_without_end_end_the_connection(serve: Serve) -> None:
    server = await serve(max_messages_per_s=20, max_burst_s=1.0)
    async with subscribed(server) as events, connect(ws_url(server, "/v1/media/twilio")) as socket:
        await socket.send(twilio_start("CA1", ("inbound",)))
        for _ in range(40):
            await socket.send('{"event":"mark","mark":{"name":"x"}}')
        code, reason = await closed(socket)
        assert (code, reason[:29]) == (4429, "messages: expected at most 20")
        assert (await events.until("leg.ended"))["data"]["ended_by"] == "too_fast"


async def test_rtp_faster_than_live_is_not_listened_to_for_a_while(serve: Serve) -> None:
    server = await serve(rtp={"in": {"listen": "127.0.0.1:0", "legs": {"a": {}}}}, **SLOW)
    async with subscribed(server) as events:
        await send(server.rtp["in"], (packet(SILENCE, index, 160 * index) for index in range(200)))
        assert (await events.until("leg.ended"))["data"]["ended_by"] == "too_fast"
        await events.until("call.ended")
        await send(server.rtp["in"], (packet(SILENCE, index, 160 * index) for index in range(200, 210)))
        assert server.registry.calls() == []


async def test_empty_packets_and_silence_made_of_clock_steps_count(serve: Serve) -> None:
    """Packets that bring nothing, and those whose clock says that two seconds were silent, cost the gateway as well."""
    server = await serve(
        rtp={name: {"listen": "127.0.0.1:0", "legs": {"a": {}}} for name in ("empty", "silent")}, **SLOW
    )
    async with subscribed(server) as events:
        for name, packets in (
            ("empty", (packet(b"\xff", index, index, payload_type=0 if index == 0 else 101) for index in range(900))),
            ("silent", (packet(b"\xff", index, 15_000 * index) for index in range(3))),
        ):
            await send(server.rtp[name], packets)
            ended = (await events.until("leg.ended"))["data"]
            assert (ended["call_id"].partition("-")[0], ended["ended_by"]) == (name, "too_fast")
