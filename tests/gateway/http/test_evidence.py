"""Audio evidence over HTTP: who may, who may not, and what is told of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from websockets.asyncio.client import connect

from gateway import logs
from gateway.app import Server
from gateway.evidence.age import new_pair
from tests.gateway.auth.test_tokens import bearer, row
from tests.gateway.conftest import Serve
from tests.gateway.contract.test_wire import as_said
from tests.gateway.loudness import speech
from tests.gateway.wire import Events, plain, say, subscribed, ws_url

pytestmark = pytest.mark.usefixtures("detector")
TENANTS = ("blue", "red")
TOKENS = [
    *(row(tenant, "ingest", "subscribe", "evidence") | {"tenant": tenant} for tenant in TENANTS),
    row("desk", "subscribe", "ingest"),
    row("keeper", "evidence"),
]
PUBLIC = new_pair()[1]


async def alarm(server: Server, tenant: str, call_id: str) -> dict[str, Any]:
    """Play a call of a tenant that alerts; return what was told of its evidence."""
    path = f"/v1/media/plain?call_id={call_id}&leg=caller&encoding=s16le&rate=16000"
    async with connect(ws_url(server, "/v1/events"), additional_headers=bearer(tenant)) as socket:
        events = Events(socket)
        async with connect(ws_url(server, path), additional_headers=bearer(tenant)) as media:
            await say(media, speech(8, synthetic=True))
            await events.until("alert.raised")
        told: dict[str, Any] = (await events.until("alert.evidence", outcome="stored"))["data"]
        return told


def accesses(log: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return the lines of the audit since they were asked for last."""
    lines: list[Any] = [record.msg for record in log.records if record.name == logs.AUDIT]
    log.clear()
    return lines


@pytest.fixture
def errors_only() -> None:
    """The log of an operator who asked for errors only."""
    logs.configure("error", "json")
    structlog.configure(cache_logger_on_first_use=False)  # a cached logger would keep this configuration in later tests


@pytest.mark.usefixtures("errors_only")
async def test_evidence_is_for_its_tenant_and_its_scope_and_every_access_is_logged(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "evidence"
    server = await serve(tokens=TOKENS, evidence={"folder": folder, "public_keys": [PUBLIC]})
    told = await alarm(server, "blue", "b-1")
    await alarm(server, "red", "b-1")
    calls, one = "/v1/evidence/b-1", f"/v1/evidence/b-1/{told['alert_id']}"
    (file,) = folder.glob("blue/b-1/*.age")
    async with httpx.AsyncClient(base_url=server.url) as web:
        document = (await web.get("/openapi.json")).json()
        for name, status in (("blue", 200), ("keeper", 200), ("red", 404), ("desk", 403), ("nobody", 401)):
            answer = await web.get(one, headers=bearer(name))
            assert (answer.status_code, answer.headers["cache-control"]) == (status, "no-store"), name
            assert (answer.content == file.read_bytes()) is (status == 200)
        lines = accesses(caplog)
        assert [(line["who"], line["status"], line["granted"]) for line in lines] == [
            ("blue", 200, True), ("keeper", 200, True), ("red", 404, False), ("desk", 403, False), (None, 401, False)
        ]  # fmt: skip
        assert {(line["action"], line["call_id"], line["alert_id"]) for line in lines} == {
            ("fetch", "b-1", told["alert_id"])
        }
        assert all(line["timestamp"] and line["logger"] == logs.AUDIT for line in lines)

        for name, owners in (("blue", {"blue"}), ("red", {"red"}), ("keeper", {"blue", "red"})):
            listed = (await web.get(calls, headers=bearer(name))).json()
            as_said(document, "EvidenceFiles", listed)
            assert {entry["tenant"] for entry in listed["evidence"]} == owners
        fetched = await web.get(one, headers=bearer("blue"))
        assert fetched.headers["content-type"] == "application/vnd.age"
        assert fetched.content.startswith(b"age-encryption.org/v1\n")

        assert (await web.delete(calls, headers=bearer("desk"))).status_code == 403
        assert (await web.delete("/v1/evidence/b-2", headers=bearer("blue"))).status_code == 404
        deleted = await web.delete(calls, headers=bearer("red"))
        as_said(document, "EvidenceDeleted", deleted.json())
        assert (deleted.json(), file.exists(), (folder / "red").exists()) == ({"deleted": 1}, True, False)
        assert (await web.delete(calls, headers=bearer("blue"))).json() == {"deleted": 1}
        for path in (calls, one):
            gone = await web.get(path, headers=bearer("blue"))
            assert (gone.status_code, gone.json()["title"]) == (404, "NotFound")
        told_of = [(line["action"], line["who"], line["status"]) for line in accesses(caplog)]
    assert told_of == [
        ("list", "blue", 200), ("list", "red", 200), ("list", "keeper", 200), ("fetch", "blue", 200),
        ("delete", "desk", 403), ("delete", "blue", 404), ("delete", "red", 200), ("delete", "blue", 200),
        ("list", "blue", 404), ("fetch", "blue", 404),
    ]  # fmt: skip


async def test_no_path_leads_out_of_the_folder(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / f"{'0' * 32}.caller.flac.age").write_text("not ours")
    server = await serve(evidence={"folder": tmp_path / "evidence", "public_keys": [PUBLIC]})
    async with subscribed(server) as events, plain(server, "caller") as media:
        await say(media, speech(12, synthetic=True))
        stored = (await events.until("alert.evidence"))["data"]["alert_id"]
        async with httpx.AsyncClient(base_url=server.url) as web:
            assert (await web.get(f"/v1/evidence/c-1/{stored}")).status_code == 200
            for path in (
                "..%2Fx",
                "*",
                "c-%3F",
                "..",
                "_",
                ".lock",
                f"%2E%2E/{'0' * 32}",
                f"c-1/{'*'}",
                "c-1/..%2Fc-1",
            ):
                assert (await web.get(f"/v1/evidence/{path}")).status_code == 404, path
                assert (await web.delete(f"/v1/evidence/{path}")).status_code in (404, 405), path
            assert (await web.get(f"/v1/evidence/c-1/{stored}")).status_code == 200


async def test_where_evidence_is_off_there_is_none(serve: Serve) -> None:
    server = await serve()
    async with httpx.AsyncClient(base_url=server.url) as web:
        answers = [
            await web.get("/v1/evidence/c-1"),
            await web.get("/v1/evidence/c-1/x"),
            await web.delete("/v1/evidence/c-1"),
        ]
    assert [answer.status_code for answer in answers] == [404] * 3
