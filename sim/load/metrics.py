"""What a gateway tells of itself under ``/metrics``.  [IO]"""

from __future__ import annotations

from dataclasses import dataclass, field

import httpx
from prometheus_client.parser import text_string_to_metric_families

from gateway.client.media import bearer

TIMEOUT_S = 5.0


class MetricsError(Exception):
    """The gateway's metrics cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Reading:
    """All samples of one moment, those of several processes added up."""

    values: dict[str, float] = field(default_factory=dict)
    """By name, labels left out."""
    windows: dict[str, float] = field(default_factory=dict)
    """Windows of speech so far, by what became of them."""

    def get(self, name: str) -> float:
        """Return a metric; 0 where the gateway does not tell it."""
        return self.values.get(name, 0.0)


def parse(text: str) -> Reading:
    """Read metrics in Prometheus' text format. Raises ValueError when it is none."""
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
        """Return what it tells now. Raises MetricsError."""
        try:
            answer = await self._client.get(self._url)
            answer.raise_for_status()
            return parse(answer.text)
        except httpx.HTTPStatusError as error:
            raise MetricsError(f"{self._url}: HTTP {error.response.status_code}") from None
        except (httpx.HTTPError, ValueError) as error:
            raise MetricsError(f"{self._url}: {str(error) or type(error).__name__}") from None

    async def close(self) -> None:
        """Hang up."""
        await self._client.aclose()
