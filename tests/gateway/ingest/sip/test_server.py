"""SIP calls and recordings over real sockets against the whole gateway: signalling, media, alerts."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from gateway.app import Server
from gateway.call.codec_watch import UNREADABLE
from gateway.ingest.sip import message, transport
from gateway.ingest.sip.uas import Uas
from gateway.refusals import REFUSED
from tests.gateway.conftest import Serve
from tests.gateway.ingest.sip.phone import MULTIPART, PCMU_SDP, SIPREC, TWO_STREAMS, Phone, phone
from tests.gateway.loudness import speech
from tests.gateway.rtp import packet, pcmu, send
from tests.gateway.wire import call_of, subscribed

pytestmark = pytest.mark.usefixtures("detector")

ANYWHERE = "127.0.0.1:0"


def sip(**settings: Any) -> dict[str, Any]:
    return {"udp": ANYWHERE, "tcp": ANYWHERE, "rtp_ports": (30_000, 30_099)} | settings


async def say(port: int, *, synthetic: bool, seconds: float = 8) -> None:
    await send(("127.0.0.1", port), pcmu(speech(seconds, synthetic=synthetic)))


def refused(error: str) -> float:
    counted: float = REFUSED.labels("sip", error)._value.get()
    return counted


def legs(gateway: Server, call_id: str) -> dict[str, str]:
    return {leg.description.leg: leg.description.role for leg in call_of(gateway, call_id).legs.values()}


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
async def test_two_softphones_make_one_call(serve: Serve, transport: str) -> None:
    gateway = await serve(sip=sip())
    address = gateway.sip[transport.lower()]
    async with subscribed(gateway) as events, phone(address, transport) as one, phone(address, transport) as two:
        first = await one.call(user="c1-caller")
        second = await two.call(user="c1-callee")
        await asyncio.gather(say(first.ports[0], synthetic=False), say(second.ports[0], synthetic=True))
        raised = await events.until("alert.raised", stage="confirmed")
        assert (await one.ask("BYE")).code == (await two.ask("BYE")).code == 200
        ended = await events.until("call.ended")
    assert (raised["data"]["call_id"], raised["data"]["leg"]) == ("c1", "callee")
    assert ended["data"]["verdicts"] == {"caller": "human", "callee": "synthetic"}


async def test_a_recording_keeps_the_speakers_apart_by_its_metadata(serve: Serve) -> None:
    gateway = await serve(sip=sip(participants={"sip:agent*@pbx.example": "agent"}))
    async with subscribed(gateway) as events, phone(gateway.sip["tcp"], "TCP") as client:
        reply = await client.call(MULTIPART, **SIPREC, **{"X-Call-ID": "r-1"})
        assert "+sip.srs" in reply.headers["contact"]
        assert reply.body.count("a=recvonly") == 2
        assert "a=label:2" in reply.body
        assert legs(gateway, "r-1") == {"1": "agent", "2": "unknown"}
        await asyncio.gather(say(reply.ports[0], synthetic=True), say(reply.ports[1], synthetic=False))
        raised = await events.until("alert.raised", stage="confirmed")
        await client.ask("BYE")
        await events.until("call.ended")
    assert (raised["data"]["leg"], raised["data"]["role"]) == ("1", "agent")


async def test_a_recording_that_requires_100rel_and_is_inactive_at_first(serve: Serve) -> None:
    """As Cisco CUBE invites: the streams are switched on when the recorded call is answered."""
    gateway = await serve(sip=sip(), idle_deadline_s=2)
    inactive = {"body": MULTIPART.replace("a=sendonly", "a=inactive")}
    headers = SIPREC | {"Require": "siprec, 100rel", "X-Call-ID": "r-1"}
    async with subscribed(gateway) as events, phone(gateway.sip["tcp"], "TCP") as client:
        reply = await client.call(**inactive, **headers)
        assert reply.body.count("a=inactive") == 2
        assert legs(gateway, "r-1").keys() == {"1", "2"}
        await asyncio.sleep(2.3)  # longer than silence may last where somebody speaks
        assert gateway.registry.calls()
        begun = await client.ask("INVITE", TWO_STREAMS)
        assert (begun.ports, begun.body.count("a=recvonly")) == (reply.ports, 2)
        await asyncio.gather(say(reply.ports[0], synthetic=True), say(reply.ports[1], synthetic=False))
        await events.until("alert.raised", leg="1", stage="confirmed")
        assert (await client.ask("BYE")).code == 200


async def test_identity_headers_have_precedence_over_the_dialled_name(serve: Serve) -> None:
    gateway = await serve(sip=sip(), roles={"desk": "agent"})
    async with phone(gateway.sip["udp"]) as one, phone(gateway.sip["udp"]) as two:
        await one.call(user="c1-caller", **{"X-Call-ID": "c2", "X-Leg": "desk"})
        assert legs(gateway, "c2") == {"desk": "agent"}
        await two.call(**{"X-Role": "customer"})
        assert legs(gateway, two.call_id.replace("/", "-")) == {"party": "customer"}


async def test_an_invitation_without_an_offer_gets_ours(serve: Serve) -> None:
    gateway = await serve(sip=sip())
    async with subscribed(gateway) as events, phone(gateway.sip["udp"]) as caller:
        ours = await caller.call("", user="c1-caller")
        await say(ours.ports[0], synthetic=True)
        await events.until("alert.raised", leg="caller")
        again = await caller.ask("INVITE")
        assert again.ports == ours.ports
        assert (await caller.ask("UPDATE")).body == "", "it asks for nothing"


async def test_other_media_is_refused_line_by_line(serve: Serve) -> None:
    gateway = await serve(sip=sip())
    async with phone(gateway.sip["udp"]) as caller:
        lines = PCMU_SDP + "m=video 5000 RTP/AVP 96\nm=audio 40002 RTP/AVP 0\n"
        reply = await caller.call(lines, user="c1-caller")
        assert "m=video 0 RTP/AVP 96" in reply.body
        assert reply.ports[1] == 0, "a plain call is one leg"
        assert (await caller.ask("INVITE", PCMU_SDP.replace(" 0 101", " 8"))).code == 488, "its codec stays"
        assert set(legs(gateway, "c1")) == {"caller"}


async def test_hold_is_silence_agreed_upon(serve: Serve) -> None:
    gateway = await serve(sip=sip(), idle_deadline_s=0.5)
    async with subscribed(gateway) as events, phone(gateway.sip["udp"]) as caller:
        before = await caller.call(user="c1-caller")
        held = await caller.ask("INVITE", PCMU_SDP.replace("sendrecv", "inactive"))
        assert "a=inactive" in held.body
        assert held.ports == before.ports
        await asyncio.sleep(0.9)
        assert gateway.registry.calls()
        assert (await caller.ask("UPDATE", PCMU_SDP)).ports == before.ports
        assert (await events.until("leg.ended"))["data"]["ended_by"] == "timeout"
        while (bye := await caller.hear()).code:
            pass
        assert bye.first == "BYE sip:alice@127.0.0.1:5099 SIP/2.0"
        assert bye.headers["to"].endswith("tag=a1")


async def test_streams_come_and_go(serve: Serve) -> None:
    gateway = await serve(sip=sip())
    async with subscribed(gateway) as events, phone(gateway.sip["tcp"], "TCP") as client:
        await client.call(MULTIPART, **SIPREC, **{"X-Call-ID": "r-1"})
        one = await client.ask("INVITE", TWO_STREAMS.replace("audio 40002", "audio 0"))
        assert (one.ports[0] != 0, one.ports[1]) == (True, 0)
        assert (await events.until("leg.ended"))["data"]["leg"] == "2"
        again = await client.ask("INVITE", TWO_STREAMS)
        assert all(again.ports)
        assert set(legs(gateway, "r-1")) == {"1", "2"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Require": "teleport"}, 420),
        ({"Content_Type": "text/plain"}, 415),
        ({"Session_Expires": "30"}, 422),
        ({"body": PCMU_SDP.replace(" 0 101", " 3").replace("0 PCMU", "3 GSM")}, 488),
        ({"body": "nonsense"}, 400),
        ({"X-Role": "boss"}, 400),
    ],
)
async def test_what_cannot_be_served_is_refused(serve: Serve, change: dict[str, str], code: int) -> None:
    gateway = await serve(sip=sip())
    async with phone(gateway.sip["udp"]) as caller:
        options: dict[str, Any] = {"body": PCMU_SDP} | change
        reply = await caller.ask("INVITE", options.pop("body"), **options)
        assert reply.code == code
        assert not gateway.registry.calls()
        if code == 420:
            assert reply.headers["unsupported"] == "teleport"
        if code == 422:
            assert reply.headers["min-se"] == "90"
        caller.send(caller.request("ACK", branch=caller.branch))


async def test_a_full_gateway_refuses_with_overloaded(serve: Serve) -> None:
    gateway = await serve(sip=sip(), max_calls=1)
    async with phone(gateway.sip["udp"]) as one, phone(gateway.sip["udp"]) as two, phone(gateway.sip["udp"]) as three:
        await one.call(user="c1-caller")
        full = await two.ask("INVITE", PCMU_SDP, user="c2-caller")
        assert (full.code, full.headers["retry-after"]) == (503, "10")
        assert (await three.ask("INVITE", PCMU_SDP, user="c1-caller")).code == 486


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
async def test_calls_of_one_source_are_limited_and_those_that_are_there_go_on(serve: Serve, transport: str) -> None:
    gateway = await serve(sip=sip(), rate_limits={"invites_per_s": 0.01, "exempt": []})
    address = gateway.sip[transport.lower()]
    async with phone(address, transport) as one, phone(address, transport) as two:
        await one.call(user="c1-caller")
        refused = await two.ask("INVITE", PCMU_SDP, user="c2-caller")
        assert refused.code == 503
        assert 10 < int(refused.headers["retry-after"]) <= 100
        assert (await one.ask("OPTIONS")).code == 200
        assert [call.call_id for call in gateway.registry.calls()] == ["c1"]


async def test_the_gateways_own_end_is_a_bye(serve: Serve) -> None:
    gateway = await serve(sip=sip(), max_call_s=0.3)
    async with phone(gateway.sip["tcp"], "TCP") as caller:
        await caller.call(user="c1-caller")
        assert (await caller.hear()).first.startswith("BYE ")


async def test_mixed_recordings_need_leave(serve: Serve) -> None:
    gateway = await serve(sip=sip())
    async with phone(gateway.sip["tcp"], "TCP") as client:
        mixed = MULTIPART.replace("<send>st2</send>", "<send>st1</send>")
        refused = await client.ask("INVITE", mixed, **SIPREC)
    assert refused.code == 403
    assert "allow_mixed" in refused.headers["warning"]


async def test_a_codec_that_was_not_negotiated_is_reported_and_the_leg_goes_on(serve: Serve) -> None:
    gateway = await serve(sip=sip())
    spoken = list(pcmu(speech(12, synthetic=True)))
    for index in range(150, 250):  # two seconds of G.729, which nobody offered
        spoken[index] = packet(bytes(20), 65_000 + index, 160 * index, payload_type=18)
    async with subscribed(gateway) as events, phone(gateway.sip["udp"]) as caller:
        reply = await caller.call(user="c1-caller")
        before = UNREADABLE.labels("sip")._value.get()
        await send(("127.0.0.1", reply.ports[0]), iter(spoken))
        reduced = await events.until("coverage.reduced")
        await events.until("alert.raised", leg="caller", stage="confirmed")
        offered = await caller.ask("INVITE", PCMU_SDP.replace("RTP/AVP 0", "RTP/AVP 8"))
        assert offered.code == 488, "what was agreed on still holds"
        assert (await caller.ask("BYE")).code == 200
        ended = await events.until("leg.ended")
    assert reduced["data"]["reason"] == "unknown_codec"
    assert UNREADABLE.labels("sip")._value.get() - before == 100
    assert sum(event["type"] == "coverage.reduced" for event in events.seen) == 1, "it is told once"
    assert (ended["data"]["ended_by"], ended["data"]["verdict"]) == ("stopped", "synthetic")
    assert ended["data"]["missing_s"] == 0


async def test_strangers_hear_nothing(serve: Serve) -> None:
    gateway = await serve(sip=sip(allow_ips=["192.0.2.0/24"]))
    async with phone(gateway.sip["udp"]) as caller:
        caller.send(caller.request("OPTIONS"))
        with pytest.raises(TimeoutError):
            await caller.hear(0.1)


async def probe(caller: Phone) -> int:
    return (await caller.ask("OPTIONS")).code


async def test_nonsense_harms_nobody(serve: Serve) -> None:
    gateway = await serve(sip=sip())
    async with phone(gateway.sip["udp"]) as caller:
        for nonsense in (b"", b"\r\n\r\n", b"\x00" * 100, b"INVITE sip:x SIP/2.0\r\n\r\n"):
            caller.send(nonsense)
        assert await probe(caller) == 200


async def test_connections_are_no_more_than_calls_need(serve: Serve) -> None:
    gateway = await serve(sip=sip(), max_calls=1)
    async with contextlib.AsyncExitStack() as stack:
        readers = []
        for _ in range(3):
            reader, writer = await asyncio.open_connection(*gateway.sip["tcp"])
            stack.callback(writer.close)
            readers.append(reader)
            await asyncio.sleep(0.01)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(readers[2].read(), 5) == b""
        assert not readers[0].at_eof()


async def test_a_connection_without_a_message_is_closed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "SILENT_S", 0.3)
    gateway = await serve(sip=sip())
    async with phone(gateway.sip["tcp"], "TCP") as caller:
        assert await probe(caller) == 200
        reader, writer = await asyncio.open_connection(*gateway.sip["tcp"])
        writer.write(caller.request("OPTIONS")[:-4])
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        assert await probe(caller) == 200, "who has said something may be silent"


async def test_too_many_messages_end_their_connection(serve: Serve) -> None:
    gateway = await serve(sip=sip(), max_messages_per_s=10, max_burst_s=1)
    before = refused("TooFast")
    async with phone(gateway.sip["tcp"], "TCP") as other:
        reader, writer = await asyncio.open_connection(*gateway.sip["tcp"])
        writer.write(b"".join(other.request("OPTIONS") for _ in range(12)))
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 5)
        writer.close()
        assert refused("TooFast") == before + 1
        assert await probe(other) == 200


async def test_more_messages_than_one_host_may_send_are_dropped(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(transport, "UDP_MESSAGES_PER_S", 0.1)
    monkeypatch.setattr(transport, "UDP_BURST_S", 30.0)
    gateway = await serve(sip=sip())
    before = refused("TooFast")
    async with phone(gateway.sip["udp"]) as many, phone(gateway.sip["udp"], local_addr=("127.0.0.2", 0)) as other:
        for _ in range(5):
            many.send(many.request("OPTIONS"))
        assert [(await many.hear()).code for _ in range(3)] == [200] * 3
        assert await probe(other) == 200, "each host has a pace of its own"
        assert many.inbox.empty()
    assert refused("TooFast") == before + 2
    assert "sip message dropped" in capsys.readouterr().out


async def test_messages_that_cost_too_much_are_refused(serve: Serve) -> None:
    """Header lines without end take seconds to read; to a port that is none no answer can be sent."""
    gateway = await serve(sip=sip())
    before = refused("ProtocolError")
    async with phone(gateway.sip["udp"]) as caller:
        many: dict[str, Any] = {f"X{index}": "" for index in range(message.MAX_HEADERS)}
        caller.send(caller.request("OPTIONS", **many))
        caller.send(caller.request("OPTIONS", Via="SIP/2.0/UDP 127.0.0.1:70000;branch=z9hG4bKfar"))
        caller.send(b"SIP/2.0 200 OK\r\nVia: nonsense\r\n\r\n")
        assert await probe(caller) == 200
    assert refused("ProtocolError") == before + 3


async def test_timers_continue_after_an_error(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Timers go on after a fault of ours: a call that falls silent is still ended."""
    faults = iter([ValueError("a fault")])
    tick = Uas.tick

    def once(uas: Uas, now_s: float) -> None:
        for fault in faults:
            raise fault
        tick(uas, now_s)

    monkeypatch.setattr(Uas, "tick", once)
    gateway = await serve(sip=sip(), idle_deadline_s=0.5)
    async with subscribed(gateway) as events, phone(gateway.sip["udp"]) as caller:
        await caller.call()
        assert (await events.until("leg.ended"))["data"]["ended_by"] == "timeout"


async def test_media_is_accepted_only_from_the_signalling_peer_or_the_offers_address(serve: Serve) -> None:
    """Without `allow_ips`, whoever finds the port first could else speak in the caller's place."""
    gateway = await serve(sip=sip())
    stranger = ("127.0.0.3", 0)
    async with subscribed(gateway) as events, phone(gateway.sip["udp"]) as caller:
        offer = PCMU_SDP.replace("IN IP4 127.0.0.1", "IN IP4 127.0.0.2")
        port = (await caller.call(offer, user="c1-caller")).ports[0]
        to = ("127.0.0.1", port)
        await send(to, pcmu(speech(2, synthetic=True)), local=stranger)
        await send(to, pcmu(speech(1, synthetic=False)), local=("127.0.0.2", 0))
        moved = offer.replace("127.0.0.2", "127.0.0.3")
        assert (await caller.ask("INVITE", moved)).ports[0] == port
        await asyncio.sleep(1.1)  # only after a second of silence another address is believed
        await send(to, pcmu(speech(1, synthetic=False), ssrc=8), local=stranger)
        await caller.ask("BYE")
        ended = (await events.until("leg.ended"))["data"]
    assert ended["audio_s"] == 2.0
