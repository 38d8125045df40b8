"""JSON Web Tokens of an identity provider: over real sockets, with keys served over HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm
from websockets.asyncio.client import connect

from gateway.auth import jwt_tokens
from gateway.auth.access import Access
from gateway.auth.jwt_settings import JwtSettings
from gateway.auth.jwt_tokens import LEEWAY_S, access_by
from gateway.config_loading import load
from gateway.errors import ConfigError, Unauthorized
from tests.gateway.conftest import Serve
from tests.gateway.wire import SILENCE, refused, ws_url

OURS, FOREIGN = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
NEXT = generate_private_key(SECP256R1())
WHO = {"issuer": "https://id.example.com/", "audience": "callscreen"}


def public(key: Any, key_id: str) -> dict[str, Any]:
    algorithm = OKPAlgorithm if isinstance(key, Ed25519PrivateKey) else ECAlgorithm
    return dict(json.loads(algorithm.to_jwk(key.public_key()))) | {"kid": key_id, "use": "sig"}


def signed(key: Any = OURS, key_id: str | None = "one", algorithm: str = "EdDSA", **claims: Any) -> str:
    said = {"iss": WHO["issuer"], "aud": "callscreen", "exp": time.time() + 600, "scope": "openid subscribe"} | claims
    said = {name: value for name, value in said.items() if value is not None}
    return jwt.encode(said, key, algorithm, headers={"kid": key_id} if key_id else None)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Provider:
    """Publishes its keys over HTTP, or what else the test says."""

    def __init__(self) -> None:
        self.answer = self.publishing(public(OURS, "one"))
        self.asked = 0
        self.url = ""

    @staticmethod
    def publishing(*keys: dict[str, Any]) -> bytes:
        body = json.dumps({"keys": keys}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        writer.write(self.answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def provider() -> AsyncIterator[Provider]:
    one = Provider()
    async with await asyncio.start_server(one.serve, "127.0.0.1", 0) as server:
        one.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks"
        yield one


@pytest.mark.usefixtures("detector")
async def test_a_token_of_the_issuer_is_good_for_its_scopes_and_tenant(serve: Serve) -> None:
    async with provider() as issuer:
        server = await serve(token="general", jwt=WHO | {"jwks_url": issuer.url, "tenant_claim": "org"})
        url = ws_url(server, "/v1/media/plain?call_id=c-1&leg=caller")
        async with (
            connect(url, additional_headers=bearer(signed(scope=["ingest"], org="blue"))) as socket,
            httpx.AsyncClient(base_url=server.url) as web,
        ):
            await socket.send(SILENCE)
            blue = (await web.get("/v1/calls", headers=bearer(signed(org="blue")))).json()
            red = (await web.get("/v1/calls", headers=bearer(signed(org="red")))).json()
            assert ([call["tenant"] for call in blue["calls"]], red["calls"]) == (["blue"], [])
            statuses = {
                name: (await web.get("/v1/calls", headers=bearer(token))).status_code
                for name, token in {
                    "general": "general",
                    "admin without tenant": signed(scope="admin"),
                    "another scope": signed(scope="ingest", org="blue"),
                    "no scope that we know": signed(scope="openid", org="blue"),
                    "no tenant": signed(),
                    "expired": signed(exp=time.time() - 60, org="blue"),
                    "no expiry": signed(exp=None, org="blue"),
                    "another issuer": signed(iss="https://evil.example.com/", org="blue"),
                    "another audience": signed(aud="billing", org="blue"),
                    "foreign key with our id": signed(FOREIGN, org="blue"),
                    "foreign key with its id": signed(FOREIGN, "two", org="blue"),
                    "not signed": jwt.encode({"org": "blue"}, "", "none", headers={"kid": "one"}),
                    "broken": signed(org="blue")[:-8] + "AAAAAAAA",
                    "not a token": "eyJ",
                }.items()
            }
            good = {"general": 200, "admin without tenant": 200, "another scope": 403, "no scope that we know": 403}
            assert statuses == dict.fromkeys(statuses, 401) | good
        status, problem = await refused(
            ws_url(server, "/v1/events"), additional_headers=bearer(signed(exp=time.time() - 60, org="blue"))
        )
        assert (status, "expired" in problem["detail"]) == (401, True)
        assert issuer.asked == 1, "an unknown key id makes nobody ask again and again"


@pytest.mark.usefixtures("detector")
async def test_a_new_key_is_fetched_and_an_issuer_that_is_down_costs_nothing(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwt_tokens, "RETRY_S", 0.0)
    monkeypatch.setattr(jwt_tokens, "RENEW_S", 0.0)
    async with provider() as issuer:
        issuer.answer = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
        server = await serve(jwt=WHO | {"jwks_url": issuer.url})
        async with httpx.AsyncClient(base_url=server.url) as web:

            async def status(token: str) -> int:
                return (await web.get("/v1/calls", headers=bearer(token))).status_code

            assert await status(signed()) == 503, "no key is there, so nobody is let in"
            for wrong in (b"{}", b"[]", b"not JSON", b'{"keys": [{"kty": "oct", "k": "AAAA", "kid": "one"}]}'):
                issuer.answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(wrong), wrong)
                assert await status(signed()) == 503, wrong
            issuer.answer = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
            assert await status(signed()) == 503, "a redirect is not followed"
            issuer.answer = Provider.publishing(public(OURS, "one"))
            assert await status(signed()) == 200
            assert await status(signed(key_id=None)) == 200, "it has only one"
            issuer.answer = Provider.publishing(public(OURS, "one"), public(NEXT, "next"))
            assert await status(signed(NEXT, "next", "ES256")) == 200
            issuer.answer = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
            assert await status(signed()) == 200, "the keys that are there go on"
            monkeypatch.setattr(jwt_tokens, "TRUSTED_S", 0.0)
            assert await status(signed()) == 503


async def test_keys_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [public(OURS, "one")]}))
    async with jwt_tokens.trusted(JwtSettings.model_validate(WHO | {"jwks_file": file})) as issuer:
        assert issuer is not None
        assert (await issuer.access(signed(client_id="desk"))).name == "desk"


async def test_a_token_signed_with_the_public_key_is_refused(tmp_path: Path) -> None:
    published = public(OURS, "one")
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [published]}))
    secret = jwt.PyJWK(published).key.public_bytes_raw()
    async with jwt_tokens.trusted(JwtSettings.model_validate(WHO | {"jwks_file": file})) as issuer:
        assert issuer is not None
        with pytest.raises(Unauthorized, match="expected a valid JSON Web Token"):
            await issuer.access(signed(secret, algorithm="HS256"))


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"scope": 7}, "claim 'scope' as text or list"),
        ({"scope": "subscribe"}, "a tenant as claim 'org'"),
        ({"scope": "subscribe", "org": "a b"}, "a tenant as claim 'org'"),
        ({"scope": "subscribe", "org": ["blue"]}, "a tenant as claim 'org'"),
        ({"scope": "admin", "org": 7}, "a tenant as claim 'org'"),
    ],
)
def test_claims_that_are_not_understood_let_nobody_in(claims: dict[str, Any], said: str) -> None:
    settings = JwtSettings.model_validate(WHO | {"jwks_file": "x", "tenant_claim": "org"})
    with pytest.raises(Unauthorized, match=said):
        access_by(claims | {"exp": 7}, settings)


def test_scopes_of_others_are_left_out() -> None:
    settings = JwtSettings.model_validate(WHO | {"jwks_file": "x", "scope_claim": "scp"})
    access = access_by({"scp": ["subscribe", "mail.read", {}], "azp": "desk", "exp": 7}, settings)
    assert access == Access("desk", frozenset({"subscribe"}), None, 7 + LEEWAY_S)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "jwt: jwks_url, jwks_file: expected one of them"),
        ({"jwks_url": "https://id.example.com", "jwks_file": "x"}, "expected one of them"),
        ({"jwks_url": "http://id.example.com/jwks"}, r"jwt\.jwks_url: .*expected https"),
        ({"jwks_url": "http://127.0.0.1.example.com/jwks"}, r"jwt\.jwks_url: .*expected https"),
        ({"jwks_url": "id.example.com"}, r"jwt\.jwks_url: .*expected https"),
        ({"jwks_file": "x", "audience": ""}, r"jwt\.audience"),
    ],
)
def test_settings_that_cannot_be(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(environ={}, jwt=WHO | keys)
    assert load(environ={}, host="0.0.0.0", jwt=WHO | {"jwks_file": "x"}).has_token
