"""Exports traces and metrics to an OpenTelemetry collector, over OTLP/HTTP.  [IO]

Needs the packages of the extra `otel`; imported only if `otlp_endpoint` is set. Spans are made from events, so they
cost nothing in the path of a call, and include calls of all processes.

    call ──┬── leg            with alerts, expected voices and reduced coverage as span events
           │     └── verification    one window scored by the verifier, from its audio to the score
           └── leg …

Metrics are those of ``/metrics``, mapped as in OpenTelemetry's "Prometheus and OpenMetrics Compatibility":
``callscreen_events_published_total`` becomes the sum ``callscreen_events_published``.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import export as otlp
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client import Counter
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from gateway import logs
from gateway.alerts import event
from gateway.alerts.bus import Bus
from gateway.alerts.cloud_event import CloudEvent
from gateway.alerts.subscription import Filter
from gateway.clock import utc_now
from gateway.errors import SlowConsumer

EXPORTS = Counter("callscreen_otlp_exports_total", "Attempts to send telemetry over OTLP.", ["signal", "outcome"])
SPANS_DROPPED = Counter("callscreen_otlp_spans_dropped_total", "Spans that were not sent over OTLP.", ["reason"])

EXPORT_TIMEOUT_S = 5.0
"""For one request including retries; data that was not sent by then is dropped and counted."""
MAX_SPANS = 20_000
"""Limit for ended spans that wait to be sent, and for calls that have not ended; the oldest are dropped."""
SPANS_PER_REQUEST = 1000
SCOPE = "callscreen"
_log = logs.get(__name__)

Attributes = Mapping[str, str | int | float]


class Telemetry:
    """Sends spans and metrics. Call `start` before the first call, `close` after the bus was closed.

    Args:
        endpoint: base URL of an OTLP/HTTP receiver, such as ``http://127.0.0.1:4318``; ``/v1/traces`` and
            ``/v1/metrics`` are appended. Headers, certificates, sampling and resource attributes come from
            OpenTelemetry's environment variables (``OTEL_EXPORTER_OTLP_HEADERS`` and so on).
        interval_s: seconds between two exports.
        bus: source of the events.
        metrics: returns all metrics in Prometheus' text format.
    """

    def __init__(self, endpoint: str, interval_s: float, bus: Bus, metrics: Callable[[], Awaitable[bytes]]) -> None:
        self._bus = bus
        self._metrics = metrics
        self._interval_s = interval_s
        self._began_ns = _ns(utc_now())
        self._resource = Resource.create(
            {
                "service.name": "callscreen",
                "service.version": version("callscreen"),
                "service.instance.id": bus.journal.id,
            }
        )
        base = endpoint.rstrip("/")
        self._span_exporter = OTLPSpanExporter(f"{base}/v1/traces", timeout=EXPORT_TIMEOUT_S)
        self._metric_exporter = OTLPMetricExporter(f"{base}/v1/metrics", timeout=EXPORT_TIMEOUT_S)
        self._spans = Spans(self._resource)
        self._working: dict[str, bool] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start to follow the events and to export. Needs a running loop."""
        self._tasks = [
            asyncio.create_task(self._follow(), name="telemetry-spans"),
            asyncio.create_task(self._export_at_intervals(), name="telemetry-export"),
        ]

    async def close(self) -> None:
        """Export the rest, and stop. The bus must be closed, so that its last event has been received."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._export()
        await asyncio.to_thread(self._span_exporter.shutdown)
        await asyncio.to_thread(self._metric_exporter.shutdown)

    async def _follow(self) -> None:
        while not self._bus.stopped:
            with self._bus.subscribe(Filter()) as subscription, contextlib.suppress(SlowConsumer):
                async for text in subscription:
                    self._spans.take(CloudEvent.model_validate_json(text))
                    await asyncio.sleep(0)  # let the audio of calls be processed first
                return
            _log.warning("telemetry missed events: its queue was full")

    async def _export_at_intervals(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            await self._export()

    async def _export(self) -> None:
        while batch := self._spans.ended(SPANS_PER_REQUEST):
            result = await asyncio.to_thread(self._span_exporter.export, batch)
            self._note("traces", works=result is SpanExportResult.SUCCESS)
            if result is not SpanExportResult.SUCCESS:
                SPANS_DROPPED.labels("not_sent").inc(len(batch))
                break
        data = metrics_data((await self._metrics()).decode(), self._resource, self._began_ns, _ns(utc_now()))
        answer = await asyncio.to_thread(self._metric_exporter.export, data)
        self._note("metrics", works=answer is otlp.MetricExportResult.SUCCESS)

    def _note(self, signal: str, *, works: bool) -> None:
        """Count an export; log it if its outcome differs from the one before."""
        EXPORTS.labels(signal, "sent" if works else "failed").inc()
        if works != self._working.get(signal, True):
            (_log.info if works else _log.warning)("telemetry", signal=signal, sent=works)
        self._working[signal] = works


@dataclass(slots=True)
class _OpenCall:
    span: trace.Span
    legs: dict[str, trace.Span] = field(default_factory=dict)


@contextlib.asynccontextmanager
async def exporting(
    endpoint: str, interval_s: float, bus: Bus, metrics: Callable[[], Awaitable[bytes]]
) -> AsyncIterator[None]:
    """Export traces and metrics while the body runs, and the rest afterwards; see `Telemetry`."""
    telemetry = await asyncio.to_thread(
        Telemetry, endpoint, interval_s, bus, metrics
    )  # detects resources, which blocks
    telemetry.start()
    try:
        yield
    finally:
        await telemetry.close()


class Spans(SpanProcessor):
    """Makes spans from events, and keeps ended ones until they are sent. For the event loop's thread."""

    def __init__(self, resource: Resource) -> None:
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(self)
        self._tracer = provider.get_tracer(SCOPE, version("callscreen"))
        self._ended: deque[ReadableSpan] = deque(maxlen=MAX_SPANS)
        self._calls: OrderedDict[str, _OpenCall] = OrderedDict()

    def on_end(self, span: ReadableSpan) -> None:
        """Keep a sampled span; see `SpanProcessor`."""
        if len(self._ended) == MAX_SPANS:
            SPANS_DROPPED.labels("queue_full").inc()
        self._ended.append(span)

    def ended(self, most: int) -> list[ReadableSpan]:
        """Remove and return the `most` oldest ended spans."""
        return [self._ended.popleft() for _ in range(min(most, len(self._ended)))]

    def take(self, cloud_event: CloudEvent) -> None:
        """Process the next event. Events of a call whose start was not received are ignored."""
        data, at_ns = cloud_event.data, _ns(cloud_event.time)
        if isinstance(data, event.CallStarted):
            self._start_call(data, at_ns)
            return
        call = self._calls.get(getattr(data, "call_id", None) or "")
        if call is None:
            return
        if isinstance(data, event.CallEnded):
            del self._calls[data.call_id]
            for span in (*call.legs.values(), call.span):
                span.end(at_ns)
        elif isinstance(data, event.LegStarted):
            inside = trace.set_span_in_context(call.span)
            call.legs[data.leg] = self._tracer.start_span("leg", inside, attributes=_attributes(data), start_time=at_ns)
        elif isinstance(data, event.EventData) and (leg := call.legs.get(data.leg or "")):
            if isinstance(data, event.LegEnded):
                leg.set_attributes(_attributes(data))
                leg.end(at_ns)
                del call.legs[data.leg]
            elif isinstance(data, event.AlertVerified):
                began_ns = at_ns - round(data.lag_ms * 1e6)
                inside = trace.set_span_in_context(leg)
                facts = _attributes(data)
                self._tracer.start_span("verification", inside, attributes=facts, start_time=began_ns).end(at_ns)
            else:
                leg.add_event(cloud_event.type, _attributes(data), at_ns)

    def _start_call(self, data: event.CallStarted, at_ns: int) -> None:
        if len(self._calls) == MAX_SPANS:
            self._calls.popitem(last=False)
            SPANS_DROPPED.labels("never_ended").inc()
        span = self._tracer.start_span("call", Context(), attributes=_attributes(data), start_time=at_ns)
        self._calls[data.call_id] = _OpenCall(span)


def metrics_data(text: str, resource: Resource, began_ns: int, now_ns: int) -> otlp.MetricsData:
    """Convert metrics from Prometheus' text format to OTLP. Untyped metrics and summaries are left out.

    Args:
        text: the body of ``/metrics``.
        resource: the source of the metrics.
        began_ns: start of the counters, in nanoseconds since 1970.
        now_ns: when the metrics were read, in nanoseconds since 1970.
    """
    families = text_string_to_metric_families(text)
    metrics = [metric for family in families if (metric := _metric(family, began_ns, now_ns))]
    scope = otlp.ScopeMetrics(InstrumentationScope(SCOPE, version("callscreen")), metrics, "")
    return otlp.MetricsData([otlp.ResourceMetrics(resource, [scope], "")])


def _metric(family: Metric, began_ns: int, now_ns: int) -> otlp.Metric | None:
    data: otlp.Sum | otlp.Gauge | otlp.Histogram
    if family.type == "counter":
        totals = [sample for sample in family.samples if sample.name.endswith("_total")]
        points = [otlp.NumberDataPoint(sample.labels, began_ns, now_ns, sample.value) for sample in totals]
        data = otlp.Sum(points, otlp.AggregationTemporality.CUMULATIVE, is_monotonic=True)
    elif family.type == "gauge" and not family.name.endswith("_created"):
        data = otlp.Gauge([otlp.NumberDataPoint(one.labels, 0, now_ns, one.value) for one in family.samples])
    elif family.type == "histogram":
        distributions = list(_distributions(family.samples, began_ns, now_ns))
        data = otlp.Histogram(distributions, otlp.AggregationTemporality.CUMULATIVE)
    else:
        return None
    return otlp.Metric(family.name, family.documentation, "", data)


def _distributions(samples: list[Sample], began_ns: int, now_ns: int) -> Iterator[otlp.HistogramDataPoint]:
    """Group a histogram's samples by labels. Prometheus' buckets are cumulative, those of OTLP are not."""
    buckets: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    sums: dict[tuple[tuple[str, str], ...], float] = {}
    for sample in samples:
        labels = tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))
        if sample.name.endswith("_bucket"):
            buckets.setdefault(labels, []).append((float(sample.labels["le"]), sample.value))
        elif sample.name.endswith("_sum"):
            sums[labels] = sample.value
    for labels, below in buckets.items():
        bounds, counts = zip(*sorted(below), strict=True)
        own = [round(high - low) for low, high in zip((0.0, *counts), counts, strict=False)]
        yield otlp.HistogramDataPoint(
            attributes=dict(labels),
            start_time_unix_nano=began_ns,
            time_unix_nano=now_ns,
            count=round(counts[-1]),
            sum=sums.get(labels, 0.0),
            bucket_counts=own,
            explicit_bounds=[bound for bound in bounds if bound != math.inf],
            min=math.inf,  # unknown, in the SDK's convention
            max=-math.inf,
        )


def _attributes(data: event.EventData) -> Attributes:
    """Return the scalar fields of an event as span attributes."""
    facts = data.model_dump(mode="json", exclude_none=True)
    return {f"callscreen.{name}": value for name, value in facts.items() if isinstance(value, str | int | float)}


def _ns(time: datetime) -> int:
    """Return nanoseconds since 1970."""
    return round(time.timestamp() * 1e6) * 1000
