"""What an identity provider's keys and tokens can look like, and what somebody sends who would like to have one."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt

from gateway import clock
from gateway.auth.access import Access
from gateway.auth.jwt_settings import JwtSettings
from gateway.auth.jwt_tokens import Issuer, read_keys
from gateway.errors import RequestError
from tests.fuzz.mutations import Choice, Draw, Input, Part, json_text, sequences
from tests.fuzz.target import Target
from tests.gateway.auth.test_jwt_tokens import NEXT, OURS, WHO, public

SETTINGS = JwtSettings.model_validate(WHO | {"jwks_url": "https://id.example.com/jwks.json", "tenant_claim": "org"})
KEY_SET = json.dumps({"keys": [public(OURS, "one"), public(NEXT, "two")]})
RSA = {
    "kty": "RSA",
    "kid": "three",
    "use": "sig",
    "alg": "RS256",
    "n": "u1SU1LfVLPHCozMxH2Mo4lgOEePzNm0tRg",
    "e": "AQAB",
}
SHARED = {"kty": "oct", "kid": "four", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ"}
HEADER = {"alg": "EdDSA", "typ": "JWT", "kid": "one"}
CLAIMS = {"iss": WHO["issuer"], "aud": "callscreen", "exp": 4_000_000_000, "scope": "subscribe", "org": "blue"}


def play_keys(given: Input) -> None:
    """A key set: keys that can only verify, or nothing of it is used."""
    for part in given:
        try:
            keys = read_keys(_utf8(part))
        except ValueError:
            continue
        assert keys
        assert not any(key.key_type == "oct" for key in keys.values()), "whoever knows the public key could sign"


def play_token(given: Input) -> None:
    """A token of any header and claims: signed by the issuer, then with the signature of another one."""
    header, claims = (_utf8(part) for part in (*given, "", "")[:2])
    said = f"{_base64url(header)}.{_base64url(claims)}"
    signature = _base64url(OURS.sign(said.encode()))
    right = _let_in(f"{said}.{signature}")
    if right is not None:
        assert right.tenant is not None or "admin" in right.scopes
        assert json.loads(header)["alg"] == "EdDSA"
    assert _let_in(f"{said}.{_base64url(OURS.sign(b'another one'))}") is None
    assert _let_in(f"{said}.") is None


def play_text(given: Input) -> None:
    """What stands where a token should."""
    for part in given:
        _let_in(_utf8(part).decode("utf-8", "replace"))


def _let_in(token: str) -> Access | None:
    """Return what a token allows; the issuer has its keys, and does not fetch any."""
    issuer = Issuer(SETTINGS)
    issuer._keys = read_keys(KEY_SET.encode())
    issuer._fetched_s = issuer._tried_s = clock.monotonic_s()
    checking = issuer.access(token)
    try:
        checking.send(None)
    except StopIteration as done:
        access: Access = done.value
        return access
    except RequestError as error:
        str(error).encode()
        return None
    raise AssertionError("the issuer waits")


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _utf8(part: Part) -> bytes:
    return part if isinstance(part, bytes) else part.encode("utf-8", "replace")


def _json(draw: Draw, part: Part) -> Part:
    return json_text(draw, _utf8(part).decode("utf-8", "replace"))


def _of(*corpus: Any) -> Choice[Input]:
    return sequences(
        [tuple(part if isinstance(part, str) else json.dumps(part) for part in one) for one in corpus], _json
    )


TARGETS = [
    Target("jwks", _of((KEY_SET,), ({"keys": [RSA]},), ({"keys": [SHARED, public(NEXT, "two")]},)), play_keys),
    Target(
        "jwt-of-an-issuer",
        _of(
            (HEADER, CLAIMS),
            (HEADER | {"kid": "two", "alg": "ES256"}, CLAIMS | {"scope": ["admin", "ingest"], "org": None}),
            (HEADER | {"alg": "none"}, CLAIMS | {"nbf": 0, "iat": 1.5, "aud": ["callscreen", "other"]}),
            (HEADER | {"crit": ["b64"], "b64": False}, CLAIMS),
        ),
        play_token,
    ),
    Target("jwt-text", _of((jwt.encode(CLAIMS, OURS, "EdDSA", headers={"kid": "one"}),), ("eyJ.eyJ.",)), play_text),
]
