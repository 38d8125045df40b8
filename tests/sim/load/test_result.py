from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from rich.console import Console

from sim.load.result import SHOWN_MOMENTS, LoadResult, Moment, Plan, over_time, summary

PLAN = Plan(calls=4, ramp_per_s=2.0, seconds=3.0, processes=2)
MOMENT = Moment(0.0, 4, 4, 0.5, 100.0, 10, 0, 0, 20.0, 30.0)


def result(**changes: Any) -> LoadResult:
    seen = LoadResult(PLAN, "http://gw", began={f"c{n}": n / 2 for n in range(4)}, ended={f"c{n}" for n in range(4)})
    seen.delays = [(1.0, 900.0), (3.0, 10.0), (4.0, 30.0)]
    seen.moments = [replace(MOMENT, at_s=float(at_s), rss_mb=100.0 + at_s) for at_s in range(6)]
    seen.windows = {"scored": 60, "skipped": 0, "no_speech": 7}
    for name, value in changes.items():
        setattr(seen, name, value)
    return seen


def shown(seen: LoadResult) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(over_time(seen), summary(seen))
    return capture.get()


def test_a_load_that_was_held() -> None:
    seen = result()
    figures = seen.as_json()
    assert json.loads(json.dumps(figures)) == figures
    assert (figures["held"], figures["faults"], figures["partial"]) == (True, [], False)
    assert figures["delay_ms"]["while_held"] == {
        "scores": 2, "p50": 20.0, "p90": 28.0, "p95": 29.0, "p99": 29.8, "max": 30.0,
    }  # fmt: skip
    assert figures["delay_ms"]["all"]["scores"] == 3
    assert figures["calls"] == {"begun": 4, "failed": {}, "ended": 4, "most_at_once": 4, "least_while_held": 4}
    assert figures["gateway"]["rss_mb_first"] == 100.0
    assert figures["gateway"]["rss_mb_max"] == 105.0
    told = shown(seen)
    assert "60 scored, 0 skipped, 7 no_speech" in told
    assert "p50 / p90 / p95 / p99: 20 / 28 / 29 / 30 ms, max 30 ms" in told
    assert "not held" not in told


def test_each_fault_is_listed() -> None:
    seen = result(
        partial="interrupted",
        failed={"c3": "all 3 calls are taken"},
        windows={"scored": 5, "skipped": 2},
        delays=[(3.0, 1500.0)] * 3,
        events_lost=1,
        sender_late_s=0.5,
    )
    assert [fault.partition(":")[0] for fault in seen.faults()] == [
        "not played completely",
        "1 of 4 calls were refused or broken off; c3",
        "2 windows of speech were skipped",
        "events were late",
        "this subscriber lost events 1 times; delays are of the others",
        "packets were sent 0.50 s late",
    ]
    assert shown(seen).count("not held") == 6
    assert (seen.as_json()["partial"], seen.as_json()["failure"]) == (True, "interrupted")


def test_a_gateway_whose_metrics_cannot_be_read() -> None:
    blind = Moment(4.0, 3, None, None, None, None, None, None, None, None)
    seen = result(moments=[blind], windows={}, unread="http://gw/metrics: HTTP 401")
    figures = seen.as_json()
    assert (figures["gateway"], figures["windows"]) == (None, None)
    assert figures["calls"]["least_while_held"] == 3
    assert "unknown: http://gw/metrics: HTTP 401" in shown(seen)


def test_load_without_scores_is_not_held() -> None:
    assert result(delays=[]).faults() == ["no score was received"]


def test_an_overloaded_gateway_says_what_it_gave_up() -> None:
    told = shown(result(moments=[replace(MOMENT, at_s=3.0, overload_step=2)]))
    assert "step 2: short hops were given up" in told


def test_a_long_load_is_shown_in_a_few_moments() -> None:
    seen = result(moments=[replace(MOMENT, at_s=float(at_s)) for at_s in range(200)])
    assert shown(seen).count("20 / 30 ms") == SHOWN_MOMENTS
    assert "199 s" in shown(seen)
