"""JSON Web Tokens of a trusted issuer (RFC 7519), and the issuer's keys.  [IO]

Keys are fetched in a thread. They are renewed when they are older than `RENEW_S`, while requests are checked with the
current ones. A token with an unknown key id triggers a fetch at once, at most every `RETRY_S`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast, get_args

import httpx
import jwt

from gateway import clock, logs
from gateway.auth.access import Access, Scope
from gateway.auth.jwt_settings import JwtSettings
from gateway.errors import Overloaded, Unauthorized
from gateway.ingest import names

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Only algorithms with a public key: with any other, everybody who knows the public key could sign."""
LEEWAY_S = 30.0
"""Tolerated difference between the clocks."""
RENEW_S = 300.0
RETRY_S = 10.0
TRUSTED_S = 24 * 3600.0
"""Keys are dropped if they could not be renewed for this long."""
FETCH_S = 5.0
MAX_BYTES = 256 * 1024
_SCOPES = get_args(Scope)
_log = logs.get(__name__)


class Issuer:
    """Checks the tokens of one issuer."""

    def __init__(self, settings: JwtSettings) -> None:
        self._settings = settings
        self._keys: dict[str | None, jwt.PyJWK] = {}
        self._fetched_s = self._tried_s = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def access(self, token: str) -> Access:
        """Return what a token allows.

        Raises:
            Unauthorized: the token is invalid; the message says why.
            Overloaded: the issuer's keys cannot be fetched now.
        """
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            key = await self._key(key_id)
            claims = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                issuer=self._settings.issuer,
                audience=self._settings.audience,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud"]},
            )
        # PyJWT does not check the type of every claim, nor how deep they are.
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            told = str(error).encode("ascii", "backslashreplace").decode()  # a header may hold surrogates
            raise Unauthorized(f"token: expected a valid JSON Web Token: {told}") from None
        return access_by(claims, self._settings)

    async def close(self) -> None:
        """Wait for a fetch in progress."""
        if self._fetching is not None:
            await asyncio.wait([self._fetching])

    async def _key(self, key_id: str | None) -> jwt.PyJWK:
        now_s = clock.monotonic_s()
        if now_s - self._fetched_s > TRUSTED_S:
            self._keys = {}
        known = key_id in self._keys
        if now_s - self._fetched_s > RENEW_S or not known:
            fetching = self._fetch(now_s)
            if not known and fetching is not None:
                await asyncio.wait([fetching])
        if not self._keys:
            raise Overloaded("token: the issuer's keys cannot be fetched now; try again in 5 s")
        try:
            return self._keys[key_id]
        except KeyError:
            raise jwt.InvalidKeyError("signed with a key that its issuer does not publish") from None

    def _fetch(self, now_s: float) -> asyncio.Task[None] | None:
        """Start to fetch the keys; return the task, or None if it is too early to try again."""
        if self._fetching is not None and not self._fetching.done():
            return self._fetching
        if now_s - self._tried_s < RETRY_S:
            return None
        self._tried_s = now_s
        self._fetching = asyncio.create_task(self._renew(), name="jwks")
        return self._fetching

    async def _renew(self) -> None:
        try:
            self._keys = await asyncio.to_thread(fetch_keys, self._settings)
        except (OSError, httpx.HTTPError, ValueError) as error:
            _log.warning("the issuer's keys cannot be fetched", place=_place(self._settings), error=str(error))
        else:
            self._fetched_s = clock.monotonic_s()


@contextlib.asynccontextmanager
async def trusted(settings: JwtSettings | None) -> AsyncIterator[Issuer | None]:
    """Yield the issuer in `settings`, if any; at the end, wait for a fetch in progress."""
    issuer = Issuer(settings) if settings else None
    try:
        yield issuer
    finally:
        if issuer is not None:
            await issuer.close()


def fetch_keys(settings: JwtSettings) -> dict[str | None, jwt.PyJWK]:
    """Return an issuer's public keys by id. If there is only one, it is also under None.

    Raises:
        OSError, httpx.HTTPError: the keys cannot be read.
        ValueError: not a key set (RFC 7517, section 5), or one without a usable key.
    """
    return read_keys(settings.jwks_file.read_bytes() if settings.jwks_file else _fetched(settings.jwks_url or ""))


def read_keys(text: bytes) -> dict[str | None, jwt.PyJWK]:
    """Return the keys of a key set, as `fetch_keys`. Raises ValueError."""
    try:
        key_set = jwt.PyJWKSet.from_dict(json.loads(text))
    except Exception as error:  # PyJWT checks few of the things that can be wrong with a key
        raise ValueError(f"expected a JSON Web Key Set (RFC 7517): {error!r:.200}") from None
    usable = [key for key in key_set.keys if key.algorithm_name in ALGORITHMS and isinstance(key.key_id, str | None)]
    if not usable:
        raise ValueError("expected a public key for signatures, got none")
    keys: dict[str | None, jwt.PyJWK] = {key.key_id: key for key in usable}
    if len(usable) == 1:
        keys[None] = usable[0]
    return keys


def access_by(claims: Mapping[str, Any], settings: JwtSettings) -> Access:
    """Return what the claims of a token allow. Its signature, issuer, audience and times have been checked.

    Raises:
        Unauthorized: names the claim and what was expected.
    """
    claimed = claims.get(settings.scope_claim, "")
    if isinstance(claimed, str):
        claimed = claimed.split()
    if not isinstance(claimed, list):
        raise Unauthorized(f"token: expected the claim {settings.scope_claim!r} as text or list")
    scopes = frozenset(cast("Scope", scope) for scope in claimed if scope in _SCOPES)
    tenant = claims.get(settings.tenant_claim) if settings.tenant_claim else None
    needs_tenant = settings.tenant_claim is not None and (tenant is not None or "admin" not in scopes)
    if needs_tenant and not (isinstance(tenant, str) and re.fullmatch(names.PATTERN, tenant)):
        raise Unauthorized(f"token: expected a tenant as claim {settings.tenant_claim!r}")
    client = claims.get("client_id") or claims.get("azp")
    name = client[:64] if isinstance(client, str) else "jwt"
    try:
        expires_s = float(claims["exp"])
    except OverflowError:
        raise Unauthorized("token: expected a time in seconds as claim 'exp'") from None
    return Access(name, scopes, tenant, expires_s + LEEWAY_S)


def _fetched(url: str) -> bytes:
    """Return the body of a URL, without following redirects, within the limits on size and time."""
    until_s = time.monotonic() + FETCH_S
    body = b""
    with httpx.stream("GET", url, timeout=FETCH_S, headers={"Accept": "application/json"}) as answer:
        if answer.status_code != 200:
            raise ValueError(f"expected status 200, got {answer.status_code}")
        for chunk in answer.iter_bytes():
            body += chunk
            if len(body) > MAX_BYTES or time.monotonic() > until_s:
                raise ValueError(f"expected at most {MAX_BYTES} bytes within {FETCH_S:g} s")
    return body


def _place(settings: JwtSettings) -> str:
    return str(settings.jwks_file or settings.jwks_url)
