"""A gateway whose model is too slow gives up one thing after another, says so, and takes it all back."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from gateway.app import Server
from gateway.call import load, overload
from gateway.call.overload import Step
from tests.gateway.conftest import Serve
from tests.gateway.loudness import LoudnessDetector, speech
from tests.gateway.wire import pcm, plain, say, subscribed


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps follow each other within tenths of a second, in both directions."""
    monkeypatch.setattr(overload, "RAISE_AFTER_S", 0.5)
    monkeypatch.setattr(overload, "CLEAR_AFTER_S", 0.3)


async def until(server: Server, step: Step) -> None:
    async with asyncio.timeout(10):
        while server.load.step is not step:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def metric(server: Server, name: str) -> float:
    async with httpx.AsyncClient(base_url=server.url) as web:
        lines = (await web.get("/metrics")).text.splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(name + " "))


async def ready(server: Server) -> tuple[int, list[str]]:
    async with httpx.AsyncClient(base_url=server.url) as web:
        answer = await web.get("/readyz")
    return answer.status_code, answer.json()["reasons"]


async def test_each_step_of_overload_is_reported_and_taken_back(serve: Serve, detector: LoudnessDetector) -> None:
    server = await serve()
    async with AsyncExitStack() as stack:
        events = await stack.enter_async_context(subscribed(server))
        caller = await stack.enter_async_context(plain(server, "caller"))
        detector.free.clear()
        talking = asyncio.create_task(talk(caller))
        reasons = [(await events.until("coverage.reduced"))["data"]["reason"] for _ in range(3)]
        assert reasons == ["fewer_verifications", "longer_hop", "fewer_windows"]
        await until(server, Step.NO_NEW_CALLS)
        assert await metric(server, "callscreen_overload_step") == Step.NO_NEW_CALLS
        assert await ready(server) == (503, ["overloaded"])
        await refused(server, events)
        detector.free.set()
        await until(server, Step.NONE)
        assert await ready(server) == (200, [])
        async with plain(server, "callee", call_id="another") as callee:
            await say(callee, speech(6, synthetic=True))
            scored = await events.until("alert.raised", call_id="another")
        assert scored["data"]["lag_ms"] < 5_000
        talking.cancel()
        await caller.close()
        ended = await events.until("leg.ended", call_id="c-1")
    assert ended["data"]["windows_scored"] >= 1


async def talk(caller: ClientConnection) -> None:
    """Talk without end, some five times as fast as live, so that the leg soon has windows and tells each step."""
    while True:
        for frame in pcm(speech(2, synthetic=True)):
            await caller.send(frame)
            await asyncio.sleep(0.004)


async def refused(server: Server, events: Any) -> None:
    async with plain(server, "callee", call_id="new") as callee:
        with pytest.raises(ConnectionClosed) as closed:
            await callee.recv()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, "try again in" in closed.value.rcvd.reason) == (1013, True)
    told = await events.until("coverage.reduced", call_id="new")
    assert (told["data"]["leg"], told["data"]["reason"]) == (None, "no_new_calls")


async def test_further_legs_of_a_call_are_let_in(serve: Serve, detector: LoudnessDetector) -> None:
    server = await serve()
    async with plain(server, "caller") as caller:
        detector.free.clear()
        await say(caller, speech(9, synthetic=True))
        await until(server, Step.NO_NEW_CALLS)
        async with plain(server, "callee") as callee, subscribed(server) as events:
            await say(callee, np.zeros(16_000, np.float32))
            await callee.close()
            await events.until("leg.ended", leg="callee")
        detector.free.set()


@pytest.mark.usefixtures("detector")
async def test_audio_is_discarded_while_the_event_loop_is_late(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await serve()
    async with subscribed(server) as events, plain(server, "caller") as caller:
        await say(caller, speech(4, synthetic=True))
        await events.until("alert.raised", stage="provisional")
        monkeypatch.setattr(load, "LATE_S", -load.INTERVAL_S - 1)
        await say(caller, speech(2, synthetic=True))
        told = await events.until("coverage.reduced")
        monkeypatch.undo()
        await say(caller, speech(4, synthetic=True))
        await caller.close()
        ended = await events.until("leg.ended")
    assert told["data"]["reason"] == "overload"
    assert 0.5 <= told["data"]["shed_s"] <= ended["data"]["shed_s"] <= 2
    assert ended["data"]["audio_s"] + ended["data"]["shed_s"] == pytest.approx(10)
    assert (ended["data"]["missing_s"], ended["data"]["verdict"]) == (0, "synthetic")
