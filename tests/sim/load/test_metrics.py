from __future__ import annotations

import pytest

from sim.load.metrics import Metrics, MetricsError, parse

TEXT = """\
# TYPE process_cpu_seconds_total counter
process_cpu_seconds_total{process="0"} 1.5
process_cpu_seconds_total{process="1"} 2.0
# TYPE callscreen_calls gauge
callscreen_calls 3.0
# TYPE callscreen_windows_total counter
callscreen_windows_total{outcome="scored",process="0"} 10.0
callscreen_windows_total{outcome="scored",process="1"} 5.0
callscreen_windows_total{outcome="skipped",process="1"} 2.0
"""


def test_processes_are_added_up_and_windows_kept_by_outcome() -> None:
    reading = parse(TEXT)
    assert reading.get("process_cpu_seconds_total") == 3.5
    assert reading.get("callscreen_calls") == 3.0
    assert reading.windows == {"scored": 15.0, "skipped": 2.0}
    assert reading.get("never_heard_of") == 0.0


async def test_a_gateway_that_is_not_there_is_named() -> None:
    metrics = Metrics("http://127.0.0.1:9", None)
    with pytest.raises(MetricsError, match=r"http://127\.0\.0\.1:9/metrics: "):
        await metrics.read()
    await metrics.close()


def test_text_that_is_not_metrics_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse("<html>{nothing here")
