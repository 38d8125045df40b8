"""Attacks on a running gateway over real sockets, each beside a healthy call that must get all its scores."""

from __future__ import annotations

import asyncio
import resource
import secrets
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
from websockets.asyncio.client import connect

from gateway.client.audiosocket import leg_uuid
from gateway.refusals import LINES
from tests.gateway.healthy import healthy_call
from tests.gateway.ingest.sip.phone import PCMU_SDP, Phone, phone
from tests.gateway.ingest.webrtc.test_sdp import OFFER
from tests.gateway.process import Running, gateway
from tests.gateway.wire import SILENCE

DEAF = 200
DEADLINE_S = 180.0
"""For one of these tests, on a machine with other things to do; they take a few seconds."""
MOST_LINES = 6 * LINES
"""Of one kind, in a minute."""
SECRET = "a secret of the house"
UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TWILIO = UPGRADE.format(path="/v1/media/twilio").encode()
OFFERING = (
    b"POST /v1/whip/slow/a HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/sdp\r\nContent-Length: 5000\r\n\r\n"
)


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def refused(running: Running, door: str, error: str) -> float:
    return await running.metric("callscreen_refused_total", door=door, error=error)


@asynccontextmanager
async def peer(address: tuple[str, int], said: bytes = b"") -> AsyncIterator[asyncio.StreamReader]:
    """Connect and say something; the reader ends when the gateway hangs up."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(said)
    yield reader
    writer.close()


async def hung_up(readers: Iterable[asyncio.StreamReader]) -> None:
    """Wait until the gateway hung up on all of them."""

    async def drained(reader: asyncio.StreamReader) -> None:
        try:
            await reader.read()
        except ConnectionError:
            return

    await asyncio.gather(*map(drained, readers))


async def trickle(address: tuple[str, int], said: bytes, first: bytes = b"") -> None:
    """Say `first` at once and the rest at one byte a second, until the gateway hangs up."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(first)
    ended = asyncio.create_task(hung_up([reader]))
    for byte in said:
        if ended.done():
            break
        writer.write(bytes([byte]))
        await asyncio.wait([ended], timeout=1.0)
    await ended
    writer.close()


async def test_peers_that_never_finish_what_they_say(tmp_path: Path) -> None:
    """Half-open connections, and peers that say a byte a second, at each of the doors that take connections."""
    audiosocket, sip = free_port(), free_port()
    toml = (
        f'start_deadline_s = 1.5\n[audiosocket]\nlisten = "127.0.0.1:{audiosocket}"\nsecret = "{SECRET}"\n'
        f'[sip]\ntcp = "127.0.0.1:{sip}"\n'
    )
    silent = [b""] * 30 + [TWILIO[:60]] * 30
    upgraded = [TWILIO] * 30
    slow_frame = b"\x81\xfe\x10\x00abcd" + b"x" * 60  # RFC 6455: text, masked, 4096 bytes
    async with gateway(tmp_path, toml) as running, AsyncExitStack() as stack, asyncio.timeout(DEADLINE_S):
        web = running.address
        readers = [await stack.enter_async_context(peer(web, said)) for said in silent + upgraded]
        readers += [await stack.enter_async_context(peer(("127.0.0.1", port))) for port in (audiosocket, sip) * 10]
        async with healthy_call(running):
            uuid = leg_uuid(SECRET, b"abcdef", 0).bytes
            slow = [
                trickle(web, UPGRADE.format(path="/v1/events").encode()),
                trickle(web, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
                trickle(("127.0.0.1", audiosocket), b"\x01\x00\x10" + uuid),
                trickle(("127.0.0.1", sip), Phone("TCP").request("OPTIONS")),
            ]
            slow += [
                trickle(web, slow_frame, first=TWILIO),
                trickle(web, b"v=0\r\n" * 20, first=OFFERING),
            ]
            await asyncio.gather(hung_up(readers), *slow)
        assert await refused(running, "http", "no_request") == 60 + 2 + 1  # the offer goes on after its refusal
        assert await refused(running, "twilio", "StreamTimeout") == 30 + 1
        assert await refused(running, "http", "StreamTimeout") == 1
        assert await refused(running, "audiosocket", "StreamTimeout") == 10 + 1
        assert await refused(running, "sip", "StreamTimeout") == 10 + 1
        assert running.logged("connection broken off", error="no_request")
        (line, *_) = running.logged("media stream refused")
        assert line["error"] == "no start of the stream within 1.5 s: expected `start`"
        assert running.logged("audiosocket refused", error="no audio within 1.5 s")
        assert running.logged("sip connection broken off", error="no message came within 10 s")


async def test_a_flood_of_connections_leaves_room_for_those_who_have_something_to_say(tmp_path: Path) -> None:
    """More connections than the process may have files: who asks for nothing gives way to whoever comes."""

    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))

    async with gateway(tmp_path, before=few_files) as running, AsyncExitStack() as stack, asyncio.timeout(DEADLINE_S):
        for _ in range(200):
            await stack.enter_async_context(peer(running.address))

        async def flood() -> None:
            while True:
                await stack.enter_async_context(peer(running.address))
                await asyncio.sleep(0.003)

        flooding = asyncio.create_task(flood())
        async with healthy_call(running):
            pass
        flooding.cancel()
        await asyncio.wait([flooding])
        assert await refused(running, "http", "too_many_waiting") > 100
        assert 0 < len(running.logged("connection broken off", error="too_many_waiting")) <= MOST_LINES
        assert await running.ready() == []


async def test_a_flood_of_invitations(tmp_path: Path) -> None:
    """One host sends far more than any PBX. Another host still gets its answer, though there is no more room."""
    port = free_port(socket.SOCK_DGRAM)
    toml = f'max_calls = 20\n[sip]\nudp = "127.0.0.1:{port}"\nrtp_ports = [20000, 20999]\n'
    async with gateway(tmp_path, toml) as running, asyncio.timeout(DEADLINE_S):
        sip = ("127.0.0.1", port)
        async with healthy_call(running), phone(sip) as many, phone(sip, local_addr=("127.0.0.2", 0)) as other:
            for _ in range(100):
                for _ in range(15):
                    many.send(Phone("UDP").request("INVITE", PCMU_SDP, user="flood", Call_ID=secrets.token_hex(8)))
                await asyncio.sleep(0.02)
            assert (await other.ask("OPTIONS", within_s=DEADLINE_S)).code == 200
            late = await other.ask("INVITE", PCMU_SDP, user="late-caller", within_s=DEADLINE_S)
            assert (late.code, late.headers["warning"]) == (503, '399 callscreen "all 20 calls are taken"')
        assert await refused(running, "sip", "Overloaded") > 20
        assert await running.metric("callscreen_calls") == 19
        assert 0 < len(running.logged("sip offer refused", code=503)) <= MOST_LINES


async def test_a_flood_of_offers(tmp_path: Path) -> None:
    """WebRTC offers by the hundred: places run out with a clear answer, and come free when nobody connects."""
    toml = "max_calls = 20\nstart_deadline_s = 0.5\n"
    async with gateway(tmp_path, toml) as running, asyncio.timeout(DEADLINE_S):
        limits = httpx.Limits(max_connections=30, keepalive_expiry=1.0)
        async with (
            healthy_call(running),
            httpx.AsyncClient(base_url=running.url, limits=limits, timeout=15, trust_env=False) as web,
        ):

            async def offer(index: int) -> httpx.Response:
                headers = {"Content-Type": "application/sdp"}
                return await web.post(f"/v1/whip/flood-{index}/caller", content=OFFER, headers=headers)

            answers = await asyncio.gather(*map(offer, range(150)))
            turned_away = [answer for answer in answers if answer.status_code == 503]
            taken = [answer for answer in answers if answer.status_code == 201]
            assert len(taken) + len(turned_away) == 150
            assert 19 <= len(taken) < 100
            assert {answer.json()["detail"] for answer in turned_away} == {"all 20 calls are taken"}
            assert {answer.headers["retry-after"] for answer in turned_away} == {"5"}
            await until(running, "callscreen_calls", 1)
            assert (await offer(1000)).status_code == 201
        assert await refused(running, "http", "Overloaded") == len(turned_away)
        assert 0 < len(running.logged("refused", status=503)) <= MOST_LINES


async def test_200_subscribers_that_never_read(tmp_path: Path) -> None:
    """They are hung up on, one by one, and counted; whoever reads misses nothing."""
    async with gateway(tmp_path, "subscriber_queue_events = 5\n") as running, AsyncExitStack() as stack:
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(DEAF):
                await stack.enter_async_context(deaf_subscriber(running))
            assert await running.metric("callscreen_subscribers") == DEAF
            async with healthy_call(running):
                await many_short_calls(running, 90)
                await until(running, "callscreen_subscribers", 1)
            assert await refused(running, "events", "SlowConsumer") == DEAF
            lines = running.logged("subscriber closed", close_code=4430)
            assert 0 < len(lines) <= MOST_LINES
            assert lines[0]["error"] == "slow consumer: its queue is full; resume with last_event_id"
            assert await running.metric("callscreen_subscribers") == 0


async def until(running: Running, metric: str, most: float) -> None:
    """Wait until a metric has fallen so far."""
    while await running.metric(metric) > most:  # noqa: ASYNC110  it is another process
        await asyncio.sleep(0.2)


@asynccontextmanager
async def deaf_subscriber(running: Running) -> AsyncIterator[None]:
    """Follow all events, and never read one."""
    loop = asyncio.get_running_loop()
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        # With the large segments of loopback the kernel would keep a megabyte for the sender.
        deaf.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        deaf.setblocking(False)
        await loop.sock_connect(deaf, running.address)
        await loop.sock_sendall(deaf, UPGRADE.format(path="/v1/events").encode())
        assert (await loop.sock_recv(deaf, 12)).endswith(b" 101")
        yield


async def many_short_calls(running: Running, count: int) -> None:
    """Each is four events for every subscriber, and long ones."""

    async def call(index: int) -> None:
        async with connect(f"{running.ws_url}/v1/media/plain?call_id={index:x>120}&leg={'a' * 120}") as media:
            await media.send(SILENCE)

    for start in range(0, count, 10):
        await asyncio.gather(*map(call, range(start, start + 10)))
