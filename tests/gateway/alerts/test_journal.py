from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.alerts.cloud_event import envelope
from gateway.alerts.event import EventData
from gateway.alerts.journal import Entry, Journal
from gateway.clock import utc_now
from gateway.errors import ConfigError
from tests.gateway.alerts.events import alert, call_ended, call_started, leg_ended, leg_started, score


def entry(journal: Journal, data: EventData, seq: int) -> Entry:
    event = envelope(data, event_id=journal.cursor(seq), source=journal.source, time=utc_now(), sequence=f"{seq:012d}")
    return Entry(seq, event.type, data.call_id, data.leg, event.model_dump_json())


def append(journal: Journal, *events: EventData) -> None:
    journal.append([entry(journal, data, journal.newest + number) for number, data in enumerate(events, 1)])


@contextmanager
def opened(path: Path, max_events: int = 1000) -> Iterator[Journal]:
    with closing(Journal(path, max_events)) as journal:
        yield journal


def test_new_journal_is_empty_and_has_an_id_of_its_own(tmp_path: Path) -> None:
    with opened(tmp_path / "a") as one, opened(tmp_path / "b") as other:
        assert one.newest == 0
        assert one.after(0, 10) == []
        assert one.id != other.id
        assert one.source == f"/callscreen/{one.id}"
        assert one.cursor(7) == f"{one.id}-000000000007"


def test_entries_come_back_in_order_after_a_cursor_up_to_a_limit(journal: Journal) -> None:
    entries = [entry(journal, alert(call_id=f"CA{seq}"), seq) for seq in range(1, 8)]
    journal.append(entries[:3])
    journal.append(entries[3:])
    assert journal.after(0, 100) == entries
    assert journal.after(2, 3) == entries[2:5]
    assert journal.after(7, 3) == []
    assert journal.newest == 7


def test_reopened_journal_goes_on(tmp_path: Path) -> None:
    with opened(tmp_path / "j") as journal:
        append(journal, alert(), alert())
        journal_id = journal.id
    with opened(tmp_path / "j") as journal:
        assert (journal.id, journal.newest) == (journal_id, 2)
        append(journal, alert())
        assert [stored.seq for stored in journal.after(0, 10)] == [1, 2, 3]


def test_appending_the_same_entries_again_does_no_harm(journal: Journal) -> None:
    entries = [entry(journal, alert(), 1), entry(journal, leg_started(), 2)]
    journal.append(entries)
    journal.append(entries)
    assert journal.after(0, 10) == entries
    assert len(journal.open_calls()) == 1


def test_failed_append_stores_nothing_of_it_and_can_be_repeated(journal: Journal) -> None:
    append(journal, alert())
    (pages,) = journal._writer.execute("PRAGMA page_count").fetchone()
    journal._writer.execute(f"PRAGMA max_page_count = {pages}")
    entries = [entry(journal, alert(reason="x" * 5000), seq) for seq in range(2, 10)]
    with pytest.raises(sqlite3.OperationalError, match="full"):
        journal.append(entries)
    assert (journal.newest, len(journal.after(0, 100))) == (1, 1)
    journal._writer.execute("PRAGMA max_page_count = 1000000")
    journal.append(entries)
    assert [stored.seq for stored in journal.after(0, 100)] == list(range(1, 10))


@settings(max_examples=25)
@given(scores=st.lists(st.booleans(), min_size=1, max_size=60), max_events=st.integers(1, 30))
def test_pruning_keeps_the_newest_and_scores_for_less_long(
    tmp_path_factory: pytest.TempPathFactory, scores: list[bool], max_events: int
) -> None:
    """Against a model that prunes after each event, as a journal with so small a limit does."""
    kept: list[tuple[int, bool]] = []
    gone_seq, gone_score_seq = 0, 0
    with opened(tmp_path_factory.mktemp("journal") / "j", max_events) as journal:
        for seq, is_score in enumerate(scores, 1):
            append(journal, score() if is_score else alert())
            kept.append((seq, is_score))
            gone_score_seq = max(0, seq - max(1, max_events // 10))
            kept = [(number, kind) for number, kind in kept if not kind or number > gone_score_seq]
            if excess := kept[:-max_events]:
                gone_seq = excess[-1][0]
                kept = kept[-max_events:]
            assert [stored.seq for stored in journal.after(0, 1000)] == [number for number, _ in kept]
            assert journal.kept_after(scores=False) == gone_seq
            assert journal.kept_after(scores=True) == max(gone_seq, gone_score_seq)


def test_pruning_marks_survive_reopening(tmp_path: Path) -> None:
    for _ in range(2):
        with opened(tmp_path / "j", max_events=20) as journal:
            for _ in range(30):
                append(journal, alert(), score())
            marks = journal.kept_after(scores=False), journal.kept_after(scores=True)
            assert len(journal.after(0, 1000)) == 20
        with opened(tmp_path / "j", max_events=20) as journal:
            assert (journal.kept_after(scores=False), journal.kept_after(scores=True)) == marks
    assert marks[1] == 118


def test_open_calls_are_those_started_and_not_ended(journal: Journal) -> None:
    append(journal, call_started("CA1"), leg_started("CA1", "inbound"), leg_started("CA1", "outbound"))
    append(journal, call_started("CA2"), leg_started("CA2", "inbound"), alert(call_id="CA2"))
    append(journal, leg_ended("CA1", "inbound"), leg_ended("CA2", "inbound"), call_ended("CA2"))
    assert [(event.type, event.subject) for event in journal.open_calls()] == [
        ("call.started", "CA1"),
        ("leg.started", "CA1/outbound"),
    ]


def test_open_call_outlives_its_pruned_start(tmp_path: Path) -> None:
    with opened(tmp_path / "j", max_events=3) as journal:
        append(journal, call_started("CA1"))
        for _ in range(5):
            append(journal, alert())
    with opened(tmp_path / "j", max_events=3) as journal:
        assert journal.kept_after(scores=False) == 3
        assert [event.subject for event in journal.open_calls()] == ["CA1"]


def test_position_of_a_cursor(journal: Journal) -> None:
    append(journal, alert(), alert())
    assert journal.position(journal.cursor(0)) == 0
    assert journal.position(journal.cursor(2)) == 2
    assert journal.position(journal.cursor(1) + ".0123456789ab") == 1
    for unknown in (
        journal.cursor(3),
        "000000000000-000000000001",
        journal.id,
        f"{journal.id}-",
        f"{journal.id}-²",
        "",
    ):
        assert journal.position(unknown) is None, unknown


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database, but it is long enough to look like one\n" * 100)


def truncated(path: Path) -> None:
    with opened(path) as journal:
        append(journal, *[alert()] * 200)
    path.write_bytes(path.read_bytes()[:20_000])


def scribbled_over(path: Path) -> None:
    with opened(path) as journal:
        append(journal, *[alert()] * 200)
    whole = path.read_bytes()
    path.write_bytes(whole[:12_288] + b"\xff" * 8192 + whole[20_480:])


def somebody_elses(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE addresses (name TEXT)")


def from_the_future(path: Path) -> None:
    with opened(path) as journal:
        journal._writer.execute("PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (garbage, "not a database"),
        (truncated, "malformed|damaged"),
        (scribbled_over, "malformed|damaged"),
        (somebody_elses, "another program"),
        (from_the_future, "schema version: expected 2, got 99"),
        (Path.mkdir, "unable to open"),
    ],
)
def test_unusable_file_is_named_with_what_to_do(tmp_path: Path, spoil: Callable[[Path], None], told: str) -> None:
    path = tmp_path / "bad.sqlite3"
    spoil(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(ConfigError, match=rf"journal: .*bad\.sqlite3 .*({told}).*Move the file away"):
        Journal(path, 1000)
    assert not before or path.read_bytes() == before, "a file that is not ours must stay as it was"


@pytest.mark.parametrize("path", ["/proc/journal.sqlite3", "/no/such/folder/journal.sqlite3"])
def test_folder_that_cannot_be_written_is_named(path: str) -> None:
    with pytest.raises(ConfigError, match=f"journal: expected a file in a folder that can be written, got {path}"):
        Journal(Path(path), 1000)


def test_journal_of_a_running_gateway_is_left_alone(tmp_path: Path) -> None:
    with opened(tmp_path / "j") as journal:
        with pytest.raises(ConfigError, match="used by another gateway"):
            Journal(tmp_path / "j", 1000)
        append(journal, alert())
    with opened(tmp_path / "j") as journal:
        assert journal.newest == 1
