from __future__ import annotations

from datetime import UTC, datetime
from io import StringIO
from typing import Any

from rich.console import Console

from gateway.alerts.cloud_event import envelope
from gateway.alerts.event import AlertRaised, Scored
from sim.caller import Gateway
from sim.calls import Call
from sim.fleet import Fleet
from sim.live import MAX_ROWS, LegsTable, Screen
from tests.sim.test_judge import played, raised

FACTS: dict[str, Any] = {
    "call_id": "c.r",
    "leg": "caller",
    "speaker": "caller",
    "role": "caller",
    "media_time_s": 7.0,
    "p_synthetic": 0.95,
    "speech_s": 4.0,
    "model": "m@1",
    "reason": "p_above_raise",
}


def fleet(*calls: Call) -> Fleet:
    return Fleet(calls or [played()], Gateway("http://127.0.0.1:9"), 1.0)


def shown(of: Fleet) -> str:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(LegsTable(of))
    return capture.get()


def test_the_table_follows_each_leg() -> None:
    watched = fleet()
    lines = shown(watched).splitlines()
    assert [line.split()[:3] for line in lines if "caller" in line or "callee" in line] == [
        ["c", "plain", "caller"],
        ["callee", "a", "human"],
    ]
    assert shown(watched).count("waiting") == 2
    seen = watched.ledger.legs["c.r", "caller"]
    seen.state, seen.p_synthetic, seen.speech_s = "confirmed", 0.97, 6.2
    seen.alerts.append(raised("confirmed", 17.0))
    (line,) = [line for line in shown(watched).splitlines() if "caller" in line]
    assert "a human → vox" in line
    assert "████████ 0.97" in line
    assert "6 s" in line
    assert "confirmed at 17.0 s" in line
    assert shown(watched).count("waiting") == 1


def test_a_call_that_failed_says_so() -> None:
    watched = fleet()
    watched.failures["c.r"] = "no room"
    assert shown(watched).count("failed: no room") == 2


def test_of_many_legs_those_with_alerts_are_shown() -> None:
    calls = [played() for _ in range(MAX_ROWS)]
    for number, call in enumerate(calls):
        call.call_id = f"n{number}.r"
    watched = fleet(*calls)
    watched.ledger.legs["n7.r", "callee"].alerts.append(raised("provisional", 3.0))
    table = shown(watched)
    assert "n7" in table
    assert table.count("callee") == 1
    assert f"and {2 * MAX_ROWS - 1} more legs" in table


def told(console: Console) -> None:
    alert = AlertRaised(**FACTS, alert_id="a", stage="provisional", lag_ms=1.0)
    score = Scored(**FACTS, window_start_s=1.0, window_speech_s=1.0, window_p_synthetic=0.5)
    with Screen(console, fleet()) as screen:
        for data in (alert, score):
            event = envelope(data, event_id="1", source="/x", time=datetime.now(UTC), sequence="1")
            screen.on_event(event, 7.53)


def test_without_a_terminal_each_event_except_scores_is_a_line() -> None:
    out = StringIO()
    told(Console(file=out, width=40))
    (line,) = out.getvalue().splitlines()
    assert " ".join(line.split()) == "7.5 s c.r/caller alert.raised provisional p 0.95 p_above_raise"


def test_on_a_terminal_the_table_updates_and_disappears_at_the_end() -> None:
    out = StringIO()
    told(Console(file=out, width=120, force_terminal=True, legacy_windows=False))
    assert "alert.raised" not in out.getvalue()
    assert "waiting" in out.getvalue()
    assert out.getvalue().endswith("\x1b[2K")  # the last line it drew was wiped
