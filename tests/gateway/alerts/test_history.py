"""What a journal tells of calls: which are found, in pages, with legs and alerts."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from gateway.alerts import history
from gateway.alerts.event import AlertCleared, AlertRaised
from gateway.alerts.history import Wanted
from gateway.alerts.journal import Journal
from tests.gateway.alerts.events import call_ended, call_started, facts, leg_ended, leg_started
from tests.gateway.alerts.test_journal import append


def found(journal: Journal, wanted: Wanted, before: int | None = None, limit: int = 10) -> tuple[list[str], int | None]:
    calls, following = journal.ask(partial(history.page, wanted=wanted, before=before, limit=limit))
    return [call["call_id"] for call in calls], following


@pytest.fixture
def three(journal: Journal) -> Journal:
    """Return a journal with a synthetic call, one without a verdict, one that goes on; started 100 s apart."""
    append(journal, call_started("Anna"), leg_started("Anna"), leg_ended("Anna"), call_ended("Anna"))
    append(journal, call_started("Bert"), leg_started("Bert"), call_ended("Bert"))
    append(journal, call_started("Cleo"))
    with closing(sqlite3.connect(journal._path)) as file, file:
        for place, call_id in enumerate(("Anna", "Bert", "Cleo")):
            file.execute("UPDATE calls SET started = ? WHERE call_id = ?", (1000 + 100 * place, call_id))
    return journal


@pytest.mark.parametrize(
    ("wanted", "ids"),
    [
        (Wanted(), ["Cleo", "Bert", "Anna"]),
        (Wanted(since=1100), ["Cleo", "Bert"]),
        (Wanted(until=1100), ["Anna"]),
        (Wanted(verdict="synthetic"), ["Cleo", "Anna"]),
        (Wanted(verdict="human"), ["Cleo"]),
        (Wanted(text="ER"), ["Bert"]),
        (Wanted(text="%"), []),
        (Wanted(state="live"), ["Cleo"]),
        (Wanted(state="ended", verdict="synthetic", since=999), ["Anna"]),
    ],
)
def test_what_is_wanted_is_found_the_newest_first(three: Journal, wanted: Wanted, ids: list[str]) -> None:
    assert found(three, wanted) == (ids, None)


def test_pages_follow_each_other_without_loss_while_calls_come_in(three: Journal) -> None:
    ids, following = found(three, Wanted(), limit=2)
    append(three, call_started("Dora"))
    assert (ids, found(three, Wanted(), following, limit=2)) == (["Cleo", "Bert"], (["Anna"], None))


def test_a_call_is_told_with_its_legs_and_alerts(journal: Journal) -> None:
    stages: list[tuple[Literal["provisional", "confirmed"], float]] = [("provisional", 0.91), ("confirmed", 0.97)]
    alerts = [AlertRaised(**facts(p_synthetic=p), alert_id="a1", stage=stage, lag_ms=1.0) for stage, p in stages]
    cleared = AlertCleared(**facts(), alert_id="a1")
    append(journal, call_started(), leg_started(), *alerts, cleared, leg_ended(), leg_started(), call_ended())
    call: dict[str, Any] | None = journal.ask(partial(history.one, call_id="CA1"))
    assert call is not None
    assert call["ended"] >= call["started"]
    first, again = call["legs"]
    assert (first["leg"], first["encoding"], first["verdict"], first["ended_by"]) == (
        "inbound", "mulaw", "synthetic", "stopped"
    )  # fmt: skip
    assert (again["leg"], again["verdict"]) == ("inbound", None)
    (alert,) = call["alerts"]
    assert (alert["alert_id"], alert["stage"], alert["p_synthetic"]) == ("a1", "confirmed", 0.97)
    assert alert["raised"] <= alert["cleared"]
    assert journal.ask(partial(history.one, call_id="nobody")) is None


def test_an_event_that_is_damaged_costs_itself_alone(three: Journal, tmp_path: Path) -> None:
    with closing(sqlite3.connect(three._path)) as file, file:
        file.execute("UPDATE events SET text = ? WHERE type = 'leg.started' AND call_id = 'Anna'", (b"\xff{",))
    call: dict[str, Any] | None = three.ask(partial(history.one, call_id="Anna"))
    assert call is not None
    assert [(leg["leg"], leg["verdict"]) for leg in call["legs"]] == [("inbound", "synthetic")]
