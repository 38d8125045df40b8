"""A call along its audio, and the picture of it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from functools import partial
from typing import Any

import pytest

from gateway.alerts import picture, timeline
from gateway.alerts.event import AlertCleared, AlertRaised, AlertVerified, CoverageReduced, EventData, Scored
from gateway.alerts.journal import Journal
from tests.gateway.alerts.events import call_ended, call_started, facts, leg_ended, leg_started
from tests.gateway.alerts.test_journal import append


def scored(start_s: float, p: float, **more: Any) -> EventData:
    return Scored(
        **facts(media_time_s=start_s + 3, p_synthetic=p, **more),
        window_start_s=start_s, window_speech_s=2.5, window_p_synthetic=p,
    )  # fmt: skip


EVENTS = [
    call_started(), leg_started(), scored(1.0, 0.4), scored(2.0, 0.6),
    CoverageReduced(**facts(media_time_s=6.0, reason="media_lost"), windows_skipped=1, missing_s=0.6),
    scored(8.0, 0.95), AlertRaised(**facts(media_time_s=11.0), alert_id="a1", stage="provisional", lag_ms=5.0),
    AlertVerified(
        **facts(media_time_s=11.0, model="heavy@1111"), verdict="cleared", alert_id="a1", judged_speech_s=4.0,
        filter_p_synthetic=0.9, lag_ms=5.0,
    ),
    AlertCleared(**facts(media_time_s=11.0), alert_id="a1"), scored(0.0, 0.1, leg="<b>&\x00"),
    leg_ended(), call_ended(),
]  # fmt: skip


@pytest.fixture
def told(journal: Journal) -> dict[str, Any]:
    append(journal, *EVENTS)
    line: dict[str, Any] | None = journal.query(partial(timeline.of, call_id="CA1", scores_after=0))
    assert line is not None
    return line


def test_each_leg_has_its_windows_gaps_exclusions_models_and_alerts(told: dict[str, Any]) -> None:
    inbound, other = told["legs"]
    assert [(window["start_s"], window["end_s"], window["p_window"]) for window in inbound["windows"]] == [
        (1.0, 4.0, 0.4), (2.0, 5.0, 0.6), (8.0, 11.0, 0.95)
    ]  # fmt: skip
    assert inbound["gaps"] == [{"start_s": 0.0, "end_s": 1.0}, {"start_s": 5.0, "end_s": 8.0}]
    assert inbound["excluded"] == [{"at_s": 6.0, "reason": "media_lost", "windows_skipped": 1, "missing_s": 0.6}]
    assert inbound["models"] == ["heavy@1111", "test@0000"]
    assert [alert["move"] for alert in inbound["alerts"]] == ["provisional", "cleared"]
    assert inbound["verifications"][0]["verdict"] == "cleared"
    assert (inbound["verdict"], inbound["duration_s"]) == ("synthetic", 11.0)
    assert (other["verdict"], other["gaps"]) == (None, [])


def test_where_windows_were_pruned_no_gaps_are_claimed(journal: Journal) -> None:
    append(journal, *EVENTS)
    line = journal.query(partial(timeline.of, call_id="CA1", scores_after=2))
    assert line is not None
    assert (line["windows_kept"], line["legs"][0]["gaps"]) == (False, None)
    assert journal.query(partial(timeline.of, call_id="nobody", scores_after=0)) is None


def test_the_picture_shows_each_window_and_alert_and_names_are_only_text(told: dict[str, Any]) -> None:
    told["call_id"] = "<script>&"
    drawn = ET.fromstring(picture.draw(told))
    kinds = [part.get("class") for part in drawn.iter()]
    assert [kinds.count(kind) for kind in ("window", "line", "gap", "alert", "cleared", "excluded", "verified")] == [
        4, 2, 2, 1, 1, 1, 1
    ]  # fmt: skip
    texts = [part.text or "" for part in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0].startswith("<script>& (twilio)")
    assert any(text.startswith("<b>&\N{REPLACEMENT CHARACTER} (None), live, test@0000") for text in texts)
    assert drawn.find("{http://www.w3.org/2000/svg}script") is None


def test_the_picture_of_a_long_call_is_bounded(told: dict[str, Any]) -> None:
    (leg, *_) = told["legs"]
    leg["windows"] = [leg["windows"][0] | {"end_s": float(second)} for second in range(14_400)]
    leg["duration_s"] = 14_400.0
    drawn = picture.draw(told)
    assert drawn.count(b'class="window"') < picture.MAX_POINTS + 2
    assert b">4000 s<" in drawn


def test_the_picture_of_a_call_without_legs_is_a_picture(journal: Journal) -> None:
    append(journal, call_started())
    line = journal.query(partial(timeline.of, call_id="CA1", scores_after=0))
    assert line is not None
    assert b"CA1" in picture.draw(line)
