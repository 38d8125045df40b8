from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path
from typing import Any

import pytest

from gateway.alerts import subscription as subscription_module
from gateway.alerts.bus import Bus
from gateway.alerts.event import EventData
from gateway.alerts.journal import Entry, Journal
from gateway.alerts.subscription import Filter, Subscription
from gateway.errors import SlowConsumer
from tests.gateway.alerts.events import alert, call_started, leg_started, running, score, sequences

EVERYTHING = Filter(types=frozenset({"score", "alert.raised"}))


async def published(bus: Bus, *events: EventData) -> None:
    for data in events:
        bus.publish(data)
    await bus.flush()


async def take(subscription: Subscription, count: int) -> list[str]:
    async with asyncio.timeout(5):
        return [await anext(subscription) for _ in range(count)]


async def take_all(subscription: Subscription) -> list[str]:
    """Take what is there now."""
    texts = []
    try:
        while True:
            async with asyncio.timeout(0.1):
                texts.append(await anext(subscription))
    except TimeoutError:
        return texts


def gap(text: str) -> dict[str, Any]:
    event = json.loads(text)
    assert event["type"] == "gap"
    assert "sequence" not in event
    data: dict[str, Any] = event["data"]
    return data


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Filter(), [1, 2, 4, 5]),
        (Filter(call_id="CA1"), [1, 2, 4]),
        (Filter(leg="outbound"), [5]),
        (Filter(call_id="CA1", leg="outbound"), []),
        (Filter(call_id="CA"), []),
        (Filter(types=frozenset({"score"})), [3]),
        (Filter(types=frozenset({"score", "alert.raised"})), [3, 4, 5]),
        (Filter(types=frozenset({"alert.raised"}), call_id="CA2"), [5]),
    ],
)
@pytest.mark.parametrize("replayed", [True, False])
async def test_a_filter_accepts_exactly_its_events(
    bus: Bus, wanted: Filter, expected: list[int], replayed: bool
) -> None:
    events = (
        call_started("CA1"),
        leg_started("CA1", "inbound"),
        score(call_id="CA1"),
        alert(call_id="CA1"),
        alert(call_id="CA2", leg="outbound"),
    )
    start = bus.journal.cursor(0)
    if replayed:
        await published(bus, *events)
    with bus.subscribe(wanted, start) as subscription:
        if not replayed:
            await take_all(subscription)  # turns live
            await published(bus, *events)
        assert sequences(await take_all(subscription)) == expected


async def test_without_a_cursor_only_new_events_come(bus: Bus) -> None:
    await published(bus, alert(), alert())
    with bus.subscribe(Filter()) as subscription:
        await published(bus, alert())
        assert sequences(await take_all(subscription)) == [3]


@pytest.mark.parametrize("seed", range(5))
async def test_replay_runs_into_the_live_events_without_loss_double_or_disorder(
    journal: Journal, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Subscribers join at random cursors and read at random pace while a publisher goes on."""
    monkeypatch.setattr(subscription_module, "PAGE_EVENTS", 7)
    chance = random.Random(seed)
    total = 1500

    async def publish() -> None:
        while bus._stamped < total:
            for _ in range(min(chance.randrange(12), total - bus._stamped)):
                bus.publish(alert())
            await asyncio.sleep(0)

    async def read(after: int) -> None:
        with bus.subscribe(Filter(), bus.journal.cursor(after)) as subscription:
            for expected in range(after + 1, total + 1):
                assert sequences([await anext(subscription)]) == [expected]
                if chance.random() < 0.1:
                    await asyncio.sleep(chance.random() * 0.003)

    async def join(delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        await read(chance.randrange(bus.committed + 1))

    async with running(Bus(journal, subscriber_queue_events=total)) as bus:
        await published(bus, *[alert()] * 200)
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            tasks.create_task(publish())
            for _ in range(8):
                tasks.create_task(join(chance.random() * 0.1))


async def test_event_that_the_replay_saw_before_the_bus_handed_it_out_comes_once(bus: Bus) -> None:
    """The writer's thread has committed it; the event loop has not heard of that yet."""
    await published(bus, alert(), alert())
    committed = [Entry(3, "alert.raised", "CA1", "inbound", '{"sequence": "3"}')]
    await asyncio.to_thread(bus.journal.append, committed)
    with bus.subscribe(Filter(), bus.journal.cursor(0)) as subscription:
        assert sequences(await take_all(subscription)) == [1, 2, 3]
        await published(bus, alert(), alert())  # 3, as the bus counts, and 4
        assert sequences(await take_all(subscription)) == [4]


async def test_restarted_gateway_replays_to_an_old_cursor(tmp_path: Path) -> None:
    for run in range(3):
        journal = await asyncio.to_thread(Journal, tmp_path / "j", 1000)
        async with running(Bus(journal)) as bus:
            await published(bus, alert(), alert())
            with bus.subscribe(Filter(), journal.cursor(1)) as subscription:
                assert sequences(await take_all(subscription)) == list(range(2, 2 * run + 3))
        await asyncio.to_thread(journal.close)


@pytest.mark.parametrize(
    "cursor", ["nonsense", "0123456789ab-000000000001", "{id}-000000000099", "", "{id}-1" + "0" * 80]
)
async def test_an_unknown_cursor_gives_one_gap_and_all_stored_events(bus: Bus, cursor: str) -> None:
    await published(bus, alert(), alert())
    cursor = cursor.format(id=bus.journal.id)
    with bus.subscribe(Filter(), cursor) as subscription:
        first, *rest = await take_all(subscription)
        assert gap(first) == {"after": cursor, "resumed_at": bus.journal.cursor(1), "reason": "cursor_unknown"}
        assert sequences(rest) == [1, 2]
        await published(bus, alert())
        assert sequences(await take_all(subscription)) == [3]


async def test_unknown_cursor_on_an_empty_journal(bus: Bus) -> None:
    with bus.subscribe(Filter(), "nonsense") as subscription:
        (first,) = await take_all(subscription)
        assert gap(first)["resumed_at"] is None
        await published(bus, alert())
        assert sequences(await take_all(subscription)) == [1]


@pytest.fixture
def short_journal(tmp_path: Path) -> Any:
    journal = Journal(tmp_path / "short.sqlite3", max_events=20)
    yield journal
    journal.close()


async def test_an_expired_cursor_gives_one_gap(short_journal: Journal) -> None:
    async with running(Bus(short_journal)) as bus:
        for _ in range(50):
            await published(bus, alert())
        with bus.subscribe(Filter(), short_journal.cursor(3)) as subscription:
            first, *rest = await take_all(subscription)
            assert gap(first) == {
                "after": short_journal.cursor(3),
                "resumed_at": short_journal.cursor(31),
                "reason": "cursor_too_old",
            }
            assert sequences(rest) == list(range(31, 51))
            resume = json.loads(first)["id"]
        with bus.subscribe(Filter(), resume) as subscription:  # who breaks off after the gap can go on from it
            assert sequences(await take_all(subscription)) == list(range(31, 51))
        with bus.subscribe(Filter(), short_journal.cursor(30)) as subscription:
            assert sequences(await take_all(subscription)) == list(range(31, 51))


async def test_pruned_scores_are_a_gap_only_if_scores_are_subscribed(short_journal: Journal) -> None:
    async with running(Bus(short_journal)) as bus:
        for _ in range(8):
            await published(bus, score(), alert())
        with bus.subscribe(EVERYTHING, short_journal.cursor(2)) as subscription:
            first, *rest = await take_all(subscription)
            assert gap(first) == {
                "after": short_journal.cursor(2),
                "resumed_at": short_journal.cursor(15),
                "reason": "cursor_too_old",
            }
            assert sequences(rest) == [4, 6, 8, 10, 12, 14, 15, 16]
        with bus.subscribe(Filter(), short_journal.cursor(2)) as subscription:
            assert sequences(await take_all(subscription)) == [4, 6, 8, 10, 12, 14, 16]


async def test_pruning_overtakes_a_slow_replay(short_journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription_module, "PAGE_EVENTS", 5)
    async with running(Bus(short_journal)) as bus:
        await published(bus, *[alert()] * 20)
        with bus.subscribe(Filter(), short_journal.cursor(0)) as subscription:
            assert sequences(await take(subscription, 2)) == [1, 2]
            for _ in range(20):
                await published(bus, alert())
            texts = await take_all(subscription)
            assert sequences(texts[:3]) == [3, 4, 5], "the page that was read before"
            assert gap(texts[3])["after"] == short_journal.cursor(5)
            assert sequences(texts[4:]) == list(range(21, 41))


async def live(bus: Bus, subscription: Subscription) -> None:
    """Get past the replay."""
    assert await take_all(subscription) == []


async def test_lagging_subscriber_loses_the_oldest_scores_and_nothing_else(journal: Journal) -> None:
    async with running(Bus(journal, subscriber_queue_events=6)) as bus:
        with bus.subscribe(EVERYTHING) as subscription:
            await live(bus, subscription)
            await published(bus, alert(), *[score()] * 6, alert())
            assert sequences(await take_all(subscription)) == [1, 4, 5, 6, 7, 8]


async def test_queue_full_of_alerts_leaves_out_a_new_score(journal: Journal) -> None:
    async with running(Bus(journal, subscriber_queue_events=3)) as bus:
        with bus.subscribe(EVERYTHING) as subscription:
            await live(bus, subscription)
            await published(bus, alert(), alert(), alert(), score())
            assert sequences(await take_all(subscription)) == [1, 2, 3]


async def test_alert_that_finds_no_room_ends_the_subscription_and_no_other(journal: Journal) -> None:
    async with running(Bus(journal, subscriber_queue_events=3)) as bus:
        with bus.subscribe(Filter()) as slow, bus.subscribe(Filter()) as other:
            await live(bus, slow)
            await live(bus, other)
            overflow = asyncio.create_task(slow.overflow())
            for _ in range(10):
                await published(bus, alert())
                await take(other, 1)
            with pytest.raises(SlowConsumer):
                await overflow
            with pytest.raises(SlowConsumer):
                await anext(slow)


async def test_a_heartbeat_never_skips_queued_events(bus: Bus) -> None:
    def cursor(subscription: Subscription) -> str:
        return str(json.loads(subscription.heartbeat())["data"]["last_event_id"])

    await published(bus, alert(), score())
    with bus.subscribe(EVERYTHING, bus.journal.cursor(1)) as subscription:
        assert cursor(subscription) == bus.journal.cursor(1), "nothing was replayed yet"
        await take(subscription, 1)
        await live(bus, subscription)
        assert cursor(subscription) == bus.journal.cursor(2)
        await published(bus, call_started(), score(), alert())
        assert cursor(subscription) == bus.journal.cursor(3), "3 is not wanted, 4 waits"
        await take(subscription, 2)
        assert cursor(subscription) == bus.journal.cursor(5)


async def test_heartbeats_are_unique_and_their_ids_are_cursors(bus: Bus) -> None:
    await published(bus, alert())
    with bus.subscribe(Filter()) as subscription:
        one, other = json.loads(subscription.heartbeat()), json.loads(subscription.heartbeat())
        assert one["id"] != other["id"]
    await published(bus, alert())
    with bus.subscribe(Filter(), one["id"]) as subscription:
        assert sequences(await take_all(subscription)) == [2]


async def test_impatience_loses_nothing(bus: Bus) -> None:
    """A wait that is given up again and again, as for heartbeats, takes no event with it."""
    await published(bus, *[alert()] * 50)
    texts: list[str] = []
    with bus.subscribe(Filter(), bus.journal.cursor(0)) as subscription:
        while len(texts) < 100:
            try:
                async with asyncio.timeout(0.004):
                    texts.append(await anext(subscription))
            except TimeoutError:
                await asyncio.sleep(0.001)
            if len(texts) >= 50 and bus._stamped < 100:
                bus.publish(alert())
    assert sequences(texts) == list(range(1, 101))
