"""Traces and metrics, received over a real socket by what stands in for a collector."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra `otel` is not installed")

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.resources import Resource

from gateway import telemetry
from gateway.alerts.cloud_event import envelope
from gateway.alerts.event import AlertVerified
from gateway.app import running
from gateway.config_loading import load
from gateway.errors import ConfigError
from tests.gateway.alerts.events import call_ended, call_started, facts, leg_ended, leg_started
from tests.gateway.conftest import Serve
from tests.gateway.loudness import speech
from tests.gateway.wire import plain, say, subscribed


class Collector(ThreadingHTTPServer):
    """Takes what an OpenTelemetry collector takes at /v1/traces and /v1/metrics."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Receiver)
        self.spans: list[Span] = []
        self.metrics: dict[str, Metric] = {}
        self.resources: list[dict[str, str]] = []
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def published(self) -> dict[str, float]:
        """How many events of each type there were."""
        if metric := self.metrics.get("callscreen_events_published"):
            return {values(point.attributes)["type"]: point.as_double for point in metric.sum.data_points}
        return {}

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]


class Receiver(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server.status == 200 and self.path == "/v1/traces":
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.server.resources.append(values(resource.resource.attributes))
                self.server.spans += [span for scope in resource.scope_spans for span in scope.spans]
        elif self.server.status == 200 and self.path == "/v1/metrics":
            for one in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.server.metrics |= {metric.name: metric for scope in one.scope_metrics for metric in scope.metrics}
        self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


async def eventually(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  another thread makes it hold
            await asyncio.sleep(0.02)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("detector")
async def test_a_call_is_a_trace_and_metrics_arrive(collector: Collector, serve: Serve) -> None:
    server = await serve(otlp_endpoint=collector.url + "/", otlp_interval_s=0.05)
    async with subscribed(server) as events, plain(server, "caller") as caller, plain(server, "callee") as callee:
        await asyncio.gather(say(caller, speech(8, synthetic=True)), say(callee, speech(8, synthetic=False)))
        await caller.close()
        await callee.close()
        await events.until("call.ended")
    await eventually(lambda: bool(collector.named("call")) and "call.ended" in collector.published())
    (call,) = collector.named("call")
    legs = {values(leg.attributes)["callscreen.leg"]: leg for leg in collector.named("leg")}
    assert {name: values(leg.attributes)["callscreen.verdict"] for name, leg in legs.items()} == {
        "caller": "synthetic",
        "callee": "human",
    }
    for leg in legs.values():
        assert (leg.trace_id, leg.parent_span_id) == (call.trace_id, call.span_id)
        assert call.start_time_unix_nano <= leg.start_time_unix_nano <= leg.end_time_unix_nano
        assert leg.end_time_unix_nano <= call.end_time_unix_nano
    assert [(one.name, values(one.attributes)["callscreen.stage"]) for one in legs["caller"].events] == [
        ("alert.raised", "provisional"),
        ("alert.raised", "confirmed"),
    ]
    assert not legs["callee"].events
    assert values(call.attributes)["callscreen.source"] == "plain"
    resource = collector.resources[0]
    assert (resource["service.name"], resource["service.instance.id"]) == ("callscreen", server.bus.journal.id)
    assert collector.metrics["callscreen_events_published"].sum.is_monotonic
    assert collector.published()["leg.ended"] >= 2
    assert collector.metrics["callscreen_calls"].WhichOneof("data") == "gauge"
    (scoring,) = collector.metrics["callscreen_scoring_seconds"].histogram.data_points
    assert sum(scoring.bucket_counts) == scoring.count > 0
    assert len(scoring.bucket_counts) == len(scoring.explicit_bounds) + 1


@pytest.mark.usefixtures("detector")
async def test_without_a_collector_calls_go_on_and_unsent_spans_are_counted(collector: Collector, serve: Serve) -> None:
    collector.status = 400  # a refusal that is not to be repeated
    failed = telemetry.EXPORTS.labels("traces", "failed")
    dropped = telemetry.SPANS_DROPPED.labels("not_sent")
    before = failed._value.get(), dropped._value.get()
    server = await serve(otlp_endpoint=collector.url, otlp_interval_s=0.05)
    async with subscribed(server) as events, plain(server, "caller") as caller:
        await say(caller, speech(4, synthetic=False))
        await caller.close()
        await events.until("call.ended")
    await eventually(lambda: dropped._value.get() >= before[1] + 2)
    assert failed._value.get() > before[0]
    collector.status = 200
    await eventually(lambda: bool(collector.metrics))  # it goes on by itself


async def test_without_its_packages_the_gateway_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setitem(sys.modules, "gateway.telemetry", None)
    settings = load(environ={}, port=0, journal=tmp_path / "j", verifier="off", otlp_endpoint="http://127.0.0.1:4318")
    with pytest.raises(ConfigError, match=r"otlp_endpoint: .*pip install 'callscreen\[otel\]'"):
        async with running(settings):
            pass


@pytest.mark.parametrize("endpoint", ["collector:4318", "grpc://collector:4317", "http://", "http://a b", "http://a?b"])
def test_an_endpoint_is_a_url(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="otlp_endpoint"):
        load(environ={}, otlp_endpoint=endpoint)


def take(spans: telemetry.Spans, data: Any, at_s: float) -> None:
    time = datetime.fromtimestamp(at_s, UTC)
    spans.take(envelope(data, event_id="x-1", source="/callscreen/x", time=time, sequence=None))


def test_a_verification_lasts_from_its_audio_to_the_answer() -> None:
    spans = telemetry.Spans(Resource.create())
    answer = facts(model="heavy@0000", alert_id=None, judged_speech_s=4.0, filter_p_synthetic=0.5, lag_ms=1500.0)
    take(spans, call_ended("of a former process"), 0.5)
    take(spans, call_started(), 1.0)
    take(spans, leg_started(), 2.0)
    take(spans, AlertVerified.model_validate(answer | {"verdict": "inconclusive"}), 8.0)
    take(spans, leg_ended(), 9.0)
    take(spans, call_ended(), 10.0)
    verification, leg, call = spans.ended(10)
    assert [span.name for span in (verification, leg, call)] == ["verification", "leg", "call"]
    assert (verification.start_time, verification.end_time) == (6_500_000_000, 8_000_000_000)
    assert verification.parent == leg.context
    assert leg.parent == call.context
    assert verification.attributes
    assert verification.attributes["callscreen.model"] == "heavy@0000"
    assert spans.ended(10) == []


def test_calls_that_never_end_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telemetry, "MAX_SPANS", 2)
    lost = telemetry.SPANS_DROPPED.labels("never_ended")
    before = lost._value.get()
    spans = telemetry.Spans(Resource.create())
    for number in range(5):
        take(spans, call_started(f"c{number}"), float(number))
    assert lost._value.get() == before + 3


def test_the_buckets_of_a_histogram_are_no_longer_cumulative() -> None:
    text = """# HELP waits_seconds Waits.
# TYPE waits_seconds histogram
waits_seconds_bucket{le="0.1",process="0"} 2.0
waits_seconds_bucket{le="1.0",process="0"} 5.0
waits_seconds_bucket{le="+Inf",process="0"} 6.0
waits_seconds_count{process="0"} 6.0
waits_seconds_sum{process="0"} 4.5
"""
    data = telemetry.metrics_data(text, Resource.create(), 1, 2)
    (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
    (point,) = metric.data.data_points
    assert (metric.name, point.attributes) == ("waits_seconds", {"process": "0"})
    assert point.explicit_bounds == [0.1, 1.0]  # type: ignore[union-attr]
    assert point.bucket_counts == [2, 3, 1]  # type: ignore[union-attr]
    assert (point.count, point.sum) == (6, 4.5)  # type: ignore[union-attr]
