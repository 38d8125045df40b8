"""What calls, legs and speakers are called, and that no role is guessed."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import ProtocolError
from gateway.ingest.sip import identity
from gateway.ingest.sip.message import ParsedRequest, read
from gateway.ingest.sip.recording import Participant
from gateway.ingest.sip.settings import SipSettings
from tests.gateway.ingest.sip.phone import MULTIPART, PCMU_SDP, SIPREC, Phone


def sip(**settings: Any) -> SipSettings:
    return SipSettings.model_validate({"udp": "127.0.0.1:5060"} | settings)


def invited(body: str = PCMU_SDP, **headers: Any) -> ParsedRequest:
    heard = read(Phone("UDP").request("INVITE", body, **headers))
    assert isinstance(heard, ParsedRequest)
    return heard


@pytest.mark.parametrize(
    ("heard", "is_one"),
    [
        (invited(), False),
        (invited(MULTIPART, **SIPREC), True),
        (invited(Require="SIPREC"), True),
        (invited(Contact="<sip:sbc@127.0.0.1>;+sip.src"), True),
        (invited(MULTIPART, Content_Type="multipart/mixed;boundary=b1"), True),
    ],
)
def test_a_recording_is_known_by_any_of_its_signs(heard: ParsedRequest, is_one: bool) -> None:
    assert identity.is_recording(heard) is is_one


def test_a_call_id_that_is_no_name_becomes_one() -> None:
    assert identity.call_id(invited(**{"Call-ID": "!a/b~c@[::1]"}), sip()) == "a-b-c@-::1-"[:11]
    assert identity.call_id(invited(**{"Call-ID": "~~"}), sip()) == "call"
    with pytest.raises(ProtocolError, match="X-Call-ID"):
        identity.call_id(invited(**{"X-Call-ID": "a b"}), sip())


def test_a_pattern_may_name_the_role() -> None:
    settings = sip(user_pattern=r"(?P<role>agent|customer)\.(?P<call_id>\d+)")
    heard = invited(user="agent.77")
    assert identity.call_id(heard, settings) == "77"
    assert identity.plain_leg(heard, settings, {}) == ("party", "agent")


@pytest.mark.parametrize(
    ("speaker", "roles", "role"),
    [
        (None, {}, "unknown"),
        (Participant("sip:bob@x"), {}, "unknown"),
        (Participant("sip:Agent7@pbx"), {}, "agent"),
        (Participant(None, is_caller=True), {}, "caller"),
        (Participant(None, is_caller=False), {}, "callee"),
        (Participant(None, is_caller=False), {"a_leg": "customer"}, "customer"),
    ],
)
def test_names_and_roles_of_recorded_speakers(speaker: Participant | None, roles: dict[str, str], role: str) -> None:
    settings = sip(participants={"sip:nobody@*": "caller", "sip:agent*@pbx": "agent"})
    assert identity.recorded_leg("a_leg", 0, speaker, settings, roles) == ("a_leg", role)


def test_streams_without_a_label_are_numbered() -> None:
    assert identity.recorded_leg(None, 1, None, sip(), {}) == ("stream-2", "unknown")


def test_whose_call_it_is() -> None:
    heard = invited(**{"X-Tenant": "acme"})
    assert [identity.tenant(heard, sip()), identity.tenant(heard, sip(tenant="us"))] == ["acme", "us"]
    assert identity.tenant(invited(), sip()) is None
