"""History over HTTP: calls that are live, that have ended, that ended before the gateway was started again."""

from __future__ import annotations

import asyncio
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.app import running
from gateway.config_loading import load
from tests.gateway.conftest import Serve
from tests.gateway.loudness import speech
from tests.gateway.wire import plain, say, subscribed

pytestmark = pytest.mark.usefixtures("detector")


async def test_calls_are_found_while_they_are_live_and_after(serve: Serve, tmp_path: Path) -> None:
    server = await serve()
    async with httpx.AsyncClient(base_url=server.url) as web, subscribed(server) as events:
        async with plain(server, "caller", "live-1") as media:
            await say(media, speech(25, synthetic=True))
            await events.until("alert.raised", within_s=30, stage="confirmed")
            (live,) = (await web.get("/v1/calls")).json()["calls"]
            assert (live["call_id"], live["live"], live["ended"]) == ("live-1", True, None)
            assert (live["legs"][0]["verdict"], live["legs"][0]["alert"]) == ("synthetic", "confirmed")
            assert live["alerts"][0]["stage"] == "confirmed"
            for query, found in (("verdict=synthetic", 1), ("verdict=human", 0), ("state=ended", 0), ("text=IVE", 1)):
                assert len((await web.get(f"/v1/calls?{query}")).json()["calls"]) == found, query
            line = (await web.get("/v1/calls/live-1/timeline")).json()
            assert line["ended"] is None
        await events.until("call.ended")
        async with plain(server, "callee", "live-2") as media:
            await say(media, speech(6, synthetic=False))
        await events.until("call.ended", call_id="live-2")
        await check_pages(web)
        await check_timeline(web)


async def check_pages(web: httpx.AsyncClient) -> None:
    first = (await web.get("/v1/calls", params={"limit": 1})).json()
    second = (await web.get("/v1/calls", params={"limit": 1, "cursor": first["next"]})).json()
    (newer,), (older,) = first["calls"], second["calls"]
    assert (newer["call_id"], older["call_id"], second["next"]) == ("live-2", "live-1", None)
    assert (older["live"], older["legs"][0]["verdict"], older["legs"][0]["ended_by"]) == (
        False, "synthetic", "disconnected"
    )  # fmt: skip
    later = (await web.get("/v1/calls", params={"since": newer["started"]})).json()["calls"]
    earlier = (await web.get("/v1/calls", params={"until": newer["started"]})).json()["calls"]
    assert ([call["call_id"] for call in later], [call["call_id"] for call in earlier]) == (["live-2"], ["live-1"])
    assert (await web.get("/v1/calls/live-1")).json() == older
    human = (await web.get("/v1/calls?verdict=human&state=ended")).json()["calls"]
    assert [call["call_id"] for call in human] == ["live-2"]


async def check_timeline(web: httpx.AsyncClient) -> None:
    (leg,) = (await web.get("/v1/calls/live-1/timeline")).json()["legs"]
    assert len(leg["windows"]) == leg["windows_scored"] > 3  # a machine that is busy hears fewer
    assert leg["windows"][-1]["end_s"] == leg["duration_s"] == 25.0
    assert (leg["models"], leg["calibration"]) == (["loudness@00000000"], "loudness")
    assert [alert["move"] for alert in leg["alerts"]] == ["provisional", "confirmed"]
    drawn = await web.get("/v1/calls/live-1/timeline.svg")
    assert (drawn.status_code, drawn.headers["content-type"]) == (200, "image/svg+xml")
    assert ET.fromstring(drawn.content).tag.endswith("svg")
    for path in ("timeline", "timeline.svg"):
        missing = await web.get(f"/v1/calls/nobody/{path}")
        assert (missing.status_code, missing.json()["title"]) == (404, "NotFound")


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("since=yesterday", "since: expected a time"),
        ("until=2026-11-27", "until: expected a time"),
        ("since=2026-11-27T10:00:00", "since: expected a time"),
        ("since=2026-11-27T10:00:00+01:00", "since: expected a time"),
        ("verdict=fake", "verdict: expected one of synthetic, human, indeterminate, expected_machine"),
        ("state=dead", "state: expected one of live, ended"),
        ("limit=0", "limit: expected a whole number from 1 to 200"),
        ("limit=201", "limit: "),
        ("limit=²", "limit: "),
        ("cursor=x", "cursor: expected `next`"),
        ("cursor=000000000000-000000000001", "cursor: expected `next`"),
        ("limit=1&limit=2", "limit: expected once"),
        ("verdicts=human", "verdicts: unknown parameter"),
    ],
)
async def test_a_parameter_that_is_wrong_is_named(house_url: str, query: str, named: str) -> None:
    async with httpx.AsyncClient(base_url=house_url) as web:
        answer = await web.get(f"/v1/calls?{query}")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.json()["detail"].startswith(named)


@pytest.fixture
async def house_url(serve: Serve) -> str:
    return (await serve()).url


async def test_history_outlives_the_gateway(serve: Serve, tmp_path: Path) -> None:
    first: dict[str, Any] = {"journal": tmp_path / "kept.sqlite3"}
    async with asyncio.timeout(30):
        async with (
            running(load(environ={}, port=0, verifier="off", max_burst_s=600, **first)) as server,
            subscribed(server) as events,
        ):
            async with plain(server, "caller", "before") as media:
                await say(media, speech(4, synthetic=False))
            await events.until("call.ended")
        again = await serve(**first)
        async with httpx.AsyncClient(base_url=again.url) as web:
            (call,) = (await web.get("/v1/calls")).json()["calls"]
    assert (call["call_id"], call["live"], call["legs"][0]["ended_by"]) == ("before", False, "disconnected")
