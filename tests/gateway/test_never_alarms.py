"""What is no voice never alarms, whatever it is sent as: over real sockets, to a detector that accuses everything."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.asyncio.client import connect

from detection import WindowScores
from gateway.app import Server
from gateway.client.codecs import encode
from tests.detection.fakes import wide
from tests.detection.signals import line_sounds
from tests.gateway.conftest import Serve
from tests.gateway.loudness import LoudnessDetector, speech
from tests.gateway.rtp import packet, send
from tests.gateway.wire import Events, subscribed, ws_url

SECONDS = 10
CODEC_SILENCE = {"mulaw": b"\xff", "mulaw ": b"\x7f", "alaw": b"\xd5", "alaw ": b"\x55", "s16le": b"\0"}
PCMU_SILENCE = b"\xff" * 160


class Accuser(LoudnessDetector):
    """Says of whatever it's given that it is synthetic."""

    def score(self, inputs: NDArray[np.float32]) -> WindowScores:
        return wide(np.full(len(inputs), 4.0, np.float32))


@pytest.fixture
def accuser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.engine.open_detector", lambda _name: Accuser())


async def send_plain(server: Server, leg: str, encoding: str, data: bytes) -> None:
    path = f"/v1/media/plain?call_id=c-1&leg={leg}&encoding={encoding}"
    async with connect(ws_url(server, path)) as socket:
        for at in range(0, len(data), 3200):
            await socket.send(data[at : at + 3200])


async def verdicts(events: Events, legs: int) -> list[dict[str, object]]:
    ended = [(await events.until("leg.ended", within_s=30))["data"] for _ in range(legs)]
    assert not [event["type"] for event in events.seen if event["type"] in ("score", "alert.raised")]
    return ended


@pytest.mark.usefixtures("accuser")
async def test_the_silence_of_every_codec(serve: Serve) -> None:
    server = await serve()
    async with subscribed(server, "?type=score,alert.raised,leg.ended") as events:
        for number, (encoding, sample) in enumerate(CODEC_SILENCE.items()):
            size = 2 if encoding == "s16le" else 1
            await send_plain(server, f"leg-{number}", encoding.strip(), sample * 8000 * SECONDS * size)
        for ended in await verdicts(events, len(CODEC_SILENCE)):
            assert (ended["reason"], ended["audio_s"]) == ("too_little_speech", SECONDS)


@pytest.mark.usefixtures("accuser")
async def test_every_sound_of_a_line(serve: Serve) -> None:
    server = await serve()
    async with subscribed(server, "?type=score,alert.raised,leg.ended") as events:
        for number, sound in enumerate(line_sounds().values()):
            await send_plain(server, f"leg-{number}", "mulaw", encode(sound[::2], "mulaw"))
        for ended in await verdicts(events, len(line_sounds())):
            assert (ended["verdict"], ended["alerts"]) == ("indeterminate", 0)


def comfort_noise() -> Iterator[bytes]:
    """A word of half a second, then RFC 3389: one packet of comfort noise and nothing for a second, ten times."""
    word = encode(speech(0.5, synthetic=True)[::2], "mulaw")
    for index in range(25):
        yield packet(word[160 * index : 160 * index + 160], index, 160 * index)
    for pause in range(10):
        yield packet(b"\x40\x10", 25 + pause, 4000 + 8000 * pause, payload_type=13)
    yield packet(PCMU_SILENCE, 35, 84_000)


def keys() -> Iterator[bytes]:
    """RFC 4733: a key held down for ten seconds, after a word."""
    word = encode(speech(0.5, synthetic=True)[::2], "mulaw")
    for index in range(25):
        yield packet(word[160 * index : 160 * index + 160], index, 160 * index)
    for index in range(500):
        yield packet(b"\x05\x0a\x00\xa0", 25 + index, 4000, payload_type=101)


def losses() -> Iterator[bytes]:
    """Silence of which every other fifth of a second is lost, and five seconds at once."""
    for index in range(750):
        if index // 10 % 2 and not 250 < index < 500:
            yield packet(PCMU_SILENCE, index, 160 * index)


@pytest.mark.usefixtures("accuser")
@pytest.mark.parametrize("sound", [comfort_noise, keys, losses], ids=lambda sound: sound.__name__)
async def test_dtmf_and_comfort_noise_are_no_loss(serve: Serve, sound: object) -> None:
    server = await serve(rtp={"in": {"listen": "127.0.0.1:0", "legs": {"a": {}}}}, idle_deadline_s=0.5)
    async with subscribed(server, "?type=score,alert.raised,leg.ended") as events:
        await send(server.rtp["in"], sound())  # type: ignore[operator]
        (ended,) = await verdicts(events, 1)
    assert (ended["verdict"], ended["reason"]) == ("indeterminate", "too_little_speech")


@pytest.mark.usefixtures("detector")
async def test_a_person_on_a_lossy_line_is_no_machine(serve: Serve) -> None:
    """A fifth of the packets is lost, in bursts: the gaps are told as missing, and are no evidence of anything."""
    server = await serve(rtp={"in": {"listen": "127.0.0.1:0", "legs": {"a": {}}}}, idle_deadline_s=0.5)
    data = encode(speech(20, synthetic=False)[::2], "mulaw")
    kept = (index for index in range(1000) if index % 25 >= 5)
    async with subscribed(server, "?type=alert.raised,leg.ended") as events:
        await send(server.rtp["in"], (packet(data[160 * i : 160 * i + 160], i, 160 * i) for i in kept))
        ended = (await events.until("leg.ended", within_s=20))["data"]
    assert [event["type"] for event in events.seen] == ["leg.ended"]
    assert ended["missing_s"] == pytest.approx(4, abs=0.2)
    assert ended["windows_scored"] > 10
    assert ended["verdict"] == "human"
