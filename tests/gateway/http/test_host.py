"""TLS on the one port: HTTP and websockets through it, a certificate that is renewed, peers that do not speak it."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from gateway.commands.doctor import examine
from gateway.config_loading import load
from gateway.errors import ConfigError
from gateway.http import host
from tests.gateway.conftest import Serve
from tests.gateway.ingest.sip.certificates import authority, issue
from tests.gateway.wire import SILENCE, ws_url


class Told:
    """In place of the log."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[str] = asyncio.Queue()

    def info(self, event: str, **_facts: Any) -> None:
        self.lines.put_nowait(event)

    error = info


def certified(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """Return a certificate, whose key lies beside it, and what trusts its authority alone."""
    folder = folder / name
    folder.mkdir()
    ca = authority(folder)
    return issue(ca, "gateway"), ssl.create_default_context(cafile=str(ca))


def settings_for(certificate: Path) -> dict[str, Path]:
    return {"tls_cert": certificate, "tls_key": certificate.with_suffix(".key")}


async def answers(url: str, trust: ssl.SSLContext) -> bool:
    """Whether a new connection is trusted."""
    async with httpx.AsyncClient(verify=trust, trust_env=False) as web:
        try:
            return bool((await web.get(f"{url}/healthz")).json() == {"alive": True})
        except httpx.ConnectError:
            return False


@pytest.mark.usefixtures("detector")
async def test_media_and_events_come_over_tls(tmp_path: Path, serve: Serve) -> None:
    certificate, trust = certified(tmp_path, "one")
    server = await serve(token="t", **settings_for(certificate))
    assert server.url.startswith("https://127.0.0.1:")
    bearer = {"Authorization": "Bearer t"}
    media = ws_url(server, "/v1/media/plain?call_id=c-1&leg=caller")
    async with (
        connect(ws_url(server, "/v1/events"), ssl=trust, additional_headers=bearer) as events,
        connect(media, ssl=trust, additional_headers=bearer) as caller,
    ):
        await caller.send(SILENCE)
        assert json.loads(await events.recv())["type"] == "call.started"
    async with httpx.AsyncClient(trust_env=False) as web:
        with pytest.raises(httpx.TransportError):
            await web.get(server.url.replace("https", "http") + "/healthz")


@pytest.mark.usefixtures("detector")
async def test_a_renewed_certificate_is_used_for_connections_to_come(
    tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    monkeypatch.setattr(host, "_log", told)
    certificate, trust = certified(tmp_path, "one")
    renewed, trust_renewed = certified(tmp_path, "two")
    server = await serve(**settings_for(certificate))
    async with connect(ws_url(server, "/v1/events"), ssl=trust) as events:
        for suffix in (".pem", ".key"):
            shutil.copy(renewed.with_suffix(suffix), certificate.with_suffix(suffix))
        server.reload()
        assert await told.lines.get() == "certificate read"
        assert (await answers(server.url, trust), await answers(server.url, trust_renewed)) == (False, True)
        certificate.write_text("no certificate")
        server.reload()
        assert await told.lines.get() == "certificate not taken"
        assert await answers(server.url, trust_renewed)
        await (await events.ping())  # the connection that was there goes on


@pytest.mark.usefixtures("detector")
async def test_a_stalled_tls_handshake_is_closed(tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "HANDSHAKE_S", 0.1)
    server = await serve(**settings_for(certified(tmp_path, "one")[0]))
    address, port = server.url.removeprefix("https://").split(":")
    reader, writer = await asyncio.open_connection(address, int(port))
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()


async def test_a_certificate_that_cannot_be_used_is_refused(tmp_path: Path, serve: Serve) -> None:
    certificate, _ = certified(tmp_path, "one")
    other, _ = certified(tmp_path, "two")
    with pytest.raises(ConfigError, match="tls_cert, tls_key: expected both or none"):
        load(environ={}, tls_cert=certificate)
    for wrong in (
        {"tls_cert": certificate, "tls_key": other.with_suffix(".key")},
        {"tls_cert": tmp_path / "none.pem", "tls_key": tmp_path / "none.key"},
    ):
        with pytest.raises(ConfigError, match=r"^tls_cert, tls_key: "):
            await serve(**wrong)


def test_the_doctor_looks_at_the_certificate(tmp_path: Path) -> None:
    certificate, _ = certified(tmp_path, "one")
    file = tmp_path / "callscreen.toml"
    text = f'verifier = "off"\njournal = "{tmp_path}/j.sqlite3"\ntls_cert = "{certificate}"\n'
    file.write_text(f'{text}tls_key = "{certificate.with_suffix(".key")}"\n')
    assert [one.state for one in examine(file) if one.check == "tls_cert"] == ["ok"]
    file.write_text(f'{text}tls_key = "{certificate}"\n')
    assert [one.state for one in examine(file) if one.check == "tls_cert, tls_key"] == ["error"]
