"""A healthy call, to see whether whatever happens beside it does it harm: it must get all its scores, in order."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from tests.gateway.loudness import speech
from tests.gateway.process import Running

SPEECH_S = 12
"""Of audio."""
SENT_WITHIN_S = 3.0
"""So much faster than it was spoken: tests need not wait."""
DUE_S = 90.0
"""Until its last score must have come, on a machine with other things to do."""
WINDOWS = [float(start) for start in range(SPEECH_S - 2)]
"""Where its windows of 3 s begin."""
_numbers = itertools.count(1)


@asynccontextmanager
async def healthy_call(running: Running) -> AsyncIterator[str]:
    """Place a call for as long as the context is open, and check when it closes that nothing of it is missing."""
    call_id = f"healthy-{next(_numbers)}"
    async with (
        connect(f"{running.ws_url}/v1/events?type=score,leg.started,leg.ended&call_id={call_id}") as events,
        connect(f"{running.ws_url}/v1/media/plain?call_id={call_id}&leg=a&encoding=s16le&rate=16000") as media,
    ):
        talking = asyncio.create_task(_talk(media))
        try:
            yield call_id
            await talking
        finally:
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)
        await media.close()
        check_events(await _until_ended(events))


async def _talk(media: ClientConnection) -> None:
    audio = np.round(speech(SPEECH_S, synthetic=False) * 32767).astype("<i2").tobytes()
    frames = [audio[at : at + 640] for at in range(0, len(audio), 640)]
    for index, frame in enumerate(frames):
        await media.send(frame)
        if index % 10 == 9:
            await asyncio.sleep(10 * SENT_WITHIN_S / len(frames))


async def _until_ended(events: ClientConnection) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []
    async with asyncio.timeout(DUE_S):
        while not seen or seen[-1]["type"] != "leg.ended":
            event = json.loads(await events.recv())
            seen += [event] if event["type"] != "heartbeat" else []
    return seen


def check_events(seen: list[dict[str, Any]]) -> None:
    """Raises AssertionError unless these are all events of one healthy leg, in order."""
    assert [event["type"] for event in seen] == ["leg.started", *["score"] * len(WINDOWS), "leg.ended"]
    assert [event["data"]["window_start_s"] for event in seen[1:-1]] == WINDOWS
    numbers = [int(event["sequence"]) for event in seen]
    assert numbers == sorted(set(numbers))
    ended = seen[-1]["data"]
    assert (ended["windows_scored"], ended["windows_skipped"], ended["missing_s"]) == (len(WINDOWS), 0, 0)
