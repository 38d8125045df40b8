from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection

from gateway.alerts.bus import Bus
from gateway.alerts.cloud_event import CloudEvent
from gateway.alerts.event import Gap
from gateway.alerts.journal import Journal
from gateway.client import events
from gateway.client.events import EventsLost, EventStreamError, events_url, follow
from tests.gateway.alerts.events import alert, leg_started, score, served, until
from tests.gateway.client.peers import publisher, scripted, sends


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait as the client does, a hundred times faster."""
    for name in ("BACKOFF_FIRST_S", "BACKOFF_MAX_S", "TRY_AGAIN_LATER_S"):
        monkeypatch.setattr(events, name, getattr(events, name) / 100)


async def take(url: str, count: int, **options: Any) -> list[CloudEvent]:
    """Follow until there are so many events."""
    got = []
    async with asyncio.timeout(10), aclosing(follow(url, **options)) as stream:
        async for event in stream:
            got.append(event)
            if len(got) == count:
                break
    return got


# With the gateway's own socket


@pytest.fixture
async def bus(journal: Journal) -> AsyncIterator[Bus]:
    bus = Bus(journal)
    bus.start()
    yield bus
    await bus.close()


@pytest.fixture
def journal(tmp_path: Path) -> Any:
    with closing(Journal(tmp_path / "j", 10_000)) as journal:
        yield journal


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 2, 4]),
        ({"call_id": "CA2"}, [4]),
        ({"leg": "inbound"}, [1, 2]),
        ({"types": ["score", "leg.started"]}, [1, 3]),
    ],
)
async def test_requested_events_start_at_the_cursor(bus: Bus, options: Any, expected: list[int]) -> None:
    published = [bus.publish(data) for data in (leg_started(), alert(), score(), alert(call_id="CA2", leg="out/bound"))]
    await bus.flush()
    async with served(bus) as gateway:
        base = gateway.url.replace("ws:", "http:").removesuffix("/v1/events")
        got = await take(base, len(expected), last_event_id=bus.journal.cursor(0), **options)
    assert got == [published[seq - 1] for seq in expected]


async def test_gap_is_shown_and_heartbeats_are_not(bus: Bus) -> None:
    async with served(bus, heartbeat_s=0.02) as gateway:
        following = asyncio.create_task(take(gateway.url, 2, last_event_id="nonsense"))
        await asyncio.sleep(0.1)
        bus.publish(alert())
        assert [event.type for event in await following] == ["gap", "alert.raised"]


async def test_a_gap_raises_if_requested(bus: Bus) -> None:
    bus.publish(alert())
    await bus.flush()
    async with served(bus) as gateway:
        with pytest.raises(EventsLost, match="events after elsewhere-000000000001 are lost: cursor_unknown") as lost:
            await take(gateway.url, 1, last_event_id="elsewhere-000000000001", on_gap="raise")
        assert lost.value.gap.resumed_at == bus.journal.cursor(1)
        assert len(await take(gateway.url, 1, last_event_id=lost.value.cursor, on_gap="raise")) == 1


async def test_without_reconnecting_it_ends_with_the_gateway(bus: Bus) -> None:
    async with served(bus) as gateway:
        following = asyncio.create_task(take(gateway.url, 99, reconnect=False))
        await until(lambda: any(one._live for one in bus._subscriptions))
        bus.publish(alert())
        await bus.close()
        assert [event.type for event in await following] == ["alert.raised"]


async def test_refused_request_is_not_repeated(bus: Bus) -> None:
    async with served(bus) as gateway:
        with pytest.raises(EventStreamError, match=r"^type: expected event types, ") as refused:
            await take(gateway.url, 1, types=["nonsense"])
        assert refused.value.code == 4400
        with pytest.raises(EventStreamError) as refused:
            await take(gateway.url.replace("/v1/events", "/elsewhere"), 1)
        assert refused.value.code == 403  # what Starlette answers where there is no websocket


async def test_killed_gateway_has_lost_nothing_that_it_sent(tmp_path: Path) -> None:
    """SIGKILL in full flow, restart on the same port, twice: every event once, in order, as if nothing had happened.

    Then another gateway, with a journal of its own, is found there: what is lost is told.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    seen: list[CloudEvent] = []
    path = tmp_path / "journal"

    async def collect() -> None:
        async with aclosing(follow(f"http://127.0.0.1:{port}")) as stream:
            async for event in stream:
                seen.append(event)  # noqa: PERF401  others look at it meanwhile

    collecting = asyncio.create_task(collect())
    for _ in range(3):
        async with publisher(path, port) as (process, _url):
            enough = len(seen) + 300
            await until(lambda: len(seen) > enough)  # noqa: B023
            process.kill()
            assert await process.wait() == -9
    before = len(seen)
    async with publisher(tmp_path / "another", port):
        await until(lambda: len(seen) > before + 1)
        collecting.cancel()
        await asyncio.wait([collecting])
    gap = seen[before]
    assert isinstance(gap.data, Gap)
    assert (gap.data.after, gap.data.reason) == (seen[before - 1].id, "cursor_unknown")
    assert seen[before + 1].source == gap.source != seen[0].source
    del seen[before:]

    first = int(seen[0].sequence or 0)
    assert [int(event.sequence or 0) for event in seen] == list(range(first, first + len(seen)))
    with closing(await asyncio.to_thread(Journal, path, 1_000_000)) as journal:
        stored = await asyncio.to_thread(journal.after, first - 1, len(seen))
        assert [CloudEvent.model_validate_json(entry.text) for entry in stored] == seen
        started = await asyncio.to_thread(journal.open_calls)
        assert {event.type for event in started} == {"call.started", "leg.started"}
        assert len(started) == len({event.subject for event in started}) > 100


# With a peer that does what we tell it to


def ids(got: list[CloudEvent]) -> list[str]:
    return [event.id for event in got]


async def test_it_resumes_with_the_last_id_and_shows_nothing_twice() -> None:
    async with scripted(sends(1, 2), sends(2, 3, code=1011), sends(1, 4)) as (url, paths):
        assert ids(await take(url, 4, token="secret", call_id="CA 1&2")) == ["j-1", "j-2", "j-3", "j-4"]
    assert paths == [
        ("/v1/events?call_id=CA+1%262", "Bearer secret"),
        ("/v1/events?call_id=CA+1%262&last_event_id=j-2", "Bearer secret"),
        ("/v1/events?call_id=CA+1%262&last_event_id=j-3", "Bearer secret"),
    ]


async def test_the_memory_of_recent_ids_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "REMEMBERED_EVENTS", 2)
    async with scripted(sends(1, 2, 3, 2, 3, 1)) as (url, _):
        assert ids(await take(url, 4)) == ["j-1", "j-2", "j-3", "j-1"]


async def test_heartbeat_moves_the_cursor() -> None:
    async with scripted(sends(1, heartbeat="j-7"), sends(8)) as (url, paths):
        assert ids(await take(url, 2)) == ["j-1", "j-8"]
    assert [path for path, _ in paths] == ["/v1/events", "/v1/events?last_event_id=j-7"]


@pytest.mark.parametrize("code", [1001, 1011, 1012, 1013, 4430])
async def test_code_that_means_come_again(code: int) -> None:
    told: list[tuple[str, float]] = []
    async with scripted(sends(1, code=code), sends(2)) as (url, _):
        assert len(await take(url, 2, on_retry=lambda *why: told.append(why))) == 2
    assert len(told) == 1
    assert told[0][1] >= (events.TRY_AGAIN_LATER_S if code == 1013 else 0)


@pytest.mark.parametrize("code", [1002, 1008, 4400, 4401, 4403])
async def test_code_that_means_do_not_come_again(code: int) -> None:
    async with scripted(sends(1, code=code)) as (url, _):
        with pytest.raises(EventStreamError, match="so it goes") as ended:
            await take(url, 2)
        assert ended.value.code == code


async def test_lost_connection_is_an_error_when_not_reconnecting() -> None:
    async def vanish(connection: ServerConnection) -> None:
        connection.transport.abort()

    async with scripted(vanish) as (url, _):
        with pytest.raises(EventStreamError, match="the connection was lost") as ended:
            await take(url, 1, reconnect=False)
        assert ended.value.code == 1006


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_status_that_means_do_not_come_again(status: int) -> None:
    async with scripted(statuses=((status, {}),)) as (url, _):
        with pytest.raises(EventStreamError, match=f"because of {status}") as refused:
            await take(url, 1)
        assert refused.value.code == status


async def test_retry_after_is_honoured_and_pauses_grow() -> None:
    pauses: list[float] = []
    busy: tuple[tuple[int, dict[str, str]], ...] = ((503, {"Retry-After": "1"}), (503, {}), (500, {}), (502, {}))
    async with scripted(sends(1), statuses=busy) as (url, _):
        await take(url, 1, on_retry=lambda _reason, pause_s: pauses.append(pause_s))
    low = [1.0, events.TRY_AGAIN_LATER_S, events.TRY_AGAIN_LATER_S, events.TRY_AGAIN_LATER_S]
    for number, (pause_s, low_s) in enumerate(zip(pauses, low, strict=True)):
        assert low_s <= pause_s <= low_s + events.BACKOFF_FIRST_S * 2**number


async def test_gateway_that_is_not_there_is_waited_for(bus: Bus) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    reasons: list[str] = []
    following = asyncio.create_task(
        take(f"http://localhost:{port}", 1, on_retry=lambda reason, _pause_s: reasons.append(reason))
    )
    await until(lambda: len(reasons) >= 2)
    assert reasons[0].startswith("cannot connect: ")
    async with served(bus, port):
        await until(lambda: any(one._live for one in bus._subscriptions))
        bus.publish(alert())
        assert len(await following) == 1


async def test_proxy_of_the_environment_is_not_asked_for_loopback(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "")
    bus.publish(alert())
    await bus.flush()
    async with served(bus) as gateway:
        assert len(await take(gateway.url, 1, last_event_id=bus.journal.cursor(0))) == 1


async def test_a_message_that_is_not_an_event_is_an_error() -> None:
    async def babble(connection: ServerConnection) -> None:
        await connection.send('{"hello": "world"}')

    async with scripted(babble) as (url, _):
        with pytest.raises(EventStreamError, match=r"expected a CloudEvent, got .*hello.*world"):
            await take(url, 1)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://host:8080", "ws://host:8080/v1/events"),
        ("https://host/", "wss://host/v1/events"),
        ("https://host/callscreen", "wss://host/callscreen/v1/events"),
        ("ws://host/v1/events", "ws://host/v1/events"),
        ("wss://[::1]:1/v1/events/", "wss://[::1]:1/v1/events"),
    ],
)
def test_url(url: str, expected: str) -> None:
    assert events_url(url) == expected


@pytest.mark.parametrize(
    "url", ["host:8080", "ftp://host", "http://", "http://host:port", "http://h:99999", "ws://h?type=x"]
)
def test_bad_url(url: str) -> None:
    with pytest.raises(ValueError, match="url: expected http://HOST:PORT of a gateway"):
        events_url(url)
