"""Merges the states and metrics of several processes.  [S]"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector, CollectorRegistry
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.call.registry import CallState


def merged_states(states: Iterable[CallState]) -> list[CallState]:
    """Return the calls of all processes, oldest first. A call with legs in several processes is listed once."""
    calls: dict[str, CallState] = {}
    for state in states:
        call = calls.get(state["call_id"])
        if call is None:
            calls[state["call_id"]] = dict(state)
        else:
            call["legs"] = [*call["legs"], *state["legs"]]
            call["age_s"] = max(call["age_s"], state["age_s"])
    return sorted(calls.values(), key=lambda call: -call["age_s"])


class _Labelled(Collector):
    def __init__(self, texts: Mapping[int, str]) -> None:
        self._texts = texts

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for number, text in self._texts.items():
            for family in text_string_to_metric_families(text):
                whole = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    whole.samples.append(sample._replace(labels=sample.labels | {"process": str(number)}))
        yield from families.values()


def labelled(texts: Mapping[int, str]) -> bytes:
    """Merge the metrics of all processes, given in Prometheus' text format; adds a label ``process`` to each sample.

    They are not summed: a counter that restarts with its process would make the sum decrease.
    """
    registry = CollectorRegistry()
    registry.register(_Labelled(texts))
    return generate_latest(registry)


class OneRequestPerConnection:
    """ASGI middleware that closes a connection after one request, as the next one may be for another process."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add ``Connection: close`` to each response."""

        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        await self._app(scope, receive, send_last if scope["type"] == "http" else send)
