"""Digest authentication of callers (RFC 3261 section 22, RFC 7616).  [S]

MD5, since telephones support nothing else; for stronger protection there is TLS. A nonce is valid for one INVITE, so a
recorded request cannot be replayed.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from sipmessage import AuthChallenge, AuthParameters

from gateway.ingest.sip.message import ParsedRequest

REALM = "callscreen"
NONCE_S = 60.0
MAX_NONCES = 1000
"""Pending challenges; beyond this the oldest is dropped."""


class Digest:
    """Users and pending challenges."""

    def __init__(self, users: Mapping[str, str]) -> None:
        self._users = users
        self._good_until_s: dict[str, float] = {}

    def challenge(self, nonce: str, now_s: float) -> str:
        """Return a WWW-Authenticate header; `nonce` must be unique."""
        if len(self._good_until_s) >= MAX_NONCES:
            del self._good_until_s[next(iter(self._good_until_s))]
        self._good_until_s[nonce] = now_s + NONCE_S
        return str(AuthChallenge("Digest", AuthParameters(realm=REALM, nonce=nonce, algorithm="MD5", qop="auth")))

    def accepts(self, request: ParsedRequest, now_s: float) -> bool:
        """Whether a request has valid credentials. Its nonce cannot be used again."""
        try:
            credentials = request.message.authorization
        except (ValueError, TypeError):  # TypeError: sipmessage fails on a parameter named `self`
            return False
        given = dict(credentials.parameters or {}) if credentials else {}
        user = given.get("username", "")
        password = self._users.get(user)
        if now_s >= self._good_until_s.pop(given.get("nonce", ""), 0.0) or password is None:
            return False
        known = _md5(user, REALM, password)
        asked = _md5(request.method, given.get("uri", ""))
        between = [given[name] for name in ("nonce", "nc", "cnonce", "qop") if name in given]
        return hmac.compare_digest(_md5(known, *between, asked).encode(), given.get("response", "").lower().encode())


def _md5(*parts: str) -> str:
    return hashlib.md5(":".join(parts).encode(), usedforsecurity=False).hexdigest()
