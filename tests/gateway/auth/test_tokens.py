"""Tokens that allow a part: over real sockets, and by the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr
from websockets.asyncio.client import connect

from gateway import clock
from gateway.__main__ import main
from gateway.alerts import subscribers
from gateway.auth import tokens
from gateway.auth.access import EVERYTHING
from gateway.auth.tokens import ScopedToken, hashed
from gateway.config_loading import load
from gateway.errors import ConfigError, Unauthorized
from tests.gateway.conftest import Serve
from tests.gateway.wire import SILENCE, closed, refused, ws_url

PLAIN = "/v1/media/plain?call_id=c-1&leg=caller"
NOW = datetime(2026, 11, 27, tzinfo=UTC)


def row(name: str, *scopes: str) -> dict[str, object]:
    return {"name": name, "sha256": hashed(f"{name}-t0ken"), "scopes": scopes}


THREE = [row("pbx", "ingest"), row("desk", "subscribe"), row("ops", "admin")]


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}-t0ken"}


@pytest.mark.usefixtures("detector")
async def test_a_token_opens_what_its_scopes_name_and_nothing_else(serve: Serve) -> None:
    server = await serve(tokens=[*THREE, row("late", "admin") | {"expires": NOW - timedelta(days=1)}])
    async with connect(ws_url(server, PLAIN), additional_headers=bearer("pbx")) as socket:
        await socket.send(SILENCE)
    async with connect(ws_url(server, "/v1/events"), additional_headers=bearer("desk")):
        pass
    for path, name in ((PLAIN, "desk"), ("/v1/events", "pbx"), ("/v1/events/", "pbx")):
        status, problem = await refused(ws_url(server, path), additional_headers=bearer(name))
        assert (status, problem["title"]) == (403, "Forbidden")
        assert name in problem["detail"]
    for name, why in (("late", "'late' has expired"), ("nobody", "missing or wrong")):
        status, problem = await refused(ws_url(server, "/v1/events"), additional_headers=bearer(name))
        assert (status, problem["title"]) == (401, "Unauthorized")
        assert why in problem["detail"]
    async with httpx.AsyncClient(base_url=server.url) as web:
        statuses = {
            name: [(await web.get(path, headers=bearer(name))).status_code for path in ("/v1/calls", "/metrics")]
            for name in ("pbx", "desk", "ops", "nobody", "late")
        }
        assert (await web.post("/v1/whip/c/caller", headers=bearer("desk"))).status_code == 403
        assert (await web.get("/healthz")).status_code == 200
        hash_of_one = {"Authorization": f"Bearer {hashed('ops-t0ken')}"}
        assert (await web.get("/metrics", headers=hash_of_one)).status_code == 401, "the hash of a token is no token"
    no = [401, 401]
    assert statuses == {"pbx": [403, 403], "desk": [200, 403], "ops": [200, 200], "nobody": no, "late": no}


@pytest.mark.usefixtures("detector")
async def test_a_subscriber_is_closed_when_its_token_expires(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscribers, "CLOCK_CHECK_S", 0.02)
    tomorrow = clock.utc_now() + timedelta(days=1)
    server = await serve(tokens=[row("desk", "subscribe") | {"expires": tomorrow}])
    async with connect(ws_url(server, "/v1/events"), additional_headers=bearer("desk")) as socket:
        monkeypatch.setattr(clock, "utc_now", lambda: tomorrow)
        code, reason = await closed(socket)
    assert (code, reason.partition(";")[0]) == (4401, "token: 'desk' has expired")


def test_an_expired_token_is_refused_by_name() -> None:
    token = ScopedToken(name="old", sha256=hashed("t"), scopes=("admin",), expires=NOW)
    assert tokens.check("t", None, [token], NOW - timedelta(seconds=1)).allows("ingest")
    with pytest.raises(Unauthorized, match="'old' has expired"):
        tokens.check("t", None, [token], NOW)


def test_the_general_token_allows_everything_beside_the_others() -> None:
    token = ScopedToken(name="desk", sha256=hashed("t"), scopes=("subscribe",))
    assert tokens.check("general", SecretStr("general"), [token], NOW) == EVERYTHING
    assert not tokens.check("t", SecretStr("general"), [token], NOW).allows("admin")
    with pytest.raises(Unauthorized):
        tokens.check("", SecretStr("general"), [token], NOW)


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("sha256", 'sha256 = "the token itself"'),
        ("scopes", 'scopes = ["everything"]'),
        ("scopes", "scopes = []"),
        ("expires", "expires = 2026-01-01T00:00:00"),
        ("tenant", 'tenant = "a b"'),
    ],
)
def test_a_wrong_entry_names_the_key_and_never_shows_a_secret(tmp_path: Path, key: str, line: str) -> None:
    lines = {"name": 'name = "x"', "sha256": f'sha256 = "{hashed("t")}"', "scopes": 'scopes = ["ingest"]', key: line}
    file = tmp_path / "callscreen.toml"
    file.write_text("[[tokens]]\n" + "\n".join(lines.values()))
    with pytest.raises(ConfigError, match=rf"tokens\.0\.{key}") as caught:
        load(file, environ={})
    assert "the token itself" not in str(caught.value)


def test_a_tenants_token_is_no_admins() -> None:
    with pytest.raises(ConfigError, match=r"tokens\.0: .*expected no admin together with a tenant"):
        load(environ={}, tokens=[row("x", "admin") | {"tenant": "blue"}])


def test_scoped_tokens_suffice_beyond_loopback() -> None:
    assert load(environ={}, host="0.0.0.0", tokens=THREE).has_token
    with pytest.raises(ConfigError, match="`tokens`"):
        load(environ={}, host="0.0.0.0")


def test_a_token_that_was_made_lets_in_by_the_lines_that_were_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--scope", "subscribe", "--scope", "ingest", "--tenant", "blue", "--expires", "2999-01-01"]
    assert main(["token", "new", "--name", 'the "desk"', *arguments]) == 0
    token, _, lines = capsys.readouterr().out.partition("\n")
    assert token not in lines
    file = tmp_path / "callscreen.toml"
    file.write_text(lines)
    (made,) = load(file, environ={}).tokens
    assert (made.name, made.scopes, made.tenant) == ('the "desk"', ("subscribe", "ingest"), "blue")
    access = tokens.check(token, None, [made], NOW)
    assert access.expires_s == datetime(2999, 1, 1, tzinfo=UTC).timestamp()
    with pytest.raises(Unauthorized, match="expired"):
        tokens.check(token, None, [made], datetime(2999, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tenant", "blue", "--scope", "admin"], "expected no admin together with a tenant"),
        (["--scope", "ingest", "--tenant", "a b"], "tenant: "),
        (["--scope", "ingest", "--expires", "soon"], "--expires: expected a day"),
    ],
)
def test_a_token_that_would_be_refused_is_not_made(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["token", "new", "--name", "x", *arguments]) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert told.out == ""
