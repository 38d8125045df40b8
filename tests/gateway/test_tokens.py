"""Tokens that allow a part: over real sockets, and by the clock."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from websockets.asyncio.client import connect

from gateway import tokens
from gateway.config import load
from gateway.errors import ConfigError, Forbidden, Unauthorized
from gateway.tokens import ScopedToken
from tests.gateway.conftest import Serve
from tests.gateway.wire import SILENCE, refused, ws_url

PLAIN = "/v1/media/plain?call_id=c-1&leg=caller"
NOW = datetime(2026, 11, 27, tzinfo=UTC)


def hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def row(name: str, *scopes: str) -> dict[str, object]:
    return {"name": name, "sha256": hashed(f"{name}-t0ken"), "scopes": scopes}


THREE = [row("pbx", "ingest"), row("desk", "subscribe"), row("ops", "admin")]


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}-t0ken"}


@pytest.mark.usefixtures("detector")
async def test_a_token_opens_what_its_scopes_name_and_nothing_else(serve: Serve) -> None:
    house = await serve(tokens=THREE)
    async with connect(ws_url(house, PLAIN), additional_headers=bearer("pbx")) as socket:
        await socket.send(SILENCE)
    async with connect(ws_url(house, "/v1/events"), additional_headers=bearer("desk")):
        pass
    for path, name in ((PLAIN, "desk"), ("/v1/events", "pbx"), ("/v1/events/", "pbx")):
        status, problem = await refused(ws_url(house, path), additional_headers=bearer(name))
        assert (status, problem["title"]) == (403, "Forbidden")
        assert name in problem["detail"]
    async with httpx.AsyncClient(base_url=house.url) as web:
        statuses = {
            name: [(await web.get(path, headers=bearer(name))).status_code for path in ("/v1/calls", "/metrics")]
            for name in ("pbx", "desk", "ops", "nobody")
        }
        assert (await web.post("/v1/whip/c/caller", headers=bearer("desk"))).status_code == 403
        assert (await web.get("/healthz")).status_code == 200
    assert statuses == {"pbx": [403, 403], "desk": [200, 403], "ops": [200, 200], "nobody": [401, 401]}


@pytest.mark.usefixtures("detector")
async def test_the_hash_of_a_token_is_no_token(serve: Serve) -> None:
    house = await serve(tokens=THREE)
    async with httpx.AsyncClient(base_url=house.url) as web:
        answer = await web.get("/metrics", headers={"Authorization": f"Bearer {hashed('ops-t0ken')}"})
    assert answer.status_code == 401


def test_an_expired_token_is_refused_by_name() -> None:
    token = ScopedToken(name="old", sha256=hashed("t"), scopes=("admin",), expires=NOW)
    tokens.check("t", "ingest", None, [token], NOW - timedelta(seconds=1))
    with pytest.raises(Unauthorized, match="'old' has expired"):
        tokens.check("t", "ingest", None, [token], NOW)


def test_the_general_token_allows_everything_beside_the_others() -> None:
    token = ScopedToken(name="desk", sha256=hashed("t"), scopes=("subscribe",))
    tokens.check("general", "admin", SecretStr("general"), [token], NOW)
    with pytest.raises(Forbidden, match="scope 'admin'"):
        tokens.check("t", "admin", SecretStr("general"), [token], NOW)
    with pytest.raises(Unauthorized):
        tokens.check("", "subscribe", SecretStr("general"), [token], NOW)


def test_a_path_that_is_not_known_wants_the_most() -> None:
    assert [tokens.scope_of(path) for path in ("/v1/callsigns", "/v1/eventsx", "/", "/v1/media")] == ["admin"] * 4


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("sha256", 'sha256 = "the token itself"'),
        ("scopes", 'scopes = ["everything"]'),
        ("scopes", "scopes = []"),
        ("expires", "expires = 2026-01-01T00:00:00"),
    ],
)
def test_a_wrong_entry_names_the_key_and_never_shows_a_secret(tmp_path: Path, key: str, line: str) -> None:
    lines = {"name": 'name = "x"', "sha256": f'sha256 = "{hashed("t")}"', "scopes": 'scopes = ["ingest"]', key: line}
    file = tmp_path / "callscreen.toml"
    file.write_text("[[tokens]]\n" + "\n".join(lines.values()))
    with pytest.raises(ConfigError, match=rf"tokens\.0\.{key}") as caught:
        load(file, environ={})
    assert "the token itself" not in str(caught.value)


def test_scoped_tokens_suffice_beyond_loopback() -> None:
    assert load(environ={}, host="0.0.0.0", tokens=THREE).has_token
    with pytest.raises(ConfigError, match="`tokens`"):
        load(environ={}, host="0.0.0.0")
