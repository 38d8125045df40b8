"""Reads the metrics of a gateway from ``/metrics``.  [IO]"""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx
from prometheus_client.parser import text_string_to_metric_families

from gateway.client.media import bearer

TIMEOUT_S = 5.0


class MetricsError(Exception):
    """The gateway's metrics cannot be read; the text gives the reason."""


@dataclass(frozen=True, slots=True)
class Reading:
    """All samples at one moment, summed over processes."""

    values: dict[str, float] = field(default_factory=dict)
    """By name, without labels."""
    windows: dict[str, float] = field(default_factory=dict)
    """Windows of speech so far, by outcome."""

    def get(self, name: str) -> float:
        """Return a metric; 0 if the gateway does not have it."""
        return self.values.get(name, 0.0)


def parse(text: str) -> Reading:
    """Parse metrics in Prometheus' text format. Raises ValueError for other text."""
    reading = Reading()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            reading.values[sample.name] = reading.values.get(sample.name, 0.0) + sample.value
            if sample.name == "callscreen_windows_total":
                outcome = sample.labels["outcome"]
                reading.windows[outcome] = reading.windows.get(outcome, 0.0) + sample.value
    return reading


class Metrics:
    """Reads the metrics of one gateway, over one connection."""

    def __init__(self, url: str, token: str | None) -> None:
        self._url = f"{url.rstrip('/')}/metrics"
        self._client = httpx.AsyncClient(headers=bearer(token), timeout=TIMEOUT_S)

    async def read(self) -> Reading:
        """Return the current metrics. Raises MetricsError."""
        try:
            answer = await self._client.get(self._url)
            answer.raise_for_status()
            return parse(answer.text)
        except httpx.HTTPStatusError as error:
            raise MetricsError(f"{self._url}: HTTP {error.response.status_code}") from None
        except (httpx.HTTPError, ValueError) as error:
            raise MetricsError(f"{self._url}: {str(error) or type(error).__name__}") from None

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()
