"""Kinds: each vendor's checks, and that nothing a peer can send gets past its dialect as anything but our error."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.client.media import twilio_signature
from gateway.client.tracks import plivo_signature
from gateway.errors import ConfigError, Forbidden, RequestError, Unauthorized
from gateway.ingest.dialects.base import Dialect, Handshake
from gateway.ingest.doors import Door
from gateway.ingest.kinds import KINDS, kind_of
from tests.gateway.goldens import BANDWIDTH, EXOTEL, FREESWITCH, JAMBONZ, PLIVO, SIGNALWIRE, TELNYX, VONAGE
from tests.gateway.wire import twilio_media, twilio_start

URL = "wss://gw.example.com/v1/media/x"


def door(**values: object) -> Door:
    return Door.model_validate(values)


def handshake(headers: dict[str, str] | None = None, peer_ip: str = "127.0.0.1", **query: str) -> Handshake:
    lower = {name.lower(): value for name, value in (headers or {}).items()}
    return Handshake(URL, query, lower, peer_ip, 0.0)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("twilio", {"X-Twilio-Signature": twilio_signature("k3y", URL)}),
        ("plivo", plivo_signature("k3y", URL, "n0nce")),
    ],
)
def test_a_signed_upgrade_is_accepted(name: str, good: dict[str, str]) -> None:
    signed = door(signing_key="k3y")
    kind_of(name, signed).check(handshake(good), signed)
    for bad in ({}, good | {next(iter(good)): "bm8="}):
        with pytest.raises(Unauthorized, match="Signature"):
            KINDS[name].check(handshake(bad), signed)


def test_a_token_may_come_in_the_vendors_header() -> None:
    guarded = door(token="t0ken")
    KINDS["telnyx"].check(handshake({"x-telnyx-streaming-auth-token": "t0ken"}), guarded)
    for name, headers in (("telnyx", {}), ("exotel", {"x-telnyx-streaming-auth-token": "t0ken"})):
        with pytest.raises(Unauthorized, match="token: missing or wrong"):
            KINDS[name].check(handshake(headers), guarded)


def test_the_address_is_looked_at_first() -> None:
    with pytest.raises(Forbidden):
        KINDS["plain"].check(handshake(), door(token="t0ken", allow_ips=["10.0.0.0/8"]))


def test_a_door_without_checks_has_none() -> None:
    assert not door().is_guarded
    KINDS["plain"].check(handshake(), door())


@pytest.mark.parametrize(
    ("configured", "says"),
    [
        ({"dialect": "klingon"}, "doors.x.dialect: expected one of"),
        ({"dialect": "plain", "signing_key": "k"}, "doors.x.signing_key: plain has no signatures"),
    ],
)
def test_what_cannot_be_is_refused(configured: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as fault:
        kind_of("x", door(**configured))
    assert says in str(fault.value)


STREAMS = {
    "twilio": [twilio_start("c-1"), twilio_media(0)],
    "signalwire": [*SIGNALWIRE.opening, SIGNALWIRE.media],
    "telnyx": [*TELNYX.opening, TELNYX.media],
    "plivo": [*PLIVO.opening, PLIVO.media],
    "exotel": [*EXOTEL.opening, EXOTEL.media],
    "bandwidth": [*BANDWIDTH.opening, BANDWIDTH.media],
    "freeswitch": [FREESWITCH],
    "jambonz": [JAMBONZ],
    "vonage": [VONAGE],
    "livekit": ['{"muted":true}'],
    "plain": [],
}
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.just("9" * 400),
    st.lists(st.text(max_size=3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
)


def opened(name: str) -> Dialect:
    return KINDS[name].open(handshake(call_id="c", leg="a"), door())


def damaged(message: Any, data: st.DataObject) -> Any:
    """`message` with one field, at any depth, replaced or gone."""
    if not isinstance(message, dict) or not message or data.draw(st.integers(0, 3)) == 0:
        return data.draw(VALUES)
    field = data.draw(st.sampled_from(sorted(message)))
    if data.draw(st.integers(0, 4)) == 0:
        return {key: value for key, value in message.items() if key != field}
    return message | {field: damaged(message[field], data)}


@pytest.mark.parametrize("name", list(STREAMS))
@settings(max_examples=30)
@given(data=st.data())
def test_damage_ends_as_our_error_or_not_at_all(name: str, data: st.DataObject) -> None:
    dialect = opened(name)
    with contextlib.suppress(RequestError):
        for message in STREAMS[name]:
            is_damaged = data.draw(st.booleans())
            dialect.receive(json.dumps(damaged(json.loads(message), data)) if is_damaged else message)
        for junk in data.draw(st.lists(st.one_of(st.text(max_size=30), st.binary(max_size=30)), max_size=3)):
            dialect.receive(junk)
