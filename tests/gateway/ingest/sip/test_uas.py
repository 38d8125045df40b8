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


class House:
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
    house = House()
    data = house.hear("INVITE", PCMU_SDP)
    house.uas.receive(data, house.wire, 0.4)
    assert (house.wire.codes, len(house.offers)) == ([100, 100], 1)
    house.uas.answer(house.offers[0], 200, 0.5)
    house.uas.receive(data, house.wire, 0.6)
    assert (house.wire.codes, len(house.uas.dialogs)) == ([100, 100, 200, 200], 1)
    assert house.wire.sent[2].tag == house.wire.sent[3].tag


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_a_200_is_repeated_until_acknowledged(transport: str) -> None:
    house = House(transport)
    house.hear("INVITE", PCMU_SDP)
    house.uas.answer(house.offers[0], 200, 0.0)
    times = []
    for tenth in range(160):
        before = len(house.wire.sent)
        house.uas.tick(tenth / 10)
        if len(house.wire.sent) > before:
            times.append(tenth / 10)
    assert times == [0.5, 1.5, 3.5, 7.5, 11.5, 15.5]
    assert house.wire.codes == [100] + [200] * 7
    house.phone.to_tag = house.wire.sent[-1].tag
    house.hear("ACK")
    house.uas.tick(20.0)
    assert len(house.wire.sent) == 8
    house.uas.tick(TRANSACTION_S + 1)
    assert house.endings == []


def test_without_acknowledgement_the_call_is_hung_up() -> None:
    house = House()
    house.hear("INVITE", PCMU_SDP)
    house.uas.answer(house.offers[0], 200, 0.0)
    house.uas.tick(TRANSACTION_S)
    assert house.endings == ["not_acknowledged"]
    assert house.wire.sent[-1].first.startswith("BYE ")
    assert not house.uas.dialogs


@pytest.mark.parametrize(("transport", "answers"), [("UDP", 2), ("TCP", 1)])
def test_a_refusal_is_repeated_over_udp_only(transport: str, answers: int) -> None:
    house = House(transport)
    house.hear("INVITE", PCMU_SDP)
    house.uas.answer(house.offers[0], 488, 0.0)
    house.uas.tick(0.6)
    assert house.wire.codes == [100] + [488] * answers
    house.hear("ACK", branch=house.phone.branch)
    house.uas.tick(5.0)
    assert len(house.wire.sent) == 1 + answers
    assert not house.uas.dialogs


def test_cancel_undoes_an_invitation_that_has_no_answer_yet() -> None:
    house = House()
    house.hear("INVITE", PCMU_SDP)
    house.hear("CANCEL")
    assert house.wire.codes == [100, 200, 487]
    assert house.endings == ["cancelled"]
    house.uas.answer(house.offers[0], 200, 1.0)
    assert house.wire.codes == [100, 200, 487], "too late"


def test_cancel_comes_too_late_or_for_nothing() -> None:
    house = House()
    house.invited()
    house.phone.to_tag = ""
    house.hear("CANCEL", branch=house.offers[0].heard.request.via[0].parameters["branch"])
    assert (house.wire.codes[-1], house.endings) == (200, [])
    house.hear("CANCEL", branch="z9hG4bKother")
    assert house.wire.codes[-1] == 481


def test_session_timers() -> None:
    house = House()
    house.invited(Session_Expires="90;refresher=uac")
    house.hear("UPDATE", at_s=50.0, Session_Expires="90")
    house.uas.answer(house.offers[-1], 200, 50.0)
    house.uas.tick(50 + 59.9)
    assert house.endings == []
    house.uas.tick(50 + 60.0)
    assert house.endings == ["session_expired"]
    assert house.wire.sent[-1].first.startswith("BYE ")


def test_our_goodbye_takes_the_recorded_route_and_is_repeated_until_answered() -> None:
    house = House()
    dialog = house.invited(**{"Record-Route": "<sip:proxy.example;lr>"})
    house.uas.hang_up(dialog, 0.0)
    bye = house.wire.sent[-1]
    assert bye.first == "BYE sip:alice@127.0.0.1:5099 SIP/2.0"
    assert bye.headers["route"] == "<sip:proxy.example;lr>"
    assert bye.headers["from"].endswith(f"tag={dialog.our_tag}")
    assert (bye.headers["to"].endswith("tag=a1"), bye.headers["cseq"]) == (True, "1 BYE")
    sent = len(house.wire.sent)
    house.uas.tick(0.6)
    assert len(house.wire.sent) == sent + 1
    ok = f"SIP/2.0 200 OK\r\nVia: {bye.headers['via']}\r\nCSeq: 1 BYE\r\n\r\n".encode()
    house.uas.receive(ok, house.wire, 0.7)
    house.uas.tick(5.0)
    assert len(house.wire.sent) == sent + 1


def test_strangers_are_asked_for_a_password() -> None:
    house = House()
    house.uas = Uas(house, 90, lambda: "n1", Digest({"alice": "secret"}))
    house.hear("INVITE", PCMU_SDP)
    assert (house.wire.codes, house.offers, house.uas.dialogs) == ([401], [], {})
    assert house.wire.sent[0].headers["www-authenticate"].startswith("Digest ")
    proof = 'Digest username="alice", realm="callscreen", nonce="n1", uri="sip:x", response="' + BARE + '"'
    house.hear("INVITE", PCMU_SDP, Authorization=proof)
    assert (house.wire.codes, len(house.offers)) == ([401, 100], 1)


def test_what_belongs_to_no_dialog() -> None:
    house = House()
    house.hear("BYE")
    house.phone.to_tag = "never"
    house.hear("INVITE", PCMU_SDP)
    house.hear("ACK")
    assert (house.wire.codes, house.offers) == ([481, 481], [])


def test_requests_out_of_order_and_of_other_kinds() -> None:
    house = House()
    house.invited()
    house.hear("INFO")
    house.hear("INFO", cseq=1)
    house.hear("SUBSCRIBE")
    house.hear("BYE")
    assert house.wire.codes[2:] == [200, 500, 405, 200]
    assert house.endings == ["stopped"]


def test_answers_go_where_the_request_came_from() -> None:
    house = House()
    house.hear("OPTIONS")
    assert house.wire.ports == [40_000], "rport asks for it"
    assert "rport=40000;received=192.0.2.9" in house.wire.sent[0].headers["via"]
    assert "siprec" in house.wire.sent[0].headers["supported"]
    house.hear("OPTIONS", Via="SIP/2.0/UDP 127.0.0.1:5099;branch=z9hG4bKx")
    assert house.wire.ports[-1] == 5099


def test_an_invitation_without_contact_is_none() -> None:
    with pytest.raises(ProtocolError, match="Contact"):
        House().hear("INVITE", PCMU_SDP, drop=("Contact",))


@pytest.mark.parametrize("drop", ["Via", "From", "Call-ID", "CSeq"])
def test_what_a_request_must_have(drop: str) -> None:
    with pytest.raises(ProtocolError, match="not a message"):
        House().hear("OPTIONS", drop=(drop,))


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
    house = House()
    data = house.hear("INVITE", PCMU_SDP)
    house.hear("UPDATE")  # without a dialog
    dialog = house.invited()
    assert house.wire.codes == [100, 481, 100, 200]
    update = house.hear("UPDATE")
    house.uas.receive(update, house.wire, 0.1)
    house.uas.receive(data, house.wire, 0.1)
    assert house.wire.codes[4:] == [100], "the first invitation rings on; the update has no answer yet"
    house.hear("UPDATE", Session_Expires="10")
    assert house.wire.codes[-1] == 422
    house.uas.hang_up(dialog, 0.2)
    house.uas.hang_up(dialog, 0.3)
    assert [reply.first[:3] for reply in house.wire.sent].count("BYE") == 1
    house.uas.tick(TRANSACTION_S + 1)
    house.uas.tick(TRANSACTION_S + 2)
    assert len([reply for reply in house.wire.sent if reply.first.startswith("BYE")]) == 1


def test_a_call_hung_up_before_its_acknowledgement_ends_once() -> None:
    house = House()
    house.hear("INVITE", PCMU_SDP)
    house.uas.answer(house.offers[0], 200, 0.0)
    assert house.offers[0].dialog is not None
    house.uas.hang_up(house.offers[0].dialog, 0.1)
    house.uas.tick(TRANSACTION_S + 1)
    assert house.endings == []


def test_answers_to_nothing_and_provisional_ones_are_no_matter() -> None:
    house = House()
    for answer in (b"SIP/2.0 100 Trying\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n"):
        house.uas.receive(answer, house.wire, 0.0)
    assert house.wire.sent == []


def test_what_is_answered_over_tcp_is_remembered_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ingest.sip.uas.MAX_TRANSACTIONS", 1)
    house = House("TCP")
    for at_s in (0.0, 0.1, 0.2):
        house.hear("OPTIONS", at_s=at_s)
        house.uas.tick(at_s + 0.05)
    assert house.wire.codes == [200, 200, 200]


def test_a_flood_of_requests_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ingest.sip.uas.MAX_TRANSACTIONS", 2)
    house = House()
    for _ in range(2):
        house.hear("OPTIONS")
    with pytest.raises(Overloaded, match="2 requests are remembered"):
        house.hear("OPTIONS")
    assert house.wire.codes == [200, 200]
    house.uas.tick(TRANSACTION_S)
    house.hear("OPTIONS")
    assert house.wire.codes == [200, 200, 200]
