"""A policy that changes while calls run, over real sockets: by a signal, by its file alone, and when it is wrong."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs
from websockets.asyncio.client import connect

from gateway import policy_watch
from gateway.app import Server
from gateway.policy import read
from tests.gateway.conftest import Serve
from tests.gateway.loudness import speech
from tests.gateway.process import gateway
from tests.gateway.test_workers import FIRST_S, TWO, WORKER_S, Told, subscribed
from tests.gateway.test_workers import plain as plain_of
from tests.gateway.wire import plain, say
from tests.gateway.wire import subscribed as follow

STRICT, USUAL = "[default]\nalert_p = 0.99999\n", "[default]\nalert_p = 0.9\n"


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  files and metrics tell nobody
            await asyncio.sleep(0.01)


def in_force(server: Server, file: Path) -> Callable[[], bool]:
    version = read(file).version
    return lambda: server.engine.policies.version == version


def refused() -> float:
    return REGISTRY.get_sample_value("callscreen_policy_refused") or 0.0


@pytest.mark.usefixtures("detector")
async def test_legs_keep_the_policy_that_they_started_with(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(USUAL)
    server = await serve(policy=file)
    async with follow(server, "?type=leg.started,score,leg.ended") as events, plain(server, "before") as before:
        first = await events.until("leg.started", leg="before")
        file.write_text("[default]\nscreen = false\n")
        server.reload()
        await until(in_force(server, file))
        async with plain(server, "after"):
            second = await events.until("leg.started", leg="after")
            await say(before, speech(5, synthetic=True))
            await events.until("score", leg="before", within_s=60)
        ended = await events.until("leg.ended", leg="after", reason="not_screened", within_s=60)
    assert [event["data"]["screened"] for event in (first, second)] == [True, False]
    assert first["data"]["policy"] != second["data"]["policy"] == read(file).version
    assert ended["data"]["windows_scored"] == 0


@pytest.mark.usefixtures("detector")
async def test_a_file_that_changes_is_noticed_and_one_that_is_wrong_changes_nothing(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_watch, "POLL_S", 0.02)
    file, other = tmp_path / "policy.toml", tmp_path / "new.toml"
    file.write_text(USUAL)
    with capture_logs() as logs:
        server = await serve(policy=file)
        version = server.engine.policies.version
        file.write_text("[default]\nalert = 0.9\n")
        await until(lambda: refused() == 1)
        assert server.engine.policies.version == version
        other.write_text(STRICT)
        other.replace(file)
        await until(in_force(server, file))
        await until(lambda: refused() == 0)
        file.unlink()
        await until(lambda: refused() == 1)
        assert server.engine.policies.version not in (None, version)
    first, second = (line for line in logs if line["event"] == "policy refused")
    assert first["error"].startswith(f"{file}:2: default.alert: there is no such key")
    assert first["in_force"] == version
    assert "No such file" in second["error"]


@pytest.mark.usefixtures("detector")
async def test_the_candidate_of_the_shadow_is_read_again_and_one_that_is_wrong_changes_nothing(
    serve: Serve, tmp_path: Path
) -> None:
    live, candidate = tmp_path / "policy.toml", tmp_path / "candidate.toml"
    for file in (live, candidate):
        file.write_text(USUAL)
    with capture_logs() as logs:
        server = await serve(policy=live, shadow={"policy": candidate})
        shadow = server.engine.shadow
        assert shadow is not None
        async with follow(server, "?type=leg.started,shadow.compared") as events, plain(server, "before"):
            await events.until("leg.started", leg="before")
            version = read(candidate).version
            candidate.write_text("[default]\nalert = 0.9\n")
            server.reload()
            await until(lambda: REGISTRY.get_sample_value("callscreen_shadow_policy_refused") == 1)
            assert shadow.policies.version == version
            candidate.write_text(STRICT)
            server.reload()
            await until(lambda: shadow.policies.version == read(candidate).version)
            assert refused() == REGISTRY.get_sample_value("callscreen_shadow_policy_refused") == 0
            async with plain(server, "after"):
                await events.until("leg.started", leg="after")
            after = await events.until("shadow.compared", leg="after")
        assert after["data"]["candidate_policy"] == read(candidate).version != version
        assert server.engine.policies.version == read(live).version
        assert REGISTRY.get_sample_value("callscreen_policy", {"version": read(live).version}) == 1
    (line,) = (line for line in logs if line["event"] == "shadow policy refused")
    assert line["in_force"] == version


async def test_without_files_there_is_nothing_to_reload(serve: Serve) -> None:
    server = await serve()
    with capture_logs() as logs:
        server.reload()
    assert [line["event"] for line in logs] == ["nothing to reload"]


@pytest.mark.slow
async def test_on_sighup_every_process_has_the_new_policy(tmp_path: Path) -> None:
    file, candidate = tmp_path / "policy.toml", tmp_path / "candidate.toml"
    for one in (file, candidate):
        one.write_text(USUAL)
    async with (
        asyncio.timeout(120),
        gateway(tmp_path, f'policy = "{file}"\n{TWO}[shadow]\npolicy = "{candidate}"\n') as running,
        subscribed(running) as told,
        AsyncExitStack() as stack,
    ):
        for call_id in (FIRST_S, WORKER_S):
            await stack.enter_async_context(plain_of(running, call_id, "before"))
        await told.until(*(("leg.started", f"{call_id}/before") for call_id in (FIRST_S, WORKER_S)))
        file.write_text("[default]\nscreen = false\n")
        os.kill(running.process.pid, signal.SIGHUP)
        version = read(file).version
        for process in "01":
            while not await running.metric("callscreen_policy", process=process, version=version):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert running.logged("policy loaded", version=version)
        for call_id in (FIRST_S, WORKER_S):
            await stack.enter_async_context(plain_of(running, call_id, "after"))
        await told.until(*(("leg.started", f"{call_id}/after") for call_id in (FIRST_S, WORKER_S)))
        file.write_text(USUAL)
        candidate.write_text(STRICT)
        os.kill(running.process.pid, signal.SIGHUP)
        while not running.logged("shadow policy loaded"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        while not await running.metric("callscreen_policy", process="1", version=read(file).version):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        compared = Told(await stack.enter_async_context(connect(f"{running.ws_url}/v1/events?type=shadow.compared")))
        for call_id in (FIRST_S, WORKER_S):
            async with plain_of(running, call_id, "last"):
                await told.until(("leg.started", f"{call_id}/last"))
            await compared.until(("shadow.compared", f"{call_id}/last"))
        assert {one["candidate_policy"] for one in compared.of("shadow.compared")} == {read(candidate).version}
    started = {(leg["call_id"], leg["leg"]): (leg["screened"], leg["policy"]) for leg in told.of("leg.started")}
    for call_id in (FIRST_S, WORKER_S):
        assert started[call_id, "before"][0] is True
        assert started[call_id, "after"] == (False, version)
