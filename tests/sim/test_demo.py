from __future__ import annotations

import asyncio
import os
from pathlib import Path
from urllib.request import urlopen

import pytest

from sim.demo import DemoError, own_gateway


async def test_a_gateway_of_our_own_is_there_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLSCREEN_TOKEN", "of another gateway")
    async with own_gateway() as url:
        assert await asyncio.to_thread(status, f"{url}/v1/calls") == 200
    with pytest.raises(OSError, match="refused"):
        await asyncio.to_thread(status, f"{url}/healthz")
    assert os.environ["CALLSCREEN_TOKEN"] == "of another gateway"


async def test_a_gateway_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(DemoError, match=r"the gateway did not start\n.*nowhere\.onnx"):
        async with own_gateway("--model", str(tmp_path / "nowhere.onnx")):
            pass


async def test_what_goes_wrong_inside_is_told_and_the_gateway_is_gone() -> None:
    with pytest.raises(LookupError):
        async with own_gateway() as url:
            raise LookupError
    with pytest.raises(OSError, match="refused"):
        await asyncio.to_thread(status, f"{url}/healthz")


def status(url: str) -> int:
    with urlopen(url) as response:
        return int(response.status)
