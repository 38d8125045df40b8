"""WebRTC calls through the whole gateway: ICE, DTLS, SRTP, Opus, and the events that come of them."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from detection import Samples
from gateway.client.whip import WhipError, WhipPublisher
from gateway.errors import ConfigError
from gateway.ingest.tolerance import MAX_BAD_MESSAGES
from tests.gateway.conftest import Serve
from tests.gateway.ingest.webrtc.test_sdp import OFFER
from tests.gateway.loudness import speech
from tests.gateway.wire import subscribed

pytestmark = pytest.mark.usefixtures("detector")


async def say(publisher: WhipPublisher, samples: Samples, lost: range = range(0)) -> None:
    """Send ten times as fast as real time, without the packets that are `lost`."""
    for index, packet in enumerate(publisher.packets(samples)):
        if index not in lost:
            await publisher.transmit(packet)
        await asyncio.sleep(0.002)


async def test_the_alert_names_the_speaker_who_is_synthetic(serve: Serve) -> None:
    server = await serve()
    async with subscribed(server) as events:
        async with (
            WhipPublisher(server.url, "c-1", "caller") as caller,
            WhipPublisher(server.url, "c-1", "callee") as callee,
        ):
            await asyncio.gather(say(caller, speech(8, synthetic=True)), say(callee, speech(8, synthetic=False)))
            await events.until("alert.raised", stage="confirmed")
        ended = await events.until("call.ended")
    assert ended["data"]["verdicts"] == {"caller": "synthetic", "callee": "human"}
    assert {event["data"]["leg"] for event in events.seen if event["type"] == "alert.raised"} == {"caller"}
    started = next(event["data"] for event in events.seen if event["type"] == "leg.started")
    assert (started["source"], started["encoding"], started["role"]) == ("whip", "opus", "caller")
    legs = [event["data"] for event in events.seen if event["type"] == "leg.ended"]
    assert [leg["ended_by"] for leg in legs] == ["stopped", "stopped"]
    assert [leg["missing_s"] for leg in legs] == [0.0, 0.0]
    assert all(7.9 <= leg["audio_s"] <= 8.1 for leg in legs)


async def test_a_lost_packet_is_20_ms_of_missing_audio_and_no_more(serve: Serve) -> None:
    server = await serve()
    async with subscribed(server) as events:
        async with WhipPublisher(server.url, "c-1", "caller") as caller:
            await say(caller, speech(5, synthetic=False), lost=range(100, 101))
        ended = await events.until("leg.ended")
    assert ended["data"]["missing_s"] == pytest.approx(0.02)
    assert ended["data"]["audio_s"] == pytest.approx(5.0 - 0.02)


async def test_payloads_that_are_no_opus_end_that_leg_alone(serve: Serve) -> None:
    server = await serve()
    async with (
        subscribed(server) as events,
        WhipPublisher(server.url, "c-1", "caller") as caller,
        WhipPublisher(server.url, "c-1", "callee") as callee,
    ):
        for broken in caller.packets(speech(0.02 * MAX_BAD_MESSAGES, synthetic=True)):
            broken.payload = b"\x03"  # of code 3, and without the frame count that this needs
            await caller.transmit(broken)
        ended = await events.until("leg.ended")
        assert (ended["data"]["leg"], ended["data"]["ended_by"]) == ("caller", "protocol_error")
        await say(callee, speech(8, synthetic=True))
        await events.until("alert.raised", leg="callee", stage="confirmed")


async def test_shutting_down_ends_webrtc_calls_with_their_verdicts(serve: Serve) -> None:
    server = await serve()
    async with subscribed(server) as events, WhipPublisher(server.url, "c-1", "caller") as caller:
        await say(caller, speech(8, synthetic=True))
        await events.until("alert.raised", stage="confirmed")
        await server.registry.drain()
        ended = await events.until("leg.ended")
        assert (ended["data"]["verdict"], ended["data"]["ended_by"]) == ("synthetic", "shutdown")
        with pytest.raises(WhipError) as refused:
            await WhipPublisher(server.url, "c-2", "caller").__aenter__()
        assert refused.value.status == 503


async def test_one_leg_is_listened_to_once_whatever_the_door(serve: Serve) -> None:
    server = await serve(token="t0ken")
    async with WhipPublisher(server.url, "c-1", "caller", token="t0ken") as caller:
        for token, status in (("t0ken", 409), ("wrong", 401)):
            with pytest.raises(WhipError) as refused:
                await WhipPublisher(server.url, "c-1", "caller", token=token).__aenter__()
            assert refused.value.status == status
        await say(caller, speech(1, synthetic=False))


async def test_an_offer_that_is_refused_leaves_no_call_behind(serve: Serve) -> None:
    server = await serve()
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as http:
        silent = OFFER.replace("a=sendonly", "a=recvonly")
        refused = await http.post("/v1/whip/c-1/caller", content=silent, headers={"Content-Type": "application/sdp"})
        assert refused.status_code == 422
        assert "a=recvonly" in refused.json()["detail"]
        assert (await http.get("/v1/calls")).json()["calls"] == []


async def test_the_endpoint_is_a_door_with_checks_names_and_limits_of_its_own(serve: Serve) -> None:
    whip = {"token": "desk", "tenant_parameter": "org", "roles": {"left": "agent"}, "max_call_s": 1.0}
    server = await serve(token="dashboard", whip=whip)
    with pytest.raises(WhipError) as fault:
        async with WhipPublisher(server.url, "c-1", "left", token="dashboard"):
            pass
    assert fault.value.status == 401
    async with httpx.AsyncClient(base_url=server.url) as web:
        assert (await web.get("/v1/calls", headers={"Authorization": "Bearer desk"})).status_code == 401
        nameless = await web.post(
            "/v1/whip/c-1/left",
            content=OFFER,
            headers={"Authorization": "Bearer desk", "Content-Type": "application/sdp"},
        )
        assert (nameless.status_code, "org: expected 1 to 128 letters" in nameless.json()["detail"]) == (400, True)
        async with subscribed(server, "?token=dashboard") as events:
            accepted = await web.post(
                "/v1/whip/c-1/left?org=blue&token=desk", content=OFFER, headers={"Content-Type": "application/sdp"}
            )
            assert accepted.status_code == 201
            started = (await events.until("leg.started"))["data"]
            assert (started["tenant"], started["role"]) == ("blue", "agent")
            assert (await events.until("leg.ended"))["data"]["ended_by"] == "call_too_long"


async def test_settings_of_websocket_endpoints_are_refused_for_whip(serve: Serve) -> None:
    with pytest.raises(ConfigError, match=r"whip\.allow_mixed: expected it in doors\.NAME only"):
        await serve(whip={"allow_mixed": True})
