"""Media as real peers send it, over real sockets: packets of any length, drifting clocks, silence, whole RTP."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest
from websockets.asyncio.client import connect

from gateway.client.codecs import encode
from tests.gateway.conftest import Serve
from tests.gateway.loudness import speech
from tests.gateway.rtp import packet, send
from tests.gateway.wire import TWILIO_STOP, closed, subscribed, twilio_media, twilio_start, ws_url

pytestmark = pytest.mark.usefixtures("detector")

ANYWHERE = "127.0.0.1:0"
GOODBYE = bytes([0x81, 203, 0, 1, 0, 0, 0, 7])
"""RTCP BYE of the source that `packet` writes."""


@pytest.mark.parametrize(
    "query",
    [
        "call_id=c-1&leg=a,b&encoding=s16le&rate=8000&channels=2",
        "channels=2&rate=8000&encoding=S16LE&leg=a,%20b&call_id=c-1",
    ],
)
@pytest.mark.parametrize("packet_ms", [10, 20, 30, 60])
async def test_a_plain_stream_in_any_order_and_pieces(serve: Serve, query: str, packet_ms: int) -> None:
    server = await serve()
    size = 32 * packet_ms  # two channels of 8 kHz, 2 bytes each
    async with subscribed(server) as events, connect(ws_url(server, f"/v1/media/plain?{query}")) as peer:
        for index in range(600 // packet_ms):
            await peer.send(b"")
            if index % 3 == 0:
                await peer.send(bytes(size - 1))  # cut short: worth nothing, and no harm
            await peer.send(bytes(size))
        await peer.close()
        ended = (await events.until("call.ended"))["data"]
    legs = {event["data"]["leg"]: event["data"] for event in events.seen if event["type"] == "leg.ended"}
    assert ended["verdicts"] == {"a": "indeterminate", "b": "indeterminate"}
    assert {(leg["audio_s"], leg["missing_s"], leg["ended_by"]) for leg in legs.values()} == {
        (0.6, 0.0, "disconnected")
    }


async def test_only_odd_frames_end_the_stream_with_a_reason(serve: Serve) -> None:
    server = await serve()
    async with connect(ws_url(server, "/v1/media/plain?call_id=c-1&leg=a&encoding=s16le")) as peer:
        for _ in range(10):
            await peer.send(bytes(321))
        assert await closed(peer) == (4400, "message: expected a multiple of 2 bytes, got 321")


@pytest.mark.parametrize("ppm", [-200, 200])
async def test_a_clock_that_drifts_loses_nothing(serve: Serve, ppm: int) -> None:
    """Ten minutes, in which such a clock goes 120 ms wrong; of time alone, for that is all that drifts."""
    server = await serve(max_messages_per_s=100_000)
    async with subscribed(server) as events, connect(ws_url(server, "/v1/media/twilio")) as peer:
        await peer.send(twilio_start("CA1", ("inbound",)))
        template = twilio_media(0, payload=b"\xff" * 800)
        for index in range(6_000):
            timestamp = round(100 * index * (1 + ppm / 1e6))
            await peer.send(template.replace('"timestamp": "0"', f'"timestamp": "{timestamp}"'))
        await peer.send(TWILIO_STOP)
        ended = (await events.until("leg.ended", within_s=30))["data"]
    assert (ended["audio_s"], ended["missing_s"]) == (600.0, 0.0)
    assert "coverage.reduced" not in [event["type"] for event in events.seen]


def free_port() -> tuple[str, int]:
    """An address to send from again and again: a speaker is held fast to it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        host, port = probe.getsockname()
        return host, port


def with_all_parts(data: bytes) -> bytes:
    """A packet with padding, one CSRC and a header extension (RFC 3550 sections 5.1 and 5.3.1)."""
    first, rest, payload = data[0], data[1:12], data[12:]
    csrc, extension = struct.pack("!I", 99), struct.pack("!HHI", 0xBEDE, 1, 0x10FF0000)
    return bytes([first | 0x20 | 0x10 | 1]) + rest + csrc + extension + payload + b"\0\0\0\4"


async def test_rtp_with_padding_extension_and_csrc_is_accepted(serve: Serve) -> None:
    server = await serve(rtp={"in": {"listen": ANYWHERE, "call_id": "c-1", "legs": {"a": {}}}})
    data = encode(speech(8, synthetic=True)[::2], "mulaw")
    packets = [packet(data[160 * i : 160 * i + 160], i, 160 * i) for i in range(400)]
    async with subscribed(server) as events:
        await send(server.rtp["in"], iter([with_all_parts(one) for one in packets]))
        raised = await events.until("alert.raised", stage="confirmed")
    assert raised["data"]["leg"] == "a"


async def test_comfort_noise_and_an_hour_of_silence_are_no_loss(serve: Serve) -> None:
    server = await serve(rtp={"in": {"listen": ANYWHERE, "call_id": "c-1", "legs": {"a": {}}}})
    data = encode(speech(8, synthetic=True)[::2], "mulaw")
    before = [packet(b"\xff" * 160, index, 160 * index) for index in range(50)]
    noise = [packet(b"\x40", 50, 8_000, payload_type=13)]
    hour = 3600 * 8_000
    after = [packet(data[160 * i : 160 * i + 160], 51 + i, hour + 160 * i) for i in range(400)]
    source = free_port()
    async with subscribed(server) as events:
        await send(server.rtp["in"], iter([*before, *noise, *after]), source)
        raised = await events.until("alert.raised", stage="confirmed")
        await send(server.rtp["in"], iter([GOODBYE]), source)
        ended = (await events.until("leg.ended"))["data"]
    assert raised["data"]["media_time_s"] > 3600
    assert (ended["missing_s"], ended["verdict"]) == (0.0, "synthetic")


async def test_rtp_packets_of_any_length_and_none_on_a_fast_clock(serve: Serve) -> None:
    """1.7 minutes in packets of 10 to 60 ms, one of ten of them empty, on a clock that is 200 ppm fast."""
    server = await serve(rtp={"in": {"listen": ANYWHERE, "call_id": "c-1", "legs": {"a": {}}}})
    packets, sent_ms = [], 0
    for index in range(3_000):
        payload_ms = 0 if index % 10 == 9 else (10, 20, 60, 60)[index % 4]
        packets.append(packet(b"\xff" * 8 * payload_ms, index, round(8 * sent_ms * (1 + 200e-6))))
        sent_ms += payload_ms
    async with subscribed(server) as events:
        await send(server.rtp["in"], iter([*packets, GOODBYE]))
        ended = (await events.until("leg.ended", within_s=30))["data"]
    assert (ended["audio_s"], ended["missing_s"]) == (sent_ms / 1000, 0.0)
    assert "coverage.reduced" not in [event["type"] for event in events.seen]


async def test_opus_that_sends_next_to_nothing_in_silence_loses_nothing(serve: Serve) -> None:
    """DTX (RFC 7587 section 3.1.3): now and then a packet of one byte, while the clock goes on."""
    door = {"listen": ANYWHERE, "call_id": "c-1", "legs": {"a": {}}, "payload_types": {"111": "opus/48000"}}
    server = await serve(rtp={"in": door})
    frame, nothing = b"\xf8\xff\xfe", b"\xf8"  # 20 ms of silence, and of no data (RFC 6716 section 3.2.1)
    times = [*range(0, 1000, 20), *range(1000, 3000, 400), *range(3000, 4000, 20)]
    packets = [
        packet(nothing if 1000 <= at_ms < 3000 else frame, index, 48 * at_ms, payload_type=111)
        for index, at_ms in enumerate(times)
    ]
    async with subscribed(server) as events:
        await send(server.rtp["in"], iter([*packets, GOODBYE]))
        ended = (await events.until("leg.ended"))["data"]
    assert (ended["audio_s"], ended["missing_s"]) == (2.1, 0.0)
    assert ended["media_time_s"] == pytest.approx(4.0)
    assert "coverage.reduced" not in [event["type"] for event in events.seen]


async def test_a_codec_that_changes_in_mid_call_goes_on_as_a_leg_of_its_own(serve: Serve) -> None:
    server = await serve(rtp={"in": {"listen": ANYWHERE, "call_id": "c-1", "legs": {"a": {}}}})
    source = free_port()
    voice = speech(8, synthetic=True)[::2]
    mulaw, alaw = encode(voice[:8_000], "mulaw"), encode(voice, "alaw")
    first = [packet(mulaw[160 * i : 160 * i + 160], i, 160 * i) for i in range(50)]
    then = [packet(alaw[160 * i : 160 * i + 160], 50 + i, 8_000 + 160 * i, payload_type=8) for i in range(400)]
    async with subscribed(server) as events:
        await send(server.rtp["in"], iter(first), source)
        await send(server.rtp["in"], iter(then[:10]), source)
        assert (await events.until("leg.ended"))["data"]["ended_by"] == "codec_changed"
        await asyncio.sleep(0.1)
        await send(server.rtp["in"], iter(then[10:]), source)
        started = (await events.until("leg.started"))["data"]
        await events.until("alert.raised", stage="confirmed")
    assert (started["leg"], started["encoding"]) == ("a", "alaw")


async def test_a_lossy_line_gets_one_coverage_event(serve: Serve) -> None:
    """A minute in which one message of five never comes: one event, and the final counts at the end."""
    server = await serve()
    async with subscribed(server) as events, connect(ws_url(server, "/v1/media/twilio")) as peer:
        await peer.send(twilio_start("CA1", ("inbound",)))
        for index in range(3000):
            if index % 5:
                await peer.send(twilio_media(index))
        await peer.send(TWILIO_STOP)
        ended = (await events.until("leg.ended", within_s=30))["data"]
    (reduced,) = [event["data"] for event in events.seen if event["type"] == "coverage.reduced"]
    assert reduced["reason"] == "media_lost"
    assert 0.5 <= reduced["missing_s"] < 2.0
    assert ended["missing_s"] == pytest.approx(12.0, abs=0.1)
    assert ended["coverage_reduced"] == ["media_lost"]
