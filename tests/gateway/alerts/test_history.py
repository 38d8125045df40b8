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
from gateway.alerts.history import CallQuery
from gateway.alerts.journal import Journal
from tests.gateway.alerts.events import call_ended, call_started, facts, leg_ended, leg_started
from tests.gateway.alerts.test_journal import append


def found(
    journal: Journal, query: CallQuery, before: int | None = None, limit: int = 10
) -> tuple[list[str], int | None]:
    calls, following = journal.query(partial(history.page, query=query, before=before, limit=limit))
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
    ("query", "ids"),
    [
        (CallQuery(), ["Cleo", "Bert", "Anna"]),
        (CallQuery(since=1100), ["Cleo", "Bert"]),
        (CallQuery(until=1100), ["Anna"]),
        (CallQuery(verdict="synthetic"), ["Cleo", "Anna"]),
        (CallQuery(verdict="human"), ["Cleo"]),
        (CallQuery(text="ER"), ["Bert"]),
        (CallQuery(text="%"), []),
        (CallQuery(state="live"), ["Cleo"]),
        (CallQuery(state="ended", verdict="synthetic", since=999), ["Anna"]),
    ],
)
def test_a_query_returns_matching_calls_newest_first(three: Journal, query: CallQuery, ids: list[str]) -> None:
    assert found(three, query) == (ids, None)


def test_pages_follow_each_other_without_loss_while_calls_come_in(three: Journal) -> None:
    ids, following = found(three, CallQuery(), limit=2)
    append(three, call_started("Dora"))
    assert (ids, found(three, CallQuery(), following, limit=2)) == (["Cleo", "Bert"], (["Anna"], None))


def test_a_call_is_summarised_with_its_legs_and_alerts(journal: Journal) -> None:
    stages: list[tuple[Literal["provisional", "confirmed"], float]] = [("provisional", 0.91), ("confirmed", 0.97)]
    alerts = [AlertRaised(**facts(p_synthetic=p), alert_id="a1", stage=stage, lag_ms=1.0) for stage, p in stages]
    cleared = AlertCleared(**facts(), alert_id="a1")
    append(journal, call_started(), leg_started(), *alerts, cleared, leg_ended(), leg_started(), call_ended())
    call: dict[str, Any] | None = journal.query(partial(history.one, call_id="CA1"))
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
    assert journal.query(partial(history.one, call_id="nobody")) is None


def test_an_event_that_is_damaged_costs_itself_alone(three: Journal, tmp_path: Path) -> None:
    with closing(sqlite3.connect(three._path)) as file, file:
        file.execute("UPDATE events SET text = ? WHERE type = 'leg.started' AND call_id = 'Anna'", (b"\xff{",))
    call: dict[str, Any] | None = three.query(partial(history.one, call_id="Anna"))
    assert call is not None
    assert [(leg["leg"], leg["verdict"]) for leg in call["legs"]] == [("inbound", "synthetic")]
