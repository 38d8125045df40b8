from __future__ import annotations

import asyncio
import os
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from sim.own import GatewayError, own_gateway


async def test_own_gateway_starts_and_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLSCREEN_TOKEN", "of another gateway")
    async with own_gateway() as gateway:
        url = gateway.url
        assert await asyncio.to_thread(status, f"{url}/v1/calls") == 200
    with pytest.raises(OSError, match="refused"):
        await asyncio.to_thread(status, f"{url}/healthz")
    assert os.environ["CALLSCREEN_TOKEN"] == "of another gateway"


async def test_a_gateway_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match=r"the gateway did not start\n.*nowhere\.onnx"):
        async with own_gateway("--model", str(tmp_path / "nowhere.onnx")):
            pass


async def test_error_in_the_body_is_raised_and_the_gateway_stops() -> None:
    urls: list[str] = []
    with pytest.raises(LookupError):
        await fail_inside(urls)
    with pytest.raises(OSError, match="refused"):
        await asyncio.to_thread(status, f"{urls[0]}/healthz")


async def fail_inside(urls: list[str]) -> None:
    async with own_gateway() as gateway:
        urls.append(gateway.url)
        raise LookupError


async def test_it_is_restarted_at_the_same_address_with_its_settings() -> None:
    async with own_gateway(settings={"max_calls": 1, "token": "t"}) as gateway:
        url, pid = gateway.url, gateway.pid
        await gateway.restart(0.0)
        assert (gateway.url, gateway.pid == pid) == (url, False)
        with pytest.raises(HTTPError, match="401"):
            await asyncio.to_thread(status, f"{url}/v1/calls")


def status(url: str) -> int:
    with urlopen(url) as response:
        return int(response.status)
