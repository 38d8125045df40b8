"""AudioSocket over real TCP, the whole way to the alert; and everything that ends a connection."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from uuid import UUID

import pytest
from prometheus_client import REGISTRY

from gateway.app import Server
from gateway.client.audiosocket import AUDIO_TYPES, AudioSocketStream, frame, leg_uuid
from gateway.errors import ConfigError
from gateway.ingest.tolerance import MAX_BAD_MESSAGES
from tests.gateway.conftest import Serve
from tests.gateway.loudness import speech
from tests.gateway.wire import subscribed

pytestmark = pytest.mark.usefixtures("detector")

SECRET = "a secret of the house"
CALL = bytes.fromhex("abcdef012345")
DOOR = {"listen": "127.0.0.1:0", "secret": SECRET}


def stream(server: Server, leg: int, rate: int = 8_000) -> AudioSocketStream:
    assert server.audiosocket is not None
    return AudioSocketStream(*server.audiosocket, leg_uuid(SECRET, CALL, leg), rate)


async def said(connection: AudioSocketStream) -> bytes:
    """What the gateway says at the end."""
    async with asyncio.timeout(5):
        return await connection.closed()


async def test_two_connections_are_one_call_and_the_alert_names_the_leg(serve: Serve) -> None:
    server = await serve(audiosocket=DOOR | {"tenant": "bank"})
    async with subscribed(server) as events, stream(server, 0) as caller, stream(server, 1, 16_000) as callee:
        await asyncio.gather(caller.send(speech(8, synthetic=False)), callee.send(speech(8, synthetic=True)))
        raised = await events.until("alert.raised", stage="confirmed")
        await caller.transmit(frame(0x03, b"5"))
        await caller.stop()
        await callee.stop()
        ended = await events.until("call.ended")
    facts = raised["data"]
    assert (facts["call_id"], facts["leg"], facts["role"]) == ("abcdef012345", "callee", "callee")
    assert events.seen[0]["data"]["tenant"] == "bank"
    assert ended["data"]["verdicts"] == {"caller": "human", "callee": "synthetic"}
    assert {event["data"]["source"] for event in events.seen if event["type"] == "leg.started"} == {"audiosocket"}


async def test_an_announced_uuid_and_the_rate_of_old_asterisk(serve: Serve) -> None:
    uuid = UUID("40325ec2-5efd-4bd3-805f-53576e581d13")
    uuids = {str(uuid): {"call_id": "desk-7", "leg": "left", "role": "agent"}}
    server = await serve(audiosocket={"listen": "127.0.0.1:0", "uuids": uuids, "slin_rate_hz": 16_000})
    assert server.audiosocket is not None
    async with subscribed(server) as events, AudioSocketStream(*server.audiosocket, uuid) as left:
        await left.transmit(frame(AUDIO_TYPES[8_000], bytes(640)))
        facts = (await events.until("leg.started"))["data"]
        await left.stop()
    assert (facts["call_id"], facts["leg"], facts["role"], facts["rate_hz"]) == ("desk-7", "left", "agent", 16_000)


@pytest.mark.parametrize(
    "wire",
    [
        frame(0x01, bytes(16)),
        frame(AUDIO_TYPES[8_000], bytes(320)),
        b"GET / HTTP/1.1\r\n" * 5000,
    ],
    ids=["unknown uuid", "no uuid", "not audiosocket"],
)
async def test_a_stranger_is_hung_up_on(serve: Serve, wire: bytes) -> None:
    server = await serve(audiosocket=DOOR)
    assert server.audiosocket is not None
    reader, writer = await asyncio.open_connection(*server.audiosocket)
    writer.write(wire)
    async with asyncio.timeout(5):
        try:
            assert await reader.read() == b"\0\0\0"
        except ConnectionResetError:
            assert len(wire) > 1000, "only what was not read to the end may be reset"
    writer.close()
    assert server.registry.calls() == []


async def test_there_are_no_more_connections_than_calls_have_legs(serve: Serve) -> None:
    server = await serve(audiosocket=DOOR, max_calls=1)
    async with stream(server, 0) as first, stream(server, 1) as second:
        await asyncio.gather(*(one.send(speech(0.5, synthetic=False)) for one in (first, second)))
        async with stream(server, 2) as third:
            with contextlib.suppress(ConnectionResetError):  # hung up on before the UUID was read
                assert await said(third) == b"\0\0\0"
        assert len(server.registry.calls()) == 1


async def test_connections_of_one_source_are_limited_and_those_that_are_there_go_on(serve: Serve) -> None:
    server = await serve(audiosocket=DOOR, rate_limits={"audiosockets_per_s": 0.2, "exempt": []})
    limited = REGISTRY.get_sample_value("callscreen_rate_limited_total", {"what": "audiosockets"}) or 0.0
    async with subscribed(server, "?type=leg.started,score") as events, stream(server, 0) as caller, stream(server, 1):
        await caller.send(speech(0.5, synthetic=False))
        await events.until("leg.started")
        async with stream(server, 2) as third:
            with contextlib.suppress(ConnectionResetError):  # hung up on before the UUID was read
                assert await said(third) == b"\0\0\0"
        await caller.send(speech(4, synthetic=False))
        await events.until("score")
        await caller.stop()
    assert REGISTRY.get_sample_value("callscreen_rate_limited_total", {"what": "audiosockets"}) == limited + 1


async def test_an_address_that_may_not_connect(serve: Serve) -> None:
    server = await serve(audiosocket=DOOR | {"allow_ips": ["10.0.0.0/8"]})
    async with stream(server, 0) as caller:
        with contextlib.suppress(ConnectionResetError):  # hung up on before the UUID was read
            assert await said(caller) == b"\0\0\0"
    assert server.registry.calls() == []


async def test_wrong_frames_do_no_harm_until_there_are_too_many_in_a_row(serve: Serve) -> None:
    server = await serve(audiosocket=DOOR)
    odd, good = frame(AUDIO_TYPES[8_000], bytes(321)), frame(AUDIO_TYPES[8_000], bytes(320))
    async with subscribed(server) as events, stream(server, 0) as caller, stream(server, 1) as callee:
        await callee.send(speech(0.5, synthetic=False))
        for _ in range(MAX_BAD_MESSAGES):
            for data in (good, odd, frame(0x42), frame(0x42, bytes(100))):
                await caller.transmit(data)
        await events.until("leg.started", leg="caller")
        for _ in range(MAX_BAD_MESSAGES):
            await caller.transmit(odd)
        assert await said(caller) == b"\0\0\0"
        ended = (await events.until("leg.ended", leg="caller"))["data"]
        assert (ended["audio_s"], ended["ended_by"]) == (0.02 * MAX_BAD_MESSAGES, "protocol_error")
        await callee.send(speech(0.5, synthetic=False))
        assert [leg.description.leg for call in server.registry.calls() for leg in call.legs.values()] == ["callee"]


async def test_a_leg_is_taken_once(serve: Serve) -> None:
    server = await serve(audiosocket=DOOR)
    async with subscribed(server) as events, stream(server, 0) as first, stream(server, 0) as second:
        await first.send(speech(0.5, synthetic=False))
        await events.until("leg.started", leg="caller")
        await second.send(speech(0.5, synthetic=False))
        assert await said(second) == b"\0\0\0"
        await first.stop()
        assert (await events.until("leg.ended", leg="caller"))["data"]["ended_by"] == "stopped"


async def test_silence_has_its_deadlines(serve: Serve) -> None:
    server = await serve(audiosocket=DOOR, start_deadline_s=1.0, idle_deadline_s=0.3)
    async with subscribed(server) as events, stream(server, 0) as never, stream(server, 1) as stalls:
        await stalls.send(speech(0.5, synthetic=False))
        assert await said(never) == b"\0\0\0"
        assert await said(stalls) == b"\0\0\0"
        assert (await events.until("leg.ended", leg="callee"))["data"]["ended_by"] == "timeout"


async def test_a_cut_connection_ends_the_leg(serve: Serve) -> None:
    server = await serve(audiosocket=DOOR)
    async with subscribed(server) as events:
        async with stream(server, 0) as caller:
            await caller.send(speech(0.5, synthetic=False))
            await events.until("leg.started")
        await events.until("call.ended")


async def test_a_drain_hangs_up(serve: Serve) -> None:
    server = await serve(audiosocket=DOOR)
    async with subscribed(server) as events, stream(server, 0) as caller:
        await caller.send(speech(0.5, synthetic=False))
        await events.until("leg.started")
        await server.registry.drain()
        assert await said(caller) == b"\0\0\0"
        assert (await events.until("leg.ended"))["data"]["ended_by"] == "shutdown"


async def test_a_taken_port_is_the_operators_fault(serve: Serve) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ConfigError, match=r"audiosocket\.listen: cannot listen on"),
    ):
        await serve(audiosocket=DOOR | {"listen": f"127.0.0.1:{taken.getsockname()[1]}"})
