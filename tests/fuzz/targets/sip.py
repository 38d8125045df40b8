"""SIP and SIPREC: a stream cut into messages, requests with their bodies, and what is sent back for them."""

from __future__ import annotations

import itertools
from functools import partial

from gateway.errors import ProtocolError, RequestError
from gateway.ingest.rtp.voice import srtp_session
from gateway.ingest.sip import identity, multipart, sdp
from gateway.ingest.sip.dialog import Dialog
from gateway.ingest.sip.digest import Digest
from gateway.ingest.sip.message import Framer
from gateway.ingest.sip.recording import Metadata
from gateway.ingest.sip.sdp import AnswerLine
from gateway.ingest.sip.settings import SipSettings
from gateway.ingest.sip.uas import TRANSACTION_S, Transaction, Uas
from tests.fuzz.mutations import LARGEST_PART, Input, sequences, wire_text
from tests.fuzz.target import Target
from tests.gateway.ingest.sip.phone import METADATA, MULTIPART, PCMU_SDP, SIPREC, TWO_STREAMS, Phone

SIP = SipSettings.model_validate(
    {"udp": "127.0.0.1:0", "participants": {"sip:agent*@pbx.example": "agent"}, "allow_mixed": True}
)
CRYPTO = """v=0
o=- 1 1 IN IP4 127.0.0.1
s=-
t=0 0
m=audio 40000 RTP/SAVP 9 8 111 96
c=IN IP6 ::1
a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj|2^20|1:32
a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj
a=rtpmap:111 opus/48000/2
a=rtpmap:96 L16/16000
a=inactive
m=video 0 RTP/AVP 31
"""
RECORDING = METADATA.replace("<datamode>", "<extensiondata><callingParty>true</callingParty></extensiondata><datamode>")


def _calls() -> list[Input]:
    """Dialogs of a few requests, for each costs as much as the parsing of all that is in it."""
    phone = Phone("UDP")
    invitation = phone.request("INVITE", PCMU_SDP, user="4711-caller", Session_Expires="1800", Supported="timer,100rel")
    acknowledged = phone.request("ACK")
    again = phone.request("INVITE", PCMU_SDP.replace("sendrecv", "sendonly"), Min_SE="90")
    cancel, options, bye, info, register = (
        phone.request(method) for method in ("CANCEL", "OPTIONS", "BYE", "INFO", "REGISTER")
    )
    response = b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKx\r\n\r\n"
    return [(invitation, acknowledged, bye), (invitation, again), (invitation, cancel), (options, register),
            (info, response)]  # fmt: skip


def _recordings() -> list[Input]:
    phone = Phone("TCP")
    headers = SIPREC | {"Record-Route": "<sip:p1.example;lr>, <sip:p2.example;lr>", "X-Call-ID": "c-1", "X-Tenant": "t"}
    proof = 'Digest username="alice", realm="callscreen", nonce="n", uri="sip:x", response="e9", qop=auth, cnonce="c"'
    recorded = phone.request("INVITE", MULTIPART, **headers)
    folded = phone.request("UPDATE", CRYPTO).replace(b"Max-Forwards: 70", b"Subject: a\r\n  b")
    return [(recorded, folded), (phone.request("INVITE", CRYPTO, Authorization=proof),)]


MESSAGES = [*_calls(), *_recordings()]


class _Flow:
    """A way back that takes what a socket takes."""

    peer, local = ("192.0.2.9", 40_000), ("192.0.2.1", 5060)

    def __init__(self, transport: str) -> None:
        self.transport = transport
        self.sent_bytes = 0

    def send(self, data: bytes, port: int | None = None) -> None:
        assert port is None or 0 < port < 1 << 16, f"nothing can be sent to port {port}"
        assert data.partition(b"\r\n\r\n")[1], "what is sent is a message"
        self.sent_bytes += len(data)


class _House:
    """Answers offers as `SipServer` and `SipSession` do, but for the ports of the media."""

    def __init__(self, transport: str, *, digest: bool) -> None:
        numbers = itertools.count()
        self.flow = _Flow(transport)
        self.uas = Uas(self, 90, lambda: f"t{next(numbers)}", Digest({"alice": "secret"}) if digest else None)
        self._metadata = Metadata()

    def offered(self, transaction: Transaction) -> None:
        code, body = 200, b""
        try:
            body = self._described(transaction)
        except RequestError:
            code = 488
        dialog = transaction.dialog
        assert dialog is not None
        headers = {"Contact": dialog.contact(is_recording=True, public_host=None)}
        if dialog.refresh_s is not None:
            headers["Session-Expires"] = f"{dialog.refresh_s:g};refresher=uac"
        headers["Require"] = "timer" if "timer" in transaction.request.message.supported else ""
        self.uas.answer(transaction, code, 0.0, headers, body)

    def ended(self, dialog: Dialog, reason: str) -> None:
        assert dialog.is_over or reason

    def _described(self, transaction: Transaction) -> bytes:
        request = transaction.request
        identity.is_recording(request)
        identity.call_id(request, SIP)
        identity.tenant(request, SIP)
        identity.plain_leg(request, SIP, {})
        body = multipart.read(request.message.headers.get("Content-Type"), request.message.body)
        if body.metadata is not None:
            self._metadata.merge(body.metadata)
        return answered(body.sdp or b"", self._metadata)


def answered(description: bytes, metadata: Metadata) -> bytes:
    """Read an offer and write an answer that takes all it can. Raises RequestError."""
    answers = []
    for index, line in enumerate(sdp.read(description)):
        speakers = metadata.speakers(line.label)
        codecs = line.codecs()
        if not (line.is_wanted and codecs) or index > 16:
            answers.append(AnswerLine(line, 0))
            continue
        identity.recorded_leg(line.label, index, speakers[0] if speakers else None, SIP, {})
        crypto = line.cryptos[0] if line.cryptos else None
        if crypto:
            srtp_session(crypto.suite, crypto.key)
        number, codec = next(iter(codecs.items()))
        answers.append(AnswerLine(line, 4000, number, codec, crypto))
    return sdp.write("192.0.2.1", 1, 1, answers)


def play_messages(transport: str, given: Input) -> None:
    """Requests one by one as over UDP, or as they come out of a stream; then time passes, and all is hung up."""
    server = _House(transport, digest=len(given) % 3 == 0)
    framer = Framer(LARGEST_PART)
    for at, part in enumerate(given):
        data = part if isinstance(part, bytes) else part.encode("utf-8", "replace")
        try:
            for message in framer.push(data) if transport == "TCP" else [data]:
                server.uas.receive(message, server.flow, float(at))
        except ProtocolError:
            if transport == "TCP":
                break
    for at_s in (1.0, 2 * TRANSACTION_S, 4000.0):
        server.uas.tick(at_s)
    for dialog in list(server.uas.dialogs.values()):
        server.uas.hang_up(dialog, 5000.0)
    server.uas.tick(6000.0)
    assert not server.uas.dialogs
    assert server.flow.sent_bytes <= 200 * (4000 + sum(map(len, given))), "no peer may have us send without end"


def play_bodies(given: Input) -> None:
    """Bodies of one recording, after one another."""
    metadata = Metadata()
    for part in given:
        data = part if isinstance(part, bytes) else part.encode("utf-8", "replace")
        for content_type in ("multipart/mixed;boundary=b1", 'multipart/mixed; boundary="b2"', "application/sdp", ""):
            try:
                body = multipart.read(content_type, data)
                if body.metadata is not None:
                    metadata.merge(body.metadata)
                if body.sdp is not None:
                    answered(body.sdp, metadata)
            except RequestError:
                continue


def play_metadata(given: Input) -> None:
    """Documents of one recording, after one another."""
    metadata = Metadata()
    for part in given:
        try:
            metadata.merge(part if isinstance(part, bytes) else part.encode("utf-8", "replace"))
        except ProtocolError:
            continue
        for label in ("1", "2", "", None):
            metadata.speakers(label)


BODIES: list[Input] = [(MULTIPART, PCMU_SDP), (CRYPTO,), (TWO_STREAMS,), (MULTIPART,)]
TARGETS = [
    Target("sip-udp", sequences(MESSAGES, wire_text), partial(play_messages, "UDP")),
    Target("sip-stream", sequences(MESSAGES, wire_text), partial(play_messages, "TCP")),
    Target(
        "sip-bodies",
        sequences(BODIES, wire_text),
        play_bodies,
    ),
    Target("siprec-metadata", sequences([(METADATA, RECORDING), (METADATA,), (RECORDING,)], wire_text), play_metadata),
]
