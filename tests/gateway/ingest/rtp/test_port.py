"""RTP without signalling, over real UDP sockets against the whole gateway."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pylibsrtp
import pytest

from gateway.errors import ConfigError
from gateway.ingest.rtp.settings import RtpPort
from tests.gateway.conftest import Serve
from tests.gateway.loudness import speech
from tests.gateway.rtp import packet, pcmu, send
from tests.gateway.wire import call_of, subscribed

pytestmark = pytest.mark.usefixtures("detector")

ANYWHERE = "127.0.0.1:0"
BYE = bytes([0x81, 203, 0, 1, 0, 0, 0, 7])
KEY = bytes(range(30))


async def test_two_speakers_of_one_port_are_separated_by_ssrc(serve: Serve) -> None:
    port = {"listen": ANYWHERE, "call_id": "c-1", "legs": {"a": {"ssrc": 7, "role": "caller"}, "b": {"ssrc": 8}}}
    server = await serve(rtp={"janus": port})
    async with subscribed(server) as events:
        await asyncio.gather(
            send(server.rtp["janus"], pcmu(speech(10, synthetic=True), ssrc=7)),
            send(server.rtp["janus"], pcmu(speech(10, synthetic=False), ssrc=8)),
        )
        raised = await events.until("alert.raised", stage="confirmed")
        await send(server.rtp["janus"], iter([packet(b"\xff" * 160, 1, 1, ssrc=9)]))
        assert [leg.description.leg for leg in call_of(server, "c-1").legs.values()] == ["a", "b"]
    assert (raised["data"]["leg"], raised["data"]["role"]) == ("a", "caller")


async def test_goodbye_ends_the_leg_and_the_next_packet_begins_a_new_call(serve: Serve) -> None:
    server = await serve(rtp={"in": {"listen": ANYWHERE, "legs": {"a": {}}}})
    packets = list(pcmu(speech(1, synthetic=False)))
    calls = []
    async with subscribed(server) as events:
        for _ in range(2):
            await send(server.rtp["in"], iter([*packets, BYE]))
            ended = await events.until("leg.ended")
            calls.append(ended["data"]["call_id"])
            assert ended["data"]["ended_by"] == "stopped"
    assert len(set(calls)) == 2
    assert all(call.startswith("in-") for call in calls)


async def test_a_leg_there_is_no_room_for_is_dropped_for_a_while(serve: Serve) -> None:
    ports: dict[str, Any] = {name: {"listen": ANYWHERE, "call_id": name, "legs": {"a": {}}} for name in ("one", "two")}
    server = await serve(rtp=ports, max_calls=1)
    await send(server.rtp["one"], pcmu(speech(0.2, synthetic=False)))
    await send(server.rtp["two"], pcmu(speech(0.2, synthetic=False)))
    await asyncio.sleep(0.05)
    assert [call.call_id for call in server.registry.calls()] == ["one"]


def test_payload_types_add_to_those_that_are_known() -> None:
    port = RtpPort.model_validate({"listen": ANYWHERE, "legs": {"a": {}}, "payload_types": {"118": "L16/16000"}})
    assert {number: known.name for number, known in port.codecs.items()} == {
        0: "PCMU/8000",
        8: "PCMA/8000",
        9: "G722/8000",
        118: "L16/16000",
    }


async def test_silence_ends_the_leg(serve: Serve) -> None:
    server = await serve(rtp={"in": {"listen": ANYWHERE, "legs": {"a": {}}}}, idle_deadline_s=0.2)
    async with subscribed(server) as events:
        await send(server.rtp["in"], pcmu(speech(1, synthetic=False)))
        ended = await events.until("leg.ended")
    assert ended["data"]["ended_by"] == "timeout"


async def test_with_a_key_nothing_else_is_heard(serve: Serve) -> None:
    port = {"listen": ANYWHERE, "call_id": "c-1", "legs": {"a": {}}, "srtp_key": base64.b64encode(KEY).decode()}
    server = await serve(rtp={"in": port})
    srtp = pylibsrtp.Session(pylibsrtp.Policy(KEY, pylibsrtp.Policy.SSRC_ANY_OUTBOUND))
    async with subscribed(server) as events:
        await send(server.rtp["in"], pcmu(speech(1, synthetic=True)))
        await asyncio.sleep(0.05)
        assert not server.registry.calls()
        await send(server.rtp["in"], (srtp.protect(data) for data in pcmu(speech(8, synthetic=True))))
        await events.until("alert.raised", leg="a")


async def test_only_those_allowed_may_send(serve: Serve) -> None:
    server = await serve(rtp={"in": {"listen": ANYWHERE, "legs": {"a": {}}, "allow_ips": ["192.0.2.0/24"]}})
    await send(server.rtp["in"], pcmu(speech(1, synthetic=True)))
    await asyncio.sleep(0.05)
    assert not server.registry.calls()


@pytest.mark.parametrize(
    ("port", "complaint"),
    [
        ({"listen": "0.0.0.0:5004", "legs": {"a": {}}}, "`allow_ips` or `srtp_key` must be set"),
        ({"listen": "example:5004", "legs": {"a": {}}}, "expected ADDRESS:PORT"),
        ({"listen": ANYWHERE, "legs": {"a": {}, "b": {}}}, "expected a different ssrc"),
        ({"listen": ANYWHERE, "legs": {"a": {}}, "payload_types": {"96": "speex/8000"}}, "96 = 'speex/8000'"),
        ({"listen": ANYWHERE, "legs": {"a": {}}, "srtp_key": "c2hvcnQ="}, "a key of 30 bytes"),
        ({"listen": ANYWHERE, "legs": {"a/b": {}}}, "letters, digits"),
    ],
)
async def test_an_inconsistent_port_is_refused(serve: Serve, port: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        await serve(rtp={"in": port})


async def test_a_port_that_is_taken_is_named(serve: Serve, tmp_path: Path) -> None:
    server = await serve(rtp={"in": {"listen": ANYWHERE, "legs": {"a": {}}}})
    taken = f"127.0.0.1:{server.rtp['in'][1]}"
    with pytest.raises(ConfigError, match=r"rtp\.in\.listen: cannot listen"):
        await serve(rtp={"in": {"listen": taken, "legs": {"a": {}}}}, journal=tmp_path / "other.sqlite3")
