"""Doors over real sockets: each vendor's stream to its alert, who may come in, whose calls they are, their limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect

from gateway.app import Server
from gateway.client.forks import Fork, FreeSwitchFork, JambonzListen, LiveKitTrack, VonageSocket
from gateway.client.media import twilio_signature
from gateway.client.tracks import (
    BandwidthCall,
    ExotelCall,
    PlivoCall,
    SignalWireCall,
    TelnyxCall,
    TrackCall,
    authenticated,
    plivo_signature,
)
from gateway.config_loading import load
from gateway.errors import ConfigError
from tests.gateway.conftest import Serve
from tests.gateway.loudness import speech
from tests.gateway.wire import SILENCE, closed, refused, subscribed, ws_url

pytestmark = pytest.mark.usefixtures("detector")

TOKEN = "t0ken"
ENCODINGS: dict[type[TrackCall], dict[str, Any]] = {
    SignalWireCall: {"encoding": "s16le", "rate_hz": 16_000},
    TelnyxCall: {"encoding": "alaw"},
    PlivoCall: {"encoding": "s16le", "rate_hz": 16_000},
    BandwidthCall: {},
}


async def alerts_of(server: Server, call: TrackCall | Fork, play: Callable[[], Any]) -> list[dict[str, Any]]:
    """Play a call to its end; return its alerts and its end."""
    async with subscribed(server, "?type=alert.raised,call.started,call.ended") as events:
        async with call:
            await play()
            await call.stop()
        await events.until("call.ended")
        return events.seen


@pytest.mark.parametrize("vendor", list(ENCODINGS))
async def test_a_vendors_call_raises_the_alert_of_its_speaker(serve: Serve, vendor: type[TrackCall]) -> None:
    server = await serve(doors={vendor.door: {"token": TOKEN}})
    headers = authenticated(TOKEN, vendor)
    call = vendor(server.url, "c-1", parameters={"role_inbound": "customer"}, headers=headers, **ENCODINGS[vendor])

    async def play() -> None:
        inbound, outbound = speech(7, synthetic=True), speech(7, synthetic=False)
        for at in range(0, len(inbound), 1600):
            await call.send("inbound", inbound[at : at + 1600])
            await call.send("outbound", outbound[at : at + 1600])

    started, *alerts, ended = await alerts_of(server, call, play)
    assert (started["data"]["source"], started["data"]["separation"]) == (vendor.door, "separate")
    assert {(alert["data"]["speaker"], alert["data"]["role"]) for alert in alerts} == {("inbound", "customer")}
    assert ended["data"]["verdicts"] == {"inbound": "synthetic", "outbound": "human"}


async def test_exotel_brings_the_caller(serve: Serve) -> None:
    server = await serve(doors={"exotel": {"token": TOKEN}})
    headers = authenticated(TOKEN, ExotelCall)
    call = ExotelCall(server.url, "c-1", ("caller",), headers=headers, encoding="s16le")
    *_, ended = await alerts_of(server, call, lambda: call.send("caller", speech(7, synthetic=True)))
    assert ended["data"]["verdicts"] == {"caller": "synthetic"}


@pytest.mark.parametrize("swap_channels", [False, True])
@pytest.mark.parametrize("vendor", [FreeSwitchFork, JambonzListen])
async def test_a_stereo_fork_keeps_speakers_apart(serve: Serve, vendor: type[Fork], swap_channels: bool) -> None:
    server = await serve(doors={vendor.door: {"token": TOKEN, "swap_channels": swap_channels}})
    fork = vendor(
        server.url,
        {"call_id" if vendor is FreeSwitchFork else "callSid": "c-1"},
        "stereo",
        16_000,
        {"Authorization": f"Bearer {TOKEN}"},
    )
    left, right = speech(7, synthetic=not swap_channels), speech(7, synthetic=swap_channels)
    *_, ended = await alerts_of(server, fork, lambda: fork.send(np.stack([left, right], axis=1)))
    assert ended["data"]["verdicts"] == {"inbound": "synthetic", "outbound": "human"}


async def test_a_livekit_track_is_a_leg(serve: Serve) -> None:
    server = await serve(doors={"livekit": {"token": TOKEN}})
    track = LiveKitTrack(server.url, {"call_id": "room", "leg": "alice"}, TOKEN)

    async def play() -> None:
        await track.mute(muted=True)
        await track.send(speech(7, synthetic=True))

    *_, ended = await alerts_of(server, track, play)
    assert ended["data"]["verdicts"] == {"alice": "synthetic"}


async def test_a_mix_is_refused_unless_allowed(serve: Serve) -> None:
    server = await serve(doors={"vonage": {}, "mix": {"dialect": "vonage", "allow_mixed": True}})
    async with VonageSocket(server.url, {"call_id": "c-1"}, rate_hz=16_000) as refused_one:
        assert isinstance(refused_one._socket, ClientConnection)
        code, reason = await closed(refused_one._socket)
        assert (code, "`allow_mixed`" in reason) == (4403, True), reason
    allowed = VonageSocket(f"{server.url}/v1/media/mix", {"call_id": "c-1"}, rate_hz=16_000)
    started, *alerts, ended = await alerts_of(server, allowed, lambda: allowed.send(speech(7, synthetic=True)))
    assert (started["data"]["separation"], started["data"]["source"]) == ("mixed", "vonage")
    assert alerts
    assert {(alert["data"]["leg"], alert["data"]["speaker"]) for alert in alerts} == {("mixed", None)}
    assert ended["data"]["verdicts"] == {"mixed": "synthetic"}


@pytest.mark.parametrize(
    ("door", "headers"),
    [
        ("plain", {"Authorization": "Bearer t0ken"}),
        ("exotel", authenticated(TOKEN, ExotelCall)),
        ("telnyx", authenticated(TOKEN, TelnyxCall)),
        ("signalwire", authenticated(TOKEN, SignalWireCall)),
    ],
)
async def test_a_door_has_its_own_token(serve: Serve, door: str, headers: dict[str, str]) -> None:
    server = await serve(doors={door: {"token": TOKEN}}, token="general")
    url = ws_url(server, f"/v1/media/{door}?call_id=c&leg=a" if door == "plain" else f"/v1/media/{door}")
    async with connect(url, additional_headers=headers):
        pass
    for wrong in ({}, {"Authorization": "Bearer general"}, {"Authorization": "Basic !"}):
        status, problem = await refused(url, additional_headers=wrong)
        assert (status, problem["title"]) == (401, "Unauthorized")
        assert TOKEN not in str(problem)


async def test_plivo_must_sign(serve: Serve) -> None:
    server = await serve(doors={"plivo": {"signing_key": "12345"}}, public_url="https://gw.example.com")
    url, called = ws_url(server, "/v1/media/plivo"), "wss://gw.example.com/v1/media/plivo"
    async with connect(url, additional_headers=plivo_signature("12345", called, "n0nce")):
        pass
    for headers in ({}, plivo_signature("54321", called, "n0nce"), plivo_signature("12345", url, "n0nce")):
        status, problem = await refused(url, additional_headers=headers)
        assert (status, problem["detail"].startswith("X-Plivo-Signature-V3")) == (401, True)


async def test_every_check_of_a_door_must_pass(serve: Serve) -> None:
    both = {"token": TOKEN, "allow_ips": ["127.0.0.0/8"]}
    server = await serve(
        doors={
            "here": {"dialect": "exotel", "allow_ips": ["127.0.0.1/32"]},
            "there": {"dialect": "exotel", "allow_ips": ["203.0.113.0/24"]},
            "both": {"dialect": "exotel"} | both,
        },
        token="general",
    )
    async with connect(ws_url(server, "/v1/media/here")):
        pass
    status, problem = await refused(ws_url(server, "/v1/media/there"))
    assert (status, problem["detail"]) == (403, "allow_ips: this address may not use this endpoint")
    assert (await refused(ws_url(server, "/v1/media/both")))[0] == 401
    async with connect(ws_url(server, "/v1/media/both"), additional_headers=authenticated(TOKEN, ExotelCall)):
        pass


async def test_a_door_that_is_not_configured_is_not_there(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    server = await serve()
    status, problem = await refused(ws_url(server, "/v1/media/telnyx"))
    assert (status, problem["detail"]) == (404, "door: there is no 'telnyx'; see `doors` in the settings")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "refused" in line]
    assert "/v1/media/telnyx" in line
    assert "there is no" in line


@pytest.mark.parametrize("slash", ["", "/"])
async def test_a_path_may_end_in_a_slash_and_is_guarded_all_the_same(
    serve: Serve, slash: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = await serve(doors={"exotel": {"token": TOKEN}, "twilio": {"signing_key": "12345"}}, token="general")
    exotel = ws_url(server, f"/v1/media/exotel{slash}")
    async with connect(exotel, additional_headers=authenticated(TOKEN, ExotelCall)):
        pass
    status, problem = await refused(exotel, additional_headers={"Authorization": "Bearer general"})
    assert (status, problem["title"]) == (401, "Unauthorized")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "refused" in line]
    assert f"/v1/media/exotel{slash}" in line
    assert TOKEN not in line
    twilio = ws_url(server, f"/v1/media/twilio{slash}")
    async with connect(twilio, additional_headers={"X-Twilio-Signature": twilio_signature("12345", twilio)}):
        pass
    assert (await refused(twilio))[0] == 401
    async with connect(ws_url(server, f"/v1/events{slash}"), additional_headers={"Authorization": "Bearer general"}):
        pass
    async with httpx.AsyncClient() as web:
        answer = await web.post(f"{server.url}/v1/whip/c-1/a{slash}", headers={"Authorization": "Bearer general"})
        assert answer.json()["detail"].startswith("Content-Type: expected application/sdp")


async def test_parameters_name_call_and_tenant(serve: Serve) -> None:
    door = {"call_id_parameter": "ticket", "tenant_parameter": "org", "roles": {"inbound": "agent"}}
    server = await serve(doors={"telnyx": door})
    call = TelnyxCall(server.url, "v3:x", parameters={"ticket": "T-7", "org": "blue"})
    async with subscribed(server, "?type=leg.started") as events, call:
        leg = (await events.until("leg.started", leg="inbound"))["data"]
        assert (leg["call_id"], leg["tenant"], leg["role"], leg["speaker"]) == ("T-7", "blue", "agent", "inbound")
        async with httpx.AsyncClient() as web:
            (live,) = (await web.get(f"{server.url}/v1/calls")).json()["calls"]
        assert (live["call_id"], live["tenant"], live["separation"]) == ("T-7", "blue", "separate")
    nameless = TelnyxCall(server.url, "v3:x", parameters={"org": "blue"})
    async with nameless:
        assert isinstance(nameless._socket, ClientConnection)
        assert (await closed(nameless._socket)) == (
            4400,
            "ticket: expected 1 to 128 letters, digits or . _ : @ + - (starting with a letter or digit), got ''",
        )


async def test_a_tenant_has_its_share_and_no_others(serve: Serve) -> None:
    doors = {name: {"dialect": "plain", "tenant": name} for name in ("blue", "red")}
    server = await serve(doors=doors, max_calls_per_tenant=1)

    def url(door: str, call_id: str, leg: str = "a") -> str:
        return ws_url(server, f"/v1/media/{door}?call_id={call_id}&leg={leg}")

    async with connect(url("blue", "c-1")) as first:
        await first.send(SILENCE)
        async with connect(url("blue", "c-2")) as second:
            assert await closed(second) == (1013, "all 1 calls of tenant blue are taken")
        async with connect(url("red", "c-1", "b")) as intruder:
            code, reason = await closed(intruder)
            assert (code, reason.partition(";")[0]) == (4403, "call_id: a live call of another tenant has this id")
        async with subscribed(server) as events, connect(url("red", "c-3")), connect(url("blue", "c-1", "b")):
            await events.until("leg.started", call_id="c-3")
            await events.until("leg.started", call_id="c-1", leg="b")


@pytest.mark.parametrize(
    ("limit", "code", "says"),
    [
        ({"max_message_bytes": 100}, 1009, "message: expected at most 100 bytes, got 160"),
        ({"idle_deadline_s": 0.2}, 4408, "no media for 0.2 s"),
        ({"max_call_s": 0.2}, 1001, "call_too_long"),
    ],
)
async def test_a_door_has_its_own_limits(serve: Serve, limit: dict[str, Any], code: int, says: str) -> None:
    server = await serve(doors={"tight": {"dialect": "plain"} | limit})
    async with (
        connect(ws_url(server, "/v1/media/plain?call_id=c-1&leg=a")) as easy,
        connect(ws_url(server, "/v1/media/tight?call_id=c-2&leg=a")) as tight,
    ):
        await easy.send(SILENCE)
        await tight.send(SILENCE)
        assert await closed(tight) == (code, says)
        await easy.send(SILENCE)
        await easy.ping()


async def test_a_door_starts_in_its_own_time(serve: Serve) -> None:
    server = await serve(doors={"twilio": {"start_deadline_s": 0.1}})
    async with connect(ws_url(server, "/v1/media/twilio")) as socket:
        assert await closed(socket) == (4408, "no start of the stream within 0.1 s: expected `start`")


@pytest.mark.parametrize(
    ("door", "says"),
    [
        ({"dialect": "klingon"}, "doors.x.dialect: expected one of"),
        ({}, "doors.x.dialect: expected one of"),
        ({"dialect": "plain", "signing_key": "k"}, "doors.x.signing_key: plain has no signatures"),
    ],
)
async def test_a_door_that_cannot_be_is_refused_at_the_start(serve: Serve, door: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as fault:
        await serve(doors={"x": door})
    assert says in str(fault.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[doors.telnyx]\ntokn = 'x'", "doors.telnyx.tokn: there is no such setting"),
        ("[doors.telnyx]\nallow_ips = ['nowhere']", "doors.telnyx.allow_ips"),
        ("[doors.telnyx]\nsigning_key = ['s3cret']", "doors.telnyx.signing_key"),
        ("[doors.telnyx]\nroles = {inbound = 'boss'}", "doors.telnyx.roles.inbound"),
        ("[doors.'a/b']", "doors.a/b"),
    ],
)
def test_a_bad_door_is_refused_by_its_key(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "callscreen.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as fault:
        load(file, environ={})
    assert says in str(fault.value)
    assert "s3cret" not in str(fault.value)
