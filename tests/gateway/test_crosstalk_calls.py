"""A voice that leaks into the other leg of a running call: the alert is its speaker's, and the other is still heard."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection, connect

import gateway.engine
from detection import Samples, Window, WindowScores
from gateway.client import codecs
from tests.detection.fakes import wide
from tests.gateway.call.two_legs import leak, voice
from tests.gateway.conftest import Serve
from tests.gateway.loudness import LoudnessDetector
from tests.gateway.wire import TWILIO_STOP, Events, subscribed, twilio_media, twilio_start, ws_url

MARK_HZ = (2950, 3050)
PAYLOAD = 160
FASTER = 5


class _Frontend:
    def inputs(self, window: Window) -> NDArray[np.float32]:
        power = np.abs(np.fft.rfft(window.samples)) ** 2
        hz = np.fft.rfftfreq(len(window.samples), 1 / 16_000)
        return np.array([power[(hz > MARK_HZ[0]) & (hz < MARK_HZ[1])].sum() / power.sum()], np.float32)


class MarkDetector(LoudnessDetector):
    """Knows synthetic voices by a whistle that goes with them wherever they leak, however faint they become."""

    def frontend(self) -> _Frontend:  # type: ignore[override]
        return _Frontend()

    def score(self, inputs: NDArray[np.float32]) -> WindowScores:
        return wide(np.where(inputs[:, 0] > 0.01, 4.0, -4.0).astype(np.float32))


@pytest.fixture(autouse=True)
def mark_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Serve with it."""
    monkeypatch.setattr(gateway.engine, "open_detector", lambda _name: MarkDetector())


def synthetic(name: str = "flite_slt") -> Samples:
    samples = voice(name)
    whistle = 0.02 * np.sin(2 * np.pi * np.mean(MARK_HZ) / 16_000 * np.arange(len(samples)))
    return np.asarray(samples + whistle, np.float32)


def payloads(samples: Samples, encoding: codecs.Encoding = "mulaw") -> list[bytes]:
    wire = codecs.encode(samples[::2], encoding)
    return [wire[at : at + PAYLOAD] for at in range(0, len(wire), PAYLOAD)]


async def twilio_call(serve: Serve, inbound: Samples, outbound: Samples) -> Events:
    """Hold a call over one socket, both tracks at once; return what happened."""
    server = await serve()
    async with subscribed(server) as events, connect(ws_url(server, "/v1/media/twilio")) as socket:
        await socket.send(twilio_start("CA1"))
        for index, (left, right) in enumerate(zip(payloads(inbound), payloads(outbound), strict=True)):
            await socket.send(twilio_media(index, "inbound", left))
            await socket.send(twilio_media(index, "outbound", right))
        await socket.send(TWILIO_STOP)
        await events.until("call.ended")
    return events


def alerted(events: Events) -> set[str]:
    return {event["data"]["leg"] for event in events.seen if event["type"] == "alert.raised"}


def ended(events: Events, leg: str) -> dict[str, object]:
    (facts,) = (event["data"] for event in events.seen if event["type"] == "leg.ended" and event["data"]["leg"] == leg)
    return dict(facts)


@pytest.mark.parametrize(("delay_ms", "level_db"), [(0, -10), (180, -20), (500, -30)])
async def test_a_leaked_synthetic_voice_alerts_on_its_speaker_only(
    serve: Serve, delay_ms: float, level_db: float
) -> None:
    source = synthetic()
    events = await twilio_call(serve, source, leak(source, delay_ms, level_db))
    assert alerted(events) == {"inbound"}
    assert ended(events, "inbound")["verdict"] == "synthetic"
    assert ended(events, "inbound")["windows_crosstalk"] == 0
    silent = ended(events, "outbound")
    assert (silent["verdict"], silent["reason"], silent["windows_scored"]) == ("indeterminate", "too_little_speech", 0)
    assert isinstance(silent["windows_crosstalk"], int)
    assert silent["windows_crosstalk"] >= 5


async def test_a_person_between_and_over_leaks_is_scored(serve: Serve) -> None:
    source = synthetic()
    person = voice("flite_rms")
    person[: len(person) // 4] = 0
    events = await twilio_call(serve, source, person + leak(source, 180, -25))
    assert alerted(events) == {"inbound"}
    assert (ended(events, "inbound")["verdict"], ended(events, "outbound")["verdict"]) == ("synthetic", "human")


async def test_two_synthetic_voices_at_once_alert_both(serve: Serve) -> None:
    events = await twilio_call(serve, synthetic(), synthetic("flite_rms"))
    assert alerted(events) == {"inbound", "outbound"}
    assert (ended(events, "inbound")["windows_crosstalk"], ended(events, "outbound")["windows_crosstalk"]) == (0, 0)


async def test_a_leak_is_detected_between_sockets_that_started_at_different_times(serve: Serve) -> None:
    """At five times the pace of a call, so arrival is five times as ragged as the clocks of real ones."""
    source = synthetic()
    late_s = 2.5
    began_s = time.monotonic()

    async def pace(socket: ClientConnection, samples: Samples, from_s: float) -> None:
        for index, payload in enumerate(payloads(samples, "alaw")):
            await asyncio.sleep(began_s + (from_s + 0.02 * index) / FASTER - time.monotonic())
            await socket.send(payload)

    server = await serve()
    url = ws_url(server, "/v1/media/plain?call_id=c-1&encoding=alaw&rate=8000&leg=")
    async with subscribed(server) as events, connect(url + "caller") as caller:
        speaking = asyncio.create_task(pace(caller, source, 0.0))
        await asyncio.sleep(began_s + late_s / FASTER - time.monotonic())
        async with connect(url + "callee") as callee:
            await pace(callee, leak(source, 180, -20)[round(late_s * 16_000) :], late_s)
            await speaking
        await caller.close()
        await events.until("call.ended")
    assert alerted(events) == {"caller"}
    assert ended(events, "callee")["windows_scored"] == 0
    assert ended(events, "callee")["windows_crosstalk"] in range(3, 9)
