"""`callscreen asterisk tap` as a process: what it says, and that it cleans up when told to stop."""

from __future__ import annotations

import asyncio
import sys

import pytest

from gateway.__main__ import main
from tests.gateway.asterisk import ALICE, BOB, asterisk_running

TAP = ["asterisk", "tap", "http://127.0.0.1:9", "--user", "callscreen"]


async def test_it_taps_until_sigterm_and_leaves_nothing_behind() -> None:
    async with asterisk_running() as asterisk:
        asterisk.bridges["b-1"] = [ALICE, BOB]
        command = ["asterisk", "tap", asterisk.url, "--user", "callscreen", "--websocket", "callscreen"]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", *command, "--password", "s3cret", stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        async with asyncio.timeout(20):
            lines = [(await process.stdout.readline()).decode() for _ in range(2)]
            process.terminate()
            assert await process.wait() == 130
        assert lines == [
            f"call {ALICE}  leg 0  PJSIP/alice-00000001\n",
            f"call {ALICE}  leg 1  PJSIP/bob-00000002\n",
        ]
        assert list(asterisk.bridges) == ["b-1"]
        assert not [channel for channel in asterisk.channels if channel.startswith("callscreen.")]


def test_a_secret_is_needed_for_audiosocket(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AUDIOSOCKET_SECRET", raising=False)
    assert main([*TAP, "--audiosocket", "gw:9092"]) == 1
    assert "--secret: expected the gateway's audiosocket.secret" in capsys.readouterr().err


@pytest.mark.parametrize("target", [[], ["--audiosocket", "gw:9092", "--websocket", "callscreen"]])
def test_there_is_one_way_to_the_gateway(target: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([*TAP, *target])
    assert "--websocket" in capsys.readouterr().err
