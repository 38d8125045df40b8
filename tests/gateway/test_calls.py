"""What a call does, over real sockets: alerts on the right speaker, their life, verdicts, overload, shutdown."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import numpy as np
import pytest

from gateway.app import running
from gateway.config_loading import load
from tests.gateway.conftest import Serve
from tests.gateway.loudness import LoudnessDetector, speech
from tests.gateway.wire import closed, plain, say, subscribed

pytestmark = pytest.mark.usefixtures("detector")


async def test_the_alert_names_the_speaker_who_is_synthetic(serve: Serve) -> None:
    server = await serve()
    async with subscribed(server) as events, plain(server, "caller") as caller, plain(server, "callee") as callee:
        await asyncio.gather(say(caller, speech(10, synthetic=True)), say(callee, speech(10, synthetic=False)))
        raised = await events.until("alert.raised", stage="confirmed")
        await caller.close()
        await callee.close()
        ended = await events.until("call.ended")
    assert ended["data"]["verdicts"] == {"caller": "synthetic", "callee": "human"}
    alerts = [event["data"] for event in events.seen if event["type"] == "alert.raised"]
    assert [(alert["leg"], alert["stage"]) for alert in alerts] == [("caller", "provisional"), ("caller", "confirmed")]
    assert len({alert["alert_id"] for alert in alerts}) == 1
    assert alerts[0]["media_time_s"] <= 5
    facts = raised["data"]
    assert (facts["call_id"], facts["role"], facts["model"]) == ("c-1", "caller", "loudness@00000000")
    assert facts["p_synthetic"] > 0.9
    assert 3 < facts["speech_s"] <= facts["media_time_s"]
    assert 0 <= facts["lag_ms"] < 5000
    assert facts["reason"] == "p_stayed_above_raise"


async def test_events_come_in_the_order_of_the_calls_life(serve: Serve) -> None:
    server = await serve()
    async with subscribed(server) as events, plain(server, "caller") as caller:
        await say(caller, speech(8, synthetic=True))
        await caller.close()
        await events.until("call.ended")
    assert [event["type"] for event in events.seen] == [
        "call.started",
        "leg.started",
        "alert.raised",
        "alert.raised",
        "leg.ended",
        "call.ended",
    ]
    assert [event["id"] for event in events.seen] == sorted(event["id"] for event in events.seen)


async def test_scores_are_sent_only_if_named(serve: Serve) -> None:
    server = await serve()
    async with subscribed(server, "?type=score,leg.ended") as events, plain(server, "caller") as caller:
        await say(caller, speech(6, synthetic=False))
        await caller.close()
        ended = await events.until("leg.ended")
    scores = [event["data"] for event in events.seen if event["type"] == "score"]
    assert len(scores) == ended["data"]["windows_scored"] >= 4
    assert [score["window_start_s"] for score in scores][:3] == [0, 1, 2]
    assert all(score["window_p_synthetic"] < 0.1 for score in scores)


async def test_a_voice_that_turns_synthetic_mid_call_is_caught(serve: Serve) -> None:
    server = await serve()
    async with subscribed(server) as events, plain(server, "caller") as caller:
        await say(caller, np.concatenate([speech(40, synthetic=False), speech(12, synthetic=True)]))
        raised = await events.until("alert.raised", stage="confirmed")
        await caller.close()
        ended = await events.until("leg.ended")
    assert 40 < raised["data"]["media_time_s"] < 52
    assert ended["data"]["verdict"] == "synthetic"


async def test_an_alert_is_cleared_when_a_person_takes_over(serve: Serve) -> None:
    server = await serve()
    async with subscribed(server) as events, plain(server, "caller") as caller:
        await say(caller, np.concatenate([speech(10, synthetic=True), speech(30, synthetic=False)]))
        cleared = await events.until("alert.cleared")
        await caller.close()
        ended = await events.until("leg.ended")
    raised = next(event for event in events.seen if event["type"] == "alert.raised")
    assert cleared["data"]["alert_id"] == raised["data"]["alert_id"]
    assert (ended["data"]["alerts"], ended["data"]["verdict"] == "synthetic") == (1, False)


async def test_too_little_speech_is_never_human(serve: Serve) -> None:
    server = await serve()
    async with subscribed(server) as events, plain(server, "caller") as caller:
        await say(caller, np.concatenate([speech(0.6, synthetic=False), np.zeros(16_000 * 5, np.float32)]))
        await caller.close()
        ended = await events.until("leg.ended")
    assert (ended["data"]["verdict"], ended["data"]["reason"]) == ("indeterminate", "too_little_speech")


async def test_overload_skips_windows_and_says_so(serve: Serve, detector: LoudnessDetector) -> None:
    server = await serve(scorer_queue_windows=2)
    detector.free.clear()
    async with subscribed(server) as events, plain(server, "caller") as caller:
        await say(caller, speech(15, synthetic=True))
        reduced = await events.until("coverage.reduced")
        assert reduced["data"]["reason"] == "overload"
        assert reduced["data"]["windows_skipped"] >= 1
        detector.free.set()
        await caller.close()
        ended = await events.until("leg.ended")
    assert ended["data"]["windows_skipped"] >= 5
    assert 2 <= ended["data"]["windows_scored"] <= 4


async def test_a_leg_that_ends_waits_for_its_last_score(serve: Serve, detector: LoudnessDetector) -> None:
    server = await serve()
    detector.free.clear()
    async with subscribed(server) as events, plain(server, "caller") as caller:
        await say(caller, speech(8, synthetic=True))
        await caller.close()
        await asyncio.sleep(0.2)
        assert server.registry.calls()
        detector.free.set()
        ended = await events.until("leg.ended")
    assert ended["data"]["windows_skipped"] == 0
    assert ended["data"]["verdict"] == "synthetic"


async def test_a_model_that_fails_costs_windows_not_calls(
    serve: Serve, detector: LoudnessDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_inputs: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(detector, "score", fail)
    server = await serve()
    async with subscribed(server) as events, plain(server, "caller") as caller:
        await say(caller, speech(6, synthetic=True))
        await caller.close()
        ended = await events.until("leg.ended")
    assert (ended["data"]["verdict"], ended["data"]["windows_scored"]) == ("indeterminate", 0)
    assert ended["data"]["windows_skipped"] >= 4


async def test_the_calls_that_are_live(serve: Serve) -> None:
    server = await serve(roles={"left": "agent"})
    async with (
        subscribed(server) as events,
        plain(server, "left") as socket,
        httpx.AsyncClient(base_url=server.url) as web,
    ):
        await say(socket, speech(6, synthetic=True))
        await events.until("alert.raised")
        state = (await web.get("/v1/calls/c-1")).json()
        assert (await web.get("/v1/calls")).json()["calls"][0]["call_id"] == "c-1"
    (leg,) = state["legs"]
    assert (leg["leg"], leg["role"]) == ("left", "agent")
    assert leg["alert"] in ("provisional", "confirmed")
    assert leg["p_synthetic"] > 0.5


async def test_health_readiness_and_metrics(serve: Serve) -> None:
    server = await serve()
    async with httpx.AsyncClient(base_url=server.url) as web:
        assert (await web.get("/healthz")).json() == {"alive": True}
        ready = await web.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"ready": True, "reasons": [], "warnings": []})
        async with subscribed(server) as events, plain(server, "caller") as caller:
            await say(caller, speech(5, synthetic=False))
            await caller.close()
            await events.until("leg.ended")
        metrics = (await web.get("/metrics")).text
    assert 'callscreen_windows_total{outcome="scored"}' in metrics
    assert "callscreen_calls 0.0" in metrics


async def test_shutdown_ends_calls_with_verdicts_before_sockets(tmp_path: Path) -> None:
    settings = load(environ={}, port=0, journal=tmp_path / "j.sqlite3")
    async with running(settings) as server:
        events_cm, caller_cm = subscribed(server), plain(server, "caller")
        events, caller = await events_cm.__aenter__(), await caller_cm.__aenter__()
        await say(caller, speech(8, synthetic=True))
        await events.until("alert.raised", stage="confirmed")
    ended = await events.until("leg.ended")
    assert (ended["data"]["verdict"], ended["data"]["ended_by"]) == ("synthetic", "shutdown")
    await events.until("call.ended")
    assert await closed(caller) == (1001, "shutdown")
    await caller_cm.__aexit__(None, None, None)
    await events_cm.__aexit__(None, None, None)


async def test_nobody_is_let_in_while_draining(serve: Serve, detector: LoudnessDetector) -> None:
    server = await serve()
    async with plain(server, "caller") as caller, subscribed(server, "?type=score") as events:
        await say(caller, speech(4, synthetic=True))
        await events.until("score")
        detector.free.clear()
        await say(caller, speech(4, synthetic=True))
        draining = asyncio.create_task(server.registry.drain())
        await asyncio.sleep(0.05)
        async with plain(server, "late", "c-2") as late:
            assert await closed(late) == (1013, "the gateway is shutting down")
        async with httpx.AsyncClient(base_url=server.url) as web:
            ready = await web.get("/readyz")
        assert (ready.status_code, ready.json()["reasons"]) == (503, ["shutting down"])
        detector.free.set()
        await draining
