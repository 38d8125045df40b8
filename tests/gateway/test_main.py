"""The console command as a process: help, faults, signals, and what a killed gateway owes its subscribers."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from websockets.asyncio.client import connect

from detection.detector import DEFAULT_MODEL
from gateway.__main__ import main
from tests.conftest import REPOSITORY
from tests.gateway.loudness import speech

WEIGHTS = REPOSITORY / "detection" / "weights"


@asynccontextmanager
async def gateway_process(journal: Path, **environ: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """Start `python -m gateway serve` on a free port; yields the process and its URL."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "serve", "--port", "0", "--journal", str(journal)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=REPOSITORY,
        env=os.environ | environ,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            line = (await process.stdout.readline()).decode()
        assert line.startswith("callscreen listening on http://127.0.0.1:"), line
        yield process, line.split()[-1]
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def failing(*arguments: str, **environ: str) -> tuple[int, str]:
    """Run a command that must fail; return exit code and standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
        env=os.environ | environ,
    )
    async with asyncio.timeout(30):
        _, err = await process.communicate()
    return process.returncode or 0, err.decode()


def events_url(url: str, after: str = "") -> str:
    return url.replace("http", "ws", 1) + "/v1/events" + (f"?last_event_id={after}" if after else "")


def media_url(url: str) -> str:
    return url.replace("http", "ws", 1) + "/v1/media/plain?call_id=c-1&leg=caller&encoding=s16le&rate=16000"


def frames(seconds: float) -> list[bytes]:
    data = np.round(speech(seconds, synthetic=True) * 32767).astype("<i2").tobytes()
    return [data[at : at + 640] for at in range(0, len(data), 640)]


def test_help_of_each_command_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["serve", "--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0
    for words in ("CALLSCREEN_TWILIO_AUTH_TOKEN", "doors.NAME.allow_ips", "default: 8080", "--config FILE"):
        assert words in out


def test_without_a_command_it_says_what_to_do_next(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "callscreen serve " in capsys.readouterr().out


@pytest.mark.parametrize("shell", ["bash", "zsh"])
async def test_completion_is_a_script_that_knows_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(words in script for words in ("--audiosocket", "--twilio-auth-token", "--hold-out"))
    if shutil.which(shell) is not None:
        process = await asyncio.create_subprocess_exec(shell, "-n", stdin=asyncio.subprocess.PIPE)
        await process.communicate(script.encode())
        assert process.returncode == 0


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("callscreen 0.")


@pytest.mark.parametrize(("command", "words"), [("sim", "scenario"), ("detect", "score")])
def test_the_other_packages_bring_their_commands(command: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert words in out
    assert f"usage: callscreen {command}" in out


async def test_a_bad_setting_stops_the_start_with_one_line(tmp_path: Path) -> None:
    config = tmp_path / "callscreen.toml"
    config.write_text("max_call = 3")
    code, err = await failing("serve", "--config", str(config))
    assert code == 2
    assert err == "callscreen: max_call: there is no such setting (see `callscreen serve --help`)\n"


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    async with gateway_process(tmp_path / "a.sqlite3") as (_, url):
        port = url.rpartition(":")[2]
        code, err = await failing("serve", "--port", port, "--journal", str(tmp_path / "b.sqlite3"))
    assert (code, f"cannot listen on 127.0.0.1:{port}: Address already in use" in err) == (2, True)


async def test_a_corrupt_model_stops_the_start(tmp_path: Path) -> None:
    for suffix in (".onnx", ".json"):
        shutil.copy(WEIGHTS / f"{DEFAULT_MODEL}{suffix}", tmp_path / f"m{suffix}")
    with (tmp_path / "m.onnx").open("r+b") as file:
        file.seek(1000)
        file.write(b"\x00" * 16)
    code, err = await failing("serve", "--port", "0", "--model", str(tmp_path / "m.onnx"))
    assert (code, "model: " in err, "sha256" in err) == (2, True, True)


async def test_a_model_with_another_card_stops_the_start(tmp_path: Path) -> None:
    shutil.copy(WEIGHTS / f"{DEFAULT_MODEL}.onnx", tmp_path / "m.onnx")
    card = json.loads((WEIGHTS / f"{DEFAULT_MODEL}.json").read_text())
    card["contract"]["window_s"] = card["contract"]["window_s"] + 1
    (tmp_path / "m.json").write_text(json.dumps(card))
    code, err = await failing("serve", "--port", "0", "--model", str(tmp_path / "m.onnx"))
    assert (code, "callscreen: model: " in err) == (2, True)


async def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    code, err = await failing("serve", "--port", "0", "--model", str(tmp_path / "none.onnx"))
    assert (code, "none" in err) == (2, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_calls_and_process_in_good_order(tmp_path: Path, number: signal.Signals) -> None:
    async with (
        gateway_process(tmp_path / "j.sqlite3") as (process, url),
        connect(events_url(url)) as events,
        connect(media_url(url)) as media,
    ):
        for frame in frames(5):
            await media.send(frame)
        seen = [json.loads(await events.recv())["type"] for _ in range(2)]
        process.send_signal(number)
        seen += [json.loads(message)["type"] async for message in events]
        assert [kind for kind in seen if not kind.startswith("alert")] == [
            "call.started",
            "leg.started",
            "leg.ended",
            "call.ended",
        ]
        assert events.close_code == 1001
        async with asyncio.timeout(10):
            assert await process.wait() == 0


async def test_after_a_kill_a_subscriber_misses_nothing_and_no_call_hangs(tmp_path: Path) -> None:
    journal = tmp_path / "j.sqlite3"
    async with (
        gateway_process(journal) as (process, url),
        connect(events_url(url)) as events,
        connect(media_url(url)) as media,
    ):
        await media.send(frames(0.1)[0])
        first = json.loads(await events.recv())
        second = json.loads(await events.recv())
        process.send_signal(signal.SIGKILL)
        await process.wait()
    async with gateway_process(journal) as (_, url), connect(events_url(url, after=first["id"])) as events:
        missed = [json.loads(await events.recv()) for _ in range(3)]
    assert missed[0] == second
    assert [event["type"] for event in missed] == ["leg.started", "leg.ended", "call.ended"]
    assert missed[1]["data"]["ended_by"] == "gateway_restarted"
    assert missed[2]["data"]["verdicts"] == {"caller": "indeterminate"}
