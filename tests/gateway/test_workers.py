"""A gateway of two processes, over real sockets: one port, one stream of events, one set of metrics, one end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from gateway.client.whip import WhipPublisher
from gateway.workers.routing import owner
from tests.gateway.loudness import speech
from tests.gateway.process import Running, gateway
from tests.gateway.wire import closed, pcm, twilio_media, twilio_start

TWO = "workers = 2\nmax_calls = 6\n"
FIRST_S, WORKER_S = (
    next(name for name in map("call-{}".format, range(100)) if owner(name, 2) == process) for process in (0, 1)
)
"""A call of the first process, and one of the worker's."""


@asynccontextmanager
async def two(folder: Path) -> AsyncIterator[Running]:
    async with asyncio.timeout(120), gateway(folder, TWO) as running:
        yield running


def plain(running: Running, call_id: str, leg: str) -> connect:
    return connect(f"{running.ws_url}/v1/media/plain?call_id={call_id}&leg={leg}&encoding=s16le&rate=16000")


async def say(media: ClientConnection, seconds: float) -> None:
    for frame in pcm(speech(seconds, synthetic=False)):
        await media.send(frame)


class Told:
    """Events of all kinds, as one subscriber gets them."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.seen: list[dict[str, Any]] = []

    async def until(self, *wanted: tuple[str, str]) -> None:
        """Receive until each (type, call/leg or call) was there."""
        missing = set(wanted) - self._all()
        while missing:
            self.seen.append(json.loads(await self._socket.recv()))
            missing -= self._all()

    def _all(self) -> set[tuple[str, str]]:
        return {(event["type"], event["subject"]) for event in self.seen}

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event["data"] for event in self.seen if event["type"] == kind]

    def check_order(self) -> None:
        """Sequence numbers are without holes, and a leg's scores in the order of its audio, each one once."""
        numbers = [int(event["sequence"]) for event in self.seen]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        windows = defaultdict(list)
        for score in self.of("score"):
            windows[score["call_id"], score["leg"]].append(score["window_start_s"])
        for starts in windows.values():
            assert starts == [float(second) for second in range(len(starts))]


ALL = (
    "type=call.started,call.ended,leg.started,leg.ended,score,alert.raised,alert.cleared,alert.verified,"
    "coverage.reduced,voice.expected"
)


@asynccontextmanager
async def subscribed(running: Running, cursor: str = "") -> AsyncIterator[Told]:
    resume = f"&last_event_id={cursor}" if cursor else ""
    async with connect(f"{running.ws_url}/v1/events?{ALL}{resume}") as socket:
        yield Told(socket)


@pytest.mark.slow
async def test_two_processes_are_one_gateway(tmp_path: Path) -> None:
    async with two(tmp_path) as running, AsyncExitStack() as stack:
        told = await stack.enter_async_context(subscribed(running))
        legs = [(call_id, leg) for call_id in (FIRST_S, WORKER_S) for leg in ("caller", "callee")]
        media = [await stack.enter_async_context(plain(running, *leg)) for leg in legs]
        await asyncio.gather(*(say(socket, 6) for socket in media))
        await told.until(*(("score", f"{call_id}/{leg}") for call_id, leg in legs))
        async with httpx.AsyncClient(base_url=running.url) as web:
            calls = (await web.get("/v1/calls")).json()["calls"]
            assert {call["call_id"]: len(call["legs"]) for call in calls} == {FIRST_S: 2, WORKER_S: 2}
            assert (await web.get(f"/v1/calls/{WORKER_S}")).json()["source"] == "plain"
            assert (await web.get("/v1/calls/unknown")).status_code == 404
        assert [await running.metric("callscreen_legs", process=number) for number in "01"] == [2, 2]
        assert await running.ready() == []
        await check_whip(running, told)
        await check_limit_of_the_whole(running)
        for socket in media[:2]:
            await socket.close()
        await told.until(("call.ended", FIRST_S))
        running.process.terminate()
        await told.until(("call.ended", WORKER_S))
        assert await running.process.wait() == 0
        told.check_order()
        ended = {(leg["call_id"], leg["leg"]): leg["ended_by"] for leg in told.of("leg.ended")}
    assert ended[WORKER_S, "callee"] == "shutdown"
    assert [started["call_id"] for started in told.of("call.started")].count(WORKER_S) == 1


async def check_whip(running: Running, told: Told) -> None:
    """Both requests of a session reach the process that has it, each over a connection of its own."""
    async with WhipPublisher(running.url, WORKER_S, "third") as publisher:
        await publisher.play(np.zeros(8_000, np.float32))
        await told.until(("leg.started", f"{WORKER_S}/third"))
        assert await running.metric("callscreen_legs", process="1", source="whip") == 1
    await told.until(("leg.ended", f"{WORKER_S}/third"))
    assert told.of("leg.ended")[-1]["ended_by"] == "stopped"


async def check_limit_of_the_whole(running: Running) -> None:
    """Six calls are let in, whichever process hears them: two are there."""
    async with AsyncExitStack() as stack:
        for number in range(4):
            await stack.enter_async_context(plain(running, f"more-{number}", "a"))
            await asyncio.sleep(0.1)  # the others are told
        for call_id in (f"{FIRST_S}-too-many", f"{WORKER_S}-too-many"):
            async with plain(running, call_id, "a") as one_more:
                assert (await closed(one_more))[0] == 1013


@pytest.mark.slow
async def test_a_worker_that_is_killed_takes_nothing_of_others_with_it(tmp_path: Path) -> None:
    async with two(tmp_path) as running, AsyncExitStack() as stack:
        told = await stack.enter_async_context(subscribed(running))
        healthy = await stack.enter_async_context(plain(running, FIRST_S, "a"))
        lost = await stack.enter_async_context(plain(running, WORKER_S, "a"))
        await asyncio.gather(say(healthy, 5), say(lost, 5))
        await told.until(("score", f"{FIRST_S}/a"), ("score", f"{WORKER_S}/a"))
        (worker,) = psutil.Process(running.process.pid).children()
        os.kill(worker.pid, signal.SIGKILL)
        await told.until(("leg.ended", f"{WORKER_S}/a"), ("call.ended", WORKER_S))
        with pytest.raises(ConnectionClosed):
            await lost.recv()
        (ended,) = told.of("leg.ended")
        assert (ended["verdict"], ended["ended_by"]) == ("indeterminate", "gateway_restarted")
        await say(healthy, 5)
        while await running.ready():  # noqa: ASYNC110  another worker is there
            await asyncio.sleep(0.1)
        async with plain(running, WORKER_S, "a") as again:
            await say(again, 4)
        await told.until(("score", f"{WORKER_S}/a"), ("leg.started", f"{WORKER_S}/a"))
        await healthy.close()
        await told.until(("call.ended", FIRST_S))
        assert len([score for score in told.of("score") if score["call_id"] == FIRST_S]) == 8
        assert running.logged("worker died", number=1)
        assert await running.metric("callscreen_worker_deaths_total") == 1
        cursor = told.seen[0]["id"]
        async with subscribed(running, cursor) as resumed:
            await resumed.until(("call.ended", FIRST_S))
            assert resumed.seen[: len(told.seen) - 1] == told.seen[1 : len(resumed.seen) + 1]


@pytest.mark.slow
async def test_a_leg_whose_call_another_process_has_is_one_leg(tmp_path: Path) -> None:
    """Twilio tells the call only in a message, so two streams of one call may meet different processes."""
    async with two(tmp_path) as running, AsyncExitStack() as stack:
        told = await stack.enter_async_context(subscribed(running))
        streams = []
        for tracks in (("inbound",), ("outbound",), ("inbound",)):
            media = await stack.enter_async_context(connect(f"{running.ws_url}/v1/media/twilio"))
            await media.send(twilio_start("CA1", tracks))
            await media.send(twilio_media(0, tracks[0]))
            streams.append(media)
            await asyncio.sleep(0.2)
        code, _ = await closed(streams[2])
        assert code in (1001, 4409)
        await told.until(("leg.started", "CA1/inbound"), ("leg.started", "CA1/outbound"))
        assert [await running.metric("callscreen_legs", process=number) for number in "01"] == [1, 1]
        for media in streams[:2]:
            await media.close()
        await told.until(("call.ended", "CA1"))
    assert len(told.of("call.started")) == len(told.of("call.ended")) == 1
    assert set(told.of("call.ended")[0]["verdicts"]) == {"inbound", "outbound"}
    assert sorted(leg["leg"] for leg in told.of("leg.started")) == ["inbound", "outbound"]


@pytest.mark.slow
async def test_silent_and_senseless_peers_hold_up_nobody(tmp_path: Path) -> None:
    async with two(tmp_path) as running, AsyncExitStack() as stack:
        silent = []
        for _ in range(300):
            _, writer = await asyncio.open_connection(*running.address)
            silent.append(writer)
            stack.callback(writer.close)
        _, slow = await asyncio.open_connection(*running.address)
        slow.write(b"GET /v1/media/pl")
        reader, senseless = await asyncio.open_connection(*running.address)
        senseless.write(b"\x16\x03\x01\x02\x00\n\n")
        assert b"400" in await reader.readline()
        async with subscribed(running) as told, plain(running, WORKER_S, "a") as media:
            await say(media, 4)
            await told.until(("score", f"{WORKER_S}/a"))
        assert await running.metric("callscreen_refused_total", error="too_many_waiting") >= 40
        stack.callback(slow.close)
        stack.callback(senseless.close)
