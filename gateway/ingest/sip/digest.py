"""Passwords for those who call: digest authentication (RFC 3261 section 22, RFC 7616).  [S]

MD5, since that is what telephones speak; who wants more than to keep strangers out has TLS. A nonce is good for one
INVITE, so what was overheard cannot be said again.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from sipmessage import AuthChallenge, AuthParameters

from gateway.ingest.sip.message import Heard

REALM = "callscreen"
NONCE_S = 60.0
MAX_NONCES = 1000
"""Challenges that wait for their answer; beyond it the oldest is forgotten."""


class Digest:
    """Who may call, by name and password."""

    def __init__(self, users: Mapping[str, str]) -> None:
        self._users = users
        self._good_until_s: dict[str, float] = {}

    def challenge(self, nonce: str, now_s: float) -> str:
        """Return a WWW-Authenticate that demands proof; `nonce` was never used before."""
        if len(self._good_until_s) >= MAX_NONCES:
            del self._good_until_s[next(iter(self._good_until_s))]
        self._good_until_s[nonce] = now_s + NONCE_S
        return str(AuthChallenge("Digest", AuthParameters(realm=REALM, nonce=nonce, algorithm="MD5", qop="auth")))

    def accepts(self, heard: Heard, now_s: float) -> bool:
        """Whether a request proves that its sender knows a password. Uses its nonce up."""
        try:
            credentials = heard.request.authorization
        except (ValueError, TypeError):  # with the latter sipmessage stumbles over a parameter called `self`
            return False
        said = dict(credentials.parameters or {}) if credentials else {}
        user = said.get("username", "")
        password = self._users.get(user)
        if now_s >= self._good_until_s.pop(said.get("nonce", ""), 0.0) or password is None:
            return False
        known = _md5(user, REALM, password)
        asked = _md5(heard.method, said.get("uri", ""))
        between = [said[name] for name in ("nonce", "nc", "cnonce", "qop") if name in said]
        return hmac.compare_digest(_md5(known, *between, asked).encode(), said.get("response", "").lower().encode())


def _md5(*parts: str) -> str:
    return hashlib.md5(":".join(parts).encode(), usedforsecurity=False).hexdigest()
