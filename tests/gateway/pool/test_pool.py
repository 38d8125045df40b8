"""Gateways' and verifiers' sides of the pool, in this process and in others, with a real NATS server between them."""

from __future__ import annotations

import asyncio
import math
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import nats
import numpy as np
import pytest
from nats.js.api import StorageType
from structlog.testing import capture_logs

from detection import Coverage, Window, open_detector
from detection.signal.audio import read_audio
from gateway import clock
from gateway.call.scorer import Fifo, Scorer
from gateway.call.verification import METERS
from gateway.pool import jobs, messages, scorer, worker
from gateway.pool.messages import Answer, Here, PoolModel
from tests.gateway.loudness import VOICES
from tests.gateway.pool.pool import (
    MODEL,
    OTHER,
    Leg,
    asking,
    counted,
    until,
    until_told,
    verifier_process,
    verifying,
    window,
)
from tests.gateway.shared.nats_server import NatsServer, installed, nats_server

pytestmark = installed
KEY = PoolModel.of(open_detector(MODEL, backend="elsewhere")).key
WINDOWS = "callscreen_verifier_windows_total"
ANSWERS = "callscreen_pool_answers_total"
GARBAGE = (
    b"",
    b"\xff\xfe",
    b'{"model": "x"}',
    b'{"model": "x", "log_odds": "1", "narrow": true}',
    b'{"model": "x", "log_odds": 1, "narrow": true, "worked_s": -1}',
)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again soon, and give up nothing because this machine is slow."""
    for module in (scorer, worker):
        monkeypatch.setattr(module, "RETRY_S", 0.05)
    monkeypatch.setattr(scorer, "CHECK_S", 0.02)
    monkeypatch.setattr("gateway.call.scorer.LATEST_S", math.inf)
    monkeypatch.setattr(scorer, "WITHIN_S", 60.0)
    monkeypatch.setattr(jobs, "KEPT_S", 60.0)


def questions() -> list[Window]:
    """What a verifier with windows of 3 s is asked of two voices with pauses between."""
    found = []
    for voice in ("flite_slt", "flite_rms"):
        coverage = Coverage(3.0, 3.0)
        samples = np.resize(read_audio(VOICES / voice / "1.ogg"), 12 * 16_000).astype(np.float32)
        speech = np.ones(600, np.bool_)
        for pause in range(70, 600, 100):
            speech[pause : pause + 40] = False
        whole = Window(0.0, samples, len(samples), 12.0, 12.0, speech=speech)
        found += [question.window for question in (*coverage.add(whole, overlapping=False), *coverage.end())]
    return found


async def test_scores_are_those_that_the_same_model_gives_in_the_gateway(tmp_path: Path) -> None:
    asked = questions()
    assert len(asked) >= 4
    here, there = Leg(), Leg()
    own = Scorer(open_detector("specnet"), Fifo(64), 1, METERS)
    own.start()
    for one in asked:
        here.frontend = open_detector("specnet", backend="elsewhere").frontend()
        own.offer(here, one, clock.monotonic_s())
    await until(lambda: len(here.scores) == len(asked))
    await own.close()
    async with (
        nats_server(tmp_path) as server,
        asking(server.url, "specnet") as pool,
        verifying(server.url, "specnet", threads=2),
    ):
        await until(lambda: pool.fault is None)
        for one in asked:
            pool.offer(there, one, clock.monotonic_s())
        await until(lambda: len(there.scores) == len(asked))
    assert sorted(there.scores, key=str) == sorted(here.scores, key=str), "to the last bit"


async def test_nobody_verifies_until_a_verifier_of_the_same_model_is_there(tmp_path: Path) -> None:
    leg = Leg()
    server = NatsServer(tmp_path)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.kill)
        pool = await stack.enter_async_context(asking(server.url))
        before = counted(WINDOWS, outcome="no_pool")
        pool.offer(leg, window(), clock.monotonic_s())
        assert (pool.fault, leg.skips) == (scorer.UNREACHED, 1)
        assert pool.healthy
        await server.start()
        await until(lambda: pool.fault == scorer.NOBODY)
        pool.offer(leg, window(), clock.monotonic_s())
        assert leg.skips == 2
        with capture_logs() as log:
            async with verifying(server.url, OTHER):
                await until(lambda: pool.fault == scorer.OTHERS)
                pool.offer(leg, window(), clock.monotonic_s())
                assert leg.skips == 3
            await until(lambda: pool.fault == scorer.NOBODY)
        named = next(line for line in log if line.get("fault") == scorer.OTHERS)
        assert OTHER in named["detail"]
        assert MODEL in named["model"]
        await stack.enter_async_context(verifying(server.url))
        await until(lambda: pool.fault is None)
        pool.offer(leg, window(), clock.monotonic_s())
        await until(lambda: leg.scores)
        assert counted(WINDOWS, outcome="no_pool") == before + 3
        with capture_logs() as log:
            async with asking(server.url, OTHER) as foreign:
                await until(lambda: foreign.fault == scorer.OTHERS)
                await until(lambda: any(line["event"].startswith("gateway has another model") for line in log))


async def test_without_nats_in_mid_run_nothing_waits_and_later_all_goes_on(tmp_path: Path) -> None:
    async with nats_server(tmp_path) as server, asking(server.url) as pool, AsyncExitStack() as stack:
        await stack.enter_async_context(verifying(server.url))
        leg = Leg()
        await until(lambda: pool.fault is None)
        pool.offer(leg, window(), clock.monotonic_s())
        await until(lambda: leg.scores)
        await server.kill()
        await until(lambda: pool.fault == scorer.UNREACHED)
        pool.offer(leg, window(), clock.monotonic_s())
        assert leg.skips == 1
        await server.start()
        await until(lambda: pool.fault is None)
        pool.offer(leg, window(), clock.monotonic_s())
        await until(lambda: len(leg.scores) == 2)


async def test_a_nats_server_that_hangs_holds_no_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scorer, "WITHIN_S", 0.2)
    monkeypatch.setattr("gateway.shared.connection.PING_S", 0.2)
    async with nats_server(tmp_path) as server, asking(server.url) as pool, verifying(server.url):
        await until(lambda: pool.fault is None)
        leg = Leg()
        os.kill(server.pid, signal.SIGSTOP)
        pool.offer(leg, window(), clock.monotonic_s())
        await until(lambda: leg.skips == 1)
        await until(lambda: pool.fault == scorer.UNREACHED)
        os.kill(server.pid, signal.SIGCONT)
        monkeypatch.setattr(scorer, "WITHIN_S", 60.0)
        await until(lambda: pool.fault is None)
        pool.offer(leg, window(), clock.monotonic_s())
        await until(lambda: leg.scores)
        assert leg.skips == 1


async def test_jobs_that_are_no_jobs_are_refused_and_the_next_is_scored(tmp_path: Path) -> None:
    async with nats_server(tmp_path) as server, asking(server.url) as pool, verifying(server.url):
        await until(lambda: pool.fault is None)
        client = await nats.connect(server.url)
        before = counted("callscreen_verifier_jobs_total", outcome="refused")
        for gateway, body in (("0" * 16, b"garbage"), ("0" * 16, b""), ("events", b"\0" * 96_000)):
            await client.publish(messages.job("callscreen", KEY, gateway, 1), body)
        await client.publish(messages.ask("callscreen"), b"garbage")
        await client.publish(messages.here("callscreen"), b'{"instance": 1}')
        await until(lambda: counted("callscreen_verifier_jobs_total", outcome="refused") == before + 3)
        leg = Leg()
        pool.offer(leg, window(), clock.monotonic_s())
        await until(lambda: leg.scores)
        await client.close()


async def test_answers_that_are_none_are_ignored_and_so_are_those_that_come_too_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answers() -> list[float]:
        return [counted(ANSWERS, outcome=one) for one in ("garbage", "other_model", "late", "taken", "failed")]

    async with nats_server(tmp_path) as server, asking(server.url) as pool:
        client = await nats.connect(server.url)
        taken = await client.subscribe(messages.jobs_for("callscreen", KEY))
        await until(lambda: pool.fault == scorer.NOBODY)
        await client.publish(messages.here("callscreen"), msgspec.json.encode(Here("me", KEY, "me")))
        await until(lambda: pool.fault is None)
        leg, before = Leg(), answers()
        pool.offer(leg, window(), clock.monotonic_s())
        number = messages.sender((await taken.next_msg(30)).subject)
        right = Answer(KEY, 1.5, narrow=True)

        async def say(answer: Answer | bytes, to: tuple[str, str] = number) -> None:
            body = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
            await client.publish(messages.answer("callscreen", *to), body)

        for garbage in (
            b"",
            b"\xff\xfe",
            b'{"model": "x"}',
            b'{"model": "x", "log_odds": "1", "narrow": true}',
            b'{"model": "x", "log_odds": 1, "narrow": true, "worked_s": -1}',
        ):
            await say(garbage)
        await say(Answer("another", 9.0, narrow=False))
        await say(right, (number[0], "999"))
        await say(right)
        await say(right)  # twice: the second is for nobody
        await until(lambda: answers() == [n + more for n, more in zip(before, (5, 1, 2, 1, 0), strict=True)])
        assert [(score.log_odds, score.narrow) for score in leg.scores] == [(1.5, True)]
        pool.offer(leg, window(), clock.monotonic_s())
        await say(
            Answer(KEY, None, narrow=False, failed="out of memory"), messages.sender((await taken.next_msg(30)).subject)
        )
        await until(lambda: leg.skips == 1)
        pool.offer(leg, window(), clock.monotonic_s())
        await say(Answer(KEY, None, narrow=False), messages.sender((await taken.next_msg(30)).subject))
        await until(lambda: len(leg.scores) == 2)
        assert np.isnan(leg.scores[1].log_odds), "the model gave no number; what that means is not the pool's to say"
        late, before = counted(WINDOWS, outcome="no_answer"), answers()
        pool.offer(leg, window(), clock.monotonic_s())
        number = messages.sender((await taken.next_msg(30)).subject)
        monkeypatch.setattr(scorer, "WITHIN_S", 0.0)
        await until(lambda: leg.skips == 2)
        assert counted(WINDOWS, outcome="no_answer") == late + 1
        await say(right, number)
        await until(lambda: answers()[2] == before[2] + 1)
        assert leg.told == 4
        await client.close()


PERMISSIONS = """
authorization {
  users = [
    {user: gateway, password: a, permissions: {
      publish: ["callscreen.jobs.>", "callscreen.verifiers.ask", "$JS.API.>", "_INBOX.>"]
      subscribe: ["callscreen.answers.>", "callscreen.verifiers.here", "_INBOX.>"]}}
    {user: verifier, password: a, permissions: {
      publish: ["callscreen.answers.>", "callscreen.verifiers.here", "$JS.API.>", "$JS.ACK.callscreen-jobs.>"]
      subscribe: ["callscreen.verifiers.ask", "_INBOX.>"]}}
  ]
}
"""


async def test_the_permissions_in_the_guide_are_enough(tmp_path: Path) -> None:
    config = tmp_path / "nats.conf"
    config.write_text(PERMISSIONS)
    async with (
        nats_server(tmp_path / "nats", "-c", str(config)) as server,
        asking(server.url, user="gateway", password="a") as pool,
        verifying(server.url, user="verifier", password="a"),
    ):
        await until(lambda: pool.fault is None)
        leg = Leg()
        for seed in range(20):
            pool.offer(leg, window(seed), clock.monotonic_s())
        await until(lambda: len(leg.scores) == 20)
        client = await nats.connect(server.url, user="gateway", password="a")

        async def all_are_acknowledged() -> bool:
            info = await client.jetstream().consumer_info("callscreen-jobs", KEY)
            return (info.num_ack_pending, info.num_pending) == (0, 0)

        await until_told(all_are_acknowledged)
        await client.close()


async def test_a_stream_that_would_store_audio_on_disk_is_not_used(tmp_path: Path) -> None:
    async with nats_server(tmp_path) as server:
        client = await nats.connect(server.url)
        name, subjects = messages.jobs_stream("callscreen"), [messages.all_jobs("callscreen")]
        await client.jetstream().add_stream(name=name, subjects=subjects, storage=StorageType.FILE)
        await client.close()
        with capture_logs() as log:
            async with asking(server.url) as pool, verifying(server.url) as verifier:
                await until(lambda: "stores audio on disk" in str(verifier.fault))
                await until(lambda: any("stores audio on disk" in line.get("detail", "") for line in log))
                assert pool.fault == scorer.UNREACHED


async def test_jobs_that_nobody_takes_are_gone_and_memory_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "KEPT_S", 0.5)
    monkeypatch.setattr(jobs, "KEPT_BYTES", 1_000_000)
    async with nats_server(tmp_path) as server, asking(server.url) as pool:
        await until(lambda: pool.fault == scorer.NOBODY)
        client = await nats.connect(server.url)
        js = client.jetstream()
        for number in range(100):
            await js.publish(messages.job("callscreen", KEY, "0" * 16, number), b"\0" * 96_000)
        state = (await js.stream_info("callscreen-jobs")).state
        assert 0 < state.bytes <= 1_000_000
        assert state.last_seq == 100

        async def none_left() -> bool:
            return not (await js.stream_info("callscreen-jobs")).state.messages

        await until_told(none_left)
        await client.close()
        assert await asyncio.to_thread(stored, tmp_path) == []


def stored(folder: Path) -> list[Path]:
    """Return the files in which a job could be."""
    return [file for file in folder.rglob("*") if file.is_file() and file.stat().st_size > 96_000]


async def is_taken(server: NatsServer) -> bool:
    client = await nats.connect(server.url)
    try:
        info = await client.jetstream().consumer_info("callscreen-jobs", KEY)
    finally:
        await client.close()
    return bool(info.num_ack_pending)


async def test_a_killed_verifier_takes_one_job_with_it_at_most(tmp_path: Path) -> None:
    """Started before NATS is there; one job is given to another one, the next to nobody; then one is told to end."""
    server = NatsServer(tmp_path)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.kill)
        killed = await stack.enter_async_context(verifier_process(server.url))
        assert not await killed.ready()
        await server.start()
        pool = await stack.enter_async_context(asking(server.url))
        await until(lambda: pool.fault is None)
        assert await killed.ready()
        killed.process.send_signal(signal.SIGSTOP)
        leg = Leg()
        pool.offer(leg, window(1), clock.monotonic_s())
        await until_told(lambda: is_taken(server))
        async with verifying(server.url):
            killed.process.kill()
            await until(lambda: leg.scores)
        second = await stack.enter_async_context(verifier_process(server.url))
        await until_told(second.ready)
        async with verifying(server.url):
            before = counted("callscreen_verifier_jobs_total", outcome="answered")

            async def both_have_answered() -> bool:
                told = leg.told
                for seed in range(8):
                    pool.offer(leg, window(seed), clock.monotonic_s())
                await until(lambda: leg.told == told + 8)
                others = await second.metric("callscreen_verifier_jobs_total", outcome="answered")
                return others > 0 and counted("callscreen_verifier_jobs_total", outcome="answered") > before

            await until_told(both_have_answered)
        assert leg.skips == 0
        second.process.terminate()
        assert await second.process.wait() == 0
        await until(lambda: pool.fault == scorer.NOBODY)
