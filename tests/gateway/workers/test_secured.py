"""TLS on a port that two processes share: real TLS clients, whichever process shakes hands with them."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from gateway.http.connection import Peer
from gateway.workers import secured
from gateway.workers.routing import Route, is_for
from gateway.workers.secured import Relays
from tests.gateway.http.test_host import answers, certified, settings_for
from tests.gateway.process import Running, gateway
from tests.gateway.test_workers import ALL, FIRST_S, WORKER_S, Told, say
from tests.gateway.wire import twilio_media, twilio_start

SEVERAL = 8
"""Connections of which each process shakes hands with some."""
ROUTE = Route(media=True, call_id="c-1")


@asynccontextmanager
async def two(folder: Path, certificate: Path, trust: ssl.SSLContext) -> AsyncIterator[Running]:
    tls = "".join(f'{key} = "{value}"\n' for key, value in settings_for(certificate).items())
    door = '[doors.plain]\nallow_ips = ["127.0.0.1/32"]\n'
    async with asyncio.timeout(120), gateway(folder, f"workers = 2\n{tls}{door}", trust=trust) as running:
        yield running


async def check_who_is_trusted(running: Running, trust: ssl.SSLContext, distrust: ssl.SSLContext) -> None:
    for _ in range(SEVERAL):
        assert (await answers(running.url, trust), await answers(running.url, distrust)) == (True, False)


async def check_a_body_arrives(running: Running) -> None:
    """A request of many TLS records, of which the relay begins with the first."""
    async with running.web() as web:
        for call_id in (FIRST_S, WORKER_S):
            for _ in range(SEVERAL // 2):
                offer = await web.post(
                    f"/v1/whip/{call_id}/a", content=b"v" * 50_000, headers={"content-type": "application/sdp"}
                )
                assert offer.status_code == 400
                assert offer.headers["content-type"] == "application/problem+json"


@pytest.mark.slow
async def test_all_processes_speak_tls(tmp_path: Path) -> None:
    certificate, trust = certified(tmp_path, "one")
    renewed, trust_renewed = certified(tmp_path, "two")
    async with two(tmp_path, certificate, trust) as running, AsyncExitStack() as stack:
        told = [
            Told(await stack.enter_async_context(connect(f"{running.ws_url}/v1/events?{ALL}", ssl=trust)))
            for _ in range(4)
        ]
        media = [
            await stack.enter_async_context(
                connect(
                    f"{running.ws_url}/v1/media/plain?call_id={call_id}&leg={leg}&encoding=s16le&rate=16000", ssl=trust
                )
            )
            for call_id in (FIRST_S, WORKER_S)
            for leg in ("caller", "callee")
        ]
        await asyncio.gather(*(say(one, 5) for one in media))
        for number in range(4):
            one = await stack.enter_async_context(connect(f"{running.ws_url}/v1/media/twilio", ssl=trust))
            await one.send(twilio_start(f"CA{number}", ("inbound",)))
            await one.send(twilio_media(0, "inbound"))
        wanted = [("score", f"{call_id}/{leg}") for call_id in (FIRST_S, WORKER_S) for leg in ("caller", "callee")]
        for each in told:
            await each.until(*wanted, *(("leg.started", f"CA{number}/inbound") for number in range(4)))
        heard = [await running.metric("callscreen_legs", process=number, source="twilio") for number in "01"]
        assert sum(heard) == 4
        assert all(heard), "each process serves some of what it shook hands with"
        await check_a_body_arrives(running)
        async with httpx.AsyncClient(trust_env=False) as web:
            with pytest.raises(httpx.TransportError):
                await web.get(running.url.replace("https", "http") + "/healthz")

        for suffix in (".pem", ".key"):
            shutil.copy(renewed.with_suffix(suffix), certificate.with_suffix(suffix))
        os.kill(running.process.pid, signal.SIGHUP)
        while len(running.logged("certificate read")) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        await check_who_is_trusted(running, trust_renewed, trust)

        running.process.terminate()
        for each in told:
            await each.until(("call.ended", FIRST_S), ("call.ended", WORKER_S), ("call.ended", "CA3"))
            each.check_order()
        assert await running.process.wait() == 0


class Client:
    """A peer of a relay, and the process that serves it."""

    def __init__(self) -> None:
        self.given: asyncio.Queue[socket.socket] = asyncio.Queue()
        self.relays = Relays(self._give)
        self.takes = True

    def _give(self, far: socket.socket, route: Route, peer: Peer) -> bool:
        assert (route, peer) == (ROUTE, ("192.0.2.1", 5000))
        if self.takes:
            self.given.put_nowait(far)
        return self.takes

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Connect, and have what comes relayed."""
        loop = asyncio.get_running_loop()
        near, peer = socket.socketpair()
        near.setblocking(False)
        transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, near)
        self.relays.start(transport, ("192.0.2.1", 5000), b"head ", ROUTE)
        reader, writer = await asyncio.open_unix_connection(sock=peer)
        try:
            yield reader, writer
        finally:
            writer.close()
            await self.relays.close()


async def test_a_relay_passes_everything_on_both_ways() -> None:
    client = Client()
    much = os.urandom(3_000_000)
    async with asyncio.timeout(20), client.connected() as (reader, writer):
        served, serving = await asyncio.open_unix_connection(sock=await client.given.get())
        writer.write(much)
        serving.write(much)
        assert await served.readexactly(5) == b"head "
        assert await served.readexactly(len(much)) == much
        assert await reader.readexactly(len(much)) == much
        serving.write(b"last")
        serving.close()
        assert await reader.read() == b"last"


async def test_a_relay_reads_no_faster_than_the_other_side() -> None:
    client = Client()
    async with asyncio.timeout(20), client.connected() as (_, writer):
        far = await client.given.get()
        sent = 0
        while writer.transport.get_write_buffer_size() < 1_000_000:
            writer.write(b"x" * 100_000)
            sent += 100_000
            await asyncio.sleep(0.001)
            assert sent < 20_000_000, "it takes everything, though nobody reads it"
        far.close()


async def test_a_relay_ends_with_its_peer() -> None:
    client = Client()
    async with asyncio.timeout(20):
        async with client.connected() as (_, writer):
            served, serving = await asyncio.open_unix_connection(sock=await client.given.get())
            writer.write(b"all")
            writer.close()
            assert await served.read() == b"head all"
        serving.close()


async def test_a_connection_without_a_process_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secured, "LINGER_S", 0.1)
    client = Client()
    client.takes = False
    async with asyncio.timeout(20), client.connected() as (reader, _):
        assert await reader.read() == b""


@pytest.mark.parametrize("number", [0, 1])
def test_whom_a_request_is_for(number: int) -> None:
    assert is_for(number, Route(media=False), 2) is (number == 0)
    assert is_for(number, Route(media=True), 2)
    assert is_for(number, Route(media=True, call_id=FIRST_S), 2) is (number == 0)
    assert is_for(number, Route(media=True, call_id=WORKER_S), 2) is (number == 1)
