"""Refusals are counted one by one, and told a few at a time."""

from __future__ import annotations

from typing import Any

import pytest

from gateway import clock, refusals
from gateway.errors import Forbidden


class Log:
    """Keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def warning(self, event: str, **facts: object) -> None:
        self.lines.append({"event": event} | facts)


def test_a_flood_is_counted_in_full_and_logged_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr(clock, "monotonic_s", lambda: now_s)
    monkeypatch.setattr(refusals, "_lines", {})
    log = Log()
    counted = refusals.REFUSED.labels("telnyx", "Forbidden")._value
    before = counted.get()
    for _ in range(refusals.LINES + 30):
        refusals.note(log, "refused", "telnyx", Forbidden("not you"), path="/x")
    assert counted.get() - before == refusals.LINES + 30
    assert log.lines == [{"event": "refused", "path": "/x", "error": "not you"}] * refusals.LINES
    refusals.note(log, "something else", "http", "no_request")
    assert log.lines[-1] == {"event": "something else", "error": "no_request"}, "each kind has lines of its own"
    now_s += refusals.PERIOD_S
    refusals.note(log, "refused", "telnyx", Forbidden("not you"))
    assert log.lines[-1] == {"event": "refused", "error": "not you", "left_out": 30}
