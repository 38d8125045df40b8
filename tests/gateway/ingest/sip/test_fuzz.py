"""Whatever strangers send, it is read or refused; nothing else happens."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import RequestError
from gateway.ingest.events import LegId
from gateway.ingest.rtp.voice import STATIC, RtpDemux, Voice
from gateway.ingest.sip import multipart, sdp
from gateway.ingest.sip.recording import Metadata
from tests.gateway.ingest.sip.phone import METADATA, MULTIPART, PCMU_SDP, SIPREC, TWO_STREAMS, Phone
from tests.gateway.ingest.sip.test_uas import Server
from tests.gateway.rtp import packet


def damaged(whole: bytes) -> st.SearchStrategy[bytes]:
    """`whole` with a piece of it replaced by something else."""
    places = st.integers(0, len(whole))
    return st.builds(
        lambda a, b, piece: whole[: min(a, b)] + piece + whole[max(a, b) :], places, places, st.binary(max_size=12)
    )


INVITATION = Phone("UDP").request("INVITE", MULTIPART, **SIPREC, Session_Expires="1800")


@settings(max_examples=300)
@given(st.lists(st.one_of(st.binary(max_size=60), damaged(INVITATION)), max_size=3))
def test_messages(messages: list[bytes]) -> None:
    server = Server()
    for data in messages:
        with contextlib.suppress(RequestError):
            server.uas.receive(data, server.wire, 0.0)
    for offer in server.offers:
        request = offer.request.message
        with contextlib.suppress(RequestError):
            body = multipart.read(request.headers.get("Content-Type"), request.body)
            sdp.read(body.sdp or b"")
    server.uas.tick(40.0)


@given(damaged(TWO_STREAMS.encode()), damaged(METADATA.encode()), damaged(PCMU_SDP.encode()))
def test_bodies(offer: bytes, metadata: bytes, other: bytes) -> None:
    for description in (offer, other):
        with contextlib.suppress(RequestError):
            for line in sdp.read(description):
                line.codecs()
                sdp.write("192.0.2.1", 1, 1, [sdp.AnswerLine(line, 0), sdp.AnswerLine(line, 4000)])
    known = Metadata()
    with contextlib.suppress(RequestError):
        known.merge(metadata)
    known.speakers("1")


@given(st.lists(st.one_of(st.binary(max_size=40), damaged(packet(b"\xff" * 20, 1, 0)))))
def test_datagrams(datagrams: list[bytes]) -> None:
    port = RtpDemux([Voice(LegId("a"), STATIC)])
    for at, data in enumerate(datagrams):
        with contextlib.suppress(RequestError):
            port.receive(data, ("192.0.2.1", 1), float(at))
