"""HTTP message signatures, against vectors that others computed and one made here from the draft's text alone."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest

from gateway.client.genesys import signature_headers
from gateway.errors import Unauthorized
from gateway.ingest.dialects.base import Handshake
from gateway.ingest.dialects.genesys import SIGNED
from gateway.ingest.http_signature import check

KEY = "SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh"
SECRET = "TXlTdXBlclNlY3JldEtleVRlbGxOby0xITJAMyM0JDU="
CREATED = 1641013200
URL = "wss://audiohook.example.com/api/v1/voicebiometrics/ws"
HEADERS = {
    "audiohook-organization-id": "d7934305-0972-4844-938e-9060eef73d05",
    "audiohook-session-id": "30b0e395-84d3-4570-ac13-9a62d8f514c0",
    "audiohook-correlation-id": "e160e428-53e2-487c-977d-96989bf5c99d",
    "x-api-key": KEY,
}
# The example of Genesys' own documentation of AudioHook's security.
INPUT = (
    'sig1=("@request-target" "@authority" "audiohook-organization-id" "audiohook-session-id" '
    '"audiohook-correlation-id" "x-api-key");keyid="SGVsbG8sIEkgYW0gdGhlIEFQSSBrZXkh";'
    'nonce="VGhpc0lzQVVuaXF1ZU5vbmNl";alg="hmac-sha256";created=1641013200;expires=3282026430'
)
SIGNATURE = "sig1=:NZBwyBHRRyRoeLqy1IzOa9VYBuI8TgMFt2GRDkDuJh4=:"


def handshake(url: str = URL, time_s: float = CREATED + 1, **headers: str) -> Handshake:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Handshake(url, {}, HEADERS | {"signature-input": INPUT, "signature": SIGNATURE} | given, "192.0.2.1", time_s)


def verify(upgrade: Handshake, key: str = KEY) -> None:
    check(upgrade, key, SECRET, SIGNED)


def signed(params: str, *lines: str) -> dict[str, Any]:
    """Sign as section 2.3 of the draft says, by hand."""
    base = "\n".join([*lines, f'"@signature-params": {params}'])
    digest = hmac.new(base64.b64decode(SECRET), base.encode(), hashlib.sha256).digest()
    return {"signature_input": f"s={params}", "signature": f"s=:{base64.b64encode(digest).decode()}:"}


def test_the_vendors_own_example() -> None:
    verify(handshake())
    verify(handshake("wss://AudioHook.example.com:443/api/v1/voicebiometrics/ws"))


def test_a_vector_made_from_the_drafts_text() -> None:
    params = f'("@request-target" "x-api-key");created={CREATED};keyid="{KEY}";nonce="0123456789abcdefghijkl"'
    headers = signed(params, '"@request-target": /door?a=b', f'"x-api-key": {KEY}')
    check(handshake("wss://gw.example.com/door?a=b", **headers), KEY, SECRET, ("@request-target", "x-api-key"))
    with pytest.raises(Unauthorized, match="expected @authority to be signed"):
        check(handshake("wss://gw.example.com/door?a=b", **headers), KEY, SECRET, ("@request-target", "@authority"))


def test_the_client_signs_so_that_it_is_let_in() -> None:
    url = "wss://gw.example.com/v1/media/genesys?tenant=x"
    named = {name.title().replace("Api-Key", "API-KEY"): one for name, one in HEADERS.items()}
    made = signature_headers(url, named, SECRET, CREATED, "0123456789abcdefghijklmn")
    verify(handshake(url, signature=made["Signature"], signature_input=made["Signature-Input"]))


@pytest.mark.parametrize("seconds", [-3, 0, 10])
def test_clocks_may_differ_a_little(seconds: int) -> None:
    verify(handshake(time_s=CREATED + seconds))


@pytest.mark.parametrize("name", [*HEADERS])
def test_every_signed_header_matters(name: str) -> None:
    changed: dict[str, Any] = {name.replace("-", "_"): "7"}
    with pytest.raises(Unauthorized):
        verify(handshake(**changed))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"url": "wss://audiohook.example.com/elsewhere"}, "expected that of this request"),
        ({"url": "wss://evil.example.com/api/v1/voicebiometrics/ws"}, "expected that of this request"),
        ({"signature": "sig1=:AAAA:"}, "expected that of this request"),
        ({"signature": "sig1=:!:"}, "Signature: expected base64"),
        ({"signature": "sig2=:AAAA:"}, "expected one HTTP message signature"),
        ({"signature": ""}, "expected one HTTP message signature"),
        ({"signature_input": ""}, "expected one HTTP message signature"),
        ({"signature_input": INPUT + "," + INPUT}, "expected one HTTP message signature"),
        ({"signature_input": INPUT.replace("hmac-sha256", "ecdsa-p256-sha256")}, "alg"),
        ({"signature_input": INPUT.replace(' "@authority"', "")}, "expected @authority to be signed"),
        ({"signature_input": INPUT.replace("VGhpc0lzQVVuaXF1ZU5vbmNl", "short")}, "nonce"),
        ({"signature_input": INPUT.replace("created=1641013200;", "")}, "created"),
        ({"signature_input": INPUT.replace("3282026430", "1641013100")}, "expired"),
        ({"signature_input": INPUT.replace('"x-api-key")', '"x-api-key" "x-gone")')}, "x-gone: signed, but missing"),
        ({"time_s": CREATED + 11}, "created within the last 10 s"),
        ({"time_s": CREATED - 4}, "created within the last 10 s"),
    ],
)
def test_an_invalid_signature_is_refused_with_its_fault(change: dict[str, Any], message: str) -> None:
    with pytest.raises(Unauthorized, match=message):
        verify(handshake(**change))


def test_another_key_is_refused() -> None:
    with pytest.raises(Unauthorized, match="keyid"):
        verify(handshake(), key="another")
