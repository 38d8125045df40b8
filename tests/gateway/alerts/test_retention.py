"""Events older than they may become are deleted, and the file becomes smaller."""

from __future__ import annotations

import asyncio
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

from gateway.alerts.bus import Bus
from gateway.alerts.cloud_event import envelope
from gateway.alerts.journal import Entry, Journal
from gateway.alerts.retention import retaining
from gateway.clock import utc_now
from tests.gateway.alerts.events import alert, call_ended, call_started, until


def fill(journal: Journal, ages_days: list[float], call_id: str = "CA1") -> None:
    for age in ages_days:
        seq = journal.newest + 1
        time = utc_now() - timedelta(days=age)
        event = envelope(
            alert(call_id=call_id),
            event_id=journal.cursor(seq),
            source=journal.source,
            time=time,
            sequence=f"{seq:012d}",
        )
        journal.append([Entry(seq, event.type, call_id, "inbound", event.model_dump_json())])


def kept(journal: Journal) -> list[int]:
    return [entry.seq for entry in journal.after(0, 10_000)]


def days_ago(days: float) -> datetime:
    return utc_now() - timedelta(days=days)


def test_expired_events_are_deleted_and_cursors_report_a_gap(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "j", 1000)) as journal:
        fill(journal, [40, 35, 31, 29, 1])
        assert journal.expire(days_ago(30), 2) == 2
        assert journal.expire(days_ago(30), 2) == 1
        assert journal.expire(days_ago(30), 2) == 0
        assert kept(journal) == [4, 5]
        assert journal.kept_after(scores=False) == 3
        assert journal.expire(days_ago(0), 100) == 2
        assert journal.newest == 5
    with closing(Journal(tmp_path / "j", 1000)) as journal:
        assert (journal.newest, journal.kept_after(scores=False)) == (5, 5)
        fill(journal, [0])
        assert kept(journal) == [6]


def test_a_clock_that_jumped_back_keeps_nothing_for_ever(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "j", 1000)) as journal:
        fill(journal, [-300, 40, 1])
        assert journal.expire(days_ago(30), 100) == 2
        assert kept(journal) == [3]


def test_an_event_that_cannot_be_read_goes_with_those_after_it(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "j", 1000)) as journal:
        journal.append([Entry(1, "alert.raised", "CA1", "inbound", "no json")])
        assert journal.expire(days_ago(30), 100) == 0
        fill(journal, [40, 1])
        assert journal.expire(days_ago(30), 100) == 2
        assert kept(journal) == [3]


def test_the_file_shrinks_in_steps(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with closing(Journal(path, 10_000)) as journal:
        journal.append([Entry(seq, "alert.raised", "CA1", "inbound", "x" * 2000) for seq in range(1, 1001)])
        fill(journal, [40, 1])
        journal.shrink(10_000)
    full = path.stat().st_size
    with closing(Journal(path, 10_000)) as journal:
        journal.expire(days_ago(30), 2000)
        journal.shrink(100)
    smaller = path.stat().st_size
    with closing(Journal(path, 10_000)) as journal:
        journal.shrink(100_000)
        assert kept(journal) == [1002]
    assert path.stat().st_size < smaller < full


async def test_a_gateway_that_runs_does_so_by_itself(tmp_path: Path) -> None:
    with closing(await asyncio.to_thread(Journal, tmp_path / "j", 1000)) as journal:
        await asyncio.to_thread(fill, journal, [40, 35, 1])
        bus = Bus(journal)
        bus.start()
        async with retaining(bus, 30):
            await until(lambda: journal.kept_after(scores=False) == 2)
            bus.publish(call_started())
            bus.publish(call_ended())
            await bus.flush()
            assert [entry.seq for entry in await bus.read(0, 10)] == [3, 4, 5]
        await bus.close()
