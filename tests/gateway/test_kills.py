"""``kill -9`` in the middle of a call, ten times, while a subscriber follows: nothing lost, doubled or out of order."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from contextlib import aclosing, closing
from pathlib import Path

import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from gateway.alerts.cloud_event import CloudEvent
from gateway.alerts.event import STORED_TYPES, CallEnded, LegEnded, LegStarted, Scored
from gateway.alerts.journal import Journal
from gateway.client import events
from gateway.client.events import follow
from tests.gateway.loudness import speech
from tests.gateway.process import Running, gateway
from tests.gateway.test_attacks import free_port

KILLS = 10
LEGS = ("caller", "callee")
SCORES_BEFORE_KILL = 6
SPEED = 8.0
"""Times real time, so that a call has scores at once and still goes on when the gateway is killed."""
BLOCK = 3200
"""Samples of 16 kHz a message."""


@pytest.mark.slow
async def test_ten_kills_in_mid_call_lose_double_and_reorder_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BACKOFF_FIRST_S", "BACKOFF_MAX_S", "TRY_AGAIN_LATER_S"):
        monkeypatch.setattr(events, name, getattr(events, name) / 100)
    port = free_port()
    seen: list[CloudEvent] = []
    following = asyncio.create_task(collect(f"http://127.0.0.1:{port}", seen))
    try:
        for number in range(KILLS):
            async with gateway(tmp_path, port=port) as running, asyncio.timeout(120):
                while not await running.metric("callscreen_subscribers"):  # noqa: ASYNC110  it is another process
                    await asyncio.sleep(0.05)
                await talk_until_killed(running, f"call-{number}", seen)
        async with gateway(tmp_path, port=port), asyncio.timeout(120):
            while seen[-1].type != "call.ended":  # noqa: ASYNC110  of the last call, told by the next gateway
                await asyncio.sleep(0.05)
    finally:
        following.cancel()
        await asyncio.wait([following])
    stored = await asyncio.to_thread(all_events, tmp_path / "j.sqlite3")
    assert [event.id for event in seen] == [event.id for event in stored]
    assert seen == stored
    assert [int(event.sequence or 0) for event in seen] == list(range(1, len(seen) + 1))
    check_legs(seen)


async def collect(url: str, seen: list[CloudEvent]) -> None:
    async with aclosing(follow(url, types=STORED_TYPES)) as stream:
        async for event in stream:
            seen.append(event)  # noqa: PERF401  others look at it meanwhile


async def talk_until_killed(running: Running, call_id: str, seen: list[CloudEvent]) -> None:
    """Kill the gateway as soon as the subscriber has some scores of a call that goes on."""
    async with connect(
        f"{running.ws_url}/v1/media/plain?call_id={call_id}&leg={','.join(LEGS)}&channels=2&encoding=s16le&rate=16000"
    ) as media:
        talking = asyncio.create_task(talk(media))
        while scores(seen, call_id) < SCORES_BEFORE_KILL:
            assert not talking.done(), "the call goes on"
            await asyncio.sleep(0.02)
        running.process.kill()
        assert await running.process.wait() == -9
        talking.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
            await talking


def scores(seen: list[CloudEvent], call_id: str) -> int:
    return sum(isinstance(event.data, Scored) and event.data.call_id == call_id for event in seen)


async def talk(media: ClientConnection) -> None:
    """Both parties speak, much faster than they would, and for longer than the gateway will live."""
    voices = np.stack([speech(60, synthetic=False), speech(60, synthetic=True)], axis=1)
    audio = np.round(voices * 32767).astype("<i2")
    for block in np.split(audio, len(audio) // BLOCK):
        await media.send(block.tobytes())
        await asyncio.sleep(BLOCK / 16_000 / SPEED)


def all_events(path: Path) -> list[CloudEvent]:
    with closing(Journal(path, 1_000_000)) as journal:
        return [CloudEvent.model_validate_json(entry.text) for entry in journal.after(0, 1_000_000)]


def check_legs(seen: list[CloudEvent]) -> None:
    """Each leg has its start, its windows one after another, and its end by the next gateway."""
    legs: defaultdict[tuple[str | None, str | None], list[LegStarted | Scored | LegEnded]] = defaultdict(list)
    for event in seen:
        if isinstance(event.data, LegStarted | Scored | LegEnded):
            legs[event.data.call_id, event.data.leg].append(event.data)
    assert len(legs) == KILLS * len(LEGS)
    for started, *windows, ended in legs.values():
        assert isinstance(started, LegStarted)
        assert isinstance(ended, LegEnded)
        assert ended.ended_by == "gateway_restarted"
        starts_s = [window.window_start_s for window in windows if isinstance(window, Scored)]
        assert starts_s == [float(start) for start in range(len(windows))]
    calls = [event.data.call_id for event in seen if isinstance(event.data, CallEnded)]
    assert calls == [f"call-{number}" for number in range(KILLS)]
