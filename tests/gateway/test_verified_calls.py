"""What the verifier does in real calls: its events, what it costs nobody, and that it is gone when it is off."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from itertools import pairwise

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs
from websockets.asyncio.client import ClientConnection, connect

import gateway.call.verification
import gateway.engine
from detection import VERIFIER, Window, WindowScores, open_detector
from gateway import clock
from gateway.app import Server
from gateway.client.codecs import encode
from gateway.errors import ConfigError
from tests.detection.fakes import mean_fusion, wide
from tests.gateway.conftest import Serve
from tests.gateway.loudness import speech
from tests.gateway.wire import TWILIO_STOP, Events, subscribed, twilio_media, twilio_start, ws_url

UNSURE, SYNTHETIC, HUMAN = 0.3, 6.0, -6.0
"""Log-odds of a window."""


class Scripted:
    """A model that says what the test has written on it; held, it is busy until it is let go."""

    raise_p = 0.9
    calibration_id = "scripted"
    hop_s = 1.0

    def __init__(self, name: str, window_s: float) -> None:
        self.name = f"{name}@00000000"
        self.window_s = window_s
        self.says = UNSURE
        self.seen: list[Window] = []
        self.free = threading.Event()
        self.free.set()
        self.asked = threading.Event()
        self.burns_s = 0.0

    def frontend(self) -> Scripted:
        return self

    def inputs(self, window: Window) -> NDArray[np.float32]:
        self.seen.append(window)
        self.asked.set()
        return np.zeros(1, np.float32)

    def score(self, inputs: NDArray[np.float32]) -> WindowScores:
        self.free.wait(10)
        began_s = clock.thread_cpu_s()
        while clock.thread_cpu_s() - began_s < self.burns_s:
            pass
        return wide(np.full(len(inputs), self.says, np.float32))


@pytest.fixture
def light() -> Scripted:
    return Scripted("light", 3.0)


@pytest.fixture
def heavy(light: Scripted, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    """Serve with two scripted models, the second under the name `heavy`."""
    model = Scripted("heavy", 3.0)
    monkeypatch.setattr(gateway.engine, "open_detector", lambda name: model if name == "heavy" else light)
    monkeypatch.setattr(gateway.engine, "open_fusion", lambda _light, _verifier: (mean_fusion(), None))
    yield model
    model.free.set()


def plain(server: Server, leg: str = "caller") -> connect:
    return connect(ws_url(server, f"/v1/media/plain?call_id=c-1&leg={leg}&encoding=s16le&rate=16000"))


async def say(socket: ClientConnection, seconds: float) -> None:
    data = np.round(speech(seconds, synthetic=False) * 32767).astype("<i2").tobytes()
    for at in range(0, len(data), 640):
        await socket.send(data[at : at + 640])


async def ended(socket: ClientConnection, events: Events) -> tuple[str, str]:
    await socket.close()
    data = (await events.until("leg.ended"))["data"]
    return data["verdict"], data["reason"]


def told(events: Events) -> list[str]:
    """The alert's life: types, with stage or verdict."""
    return [
        " ".join(filter(None, (event["type"], event["data"].get("stage") or event["data"].get("verdict"))))
        for event in events.seen
        if event["type"].startswith("alert.")
    ]


async def metric(server: Server, name: str) -> float:
    async with httpx.AsyncClient(base_url=server.url) as web:
        lines = (await web.get("/metrics")).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


async def test_an_alert_that_the_verifier_agrees_with(serve: Serve, light: Scripted, heavy: Scripted) -> None:
    server = await serve(verifier="heavy")
    light.says = heavy.says = SYNTHETIC
    async with subscribed(server) as events, plain(server) as caller:
        await say(caller, 4.2)
        verified = (await events.until("alert.verified", verdict="confirmed"))["data"]
        await say(caller, 4.2)
        confirmed = (await events.until("alert.raised", stage="confirmed"))["data"]
        assert await ended(caller, events) == ("synthetic", "alert_confirmed")
    assert told(events)[:3] == ["alert.raised provisional", "alert.verified confirmed", "alert.raised confirmed"]
    raised = next(event["data"] for event in events.seen if event["type"] == "alert.raised")
    assert verified["alert_id"] == raised["alert_id"] == confirmed["alert_id"]
    assert (raised["model"], raised["reason"]) == ("light@00000000", "p_above_raise")
    assert (verified["model"], verified["reason"]) == ("heavy@00000000", "verifier_synthetic")
    assert confirmed["reason"] == "p_stayed_above_raise"
    assert (verified["leg"], verified["speaker"]) == ("caller", "caller")
    assert verified["p_synthetic"] > 0.9
    assert verified["filter_p_synthetic"] > 0.9
    assert 2.4 < verified["judged_speech_s"] <= 3 <= verified["media_time_s"] <= 4
    assert 0 <= verified["lag_ms"] < 5000


async def test_an_alert_that_the_verifier_contradicts_is_cleared_by_the_evidence_of_both(
    serve: Serve, light: Scripted, heavy: Scripted
) -> None:
    server = await serve(verifier="heavy")
    light.says, heavy.says = 3.0, HUMAN
    async with subscribed(server) as events, plain(server) as caller:
        await say(caller, 4.2)
        await events.until("alert.verified", verdict="inconclusive")
        light.says = 0.5
        for _ in range(8):
            await say(caller, 2)
            await asyncio.sleep(0.05)
        cleared = (await events.until("alert.cleared"))["data"]
        assert (await ended(caller, events))[0] == "indeterminate"
    assert told(events)[:2] == ["alert.raised provisional", "alert.verified inconclusive"]
    assert told(events).count("alert.cleared") == 1
    assert told(events)[-1] == "alert.verified cleared"
    assert cleared["reason"] == "p_stayed_below_clear"
    assert cleared["alert_id"] == next(
        event["data"]["alert_id"] for event in events.seen if event["type"] == "alert.raised"
    )
    last = [event["data"] for event in events.seen if event["type"] == "alert.verified"][-1]
    assert (last["reason"], last["alert_id"]) == ("verifier_human", None)


async def test_an_uncertain_leg_is_escalated(serve: Serve, heavy: Scripted) -> None:
    server = await serve(verifier="heavy")
    heavy.says = SYNTHETIC
    async with subscribed(server) as events, plain(server) as caller:
        await say(caller, 4)
        raised = await events.until("alert.raised", stage="provisional")
        for _ in range(3):
            await say(caller, 4)
            await asyncio.sleep(0.05)
        await events.until("alert.raised", stage="confirmed")
        assert (await ended(caller, events))[0] == "synthetic"
    assert told(events)[:2] == ["alert.verified escalated", "alert.raised provisional"]
    verified = next(event for event in events.seen if event["type"] == "alert.verified")
    assert verified["data"]["alert_id"] == raised["data"]["alert_id"]
    assert (raised["data"]["model"], raised["data"]["reason"]) == ("heavy@00000000", "p_above_raise")
    assert verified["data"]["filter_p_synthetic"] < 0.9 < raised["data"]["p_synthetic"]


async def test_an_uncertain_leg_ends_human_where_the_verifier_is_sure(serve: Serve, heavy: Scripted) -> None:
    server = await serve(verifier="heavy")
    heavy.says = HUMAN
    async with subscribed(server) as events, plain(server) as caller:
        await say(caller, 8)
        verified = await events.until("alert.verified", verdict="cleared")
        assert await ended(caller, events) == ("human", "p_below_human")
    assert verified["data"]["alert_id"] is None


async def test_a_verifier_that_cannot_say_changes_little(serve: Serve, heavy: Scripted) -> None:
    server = await serve(verifier="heavy")
    async with subscribed(server) as events, plain(server) as caller:
        await say(caller, 8)
        await events.until("alert.verified", verdict="inconclusive")
        assert await ended(caller, events) == ("indeterminate", "uncertain")


async def test_every_leg_is_verified_once_over_not_only_the_doubtful(
    serve: Serve, light: Scripted, heavy: Scripted
) -> None:
    server = await serve(verifier="heavy", verifier_cpu_share=1)
    light.says = heavy.says = HUMAN
    async with subscribed(server) as events, plain(server) as caller:
        for _ in range(5):
            await say(caller, 4)
            await asyncio.sleep(0.05)
        assert await ended(caller, events) == ("human", "p_below_human")
    starts_s = [window.start_s for window in heavy.seen]
    assert len(starts_s) in (6, 7), "20 s in windows of 3 s of speech, and what is near it"
    assert all(3 <= later - earlier <= 3.5 for earlier, later in pairwise(starts_s[:6]))
    assert told(events) == ["alert.verified cleared"] * len(starts_s)


async def test_nothing_waits_for_a_busy_verifier(serve: Serve, light: Scripted, heavy: Scripted) -> None:
    server = await serve(verifier="heavy")
    light.says = SYNTHETIC
    heavy.free.clear()
    async with subscribed(server) as events, plain(server) as caller:
        await say(caller, 12)
        confirmed = await events.until("alert.raised", stage="confirmed")
    assert confirmed["data"]["model"] == "light@00000000"
    assert told(events) == ["alert.raised provisional", "alert.raised confirmed"]


async def test_a_leg_that_ends_waits_for_an_answer_under_way(serve: Serve, heavy: Scripted) -> None:
    server = await serve(verifier="heavy")
    heavy.says = HUMAN
    heavy.free.clear()
    async with subscribed(server) as events, plain(server) as caller:
        await say(caller, 4)
        assert await asyncio.to_thread(heavy.asked.wait, 10)
        ending = asyncio.create_task(ended(caller, events))
        await asyncio.sleep(0.1)
        assert server.registry.calls()
        heavy.free.set()
        assert await ending == ("human", "p_below_human")
    assert told(events) == ["alert.verified cleared"] * len(heavy.seen)


async def test_but_not_for_long(serve: Serve, heavy: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.call.verification, "ANSWER_WITHIN_S", 0.2)
    server = await serve(verifier="heavy")
    heavy.says = HUMAN
    heavy.free.clear()
    late = await metric(server, 'callscreen_verifications_total{outcome="too_late"}')
    async with subscribed(server) as events, plain(server) as caller:
        await say(caller, 4)
        assert await asyncio.to_thread(heavy.asked.wait, 10)
        assert await ended(caller, events) == ("indeterminate", "uncertain")
        heavy.free.set()
        await events.until("call.ended")
        await asyncio.sleep(0.1)
    assert told(events) == []
    assert await metric(server, 'callscreen_verifications_total{outcome="too_late"}') == late + 1


async def test_a_verifier_that_fails_takes_nothing_away(
    serve: Serve, light: Scripted, heavy: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_inputs: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(heavy, "score", fail)
    server = await serve(verifier="heavy")
    light.says = SYNTHETIC
    async with subscribed(server) as events, plain(server) as caller:
        await say(caller, 12)
        assert await ended(caller, events) == ("synthetic", "alert_confirmed")
    assert heavy.seen
    assert told(events) == ["alert.raised provisional", "alert.raised confirmed"]


async def test_beyond_its_share_of_cpu_legs_go_on_without_it(serve: Serve, light: Scripted, heavy: Scripted) -> None:
    server = await serve(verifier="heavy", verifier_cpu_share=0.01)
    light.says = heavy.says = SYNTHETIC
    heavy.burns_s = 1.2
    async with subscribed(server) as events, plain(server, "caller") as caller, plain(server, "callee") as callee:
        await say(caller, 4.2)
        await events.until("alert.verified", leg="caller")
        await say(callee, 12)
        confirmed = await events.until("alert.raised", leg="callee", stage="confirmed")
    assert confirmed["data"]["model"] == "light@00000000"
    assert await metric(server, "callscreen_verifier_cpu_seconds_total") >= 1.2
    assert not any(event["type"] == "alert.verified" and event["data"]["leg"] == "callee" for event in events.seen)


async def test_no_share_is_no_verifier(serve: Serve, light: Scripted, heavy: Scripted) -> None:
    server = await serve(verifier="heavy", verifier_cpu_share=0)
    light.says = SYNTHETIC
    async with subscribed(server) as events, plain(server) as caller:
        await say(caller, 12)
        assert await ended(caller, events) == ("synthetic", "alert_confirmed")
    assert (server.verifier, heavy.seen) == (None, [])


async def test_an_expected_machine_is_never_verified(serve: Serve, light: Scripted, heavy: Scripted) -> None:
    server = await serve(verifier="heavy", expected_machine=[{"leg": "caller", "to_s": 15}])
    light.says = heavy.says = SYNTHETIC
    async with subscribed(server) as events, plain(server) as caller:
        await say(caller, 14)
        assert await ended(caller, events) == ("expected_machine", "expected_synthetic")
    assert (told(events), heavy.seen) == ([], [])


async def test_only_what_comes_after_an_expected_machine_is_verified(
    serve: Serve, light: Scripted, heavy: Scripted
) -> None:
    server = await serve(verifier="heavy", expected_machine=[{"leg": "caller", "to_s": 8}])
    light.says = heavy.says = SYNTHETIC
    async with subscribed(server) as events, plain(server) as caller:
        await say(caller, 16)
        await events.until("alert.verified", verdict="confirmed")
    assert min(window.start_s for window in heavy.seen) >= 8


def verifier_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("verifier")]


async def test_off_there_is_nothing_of_it(serve: Serve, light: Scripted, heavy: Scripted) -> None:
    server = await serve(verifier="off")
    light.says = SYNTHETIC
    async with subscribed(server) as events, plain(server) as caller:
        await say(caller, 12)
        assert await ended(caller, events) == ("synthetic", "alert_confirmed")
    assert told(events) == ["alert.raised provisional", "alert.raised confirmed"]
    assert (server.verifier, heavy.seen, verifier_threads()) == (None, [], [])


async def test_readiness_and_metrics_tell_of_it(serve: Serve, heavy: Scripted) -> None:
    server = await serve(verifier="heavy")
    assert server.verifier == "heavy@00000000"
    assert await metric(server, 'callscreen_verifier{model="heavy@00000000"}') == 1
    async with subscribed(server) as events, plain(server) as caller:
        await say(caller, 6)
        await events.until("alert.verified")
        assert len(verifier_threads()) == 1
    verifier = server.registry._engine.verifier
    assert verifier is not None
    await verifier._scorer.close()
    async with httpx.AsyncClient(base_url=server.url) as web:
        ready = await web.get("/readyz")
    assert (ready.status_code, ready.json()["reasons"]) == (503, ["the verifier is not verifying"])


async def test_auto_is_what_ships(serve: Serve) -> None:
    server = await serve(verifier="auto")
    assert (server.verifier is None) == (VERIFIER is None)


async def test_a_broken_one_that_ships_is_warned_of(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway.call.verification, "VERIFIER", "nothing")
    with capture_logs() as logs:
        server = await serve(verifier="auto")
    assert server.verifier is None
    (warning,) = [entry for entry in logs if entry["event"] == "no verifier"]
    assert "'nothing'" in warning["reason"]


async def test_a_broken_one_that_is_asked_for_stops_the_start(serve: Serve) -> None:
    with pytest.raises(ConfigError, match=r"verifier: .*nothing"):
        await serve(verifier="nothing")


async def test_a_real_verifier_in_a_real_call(serve: Serve) -> None:
    """Both models are real, so what they say isn't foretold; that the verifier was asked and answered is."""
    server = await serve(verifier="tinyaudionet", alert_p=0.6)
    wire = encode(speech(20, synthetic=True)[::2], "mulaw")
    async with subscribed(server) as events, connect(ws_url(server, "/v1/media/twilio")) as socket:
        await socket.send(twilio_start("CA7", ("inbound",)))
        for index, at in enumerate(range(0, len(wire), 160)):
            await socket.send(twilio_media(index, payload=wire[at : at + 160]))
        verified = (await events.until("alert.verified"))["data"]
        await socket.send(TWILIO_STOP)
        await events.until("leg.ended")
    assert verified["model"] == open_detector("tinyaudionet").name == server.verifier
    assert 0 <= verified["p_synthetic"] <= 1
    assert verified["judged_speech_s"] > 2.5
    assert verified["verdict"] in ("confirmed", "cleared", "escalated", "inconclusive")
