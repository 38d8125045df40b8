"""The JavaScript client in Node.js: it goes on after cuts and kills, and says what is lost or refused."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from gateway import pages
from tests.gateway.client.peers import publisher, scripted, sends

CLIENT = Path(pages.__file__).parent / "gateway.js"
NODE = shutil.which("node")


@cache
def flags() -> list[str] | None:
    """Return what Node.js needs to have a WebSocket; None where there is none."""
    for given in ([], ["--experimental-websocket", "--no-warnings"]):
        command = [NODE or "", *given, "-e", "process.exit(typeof WebSocket === 'function' ? 0 : 1)"]
        if NODE and subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0:
            return given
    return None


pytestmark = pytest.mark.skipif(
    flags() is None, reason="no Node.js with a WebSocket: version 22 or newer, or 20.10 with --experimental-websocket"
)


async def follow(url: str, **options: Any) -> AsyncGenerator[dict[str, Any], None]:
    """Yield what the client in a process of its own tells, until it ends."""
    process = await asyncio.create_subprocess_exec(
        NODE or "", *(flags() or []), str(Path(__file__).parent / "follow.mjs"), CLIENT.as_uri(), url,
        json.dumps(options), stdout=PIPE, limit=1 << 20,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        async for line in process.stdout:
            yield json.loads(line)
    finally:
        if process.returncode is None:
            process.kill()
        await process.stdout.read()
        await process.wait()


async def take(url: str, count: int, **options: Any) -> list[dict[str, Any]]:
    """Return the first events, or what ended them; without what is told of retries."""
    got: list[dict[str, Any]] = []
    async with asyncio.timeout(60), aclosing(follow(url, **options)) as told:
        async for line in told:
            if "retry" not in line:
                got.append(line)
            if len(got) == count:
                break
    return got


def ids(got: list[dict[str, Any]]) -> list[str]:
    return [event["id"] for event in got]


async def test_it_resumes_with_the_last_id_and_shows_nothing_twice() -> None:
    async with scripted(sends(1, 2), sends(2, 3, heartbeat="j-7"), sends(1, 8, code=1011)) as (url, paths):
        got = await take(url, 4, token="secret", callId="CA 1&2", types=["alert.raised", "alert.cleared"])
    assert ids(got) == ["j-1", "j-2", "j-3", "j-8"]
    query = "/v1/events?call_id=CA+1%262&type=alert.raised%2Calert.cleared"
    assert [path for path, _ in paths] == [query, f"{query}&last_event_id=j-2", f"{query}&last_event_id=j-7"]


async def test_of_all_gateways_it_resumes_with_the_cursor() -> None:
    async with scripted(sends(1, 2, shared=True), sends(2, 3, shared=True)) as (url, paths):
        got = await take(url, 3, everywhere=True)
    assert ids(got) == ["j-1", "j-2", "j-3"]
    assert [path for path, _ in paths] == ["/v1/events?scope=all", "/v1/events?scope=all&last_event_id=all-s-2"]


@pytest.mark.parametrize("code", [1008, 4400, 4401, 4403])
async def test_code_that_means_do_not_come_again(code: int) -> None:
    async with scripted(sends(1, code=code)) as (url, _):
        event, error = await take(url, 2)
    assert event["id"] == "j-1"
    assert error == {"error": "GatewayError", "message": "so it goes", "code": code}


async def test_a_refused_upgrade_shows_the_gateways_reason() -> None:
    async with scripted(statuses=((401, {}), (401, {}))) as (url, paths):
        (error,) = await take(url, 1, token="wrong")
    assert error == {"error": "GatewayError", "message": "because of 401", "code": 401}
    assert [authorization for _, authorization in paths] == [None, "Bearer wrong"]


async def test_cut_connection_and_refusal_that_passes_are_retried() -> None:
    async def cut(connection: ServerConnection) -> None:
        connection.transport.abort()

    pauses = []
    statuses = ((503, {"Retry-After": "1"}), (503, {"Retry-After": "1"}))
    async with scripted(cut, sends(1), statuses=statuses) as (url, _), aclosing(follow(url)) as told:
        async for line in told:
            if "retry" not in line:
                break
            pauses.append(line)
    assert [line["retry"] for line in pauses] == ["because of 503", "the connection was lost"]
    assert 1000 <= pauses[0]["pauseMs"] <= 1500
    assert 0 <= pauses[1]["pauseMs"] <= 1000


async def test_silent_connection_is_given_up() -> None:
    async def silence(connection: ServerConnection) -> None:
        await connection.wait_closed()

    retries = []
    # A machine may be too slow for so short a silence more than once.
    async with scripted(silence, *[sends(1)] * 50) as (url, _), aclosing(follow(url, silenceMs=500)) as told:
        async for line in told:
            if "retry" not in line:
                break
            retries.append(line["retry"])
    assert retries[0] == "the gateway is silent"
    assert line["id"] == "j-1"


async def test_killed_gateway_has_lost_nothing_that_it_sent(tmp_path: Path) -> None:
    """SIGKILL in full flow and a restart; then another journal: the gap is told, or thrown for who asks for that."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    seen: list[dict[str, Any]] = []

    async def until(told: AsyncIterator[dict[str, Any]], count: int) -> None:
        while len(seen) < count:
            if "retry" not in (line := await anext(told)):
                seen.append(line)

    async with asyncio.timeout(90), aclosing(follow(url, longestPauseMs=500)) as told:
        for count in (100, 200):
            async with publisher(tmp_path / "journal", port) as (process, _url):
                await until(told, count)
                process.kill()
                await process.wait()
        async with publisher(tmp_path / "another", port):
            while seen[-1]["type"] != "gap":
                await until(told, len(seen) + 1)
            *before, gap = seen
            first = int(before[0]["sequence"])
            assert [int(event["sequence"]) for event in before] == list(range(first, first + len(before)))
            assert gap["data"]["after"] == before[-1]["id"]
            await until(told, len(seen) + 1)
            assert seen[-1]["source"] == gap["source"] != before[0]["source"]
            (error,) = await take(url, 1, lastEventId=before[-1]["id"], onGap="throw")
    assert error["error"] == "EventsLost"
    assert error["message"] == f"events after {before[-1]['id']} are lost: cursor_unknown"
    assert error["gap"]["type"] == "gap"
