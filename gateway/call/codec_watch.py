"""Detects a peer that sends in a codec that was not negotiated, and its return to the negotiated one.  [IO]"""

from __future__ import annotations

import structlog
from prometheus_client import Counter

from gateway.ingest.events import AudioReceived

UNKNOWN_CODEC = "unknown_codec"
"""Reason of ``coverage.reduced``."""
UNREADABLE = Counter("callscreen_payloads_unreadable_total", "Payloads in a codec that was not agreed on.", ["source"])
MANY = 25
"""Consecutive payloads, half a second, from which it is reported; a few are an error of the sender."""


class CodecWatch:
    """Observes one leg."""

    def __init__(self, source: str, logger: structlog.stdlib.BoundLogger) -> None:
        """`source` is the attach point."""
        self._counter = UNREADABLE.labels(source)
        self._logger = logger
        self._in_a_row = 0

    def observe(self, audio: AudioReceived) -> bool:
        """Add a payload; return whether the unreadable ones must be reported now."""
        if audio.unreadable is None:
            if audio.payload and self._in_a_row:
                if self._in_a_row >= MANY:
                    self._logger.info("codec is the negotiated one again")
                self._in_a_row = 0
            return False
        self._counter.inc()
        self._in_a_row += 1
        if self._in_a_row != MANY:
            return False
        self._logger.warning("codec was not negotiated", codec=audio.unreadable)
        return True
