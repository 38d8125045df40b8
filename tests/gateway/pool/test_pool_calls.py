"""Calls at a whole gateway whose windows a pool verifies, and what it tells where the pool does not."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.app import Server
from gateway.call import verification
from gateway.errors import ConfigError
from gateway.pool import jobs, scorer, worker
from tests.gateway.conftest import Serve
from tests.gateway.loudness import speech
from tests.gateway.pool.pool import MODEL, until, verifying
from tests.gateway.shared.nats_server import installed, nats_server
from tests.gateway.wire import Events, plain, say, subscribed

pytestmark = installed


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (scorer, worker):
        monkeypatch.setattr(module, "RETRY_S", 0.05)
    monkeypatch.setattr(scorer, "CHECK_S", 0.02)
    monkeypatch.setattr(scorer, "WITHIN_S", 60.0)
    monkeypatch.setattr(jobs, "KEPT_S", 60.0)
    monkeypatch.setattr(verification, "ANSWER_WITHIN_S", 60.0)


async def call(server: Server, events: Events, call_id: str) -> tuple[dict[str, Any], set[str]]:
    """Place a call of one leg; return its end, and the models that verified it."""
    async with plain(server, "caller", call_id) as caller:
        await say(caller, speech(8, synthetic=False))
    end = (await events.until("leg.ended", within_s=60, call_id=call_id))["data"]
    of_call = [event for event in events.seen if event["data"].get("call_id") == call_id]
    return end, {event["data"]["model"] for event in of_call if event["type"] == "alert.verified"}


async def ready(server: Server) -> tuple[int, list[str]]:
    async with httpx.AsyncClient(base_url=server.url) as web:
        answer = await web.get("/readyz")
    return answer.status_code, [text for text in answer.json()["warnings"] if "pool" in text]


async def test_a_call_goes_on_without_the_pool_and_is_verified_by_it_where_it_is_there(
    tmp_path: Path, serve: Serve
) -> None:
    async with nats_server(tmp_path / "nats") as nats:
        server = await serve(verifier=MODEL, nats={"url": nats.url, "verifier_pool": True})
        pool = server.engine.verifier
        assert pool is not None
        await until(lambda: pool.fault == scorer.NOBODY)
        async with subscribed(server) as events:
            end, models = await call(server, events, "alone")
            assert (end["coverage_reduced"], models) == (["fewer_verifications"], set())
            assert end["windows_skipped"] == 0, "the light model heard all"
            assert await ready(server) == (200, ["the pool does not verify: no verifier is there"])
            async with verifying(nats.url) as verifier:
                await until(lambda: pool.fault is None)
                end, models = await call(server, events, "verified")
                assert (end["coverage_reduced"], models) == ([], {verifier.model.shown.partition(",")[0]})
                assert await ready(server) == (200, [])
                await nats.kill()
                await until(lambda: pool.fault == scorer.UNREACHED)
                end, models = await call(server, events, "cut-off")
                assert (end["coverage_reduced"], models) == (["fewer_verifications"], set())
                assert await ready(server) == (200, ["the pool does not verify: NATS cannot be reached"])


async def test_the_model_is_known_but_not_loaded_in_the_gateway(tmp_path: Path, serve: Serve) -> None:
    away = {"url": "nats://127.0.0.1:1", "verifier_pool": True}
    server = await serve(verifier=MODEL, nats=away)
    assert server.verifier is not None
    assert server.verifier.startswith(MODEL)
    with pytest.raises(ConfigError, match="verifier: expected a path"):
        await serve(verifier="no such model", nats=away, journal=tmp_path / "other.sqlite3")
    server = await serve(verifier="off", nats=away, journal=tmp_path / "third.sqlite3")
    assert server.verifier is None
    assert math.isfinite(server.engine.policies.usual.rules.raise_p)
