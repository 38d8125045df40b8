"""Feedback on alerts: over HTTP, as an event, in the history, as a manifest."""

from __future__ import annotations

import asyncio
import csv
import io
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from gateway.__main__ import main
from gateway.alerts.labels import MAX_LOG_ODDS, log_odds
from gateway.http.feedback import MAX_BODY_BYTES
from tests.gateway.auth.test_tokens import bearer, row
from tests.gateway.conftest import Serve
from tests.gateway.loudness import speech
from tests.gateway.wire import Events, pcm, plain, subscribed, ws_url

pytestmark = pytest.mark.usefixtures("detector")


async def export(journal: Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    capsys.readouterr()
    assert await asyncio.to_thread(main, ["feedback", "export", "--journal", str(journal)]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


async def test_an_alert_is_confirmed_or_dismissed_and_the_last_word_counts(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = await serve()
    async with httpx.AsyncClient(base_url=server.url) as web, subscribed(server) as events:
        async with plain(server, "caller") as media:
            for frame in pcm(speech(25, synthetic=True)):
                await media.send(frame)
            alert = (await events.until("alert.raised", within_s=30))["data"]
            path = f"/v1/alerts/{alert['alert_id']}/feedback"
            assert (await web.post(path, json={"verdict": "confirmed"})).status_code == 202
            await events.until("feedback.given", verdict="confirmed", note=None)
        await events.until("call.ended")
        answer = await web.post(path, json={"verdict": "dismissed", "note": "=a colleague, ill"})
        given = await events.until("feedback.given", verdict="dismissed")
        assert answer.json() == {"event_id": given["id"]}
        assert (given["data"]["leg"], given["data"]["reason"]) == ("caller", "operator")
        (call,) = (await web.get("/v1/calls")).json()["calls"]
        (shown,) = call["alerts"]
        assert (shown["alert_id"], shown["feedback"]["verdict"]) == (alert["alert_id"], "dismissed")
        await check_refusals(web, path)
    (told,) = await export(tmp_path / "j.sqlite3", capsys)
    assert (told["label"], told["family"], told["verdict"], told["path"]) == ("real", "human", "dismissed", "")
    assert (told["call_id"], told["leg"], told["alert_id"]) == ("c-1", "caller", alert["alert_id"])
    assert (told["models"], told["calibration"], told["note"]) == (
        "loudness@00000000", "loudness", "'=a colleague, ill"
    )  # fmt: skip
    assert float(told["p"]) == pytest.approx(shown["p_synthetic"], abs=1e-5)
    assert float(told["log_odds"]) == pytest.approx(log_odds(shown["p_synthetic"]), abs=1e-3)


async def check_refusals(web: httpx.AsyncClient, path: str) -> None:
    """Whatever is wrong is named, and stores nothing."""
    refused: list[tuple[Any, int, str]] = [
        (b"no", 400, "body: expected JSON"),
        (b"[]", 422, "body: "),
        (b"{}", 422, "verdict: "),
        (b'{"verdict": "maybe"}', 422, "verdict: "),
        (b'{"verdict": "confirmed", "note": 3}', 422, "note: "),
        (b'{"verdict": "confirmed", "note": "%s"}' % (b"x" * 501), 422, "note: "),
        (b'{"verdict": "confirmed", "notes": ""}', 422, "notes: "),
        (b"x" * (MAX_BODY_BYTES + 1), 413, "body: expected at most"),
    ]
    for body, status, named in refused:
        answer = await web.post(path, content=body)
        assert (answer.status_code, answer.json()["detail"].startswith(named)) == (status, True), answer.text
    missing = await web.post("/v1/alerts/none/feedback", json={"verdict": "confirmed"})
    assert (missing.status_code, missing.json()["title"]) == (404, "NotFound")
    (call,) = (await web.get("/v1/calls")).json()["calls"]
    assert call["alerts"][0]["feedback"]["note"] == "=a colleague, ill"


async def test_a_tenant_can_say_nothing_of_another_tenants_alert(serve: Serve) -> None:
    tokens = [row(name, "ingest", "subscribe") | {"tenant": name} for name in ("blue", "red")]
    server = await serve(tokens=tokens)
    async with connect(ws_url(server, "/v1/events"), additional_headers=bearer("blue")) as socket:
        path = "/v1/media/plain?call_id=b-1&leg=caller&encoding=s16le&rate=16000"
        async with connect(ws_url(server, path), additional_headers=bearer("blue")) as media:
            for frame in pcm(speech(25, synthetic=True)):
                await media.send(frame)
            alert = (await Events(socket).until("alert.raised", within_s=30))["data"]
    async with httpx.AsyncClient(base_url=server.url) as web:
        answers = [
            await web.post(
                f"/v1/alerts/{alert['alert_id']}/feedback", json={"verdict": "confirmed"}, headers=bearer(name)
            )
            for name in ("red", "blue")
        ]
    assert [answer.status_code for answer in answers] == [404, 202]


async def test_an_export_without_a_journal_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await asyncio.to_thread(main, ["feedback", "export", "--journal", str(tmp_path / "none")]) == 2
    assert "journal: " in capsys.readouterr().err
    (tmp_path / "bad").write_bytes(b"no database" * 100)
    assert await asyncio.to_thread(main, ["feedback", "export", "--journal", str(tmp_path / "bad")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_log_odds_are_bounded() -> None:
    assert [log_odds(p) for p in (0.0, 0.5, 1.0)] == [-MAX_LOG_ODDS, 0.0, MAX_LOG_ODDS]
    assert log_odds(1e-300) == -MAX_LOG_ODDS
