"""WHIP over real sockets: HTTP, ICE, DTLS and SRTP on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aioice.ice
import httpx
import numpy as np
import pytest
import pytest_asyncio
from aiortc import AudioStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from numpy.typing import NDArray

from gateway.client.whip import WhipError, WhipPublisher
from gateway.config_loading import load
from gateway.errors import ConfigError, ProtocolError
from gateway.ingest.codecs import open_decoder
from gateway.ingest.events import AudioFormat, CallId, LegDescription, LegId, StreamStarted
from gateway.ingest.webrtc import peer as webrtc
from gateway.ingest.webrtc.whip import Whip
from tests.gateway.ingest.webrtc.test_sdp import DATA, OFFER, SESSION, VIDEO
from tests.gateway.ingest.whip_door import Door, RecordedCalls, open_door, until

SDP = {"Content-Type": "application/sdp"}
PATH = "/v1/whip/call-1/caller"


@pytest_asyncio.fixture
async def door() -> AsyncIterator[Door]:
    """A WHIP endpoint that listens on loopback."""
    async with open_door(load()) as door:
        yield door


@pytest_asyncio.fixture
async def http(door: Door) -> AsyncIterator[httpx.AsyncClient]:
    """A plain HTTP client of it."""
    async with httpx.AsyncClient(base_url=door.url, trust_env=False) as client:
        yield client


def tone(seconds: float, hz: float = 440.0) -> NDArray[np.float32]:
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(round(16_000 * seconds)) / 16_000)).astype(np.float32)


def caller(door: Door, leg: str = "caller") -> WhipPublisher:
    return WhipPublisher(door.url, "call-1", leg)


async def test_a_voice_comes_in_packet_by_packet(door: Door) -> None:
    async with caller(door) as publisher:
        await publisher.play(tone(0.5))
        await publisher.stop()
        await until(lambda: len(door.stream.heard) == 26)  # 25, and what the encoder looked ahead
    legs = (LegDescription(LegId("caller"), AudioFormat("opus", 48_000), "caller"),)
    assert door.stream.started == StreamStarted(CallId("call-1"), "whip", legs, max_call_s=4 * 3600.0)
    assert door.stream.reason == "stopped"
    heard = [audio for _, audio in door.stream.heard]
    assert {audio.leg for audio in heard} == {"caller"}
    assert np.diff([audio.seq for audio in heard if audio.seq is not None]).tolist() == [1] * 25
    assert np.diff([audio.start_ms for audio in heard if audio.start_ms is not None]) == pytest.approx([20.0] * 25)
    samples = open_decoder(AudioFormat("opus", 48_000)).decode([audio.payload for audio in heard])
    spectrum = np.abs(np.fft.rfft(samples[4_800:24_000]))
    assert np.argmax(spectrum) * 48_000 / 19_200 == pytest.approx(440, abs=5)


async def test_a_lost_packet_costs_that_packet_alone(door: Door) -> None:
    async with caller(door) as publisher:
        packets = publisher.packets(tone(1.0))
        for index, packet in enumerate(packets):
            if index == 20:
                continue
            await publisher.transmit(packet)
            await until(lambda: len(door.stream.heard) == index + (index < 20))  # noqa: B023  before the next one is sent
    seqs = [audio.seq for _, audio in door.stream.heard if audio.seq is not None]
    assert [seq - seqs[0] for seq in seqs] == [*range(20), *range(21, 50)]


async def test_packets_are_handed_on_in_the_order_of_the_wire(door: Door) -> None:
    async with caller(door) as publisher:
        packets = publisher.packets(tone(0.08))
        for index in (0, 2, 1, 3):
            await publisher.transmit(packets[index])
        await until(lambda: len(door.stream.heard) == 4)
    seqs = [audio.seq for _, audio in door.stream.heard if audio.seq is not None]
    assert [seq - seqs[0] for seq in seqs] == [0, 2, 1, 3]


async def test_the_two_legs_of_a_call_are_two_sessions(door: Door) -> None:
    async with caller(door) as one, caller(door, "callee") as other:
        await one.send(tone(0.1))
        await other.send(tone(0.2))
        await until(lambda: [len(stream.heard) for stream in door.calls.streams] == [5, 10])
    assert [stream.started.legs[0].leg for stream in door.calls.streams] == ["caller", "callee"]
    assert [stream.reason for stream in door.calls.streams] == ["stopped", "stopped"]


async def test_the_sender_gets_receiver_reports(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webrtc, "REPORT_INTERVAL_S", 0.05)
    async with caller(door) as publisher:
        for index, packet in enumerate(publisher.packets(tone(0.5))):
            if index != 10:
                await publisher.transmit(packet)
        await until(lambda: len(door.stream.heard) == 24)
        reports: list[int] = []
        async with asyncio.timeout(10):
            while not reports or reports[-1] == 0:
                await asyncio.sleep(0.01)
                statistics = (await publisher._sender.getStats()).values()
                reports = [entry.packetsLost for entry in statistics if entry.type == "remote-inbound-rtp"]
        assert reports == [1]


async def test_a_peer_that_closes_its_connection_has_stopped(door: Door) -> None:
    async with caller(door) as publisher:
        await publisher.send(tone(0.1))
        await until(lambda: door.stream.heard)
        await publisher._peer.close()
        await until(lambda: door.stream.reason)
        assert door.stream.reason == "stopped"  # its RTCP BYE said so


async def test_a_peer_that_vanishes_is_noticed_by_ice(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aioice.ice, "CONSENT_INTERVAL", 0.05)
    monkeypatch.setattr(aioice.ice, "CONSENT_FAILURES", 1)
    async with caller(door) as publisher:
        await publisher.send(tone(0.1))
        await until(lambda: door.stream.heard)
        for protocol in publisher._sender.transport.transport._connection._protocols:
            protocol.transport.abort()
        await until(lambda: door.stream.reason)
        assert door.stream.reason == "disconnected"


async def test_the_gateway_may_end_a_session(door: Door) -> None:
    async with caller(door) as publisher:
        door.stream.ended.set_result("call_too_long")
        await until(lambda: publisher._peer.connectionState == "closed")
        assert door.stream.reason == "call_too_long"
        with pytest.raises(ConnectionError):
            await publisher.send(tone(0.1))


async def test_closing_the_endpoint_ends_all_sessions(door: Door) -> None:
    async with caller(door), caller(door, "callee"):
        await door.whip.close()
        assert [stream.reason for stream in door.calls.streams] == ["shutdown", "shutdown"]


async def test_a_session_that_never_connects_is_closed() -> None:
    async with open_door(load(start_deadline_s=0.02)) as door:
        async with httpx.AsyncClient(trust_env=False) as http:
            assert (await http.post(door.url + PATH, content=OFFER, headers=SDP)).status_code == 201
        await until(lambda: door.stream.reason)
        assert door.stream.reason == "timeout"


async def test_a_session_that_falls_silent_is_closed() -> None:
    async with open_door(load(idle_deadline_s=0.2)) as door, caller(door) as publisher:
        await publisher.play(tone(0.4))
        assert door.stream.reason is None  # each packet gives it more time
        await until(lambda: door.stream.reason)
        assert door.stream.reason == "timeout"


async def test_a_payload_that_cannot_be_decoded_ends_that_session_alone(door: Door) -> None:
    async with caller(door) as good, caller(door, "callee") as bad:
        first, second = door.calls.streams
        second.refuse = ProtocolError("payload: not Opus")
        await good.send(tone(0.1))
        await bad.send(tone(0.1))
        await until(lambda: second.reason)
        await good.send(tone(0.1))
        await until(lambda: len(first.heard) == 10)
        assert (first.reason, second.reason) == (None, "protocol_error")


async def test_a_mistake_of_ours_ends_that_session_and_is_logged(
    door: Door, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    async with caller(door) as publisher:
        door.stream.ended.set_exception(RuntimeError("a bug"))
        await until(lambda: door.stream.reason)
        assert door.stream.reason == "failed"
        await until(lambda: publisher._peer.connectionState == "closed")
    assert "webrtc session failed" in caplog.text + capsys.readouterr().out


async def test_an_ordinary_aiortc_client_is_served(door: Door, http: httpx.AsyncClient) -> None:
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTrack(AudioStreamTrack())
    gatherer = peer.getSenders()[0].transport.transport.iceGatherer
    await gatherer.gather()
    connection = gatherer._connection
    connection._local_candidates += await connection.get_component_candidates(1, ["127.0.0.1"])
    await peer.setLocalDescription()
    response = await http.post(PATH, content=peer.localDescription.sdp, headers=SDP)
    await peer.setRemoteDescription(RTCSessionDescription(response.text, "answer"))
    await until(lambda: len(door.stream.heard) >= 5)
    await peer.close()
    await until(lambda: door.stream.reason == "stopped")


async def test_an_offer_with_video_and_data_is_accepted(door: Door, http: httpx.AsyncClient) -> None:
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTrack(AudioStreamTrack())
    peer.addTransceiver("video", direction="sendonly")
    peer.createDataChannel("chat")
    gatherer = peer.getSenders()[0].transport.transport.iceGatherer
    await gatherer.gather()
    connection = gatherer._connection
    connection._local_candidates += await connection.get_component_candidates(1, ["127.0.0.1"])
    await peer.setLocalDescription()
    odd = "a=fmtp:111\r\na=ssrc:7 cname\r\na=candidate:1 1 udp\r\n"
    response = await http.post(PATH, content=peer.localDescription.sdp + odd, headers=SDP)
    lines = [line for line in response.text.splitlines() if line.startswith("m=")]
    assert [line.split()[0] for line in lines] == ["m=audio", "m=video", "m=application"]
    assert [line.split()[1] != "0" for line in lines] == [True, False, False]
    audio = response.text.partition("m=video")[0]
    await peer.close()
    assert "a=recvonly" in audio


async def test_the_offer_of_a_studio_with_video_is_answered(door: Door, http: httpx.AsyncClient) -> None:
    for extra in (VIDEO, DATA):
        path = f"/v1/whip/call-1/{'caller' if extra is VIDEO else 'callee'}"
        response = await http.post(path, content=OFFER + extra, headers=SDP)
        assert response.status_code == 201, response.text


async def test_the_session_url_cannot_be_guessed_and_ends_once(door: Door, http: httpx.AsyncClient) -> None:
    first = await http.post(PATH, content=OFFER, headers=SDP)
    second = await http.post("/v1/whip/call-1/callee", content=OFFER, headers=SDP)
    assert first.headers["content-type"].startswith("application/sdp")
    session = first.headers["location"]
    assert session.startswith(PATH + "/")
    assert len(session.removeprefix(PATH + "/")) >= 16
    assert session.rpartition("/")[2] != second.headers["location"].rpartition("/")[2]
    assert (await http.delete(session)).status_code == 200
    assert door.calls.streams[0].reason == "stopped"
    assert door.calls.streams[1].reason is None
    again = await http.delete(session)
    assert again.status_code == 404
    assert again.headers["content-type"] == "application/problem+json"


async def test_location_and_ice_servers_are_as_configured() -> None:
    settings = load(public_url="https://gw.example.com/", ice_servers=("turn:127.0.0.1:1?transport=tcp",))
    async with open_door(settings) as door, httpx.AsyncClient(trust_env=False) as http:
        response = await http.post(door.url + PATH, content=OFFER, headers=SDP, timeout=10)
        assert response.headers["location"].startswith(f"https://gw.example.com{PATH}/")
        assert response.headers["link"] == '<turn:127.0.0.1:1?transport=tcp>; rel="ice-server"'


async def test_other_http_methods_are_answered_as_the_rfc_requires(http: httpx.AsyncClient) -> None:
    options = await http.options(PATH)
    assert (options.status_code, options.headers["accept-post"]) == (204, "application/sdp")
    session = (await http.post(PATH, content=OFFER, headers=SDP)).headers["location"]
    assert (await http.get(session)).status_code == 204
    patch = await http.patch(session, content="a=end-of-candidates")
    assert patch.status_code == 405
    assert "DELETE" in patch.headers["allow"]


@pytest.mark.parametrize(
    ("path", "body", "content_type", "status", "says"),
    [
        (PATH, OFFER, "text/plain", 415, "Content-Type: expected application/sdp"),
        (PATH, "x" * 100_000, "application/sdp", 413, "offer: expected at most 65536 bytes"),
        (PATH, b"\xff", "application/sdp", 400, "offer: expected UTF-8"),
        (PATH, "hello", "application/sdp", 400, "offer: expected a session description"),
        (PATH, OFFER.partition("m=")[0], "application/sdp", 422, "offer: expected one audio m-line, found none"),
        (PATH, SESSION + VIDEO, "application/sdp", 422, "found video"),
        (PATH, OFFER.replace("sendonly", "recvonly"), "application/sdp", 422, "found a=recvonly"),
        ("/v1/whip/call%201/caller", OFFER, "application/sdp", 400, "call_id: "),
        ("/v1/whip/call-1/%3Cleg%3E", OFFER, "application/sdp", 400, "leg: "),
        (PATH + "?role=boss", OFFER, "application/sdp", 400, "role: expected one of caller, callee"),
    ],
)
async def test_a_bad_request_gets_the_reason(
    door: Door, http: httpx.AsyncClient, path: str, body: str | bytes, content_type: str, status: int, says: str
) -> None:
    response = await http.post(path, content=body, headers={"Content-Type": content_type})
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert says in response.json()["detail"]
    assert not door.calls.streams


async def test_the_role_comes_from_the_url_or_the_settings() -> None:
    async with (
        open_door(load(roles={"a": "agent"})) as door,
        httpx.AsyncClient(base_url=door.url, trust_env=False) as http,
    ):
        for leg in ("a", "b?role=customer", "callee", "c"):
            assert (await http.post(f"/v1/whip/call-1/{leg}", content=OFFER, headers=SDP)).status_code == 201
        roles = [stream.started.legs[0].role for stream in door.calls.streams]
        assert roles == ["agent", "customer", "callee", "unknown"]


async def test_a_leg_that_is_taken_is_refused_and_goes_on(door: Door) -> None:
    async with caller(door) as publisher:
        with pytest.raises(WhipError) as refused:
            await caller(door).__aenter__()
        assert refused.value.status == 409
        await publisher.send(tone(0.1))
        await until(lambda: len(door.stream.heard) == 5)


async def test_a_full_gateway_says_when_to_try_again(door: Door, http: httpx.AsyncClient) -> None:
    door.calls.full = True
    response = await http.post(PATH, content=OFFER, headers=SDP)
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0


async def test_only_a_gateway_on_loopback_offers_loopback() -> None:
    for host, offered in (("127.0.0.1", True), ("0.0.0.0", False)):
        async with (
            open_door(load(host=host, allow_anonymous=True)) as door,
            httpx.AsyncClient(trust_env=False) as http,
        ):
            response = await http.post(door.url + PATH, content=OFFER, headers=SDP)
            if response.status_code == 201:  # 500 where there is no other address
                assert (" 127.0.0.1 " in response.text) is offered


def test_an_ice_server_that_is_none_is_a_mistake_in_the_settings() -> None:
    with pytest.raises(ConfigError, match="ice_servers"):
        Whip(RecordedCalls(), load(ice_servers=("https://example.com",)))


async def test_an_offer_that_never_ends_is_not_waited_for() -> None:
    async def slowly() -> AsyncIterator[bytes]:
        yield b"v=0"
        await asyncio.sleep(5)

    async with open_door(load(start_deadline_s=0.2)) as door, httpx.AsyncClient(base_url=door.url) as client:
        answer = await client.post(PATH, content=slowly(), headers=SDP)
    assert (answer.status_code, answer.json()["detail"]) == (408, "offer: expected all of it within 0.2 s")
