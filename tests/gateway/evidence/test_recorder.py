"""Audio evidence: real calls that alert, real files, real keys."""

from __future__ import annotations

import asyncio
import fcntl
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.asyncio.client import connect

from detection import Samples
from gateway.app import Server
from gateway.client.codecs import encode
from gateway.config_loading import load
from gateway.errors import ConfigError
from gateway.evidence import recorder
from gateway.evidence.age import decryption, new_pair
from gateway.evidence.clip import tags_of
from tests.gateway.conftest import Serve
from tests.gateway.loudness import speech
from tests.gateway.wire import Events, call_of, plain, say, subscribed, twilio_media, twilio_start, ws_url

pytestmark = pytest.mark.usefixtures("detector")
PRIVATE, PUBLIC = new_pair()
RATE_HZ = 16_000


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "evidence.key"
    file.write_text(f"# a comment\n{PRIVATE}\n")
    return file


def evidence(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {"folder": tmp_path / "evidence", "public_keys": [PUBLIC], "before_s": 3.0, "after_s": 2.0} | more


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.age"))


def found(folder: Path) -> list[Path]:
    return list(folder.rglob("*"))


def opened(file: Path, key: Path) -> tuple[dict[str, str], NDArray[np.float32]]:
    """Return tags and samples of an encrypted file."""
    flac = decryption(key)(file.read_bytes())
    with av.open(io.BytesIO(flac), "r") as container:
        samples = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    return tags_of(flac), np.asarray(samples / 32768, np.float32)


def likeness(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Return the correlation of two pieces of audio of one length."""
    return float(np.dot(one, other) / np.sqrt(np.dot(one, one) * np.dot(other, other)))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder, as whoever writes to it does."""
    with (folder / ".lock").open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


async def alarm(server: Server, leg: str, events: Events, audio: Samples, call_id: str = "c-1") -> dict[str, Any]:
    """Play a leg that alerts, at the pace of the gateway; return what was told of its evidence."""
    async with plain(server, leg, call_id) as media:
        await say(media, audio[: 6 * RATE_HZ])
        await events.until("alert.raised", leg=leg, call_id=call_id, stage="provisional")
        await say(media, audio[6 * RATE_HZ :])
        told: dict[str, Any] = (await events.until("alert.evidence", leg=leg, call_id=call_id))["data"]
        return told


async def test_the_file_holds_the_right_seconds_of_the_right_leg(serve: Serve, tmp_path: Path, key: Path) -> None:
    server = await serve(evidence=evidence(tmp_path))
    loud, quiet = speech(12, synthetic=True), speech(12, synthetic=False)
    async with subscribed(server) as events, plain(server, "callee") as callee:
        await say(callee, quiet)
        told = await alarm(server, "caller", events, loud)
    raised = next(event["data"] for event in events.seen if event["type"] == "alert.raised")
    assert (told["outcome"], told["reason"], told["missing_s"]) == ("stored", "stored", 0)
    assert (told["alert_id"], told["p_synthetic"], told["media_time_s"]) == (
        raised["alert_id"], raised["p_synthetic"], raised["media_time_s"]
    )  # fmt: skip
    assert (told["start_s"], told["end_s"]) == (raised["media_time_s"] - 3, raised["media_time_s"] + 2)

    folder = tmp_path / "evidence"
    (file,) = files(folder)
    assert file.relative_to(folder) == Path("_/c-1") / f"{raised['alert_id']}.caller.flac.age"
    assert [path.stat().st_mode & 0o077 for path in (file, file.parent, file.parent.parent, folder)] == [0] * 4
    tags, heard = opened(file, key)
    assert (tags["CALL_ID"], tags["LEG"], tags["ALERT_ID"]) == ("c-1", "caller", raised["alert_id"])
    assert (float(tags["START_S"]), float(tags["END_S"])) == (told["start_s"], told["end_s"])
    assert (tags["GAPS_S"], tags["REASON"]) == ("none", raised["reason"])
    first = round(told["start_s"] * RATE_HZ)
    assert len(heard) == 5 * RATE_HZ
    assert likeness(heard, loud[first : first + len(heard)]) > 0.999
    assert abs(likeness(heard, quiet[first : first + len(heard)])) < 0.3
    assert abs(likeness(heard, loud[first + 160 : first + 160 + len(heard)])) < 0.9, "10 ms off is not the same"

    async with httpx.AsyncClient(base_url=server.url) as web:
        (shown,) = (await web.get("/v1/calls/c-1")).json()["alerts"]
    assert (shown["alert_id"], shown["evidence"]) == (raised["alert_id"], "stored")
    stranger = tmp_path / "stranger.key"
    stranger.write_text(new_pair()[0])
    with pytest.raises(ConfigError, match="cannot be opened"):
        opened(file, stranger)


async def test_a_gap_stays_a_gap_in_time_and_is_noted(serve: Serve, tmp_path: Path, key: Path) -> None:
    server = await serve(evidence=evidence(tmp_path, before_s=3.0, after_s=3.0))
    audio = speech(12, synthetic=True)
    coded = encode(audio[::2], "mulaw")
    lost = range(220, 245)
    async with subscribed(server) as events, connect(ws_url(server, "/v1/media/twilio")) as media:
        await media.send(twilio_start("CA1", ("inbound",)))
        for index in range(600):
            if index not in lost:
                await media.send(twilio_media(index, payload=coded[160 * index : 160 * (index + 1)]))
            if index == 400:
                raised = (await events.until("alert.raised"))["data"]
        told = (await events.until("alert.evidence"))["data"]
    assert told["start_s"] < 4.4 < 4.9 < told["end_s"] == raised["media_time_s"] + 3
    assert told["missing_s"] == pytest.approx(0.5, abs=0.03)
    (file,) = files(tmp_path / "evidence")
    tags, heard = opened(file, key)
    from_s, to_s = (float(second) - told["start_s"] for second in tags["GAPS_S"].split("-"))
    assert (told["start_s"] + from_s, to_s - from_s) == pytest.approx((4.4, 0.5), abs=0.03)
    assert not heard[round(from_s * RATE_HZ) : round(to_s * RATE_HZ)].any()
    after = slice(round((to_s + 0.1) * RATE_HZ), len(heard))
    first = round(told["start_s"] * RATE_HZ)
    assert likeness(heard[after], audio[first + after.start : first + after.stop]) > 0.8, "8 kHz, and not moved"


async def test_what_is_not_to_be_judged_is_not_kept_and_a_leg_may_end_early(serve: Serve, tmp_path: Path) -> None:
    expected = [{"leg": "caller", "to_s": 4.0}, {"leg": "callee"}]
    (policy := tmp_path / "policy.toml").write_text('[[rule]]\nrole = "agent"\nscreen = false\n')
    wide = evidence(tmp_path, before_s=30.0, after_s=30.0)
    server = await serve(evidence=wide, expected_machine=expected, policy=policy)
    voice = speech(9, synthetic=True)
    async with subscribed(server) as events:
        async with (
            plain(server, "callee") as callee,
            plain(server, "caller") as caller,
            plain(server, "agent") as agent,
        ):
            await asyncio.gather(say(callee, voice), say(agent, voice), say(caller, voice))
            await events.until("alert.raised", leg="caller")
            kept = {name: leg._alerts._evidence is not None for name, leg in call_of(server, "c-1").legs.items()}
        told = (await events.until("alert.evidence"))["data"]  # when the call has ended
    assert kept == {"callee": True, "caller": True, "agent": False}
    assert (told["leg"], told["outcome"], told["end_s"], told["missing_s"]) == ("caller", "stored", 9, 0)
    assert 4.0 <= told["start_s"] <= 4.4, "nothing from where a machine was expected"
    assert {"voice.expected", "alert.raised"} <= {event["type"] for event in events.seen}
    assert len(files(tmp_path / "evidence")) == 1


async def test_a_failed_write_loses_the_evidence_but_not_the_call(serve: Serve, tmp_path: Path) -> None:
    server = await serve(evidence=evidence(tmp_path, max_bytes=250_000))
    folder = tmp_path / "evidence"
    async with subscribed(server) as events:
        told = [await alarm(server, "caller", events, speech(9, synthetic=True), f"c-{n}") for n in range(4)]
        outcomes = [(one["outcome"], one["reason"]) for one in told]
        stored = outcomes.count(("stored", "stored"))
        assert 1 <= stored <= 3
        assert set(outcomes[stored:]) == {("lost", "limit_reached")}
        assert sum(file.stat().st_size for file in files(folder)) <= 250_000
        shutil.rmtree(folder)
        folder.write_text("no folder any more")
        lost = await alarm(server, "caller", events, speech(9, synthetic=True), "c-9")
        assert (lost["outcome"], lost["reason"]) == ("lost", "write_failed")
        ended = await events.until("leg.ended", call_id="c-9")
    assert (ended["data"]["verdict"], ended["data"]["ended_by"]) == ("synthetic", "disconnected")


async def test_a_folder_that_cannot_be_written_at_the_start_keeps_no_call_away(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "evidence" / ".lock").mkdir(parents=True)  # where a file has to be opened for writing
    server = await serve(evidence=evidence(tmp_path))
    async with subscribed(server) as events:
        lost = await alarm(server, "caller", events, speech(9, synthetic=True))
    assert (lost["outcome"], lost["reason"]) == ("lost", "write_failed")


async def test_a_queue_that_is_full_drops_and_tells(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MAX_WAITING", 1)
    server = await serve(evidence=evidence(tmp_path))
    async with subscribed(server, "?type=alert.evidence,leg.ended") as events:
        with locked(tmp_path / "evidence"):  # as another process would, that writes to a slow disk
            for number in range(3):
                async with plain(server, "caller", f"c-{number}") as media:
                    await say(media, speech(8, synthetic=True))
                await events.until("leg.ended", call_id=f"c-{number}")
            (lost,) = (event["data"] for event in events.seen if event["type"] == "alert.evidence")
        assert (lost["call_id"], lost["outcome"], lost["reason"]) == ("c-2", "lost", "queue_full")
        for number in range(2):
            await events.until("alert.evidence", call_id=f"c-{number}", outcome="stored")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"public_keys": []}, "evidence.public_keys: "),
        ({"public_keys": [PRIVATE]}, "evidence.public_keys.0: "),
        ({"before_s": 0, "after_s": 0}, "evidence: before_s, after_s: "),
        ({"max_days": 0}, "evidence.max_days: "),
        ({"keep": True}, "evidence.keep: "),
    ],
)
def test_settings_that_are_wrong_are_named_and_no_key_is_shown(
    tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError) as fault:
        load(environ={}, evidence=evidence(tmp_path) | change)
    assert str(fault.value).startswith(named)
    assert PRIVATE not in str(fault.value)


async def test_a_key_or_folder_that_cannot_be_used_stops_the_start(serve: Serve, tmp_path: Path) -> None:
    typo = PUBLIC[:-1] + ("q" if PUBLIC[-1] != "q" else "p")
    with pytest.raises(ConfigError, match="public_keys: expected age public keys; number 1"):
        await serve(evidence=evidence(tmp_path, public_keys=[typo]))
    with pytest.raises(ConfigError, match="folder: "):
        await serve(evidence=evidence(tmp_path, folder=tmp_path / "none" / "evidence"))


async def test_without_the_setting_nothing_is_written_anywhere(serve: Serve, tmp_path: Path) -> None:
    server = await serve()
    async with subscribed(server) as events, plain(server, "caller") as media:
        await say(media, speech(12, synthetic=True))
        await events.until("alert.raised", stage="confirmed")
        await media.close()
        await events.until("call.ended")
    assert all(path.name.startswith("j.sqlite3") for path in found(tmp_path))
    assert server.engine.evidence is None
    assert "alert.evidence" not in {event["type"] for event in events.seen}
