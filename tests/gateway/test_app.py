"""A gateway that cannot start leaves nothing open."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from gateway.alerts.journal import Journal
from gateway.app import running
from gateway.config_loading import load
from gateway.errors import ConfigError

pytestmark = pytest.mark.usefixtures("detector")

KINDS = {
    "web": socket.SOCK_STREAM,
    "rtp": socket.SOCK_DGRAM,
    "audiosocket": socket.SOCK_STREAM,
    "sip": socket.SOCK_STREAM,
}


def bind(name: str, port: int = 0) -> socket.socket:
    bound = socket.socket(socket.AF_INET, KINDS[name])
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def free_ports() -> dict[str, int]:
    with contextlib.ExitStack() as probes:
        return {name: int(probes.enter_context(bind(name)).getsockname()[1]) for name in KINDS}


async def fail_to_start(folder: Path, ports: dict[str, int]) -> None:
    """Raises what the gateway raises; whatever it is, no task is left and all ports but the SIP one are free."""
    before = asyncio.all_tasks()
    settings = load(
        environ={},
        port=ports["web"],
        journal=folder / "journal.sqlite3",
        rtp={"in": {"listen": f"127.0.0.1:{ports['rtp']}", "legs": {"a": {}}}},
        audiosocket={"listen": f"127.0.0.1:{ports['audiosocket']}", "secret": "a secret of the house"},
        sip={"tcp": f"127.0.0.1:{ports['sip']}", "allow_ips": ["127.0.0.1/32"]},
    )
    try:
        async with running(settings):
            pytest.fail("it started")
    finally:
        await asyncio.sleep(0.01)
        assert asyncio.all_tasks() == before
        for name in ("web", "rtp", "audiosocket"):
            bind(name, ports[name]).close()


async def test_a_port_that_is_taken_closes_those_before_it(tmp_path: Path) -> None:
    ports = free_ports()
    with bind("sip", ports["sip"]) as taken:
        taken.listen()
        with pytest.raises(ConfigError, match=r"sip\.tcp: cannot listen on"):
            await fail_to_start(tmp_path, ports)


async def test_whatever_stops_the_start_nothing_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_journal: Journal) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(Journal, "open_calls", broken)
    with pytest.raises(OSError, match="the disk is gone"):
        await fail_to_start(tmp_path, free_ports())
