from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from gateway.workers.merged import labelled, merged_states


def metrics(of: float) -> str:
    registry = CollectorRegistry()
    Counter("windows_total", "Windows.", ["outcome"], registry=registry).labels("scored").inc(of)
    Gauge("calls", "Calls.", registry=registry).set(of)
    Histogram("seconds", "How long.", buckets=(1, 10), registry=registry).observe(of)
    return generate_latest(registry).decode()


def test_each_sample_tells_its_process() -> None:
    families = {
        family.name: family
        for family in text_string_to_metric_families(labelled({0: metrics(5), 2: metrics(7)}).decode())
    }
    assert (families["windows"].type, families["windows"].documentation) == ("counter", "Windows.")
    windows = [one for one in families["windows"].samples if one.name == "windows_total"]
    assert [(one.labels, one.value) for one in windows] == [
        ({"outcome": "scored", "process": "0"}, 5),
        ({"outcome": "scored", "process": "2"}, 7),
    ]
    assert [one.value for one in families["calls"].samples] == [5, 7]
    assert len([one for one in families["seconds"].samples if one.name == "seconds_bucket"]) == 6


def test_a_call_in_two_processes_is_one() -> None:
    states: list[dict[str, Any]] = [
        {"call_id": "a", "age_s": 3.0, "legs": [{"leg": "x"}]},
        {"call_id": "b", "age_s": 9.0, "legs": []},
        {"call_id": "a", "age_s": 4.0, "legs": [{"leg": "y"}]},
    ]
    assert merged_states(states) == [
        {"call_id": "b", "age_s": 9.0, "legs": []},
        {"call_id": "a", "age_s": 4.0, "legs": [{"leg": "x"}, {"leg": "y"}]},
    ]
    assert len(states[0]["legs"]) == 1, "what came is not changed"
