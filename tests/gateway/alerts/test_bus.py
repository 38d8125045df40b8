from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from gateway.alerts import bus as bus_module
from gateway.alerts import subscription as subscription_module
from gateway.alerts.bus import Bus
from gateway.alerts.cloud_event import CloudEvent
from gateway.alerts.journal import Journal
from gateway.alerts.subscription import Filter
from tests.gateway.alerts.events import alert, running, score, sequences

EVERYTHING = Filter(types=frozenset({"score", "alert.raised"}))


@contextmanager
def disk_full(journal: Journal) -> Iterator[None]:
    """Let SQLite find no more room, as on a full disk."""
    (pages,) = journal._writer.execute("PRAGMA page_count").fetchone()
    journal._writer.execute(f"PRAGMA max_page_count = {pages}")
    try:
        yield
    finally:
        journal._writer.execute("PRAGMA max_page_count = 1000000")


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_published_event_carries_its_cursor_source_and_number(bus: Bus) -> None:
    before = counted("callscreen_events_published_total", type="alert.raised")
    event = bus.publish(alert())
    assert event is not None
    assert event.id == f"{bus.journal.id}-000000000001"
    assert (event.source, event.sequence, event.subject) == (
        f"/callscreen/{bus.journal.id}",
        "000000000001",
        "CA1/inbound",
    )
    assert event.time.tzinfo is not None
    assert counted("callscreen_events_published_total", type="alert.raised") == before + 1


async def test_subscribers_get_the_same_events_in_order(bus: Bus) -> None:
    with bus.subscribe(Filter()) as one, bus.subscribe(Filter()) as other:
        published = [bus.publish(alert(call_id=f"CA{number}")) for number in range(300)]
        for subscription in (one, other):
            async with asyncio.timeout(5):
                got = [CloudEvent.model_validate_json(await anext(subscription)) for _ in published]
            assert got == published


async def test_event_is_in_the_file_before_it_is_sent(bus: Bus, tmp_path: Path) -> None:
    with bus.subscribe(Filter()) as subscription, closing(sqlite3.connect(tmp_path / "journal.sqlite3")) as stranger:
        for _ in range(20):
            bus.publish(alert())
            text = await anext(subscription)
            assert stranger.execute("SELECT text FROM events ORDER BY seq DESC LIMIT 1").fetchone() == (text,)


async def test_nothing_is_sent_while_the_journal_cannot_be_written_and_all_of_it_afterwards(
    bus: Bus, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_module, "RETRY_S", 0.02)
    errors = counted("callscreen_journal_errors_total")
    bus.publish(alert())
    with bus.subscribe(Filter()) as subscription:
        await bus.flush()
        await anext(subscription)
        with disk_full(journal):
            for _ in range(50):
                bus.publish(alert(reason="x" * 1000))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await anext(subscription)
            assert not bus.healthy
            assert counted("callscreen_journal_errors_total") > errors
        async with asyncio.timeout(5):
            assert sequences([await anext(subscription) for _ in range(50)]) == list(range(2, 52))
        assert bus.healthy


async def test_full_queue_refuses_scores_first_and_never_waits(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_module, "RETRY_S", 0.02)
    scores_before = counted("callscreen_events_dropped_total", reason="queue_full_score")
    others_before = counted("callscreen_events_dropped_total", reason="queue_full")
    async with running(Bus(journal, queue_events=8)) as bus:
        with bus.subscribe(EVERYTHING) as subscription:
            accepted = [bus.publish(score()) is not None for _ in range(8)]
            assert accepted == [True] * 6 + [False] * 2
            accepted = [bus.publish(alert()) is not None for _ in range(3)]
            assert accepted == [True, True, False]
            assert counted("callscreen_events_dropped_total", reason="queue_full_score") == scores_before + 2
            assert counted("callscreen_events_dropped_total", reason="queue_full") == others_before + 1
            await bus.flush()
            bus.publish(alert())
            async with asyncio.timeout(5):
                texts = [await anext(subscription) for _ in range(9)]
            assert sequences(texts) == list(range(1, 10)), "what was refused leaves no hole in the numbers"


async def test_close_sends_queued_events_to_subscribers(journal: Journal) -> None:
    bus = Bus(journal)
    bus.start()

    async def slow_reader() -> list[str]:
        texts = []
        with bus.subscribe(Filter()) as subscription:
            async for text in subscription:
                await asyncio.sleep(0.001)
                texts.append(text)
        return texts

    reader = asyncio.create_task(slow_reader())
    await asyncio.sleep(0)
    for _ in range(100):
        bus.publish(alert())
    await bus.close()
    assert reader.done(), "close waits until they have left"
    assert sequences(reader.result()) == list(range(1, 101))
    assert not bus.healthy


async def test_close_does_not_wait_for_ever(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_module, "FLUSH_DEADLINE_S", 0.1)
    monkeypatch.setattr(bus_module, "LEAVE_DEADLINE_S", 0.1)
    lost = counted("callscreen_events_dropped_total", reason="journal_failed")
    bus = Bus(journal)
    bus.start()
    with disk_full(journal), bus.subscribe(Filter()):
        for _ in range(20):
            bus.publish(alert(reason="x" * 1000))
        async with asyncio.timeout(3):
            await bus.close()
    assert counted("callscreen_events_dropped_total", reason="journal_failed") == lost + 20


async def test_close_breaks_off_a_long_replay(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_module, "LEAVE_DEADLINE_S", 0.1)
    monkeypatch.setattr(subscription_module, "PAGE_EVENTS", 5)
    bus = Bus(journal)
    bus.start()
    for _ in range(50):
        bus.publish(alert())
    await bus.flush()
    with bus.subscribe(Filter(), journal.cursor(0)) as subscription:
        await anext(subscription)
        await bus.close()
        assert sequences([text async for text in subscription]) == [2, 3, 4, 5], "the page that was read before"


async def test_a_subscriber_during_close_gets_the_queued_events(bus: Bus, journal: Journal) -> None:
    bus.publish(alert())
    with bus.subscribe(Filter()):
        closing_bus = asyncio.create_task(bus.close())
        await asyncio.sleep(0.05)
        with bus.subscribe(Filter(), journal.cursor(0)) as late:
            assert sequences([text async for text in late]) == [1]
    await closing_bus


async def test_not_healthy_before_start(journal: Journal) -> None:
    bus = Bus(journal)
    assert not bus.healthy
    await bus.close()


async def test_subscribers_are_counted(bus: Bus) -> None:
    before = counted("callscreen_subscribers")
    with bus.subscribe(Filter()):
        assert counted("callscreen_subscribers") == before + 1
    assert counted("callscreen_subscribers") == before
