"""HTTP message signatures as in AudioHook: hmac-sha256 over named components of an upgrade.  [S]

Source: draft-ietf-httpbis-message-signatures (section 2.3 signature base, 3.2 verification); Genesys Cloud's AudioHook
"Security" page for the components to be covered. The draft became RFC 9421, whose changes do not matter here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from gateway.errors import Unauthorized
from gateway.ingest.dialects.base import Handshake

MAX_AGE_S = 10.0
CLOCK_SKEW_S = 3.0
MIN_NONCE = 22
"""Characters: 128 bits in base64."""
_DEFAULT_PORTS = {"http": ":80", "ws": ":80", "https": ":443", "wss": ":443"}
# RFC 8941: label=("component" …);parameter=value… with strings and integers as values.
_INPUT = re.compile(
    r"(?P<label>[a-z*][a-z0-9_.*-]*)=(?P<params>\((?P<components>[^()]*)\)(?P<rest>(?:;[a-z*][a-z0-9_.*-]*="
    r'(?:"[^"\\]*"|\d{1,15}))*))'
)
_PARAMETER = re.compile(r';([a-z*][a-z0-9_.*-]*)=(?:"([^"\\]*)"|(\d+))')


@dataclass(frozen=True, slots=True)
class _Signature:
    components: list[str]
    params: str
    """Verbatim from Signature-Input, since they are signed, too."""
    parameters: dict[str, str]
    value: bytes


def check(handshake: Handshake, key_id: str, secret: str, required: tuple[str, ...]) -> None:
    """Check the signature of an upgrade.

    Args:
        handshake: the upgrade, with the URL that the peer used.
        key_id: expected ``keyid``.
        secret: shared key, in base64.
        required: components that must be covered, in lower case.

    Raises:
        Unauthorized: says what is wrong with the signature.
    """
    signature = _read(handshake)
    _check_age(signature.parameters, handshake.time_s)
    if signature.parameters.get("keyid") != key_id:
        raise Unauthorized("Signature-Input: expected keyid to be the key of this request")
    if signature.parameters.get("alg", "hmac-sha256") != "hmac-sha256":
        raise Unauthorized("Signature-Input: expected alg hmac-sha256")
    if missing := [name for name in required if name not in signature.components]:
        raise Unauthorized(f"Signature-Input: expected {', '.join(missing)} to be signed")
    expected = hmac.new(_decoded("signing_key", secret), _base(handshake, signature), hashlib.sha256).digest()
    if not hmac.compare_digest(expected, signature.value):
        raise Unauthorized("Signature: expected that of this request with our key")


def _read(handshake: Handshake) -> _Signature:
    found = _INPUT.fullmatch(handshake.headers.get("signature-input", ""))
    label, _, value = handshake.headers.get("signature", "").partition("=")
    if found is None or label != found["label"] or not (value[:1] == value[-1:] == ":"):
        raise Unauthorized("Signature, Signature-Input: expected one HTTP message signature")
    components = [name.strip('"') for name in found["components"].split()]
    parameters = {name: text or number for name, text, number in _PARAMETER.findall(found["rest"])}
    return _Signature(components, found["params"], parameters, _decoded("Signature", value[1:-1]))


def _check_age(parameters: dict[str, str], now_s: float) -> None:
    created, expires = _number(parameters, "created"), _number(parameters, "expires")
    if created is None or not -CLOCK_SKEW_S <= now_s - created <= MAX_AGE_S:
        raise Unauthorized(f"Signature-Input: expected created within the last {MAX_AGE_S:g} s")
    if expires is not None and now_s > expires + CLOCK_SKEW_S:
        raise Unauthorized("Signature-Input: expired")
    if len(parameters.get("nonce", "")) < MIN_NONCE:
        raise Unauthorized(f"Signature-Input: expected a nonce of at least {MIN_NONCE} characters")


def _number(parameters: dict[str, str], name: str) -> int | None:
    value = parameters.get(name, "")
    return int(value) if value.isdigit() else None


def _base(handshake: Handshake, signature: _Signature) -> bytes:
    """Return the signature base: one line per component, then the parameters."""
    lines = [f'"{name}": {_component(handshake, name)}' for name in signature.components]
    return "\n".join([*lines, f'"@signature-params": {signature.params}']).encode()


def _component(handshake: Handshake, name: str) -> str:
    parts = urlsplit(handshake.url)
    if name == "@request-target":
        return parts.path + (f"?{parts.query}" if parts.query else "")
    if name == "@authority":
        return parts.netloc.lower().removesuffix(_DEFAULT_PORTS.get(parts.scheme, ""))
    if name not in handshake.headers:
        raise Unauthorized(f"{name:.40}: signed, but missing")
    return handshake.headers[name].strip()


def _decoded(field: str, value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:  # binascii.Error, or another ValueError if it is not ASCII
        raise Unauthorized(f"{field}: expected base64") from None
