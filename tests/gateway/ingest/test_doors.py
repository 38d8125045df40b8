"""Doors: where a token may be, and how a stream is named and owned."""

from __future__ import annotations

import base64

import pytest

from gateway.config_loading import load
from gateway.errors import Forbidden, ProtocolError
from gateway.ingest.dialects.base import Handshake
from gateway.ingest.doors import Door, presented_token
from gateway.ingest.events import CallId, StreamStarted
from gateway.ingest.kinds import KINDS, kind_of


def door(**values: object) -> Door:
    return Door.model_validate(values)


def handshake(headers: dict[str, str] | None = None, peer_ip: str = "127.0.0.1", **query: str) -> Handshake:
    return Handshake("wss://gw.example.com/v1/media/x", query, headers or {}, peer_ip, 0.0)


BASIC = base64.b64encode(b"user:to:ken").decode()


@pytest.mark.parametrize(
    ("headers", "query", "token"),
    [
        ({"authorization": "Bearer abc"}, {}, "abc"),
        ({"authorization": "bearer  abc "}, {}, "abc"),
        ({"authorization": f"Basic {BASIC}"}, {}, "to:ken"),
        ({"authorization": "Basic not-base64!"}, {"token": "q"}, ""),
        ({"authorization": f"Basic {base64.b64encode(bytes([255])).decode()}"}, {}, ""),
        ({"authorization": "Digest x"}, {"token": "q"}, "q"),
        ({"sec-websocket-protocol": "cloudevents.json, bearer.abc"}, {}, "abc"),
        ({"x-vendor": "v"}, {"token": "q"}, "v"),
        ({"x-vendor": ""}, {"token": "q"}, "q"),
        ({}, {}, ""),
    ],
)
def test_where_a_token_may_be(headers: dict[str, str], query: dict[str, str], token: str) -> None:
    assert presented_token(handshake(headers, **query), "x-vendor") == token


@pytest.mark.parametrize(
    ("peer_ip", "allowed"), [("203.0.113.9", True), ("::ffff:203.0.113.9", True), ("10.0.0.1", False)]
)
def test_addresses(peer_ip: str, allowed: bool) -> None:
    guarded = door(allow_ips=["203.0.113.0/24"])
    assert guarded.is_guarded
    if allowed:
        guarded.check_token_and_address(handshake(peer_ip=peer_ip), None)
    else:
        with pytest.raises(Forbidden, match="allow_ips"):
            guarded.check_token_and_address(handshake(peer_ip=peer_ip), None)


def started(separation: str = "separate", **parameters: str) -> StreamStarted:
    return StreamStarted(CallId("their-id"), "x", (), parameters, separation)  # type: ignore[arg-type]


def test_a_stream_is_named_and_owned_as_configured() -> None:
    assert door().admit(started()) == started()
    admitted = door(call_id_parameter="ticket", tenant_parameter="org", max_call_s=60).admit(
        started(ticket="T-1", org="blue")
    )
    assert (admitted.call_id, admitted.tenant, admitted.max_call_s) == ("T-1", "blue", 60)
    assert door(tenant="red", tenant_parameter="org").admit(started(org="blue")).tenant == "red"


@pytest.mark.parametrize("parameter", ["call_id_parameter", "tenant_parameter"])
@pytest.mark.parametrize("value", [None, "", "a/b"])
def test_a_parameter_that_names_must_be_there_and_a_name(parameter: str, value: str | None) -> None:
    parameters = {} if value is None else {"which": value}
    with pytest.raises(ProtocolError, match="which: expected 1 to 128 letters"):
        door(**{parameter: "which"}).admit(started(**parameters))


def test_mixed_speakers_are_let_in_only_on_purpose() -> None:
    with pytest.raises(Forbidden, match="`allow_mixed`"):
        door().admit(started("mixed"))
    assert door(allow_mixed=True).admit(started("mixed")).separation == "mixed"


def test_gateway_wide_settings_are_defaults_of_endpoints() -> None:
    settings = load(
        environ={},
        roles={"inbound": "caller", "outbound": "agent"},
        twilio_auth_token="general",
        max_call_s=100,
        idle_deadline_s=10,
        doors={
            "mine": {"dialect": "twilio", "signing_key": "own", "idle_deadline_s": 1, "roles": {"inbound": "customer"}},
            "telnyx": {},
        },
    )
    doors = settings.media_doors()
    assert sorted(doors) == ["mine", "plain", "telnyx", "twilio"]
    mine, twilio = doors["mine"], doors["twilio"]
    assert (mine.idle_deadline_s, mine.max_call_s, twilio.idle_deadline_s) == (1, 100, 10)
    assert mine.roles == {"inbound": "customer", "outbound": "agent"}
    assert mine.signing_key is not None
    assert twilio.signing_key is not None
    assert (mine.signing_key.get_secret_value(), twilio.signing_key.get_secret_value()) == ("own", "general")
    assert doors["telnyx"].signing_key is None


def test_every_kind_is_named_for_what_it_calls_itself() -> None:
    for name in KINDS:
        assert kind_of(name, door()) is KINDS[name]
        assert kind_of("x", door(dialect=name)) is KINDS[name]
