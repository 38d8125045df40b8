"""What `callscreen doctor` finds, and its checks of what is around a gateway: disk, clock, collector.  [IO]"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from typing import Literal

import httpx

from gateway.alerts.event import CloudEvent
from gateway.alerts.journal import Journal
from gateway.config import Settings
from gateway.errors import ConfigError

EVENT_BYTES = 800  # on disk, with its part of the indices
LEAST_FREE_BYTES = 100_000_000
CLOCK_TOLERANCE = timedelta(minutes=1)

State = Literal["ok", "note", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found out."""

    check: str
    """What was looked at: a setting, or a part of the machine."""
    state: State
    """``note`` matters to some only; ``error``: the gateway would not start, or that way in would not work."""
    detail: str


def disk(settings: Settings) -> Iterator[Finding]:
    """Compare what is free with what the journal may take."""
    folder = settings.journal.absolute().parent
    if not folder.is_dir():
        return
    taken = settings.journal.stat().st_size if settings.journal.exists() else 0
    wanted = max(LEAST_FREE_BYTES, settings.journal_max_events * EVENT_BYTES - taken)
    free = shutil.disk_usage(folder).free
    detail = f"{free / 1e9:.1f} GB are free; the journal may take {wanted / 1e9:.1f} GB more (`journal_max_events`)"
    yield Finding("journal: disk", "ok" if free >= wanted else "warning", detail)


def clock(settings: Settings) -> Iterator[Finding]:
    """Compare the clock with the newest event: events of a clock that is behind are dated wrongly and kept too long."""
    if not settings.journal.exists():
        return
    try:
        with closing(Journal(settings.journal, settings.journal_max_events)) as journal:
            newest = journal.after(journal.newest - 1, 1)
        made = CloudEvent.model_validate_json(newest[0].text).time if newest else None
    except (ConfigError, ValueError):  # a finding of its own
        return
    if made and made > datetime.now(UTC) + CLOCK_TOLERANCE:
        yield Finding("clock", "warning", f"it is before the journal's newest event, of {made:%Y-%m-%d %H:%M} UTC")
    else:
        yield Finding("clock", "ok", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")


def otlp(settings: Settings) -> Iterator[Finding]:
    """Send an empty export."""
    if settings.otlp_endpoint is None:
        return
    try:
        find_spec("opentelemetry.exporter.otlp.proto.http")
    except ImportError:
        yield Finding("otlp_endpoint", "error", "needs packages: `pip install 'callscreen[otel]'`")
        return
    url = settings.otlp_endpoint.rstrip("/") + "/v1/metrics"
    try:  # an empty export, which a receiver takes
        answer = httpx.post(url, headers={"content-type": "application/x-protobuf"}, timeout=3.0)
    except httpx.HTTPError as error:
        yield Finding("otlp_endpoint", "warning", f"{url} cannot be reached: {error}")
    else:
        yield Finding("otlp_endpoint", "ok" if answer.is_success else "warning", f"{url} answers {answer.status_code}")
