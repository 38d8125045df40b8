"""Three gateways, one NATS server, fifty calls, ``kill -9`` of a gateway in the middle: every event once, in order."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import AsyncExitStack, aclosing, closing
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from gateway.alerts.cloud_event import CloudEvent
from gateway.alerts.event import STORED_TYPES, LegEnded, Scored
from gateway.client import events
from gateway.client.events import follow
from tests.gateway.loudness import speech
from tests.gateway.process import Running, gateway
from tests.gateway.shared.nats_server import installed, nats_server

CALLS = 50
AT_ONCE = 5
LEGS = ("caller", "callee")
SPEECH_S = 4.0
"""Two windows a leg."""
MESSAGE_BYTES = 32_000
"""A second of audio."""
CUT = "cut-off"
"""The call that goes on when its gateway is killed."""

pytestmark = [installed, pytest.mark.slow]


async def test_a_killed_gateway_loses_nothing_that_it_had_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BACKOFF_FIRST_S", "BACKOFF_MAX_S", "TRY_AGAIN_LATER_S"):
        monkeypatch.setattr(events, name, getattr(events, name) / 100)
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    async with AsyncExitStack() as stack, asyncio.timeout(300):
        server = await stack.enter_async_context(nats_server(tmp_path / "nats"))
        toml = f'nats = {{url = "{server.url}"}}\n'
        a, b, c = await asyncio.gather(*(stack.enter_async_context(gateway(folder, toml)) for folder in folders))
        seen: list[CloudEvent] = []
        following = asyncio.create_task(collect(c.url, seen))
        stack.callback(following.cancel)
        while not await c.metric("callscreen_subscribers"):  # noqa: ASYNC110  it is another process
            await asyncio.sleep(0.05)
        await place(range(20), [a, b, c])
        async with plain(a, CUT, "caller") as cut:
            await say(cut)
            while not any(isinstance(event.data, Scored) and event.data.call_id == CUT for event in seen):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            calls = asyncio.create_task(place(range(20, 30), [b, c]))
            a.process.kill()
            assert await a.process.wait() == -9
            with pytest.raises(ConnectionClosed):
                await cut.recv()
        await calls
        a = await stack.enter_async_context(gateway(folders[0], toml))
        await place(range(30, CALLS), [a, b, c])
        while not await asyncio.to_thread(settled, folders, seen):  # noqa: ASYNC110  other processes write it
            await asyncio.sleep(0.1)
        assert [await one.ready() for one in (a, b, c)] == [[], [], []]
        stored = await asyncio.to_thread(all_stored, folders)
        following.cancel()
        await asyncio.wait([following])
    assert sorted(event.id for event in seen) == sorted(event.id for event in stored)
    assert {event.id: without_cursor(event) for event in seen} == {event.id: event for event in stored}
    check_order(seen)
    check_ends(seen)


async def collect(url: str, seen: list[CloudEvent]) -> None:
    async with aclosing(follow(url, everywhere=True, types=STORED_TYPES)) as stream:
        async for event in stream:
            seen.append(event)  # noqa: PERF401  others look at it meanwhile


def plain(running: Running, call_id: str, leg: str) -> connect:
    query = f"call_id={call_id}&leg={leg}&encoding=s16le&rate=16000"
    return connect(f"{running.ws_url}/v1/media/plain?{query}", open_timeout=60)


@cache
def audio() -> bytes:
    return bytes(np.round(speech(SPEECH_S, synthetic=False) * 32767).astype("<i2").tobytes())


async def say(media: ClientConnection) -> None:
    for at in range(0, len(audio()), MESSAGE_BYTES):
        await media.send(audio()[at : at + MESSAGE_BYTES])


async def place(numbers: range, gateways: list[Running]) -> None:
    """Place calls, some at once; the legs of a call are at different gateways."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with room, AsyncExitStack() as stack:
            for at, leg in enumerate(LEGS):
                running = gateways[(number + at) % len(gateways)]
                media = await stack.enter_async_context(plain(running, f"call-{number}", leg))
                await say(media)

    await asyncio.gather(*(one(number) for number in numbers))


def all_stored(folders: list[Path]) -> list[CloudEvent]:
    """Return every event of every journal."""
    return [CloudEvent.model_validate_json(text) for folder in folders for text in texts(folder / "j.sqlite3")]


def settled(folders: list[Path], seen: list[CloudEvent]) -> bool:
    """Whether all calls have ended, and everything has been seen."""
    stored = all_stored(folders)
    told = Counter(event.type for event in stored)
    legs = CALLS * len(LEGS) + 1
    return told["leg.ended"] == legs and told["call.ended"] == told["call.started"] and len(seen) >= len(stored)


def texts(path: Path) -> Iterator[str]:
    with closing(sqlite3.connect(path)) as journal:
        for (text,) in journal.execute("SELECT text FROM events ORDER BY seq"):
            yield text


def without_cursor(event: CloudEvent) -> CloudEvent:
    assert event.cursor is not None
    return event.model_copy(update={"cursor": None})


def check_order(seen: list[CloudEvent]) -> None:
    """Cursors rise, and so do the journal's numbers of each leg."""
    cursors = [event.cursor or "" for event in seen]
    assert cursors == sorted(set(cursors))
    numbers = defaultdict(list)
    for event in seen:
        numbers[event.source, (event.subject or "").partition("/")[0]].append(int(event.sequence or 0))
    for of_one in numbers.values():
        assert of_one == sorted(set(of_one))


def check_ends(seen: list[CloudEvent]) -> None:
    """Each leg has its end, whichever gateway heard it; that of the killed one came after its restart."""
    ended = {(event.data.call_id, event.data.leg): event.data for event in seen if isinstance(event.data, LegEnded)}
    assert set(ended) == {(f"call-{n}", leg) for n in range(CALLS) for leg in LEGS} | {(CUT, "caller")}
    assert ended[CUT, "caller"].ended_by == "gateway_restarted"
