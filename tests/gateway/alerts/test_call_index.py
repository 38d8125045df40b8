"""The tables of calls and alerts: kept with the events, pruned with them, made for journals that have none."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

from gateway.alerts.cloud_event import envelope
from gateway.alerts.event import EventData
from gateway.alerts.journal import Journal
from gateway.clock import utc_now
from tests.gateway.alerts.events import alert, call_ended, call_started, leg_ended, leg_started, score
from tests.gateway.alerts.test_journal import append, opened

CALL = (call_started(), leg_started(), score(), alert(), leg_ended(), call_ended())


def rows(journal: Journal, table: str = "calls") -> list[tuple[object, ...]]:
    columns = "number, last, call_id, verdicts" if table == "calls" else "*"
    return journal.query(lambda reader: reader.execute(f"SELECT {columns} FROM {table} ORDER BY 1").fetchall())


def test_a_call_is_there_from_its_start_and_ends_with_its_verdicts(journal: Journal) -> None:
    append(journal, call_started(), leg_started())
    assert rows(journal) == [(1, None, "CA1", "{}")]
    append(journal, alert(), alert(), leg_ended(), call_ended())
    assert rows(journal) == [(1, 6, "CA1", '{"inbound":"synthetic"}')]
    assert rows(journal, "alerts") == [(3, "a1")]
    ((started, ended),) = journal.query(lambda reader: reader.execute("SELECT started, ended FROM calls").fetchall())
    assert 0 <= ended - started < 60


def test_an_id_that_is_used_again_is_another_call_even_when_an_end_was_lost(journal: Journal) -> None:
    append(journal, *CALL, call_started(), call_started(), leg_ended())
    assert rows(journal) == [(1, 6, "CA1", '{"inbound":"synthetic"}'), (7, 7, "CA1", "{}"),
                             (8, None, "CA1", '{"inbound":"synthetic"}')]  # fmt: skip


def test_pruned_events_take_their_calls_with_them(tmp_path: Path) -> None:
    with opened(tmp_path / "j", max_events=10) as journal:
        append(journal, call_started("long"))
        for number in range(8):
            append(journal, call_started(f"CA{number}"), alert(), call_ended(f"CA{number}"))
        kept_after = journal.kept_after(scores=False)
        assert kept_after > 3
        left = rows(journal)
        assert left[0][:3] == (1, None, "long")
        assert all(int(str(last)) > kept_after for _, last, *_ in left[1:])
        assert all(int(str(seq)) > kept_after for seq, _ in rows(journal, "alerts"))


def test_calls_that_go_on_are_known_to_the_successor_of_a_damaged_journal(tmp_path: Path) -> None:
    with opened(tmp_path / "j") as journal:
        append(journal, *CALL, call_started("CA2"), leg_started("CA2"))
        journal.renew(0)
        assert rows(journal) == [(7, None, "CA2", "{}")]
        append(journal, call_ended("CA2"))
        assert rows(journal) == [(7, 9, "CA2", "{}")]


def version_1(path: Path, events: Iterable[EventData | str]) -> None:
    """Make a journal as version 1 of the layout was; a text stands for an event that is damaged."""
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("CREATE TABLE journal (id TEXT, events INTEGER, events_after INTEGER, scores_after INTEGER)")
        file.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, type TEXT NOT NULL, call_id TEXT, leg TEXT, "
                     "text TEXT NOT NULL)")  # fmt: skip
        file.execute("CREATE TABLE open (call_id TEXT, leg TEXT, text TEXT NOT NULL, PRIMARY KEY (call_id, leg))")
        file.execute("PRAGMA application_id = 1668508268")
        file.execute("PRAGMA user_version = 1")
        count = 0
        for count, data in enumerate(events, 1):
            if isinstance(data, str):
                file.execute("INSERT INTO events VALUES (?, 'call.started', 'CA9', NULL, ?)", (count, data))
                continue
            event = envelope(data, event_id=f"0123456789ab-{count:012d}", source="/callscreen/0123456789ab",
                             time=utc_now(), sequence=f"{count:012d}")  # fmt: skip
            row = (count, event.type, data.call_id, data.leg, event.model_dump_json())
            file.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", row)
        file.execute("INSERT INTO journal VALUES ('0123456789ab', ?, 0, 0)", (count,))


def test_a_journal_of_version_1_is_brought_up_to_date_once(tmp_path: Path) -> None:
    path = tmp_path / "j"
    damaged = ("{", '{"time": 3, "data": null}', '{"time": "2026-01-01T00:00:00Z", "data": {"source": {}}}')
    version_1(path, [*CALL, *damaged, call_started("CA2"), leg_started("CA2")])
    for _ in range(2):
        with opened(path) as journal:
            assert rows(journal) == [(1, 6, "CA1", '{"inbound":"synthetic"}'), (10, None, "CA2", "{}")]
            assert rows(journal, "alerts") == [(4, "a1")]
            assert len(journal.after(0, 100)) == 11
            assert journal.query(lambda reader: reader.execute("PRAGMA user_version").fetchone()) == (2,)
    with opened(path) as journal:
        append(journal, call_ended("CA2"))
        assert rows(journal)[1] == (10, 12, "CA2", "{}")


def test_a_migration_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "j"
    version_1(path, CALL)
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("CREATE TABLE alerts (this TEXT)")  # in the way
    for _ in range(2):
        with pytest.raises(Exception, match="table alerts already exists"):
            Journal(path, 1000)
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA user_version").fetchone() == (1,)
        assert file.execute("SELECT count(*) FROM sqlite_master WHERE name = 'calls'").fetchone() == (0,)
        file.execute("DROP TABLE alerts")
    with opened(path) as journal:
        assert len(rows(journal)) == 1
