"""The signature of Standard Webhooks 1.0: HMAC-SHA256 over ``id.timestamp.body``.  [S]

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

PREFIX = "whsec_"
MIN_KEY_BYTES, MAX_KEY_BYTES = 24, 64


def key_of(secret: str) -> bytes:
    """Return the key in a secret: ``whsec_`` followed by base64.

    Raises:
        ValueError: says what was expected, but not what was given.
    """
    try:
        key = base64.b64decode(secret.strip().removeprefix(PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.strip().startswith(PREFIX) or not MIN_KEY_BYTES <= len(key) <= MAX_KEY_BYTES:
        expected = f"expected {PREFIX} and {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes in base64"
        raise ValueError(f'{expected}; make one: echo "{PREFIX}$(openssl rand -base64 32)"')
    return key


def headers(key: bytes, event_id: str, at: int, body: bytes) -> dict[str, str]:
    """Return the headers that sign a message.

    Args:
        key: the signing key.
        event_id: the message's id.
        at: time of sending, in seconds since 1970.
        body: the message.
    """
    digest = hmac.new(key, f"{event_id}.{at}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
