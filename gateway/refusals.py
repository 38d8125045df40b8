"""Counts refusals, and logs each kind at a limited rate.  [IO]

A flood of bad requests must not become a flood of log lines, which cost more than the refusals and fill the disk.
"""

from __future__ import annotations

from typing import Any

from prometheus_client import Counter

from gateway import clock

REFUSED = Counter(
    "callscreen_refused_total",
    "Connections, requests, streams and messages that were refused or broken off, by the kind of error.",
    ["door", "error"],
)
LINES = 20
"""Lines of one kind per period; the next period's first line says how many were left out."""
PERIOD_S = 10.0


class _Lines:
    """Rate limit of one kind of line."""

    def __init__(self) -> None:
        self._since_s = 0.0
        self._count = 0

    def take(self, now_s: float) -> int | None:
        """Return how many lines were left out before this one; None: leave this one out, too."""
        left_out = 0
        if now_s - self._since_s >= PERIOD_S:
            left_out = max(0, self._count - LINES)
            self._since_s, self._count = now_s, 0
        self._count += 1
        return left_out if self._count <= LINES else None


_lines: dict[str, _Lines] = {}


def note(log: Any, event: str, door: str, error: Exception | str, **facts: object) -> None:
    """Count and log a refusal.

    Args:
        log: logger of the module that refuses.
        event: the message, constant for all refusals of a kind.
        door: endpoint: ``http``, ``events``, ``sip``, ``audiosocket``, ``rtp``, or the name of a websocket endpoint.
        error: the error, or one word for the reason.
        facts: further fields of the line.
    """
    kind = error if isinstance(error, str) else type(error).__name__
    REFUSED.labels(door, kind).inc()
    left_out = _lines.setdefault(event, _Lines()).take(clock.monotonic_s())
    if left_out is not None:
        log.warning(event, **facts, error=str(error), **({"left_out": left_out} if left_out else {}))
