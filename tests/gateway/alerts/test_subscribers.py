from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import pytest
import uvloop
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from gateway.alerts import subscribers
from gateway.alerts.bus import Bus
from gateway.alerts.cloud_event import CloudEvent
from gateway.alerts.journal import Journal
from tests.gateway.alerts.events import alert, deaf_peer, leg_started, running, score, sequences, served, until

EXPECTED_TYPES = "type: expected event types, e.g. alert.raised,alert.cleared; got "


async def receive(client: ClientConnection, count: int) -> list[str]:
    async with asyncio.timeout(5):
        return [str(await client.recv()) for _ in range(count)]


async def read_to_end(client: ClientConnection) -> tuple[list[str], int, str]:
    """Return what still came, the close code and the reason."""
    texts: list[str] = []
    async with asyncio.timeout(5):
        with suppress(ConnectionClosed):
            while True:
                texts.append(str(await client.recv()))
    assert client.close_code is not None
    return texts, client.close_code, client.close_reason or ""


async def subscribed(bus: Bus, count: int = 1) -> None:
    """Wait until so many subscribers are there, and live."""
    await until(lambda: len(bus._subscriptions) == count and all(one._live for one in bus._subscriptions))


async def test_each_message_is_one_whole_cloudevent(bus: Bus) -> None:
    async with served(bus) as gateway, connect(gateway.url) as client:
        await subscribed(bus)
        published = bus.publish(alert())
        (text,) = await receive(client, 1)
        assert CloudEvent.model_validate_json(text) == published
        assert {key: value for key, value in json.loads(text).items() if key not in ("id", "time", "source")} == {
            "specversion": "1.0",
            "type": "alert.raised",
            "subject": "CA1/inbound",
            "datacontenttype": "application/json",
            "dataschema": "urn:callscreen:events:v1",
            "sequence": "000000000001",
            "data": {
                "call_id": "CA1",
                "leg": "inbound",
                "speaker": "inbound",
                "role": "caller",
                "media_time_s": 4.0,
                "p_synthetic": 0.97,
                "speech_s": 3.5,
                "model": "test@0000",
                "reason": "because",
                "alert_id": "a1",
                "stage": "confirmed",
                "lag_ms": 12.0,
            },
        }


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (None, None),
        (["cloudevents.json"], "cloudevents.json"),
        (["bearer.secret", "cloudevents.avro", "cloudevents.json"], "cloudevents.json"),
        (["cloudevents.avro"], None),
    ],
)
async def test_subprotocol(bus: Bus, offered: list[Subprotocol] | None, chosen: str | None) -> None:
    async with served(bus) as gateway, connect(gateway.url, subprotocols=offered) as client:
        assert client.subprotocol == chosen
        await subscribed(bus)
        bus.publish(alert())
        assert sequences(await receive(client, 1)) == [1]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [1, 2, 4]),
        ("type=score", [3]),
        ("type=score&type=leg.started", [1, 3]),
        ("type=score,alert.raised&leg=inbound", [2, 3]),
        ("call_id=CA2", [4]),
        ("call_id=CA1&leg=inbound&token=secret", [1, 2]),
    ],
)
async def test_query_filters(bus: Bus, query: str, expected: list[int]) -> None:
    for data in (leg_started(), alert(), score(), alert(call_id="CA2", leg="outbound")):
        bus.publish(data)
    await bus.flush()
    async with (
        served(bus) as gateway,
        connect(f"{gateway.url}?{query}&last_event_id={bus.journal.cursor(0)}") as client,
    ):
        assert sequences(await receive(client, len(expected))) == expected
        await bus.close()
        assert await read_to_end(client) == ([], 1001, "the gateway is going away")


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("type=alert", f"{EXPECTED_TYPES}'alert'"),
        ("type=alert.raised,", f"{EXPECTED_TYPES}''"),
        ("type=heartbeat", f"{EXPECTED_TYPES}'heartbeat'"),
        ("type=" + "x" * 500, f"{EXPECTED_TYPES}'{'x' * 39}"),
        ("call=CA1", "call: unknown parameter; expected call_id, leg, type, last_event_id, scope"),
        ("x" * 500 + "=1", "x" * 40 + ": unknown parameter; expected call_id, leg, type, last_event_id, scope"),
        ("call_id=CA1&call_id=CA2", "call_id: expected once"),
    ],
)
async def test_bad_parameter_is_named(bus: Bus, query: str, reason: str) -> None:
    async with served(bus) as gateway, connect(f"{gateway.url}?{query}") as client:
        assert await read_to_end(client) == ([], 4400, reason)
        assert not bus._subscriptions


@pytest.mark.parametrize("message", ["hello", b"hello"])
async def test_message_from_a_subscriber_ends_its_connection(bus: Bus, message: str | bytes) -> None:
    async with served(bus) as gateway, connect(gateway.url) as client:
        await client.send(message)
        assert await read_to_end(client) == (
            [],
            4400,
            "message: expected none; the query of the URL selects the events",
        )


async def test_silence_is_broken_by_heartbeats_with_the_newest_cursor(bus: Bus) -> None:
    async with served(bus, heartbeat_s=0.05) as gateway:
        async with connect(f"{gateway.url}?type=alert.raised") as client:
            first = json.loads((await receive(client, 1))[0])
            assert (first["type"], first["data"]) == ("heartbeat", {"last_event_id": bus.journal.cursor(0)})
            bus.publish(leg_started())
            await bus.flush()
            while (second := json.loads((await receive(client, 1))[0]))["data"]["last_event_id"] == first["data"][
                "last_event_id"
            ]:
                pass  # one that was already on its way
            assert second["data"] == {"last_event_id": bus.journal.cursor(1)}, "an event that was not wanted counts"
        bus.publish(alert())
        await bus.flush()
        async with connect(f"{gateway.url}?last_event_id={second['data']['last_event_id']}") as client:
            while (event := json.loads((await receive(client, 1))[0]))["type"] == "heartbeat":
                pass
            assert event["sequence"].endswith("2")


async def test_resuming_while_events_come_misses_and_doubles_none(bus: Bus) -> None:
    total = 2000

    async def publish() -> None:
        while bus._stamped < total:
            bus.publish(alert())
            if bus._stamped % 10 == 0:
                await asyncio.sleep(0.001)

    seen: list[int] = []
    cursor = bus.journal.cursor(0)
    async with served(bus) as gateway, asyncio.TaskGroup() as tasks, asyncio.timeout(20):
        tasks.create_task(publish())
        while len(seen) < total:
            async with connect(f"{gateway.url}?last_event_id={cursor}", close_timeout=0.05) as client:
                for text in await receive(client, min(137, total - len(seen))):
                    seen += sequences([text])
                    cursor = json.loads(text)["id"]
    assert seen == list(range(1, total + 1))


async def test_subscriber_that_leaves_is_forgotten(bus: Bus) -> None:
    async with served(bus) as gateway:
        async with connect(gateway.url):
            await subscribed(bus)
        await subscribed(bus, 0)
        client = await connect(gateway.url)
        await subscribed(bus)
        client.transport.abort()  # no goodbye
        await subscribed(bus, 0)
        await client.wait_closed()


async def test_shutdown_sends_what_is_queued_and_says_goodbye(bus: Bus) -> None:
    async with served(bus) as gateway, connect(gateway.url) as client:
        await subscribed(bus)
        for _ in range(500):
            bus.publish(alert())
        ending = asyncio.create_task(bus.close())
        assert sequences(await receive(client, 500)) == list(range(1, 501))
        assert await read_to_end(client) == ([], 1001, "the gateway is going away")
        await ending


async def play_subscriber_that_never_reads(journal: Journal) -> None:
    """It is thrown out; the bus and another subscriber do not even notice."""
    async with running(Bus(journal, subscriber_queue_events=50)) as bus, served(bus) as gateway, deaf_peer(gateway):
        await subscribed(bus)
        async with connect(gateway.url) as attentive:
            await subscribed(bus, 2)
            for _ in range(100):
                bus.publish(alert(reason="x" * 2000))
                async with asyncio.timeout(1):
                    await bus.flush()
                await attentive.recv()
            await subscribed(bus, 1)
        await until(gateway.abandoned)


@pytest.fixture
def short_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscribers, "CLOSE_DEADLINE_S", 0.1)


@pytest.mark.usefixtures("short_goodbye")
async def test_subscriber_that_never_reads(journal: Journal) -> None:
    await play_subscriber_that_never_reads(journal)


@pytest.mark.usefixtures("short_goodbye")
def test_subscriber_that_never_reads_on_the_loop_of_the_gateway(journal: Journal) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play_subscriber_that_never_reads(journal))


@pytest.mark.usefixtures("short_goodbye")
async def test_replay_to_a_subscriber_that_never_reads_ends_too(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes nothing live, so its queue cannot overflow."""
    monkeypatch.setattr(subscribers, "SEND_DEADLINE_S", 0.2)
    for _ in range(200):
        bus.publish(alert(reason="x" * 2000))
    await bus.flush()
    async with served(bus) as gateway, deaf_peer(gateway, f"last_event_id={bus.journal.cursor(0)}"):
        await until(lambda: bool(bus._subscriptions))
        await subscribed(bus, 0)
        await until(gateway.abandoned)


async def test_a_slow_subscriber_is_closed_and_can_resume(journal: Journal) -> None:
    async with running(Bus(journal, subscriber_queue_events=50)) as bus, served(bus) as gateway:
        async with connect(gateway.url, max_queue=1, compression=None) as client:
            await subscribed(bus)
            published = 0
            while bus._subscriptions and not next(iter(bus._subscriptions))._overflowed.is_set():
                bus.publish(alert(reason="x" * 20_000))
                published += 1
                await bus.flush()
            seen, code, reason = await read_to_end(client)
            assert (code, reason) == (4430, "slow consumer: its queue is full; resume with last_event_id")
        cursor = json.loads(seen[-1])["id"]
        async with connect(f"{gateway.url}?last_event_id={cursor}") as client:
            seen += await receive(client, published - len(seen))
        assert sequences(seen) == list(range(1, published + 1))


@pytest.mark.parametrize(("query", "told"), [("scope=some", "scope: expected own or all"), ("scope=all", "shares no")])
async def test_a_scope_that_is_not_there_is_refused(bus: Bus, query: str, told: str) -> None:
    async with served(bus) as gateway, connect(f"{gateway.url}?{query}") as socket:
        with pytest.raises(ConnectionClosed) as refused:
            await socket.recv()
    assert refused.value.rcvd is not None
    assert refused.value.rcvd.code == 4400
    assert told in refused.value.rcvd.reason
