"""JSON Web Tokens that a vendor signs with a shared secret (RFC 7519, HS256): Vonage.  [S]

Source: Vonage, "Decoding signed webhooks", and its Python SDK, which uses the same library. A websocket upgrade has no
body, so there is no `payload_hash`; signature and age are checked.
"""

from __future__ import annotations

import warnings

import jwt

from gateway.errors import Unauthorized
from gateway.ingest.dialects.base import Handshake

MAX_AGE_S = 300.0
"""The age that Vonage allows."""
CLOCK_SKEW_S = 60.0
MAX_TIME_S = 1e15
"""Larger integers are no times in seconds, and overflow."""
_OPTIONS: jwt.types.Options = {
    "require": ["iat"],
    # Checked below, against the time of the handshake.
    "verify_iat": False,
    "verify_exp": False,
    "verify_nbf": False,
}


def check(handshake: Handshake, secret: str) -> None:
    """Check that ``Authorization: Bearer`` has a recent token signed with `secret`.

    Raises:
        Unauthorized: says what is wrong with the token.
    """
    scheme, _, token = handshake.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthorized("Authorization: expected `Bearer` and a signed token, got none")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", jwt.InsecureKeyLengthWarning)  # the vendor chose the key
            claims = jwt.decode(token.strip(), secret, algorithms=["HS256"], options=_OPTIONS)
    except jwt.InvalidTokenError as error:
        raise Unauthorized(f"Authorization: expected a token signed with our secret: {error}") from None
    issued_s, expires_s = claims["iat"], claims.get("exp", handshake.time_s)
    if not all(isinstance(time_s, int | float) and abs(time_s) < MAX_TIME_S for time_s in (issued_s, expires_s)):
        raise Unauthorized("Authorization: expected times in seconds as iat and exp")
    if not -CLOCK_SKEW_S <= handshake.time_s - issued_s <= MAX_AGE_S or handshake.time_s > expires_s + CLOCK_SKEW_S:
        raise Unauthorized("Authorization: expected a recent token; this one is too old, or a clock is wrong")
