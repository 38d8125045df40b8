"""Transactions, dialogs and timers of the called side, on a clock of our own."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from gateway.errors import MessageTooBig, Overloaded, ProtocolError
from gateway.ingest.sip.dialog import Dialog
from gateway.ingest.sip.digest import Digest
from gateway.ingest.sip.message import Framer
from gateway.ingest.sip.uas import TRANSACTION_S, Transaction, Uas
from tests.gateway.ingest.sip.phone import PCMU_SDP, Phone, Reply
from tests.gateway.ingest.sip.test_digest import BARE


class Wire:
    """A flow that keeps what is sent."""

    peer = ("192.0.2.9", 40_000)
    local = ("192.0.2.1", 5060)

    def __init__(self, transport: str) -> None:
        self.transport = transport
        self.sent: list[Reply] = []
        self.ports: list[int | None] = []

    def send(self, data: bytes, port: int | None = None) -> None:
        self.sent.append(Reply(data))
        self.ports.append(port)

    @property
    def codes(self) -> list[int]:
        return [reply.code for reply in self.sent]


class Server:
    """A Uas with somebody who takes its offers down."""

    def __init__(self, transport: str = "UDP") -> None:
        numbers = itertools.count(1)
        self.wire = Wire(transport)
        self.phone = Phone(transport)
        self.offers: list[Transaction] = []
        self.endings: list[str] = []
        self.uas = Uas(self, 90, lambda: f"token{next(numbers)}")

    def offered(self, transaction: Transaction) -> None:
        self.offers.append(transaction)

    def ended(self, dialog: Dialog, reason: str) -> None:
        self.endings.append(reason)

    def hear(self, method: str, body: str = "", *, at_s: float = 0.0, **options: Any) -> bytes:
        data = self.phone.request(method, body, **options)
        self.uas.receive(data, self.wire, at_s)
        return data

    def invited(self, **headers: Any) -> Dialog:
        """Take an invitation and acknowledge the 200."""
        self.hear("INVITE", PCMU_SDP, **headers)
        self.uas.answer(self.offers[-1], 200, 0.0)
        self.phone.to_tag = self.wire.sent[-1].tag
        self.hear("ACK")
        dialog = self.offers[-1].dialog
        assert dialog is not None
        return dialog


def test_a_repeated_invitation_gets_the_same_answer_and_no_second_call() -> None:
    server = Server()
    data = server.hear("INVITE", PCMU_SDP)
    server.uas.receive(data, server.wire, 0.4)
    assert (server.wire.codes, len(server.offers)) == ([100, 100], 1)
    server.uas.answer(server.offers[0], 200, 0.5)
    server.uas.receive(data, server.wire, 0.6)
    assert (server.wire.codes, len(server.uas.dialogs)) == ([100, 100, 200, 200], 1)
    assert server.wire.sent[2].tag == server.wire.sent[3].tag


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_a_200_is_repeated_until_acknowledged(transport: str) -> None:
    server = Server(transport)
    server.hear("INVITE", PCMU_SDP)
    server.uas.answer(server.offers[0], 200, 0.0)
    times = []
    for tenth in range(160):
        before = len(server.wire.sent)
        server.uas.tick(tenth / 10)
        if len(server.wire.sent) > before:
            times.append(tenth / 10)
    assert times == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5]
    assert server.wire.codes == [100] + [200] * 7
    server.phone.to_tag = server.wire.sent[-1].tag
    server.hear("ACK")
    server.uas.tick(20.0)
    assert len(server.wire.sent) == 8
    server.uas.tick(TRANSACTION_S + 1)
    assert server.endings == []


def test_without_acknowledgement_the_call_is_hung_up() -> None:
    server = Server()
    server.hear("INVITE", PCMU_SDP)
    server.uas.answer(server.offers[0], 200, 0.0)
    server.uas.tick(TRANSACTION_S)
    assert server.endings == ["not_acknowledged"]
    assert server.wire.sent[-1].first.startswith("BYE ")
    assert not server.uas.dialogs


@pytest.mark.parametrize(("transport", "answers"), [("UDP", 2), ("TCP", 1)])
def test_a_refusal_is_repeated_over_udp_only(transport: str, answers: int) -> None:
    server = Server(transport)
    server.hear("INVITE", PCMU_SDP)
    server.uas.answer(server.offers[0], 488, 0.0)
    server.uas.tick(0.6)
    assert server.wire.codes == [100] + [488] * answers
    server.hear("ACK", branch=server.phone.branch)
    server.uas.tick(5.0)
    assert len(server.wire.sent) == 1 + answers
    assert not server.uas.dialogs


def test_cancel_undoes_an_invitation_that_has_no_answer_yet() -> None:
    server = Server()
    server.hear("INVITE", PCMU_SDP)
    server.hear("CANCEL")
    assert server.wire.codes == [100, 200, 487]
    assert server.endings == ["cancelled"]
    server.uas.answer(server.offers[0], 200, 1.0)
    assert server.wire.codes == [100, 200, 487], "too late"


def test_cancel_comes_too_late_or_for_nothing() -> None:
    server = Server()
    server.invited()
    server.phone.to_tag = ""
    server.hear("CANCEL", branch=server.offers[0].request.message.via[0].parameters["branch"])
    assert (server.wire.codes[-1], server.endings) == (200, [])
    server.hear("CANCEL", branch="z9hG4bKother")
    assert server.wire.codes[-1] == 481


def test_session_timers() -> None:
    server = Server()
    server.invited(Session_Expires="90;refresher=uac")
    server.hear("UPDATE", at_s=50.0, Session_Expires="90")
    server.uas.answer(server.offers[-1], 200, 50.0)
    server.uas.tick(50 + 59.9)
    assert server.endings == []
    server.uas.tick(50 + 60.0)
    assert server.endings == ["session_expired"]
    assert server.wire.sent[-1].first.startswith("BYE ")


def test_our_goodbye_takes_the_recorded_route_and_is_repeated_until_answered() -> None:
    server = Server()
    dialog = server.invited(**{"Record-Route": "<sip:proxy.example;lr>"})
    server.uas.hang_up(dialog, 0.0)
    bye = server.wire.sent[-1]
    assert bye.first == "BYE sip:alice@127.0.0.1:5099 SIP/2.0"
    assert bye.headers["route"] == "<sip:proxy.example;lr>"
    assert bye.headers["from"].endswith(f"tag={dialog.local_tag}")
    assert (bye.headers["to"].endswith("tag=a1"), bye.headers["cseq"]) == (True, "1 BYE")
    sent = len(server.wire.sent)
    server.uas.tick(0.6)
    assert len(server.wire.sent) == sent + 1
    ok = f"SIP/2.0 200 OK\r\nVia: {bye.headers['via']}\r\nCSeq: 1 BYE\r\n\r\n".encode()
    server.uas.receive(ok, server.wire, 0.7)
    server.uas.tick(5.0)
    assert len(server.wire.sent) == sent + 1


def test_strangers_are_asked_for_a_password() -> None:
    server = Server()
    server.uas = Uas(server, 90, lambda: "n1", Digest({"alice": "secret"}))
    server.hear("INVITE", PCMU_SDP)
    assert (server.wire.codes, server.offers, server.uas.dialogs) == ([401], [], {})
    assert server.wire.sent[0].headers["www-authenticate"].startswith("Digest ")
    proof = 'Digest username="alice", realm="callscreen", nonce="n1", uri="sip:x", response="' + BARE + '"'
    server.hear("INVITE", PCMU_SDP, Authorization=proof)
    assert (server.wire.codes, len(server.offers)) == ([401, 100], 1)


def test_requests_outside_a_dialog_are_refused() -> None:
    server = Server()
    server.hear("BYE")
    server.phone.to_tag = "never"
    server.hear("INVITE", PCMU_SDP)
    server.hear("ACK")
    assert (server.wire.codes, server.offers) == ([481, 481], [])


def test_requests_out_of_order_and_of_other_kinds() -> None:
    server = Server()
    server.invited()
    server.hear("INFO")
    server.hear("INFO", cseq=1)
    server.hear("SUBSCRIBE")
    server.hear("BYE")
    assert server.wire.codes[2:] == [200, 500, 405, 200]
    assert server.endings == ["stopped"]


def test_answers_go_where_the_request_came_from() -> None:
    server = Server()
    server.hear("OPTIONS")
    assert server.wire.ports == [40_000], "rport asks for it"
    assert "rport=40000;received=192.0.2.9" in server.wire.sent[0].headers["via"]
    assert "siprec" in server.wire.sent[0].headers["supported"]
    server.hear("OPTIONS", Via="SIP/2.0/UDP 127.0.0.1:5099;branch=z9hG4bKx")
    assert server.wire.ports[-1] == 5099


def test_an_invitation_without_contact_is_none() -> None:
    with pytest.raises(ProtocolError, match="Contact"):
        Server().hear("INVITE", PCMU_SDP, drop=("Contact",))


@pytest.mark.parametrize("drop", ["Via", "From", "Call-ID", "CSeq"])
def test_requests_without_mandatory_headers_are_refused(drop: str) -> None:
    with pytest.raises(ProtocolError, match="expected a message"):
        Server().hear("OPTIONS", drop=(drop,))


def test_a_stream_is_cut_by_content_length() -> None:
    one = b"OPTIONS sip:x SIP/2.0\r\nContent-Length: 3\r\n\r\nabc"
    two = b"OPTIONS sip:y SIP/2.0\r\nl: 0\r\n\r\n"
    stream = b"\r\n\r\n" + one + two
    for step in (1, 7, len(stream)):
        framer = Framer(1000)
        found = [m for at in range(0, len(stream), step) for m in framer.push(stream[at : at + step])]
        assert found == [one, two]


def test_a_stream_that_cannot_be_cut() -> None:
    with pytest.raises(ProtocolError, match="Content-Length"):
        list(Framer(1000).push(b"OPTIONS sip:x SIP/2.0\r\n\r\n"))
    for flood in (b"x" * 1001, b"X\r\nContent-Length: 2000\r\n\r\n"):
        with pytest.raises(MessageTooBig):
            list(Framer(1000).push(flood))


def test_a_request_repeated_before_its_answer_waits() -> None:
    server = Server()
    data = server.hear("INVITE", PCMU_SDP)
    server.hear("UPDATE")  # without a dialog
    dialog = server.invited()
    assert server.wire.codes == [100, 481, 100, 200]
    update = server.hear("UPDATE")
    server.uas.receive(update, server.wire, 0.1)
    server.uas.receive(data, server.wire, 0.1)
    assert server.wire.codes[4:] == [100], "the first invitation rings on; the update has no answer yet"
    server.hear("UPDATE", Session_Expires="10")
    assert server.wire.codes[-1] == 422
    server.uas.hang_up(dialog, 0.2)
    server.uas.hang_up(dialog, 0.3)
    assert [reply.first[:3] for reply in server.wire.sent].count("BYE") == 1
    server.uas.tick(TRANSACTION_S + 1)
    server.uas.tick(TRANSACTION_S + 2)
    assert len([reply for reply in server.wire.sent if reply.first.startswith("BYE")]) == 1


def test_a_call_hung_up_before_its_acknowledgement_ends_once() -> None:
    server = Server()
    server.hear("INVITE", PCMU_SDP)
    server.uas.answer(server.offers[0], 200, 0.0)
    assert server.offers[0].dialog is not None
    server.uas.hang_up(server.offers[0].dialog, 0.1)
    server.uas.tick(TRANSACTION_S + 1)
    assert server.endings == []


def test_answers_to_nothing_and_provisional_ones_are_no_matter() -> None:
    server = Server()
    for answer in (b"SIP/2.0 100 Trying\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n"):
        server.uas.receive(answer, server.wire, 0.0)
    assert server.wire.sent == []


def test_transactions_over_tcp_end_with_the_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ingest.sip.uas.MAX_TRANSACTIONS", 1)
    server = Server("TCP")
    for at_s in (0.0, 0.1, 0.2):
        server.hear("OPTIONS", at_s=at_s)
        server.uas.tick(at_s + 0.05)
    assert server.wire.codes == [200, 200, 200]


def test_a_flood_of_requests_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ingest.sip.uas.MAX_TRANSACTIONS", 2)
    server = Server()
    for _ in range(2):
        server.hear("OPTIONS")
    with pytest.raises(Overloaded, match="2 requests are pending"):
        server.hear("OPTIONS")
    assert server.wire.codes == [200, 200]
    server.uas.tick(TRANSACTION_S)
    server.hear("OPTIONS")
    assert server.wire.codes == [200, 200, 200]
