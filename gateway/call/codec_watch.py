"""Notices that a peer sends in a codec that was never agreed on, and that it comes back to the one that was.  [IO]"""

from __future__ import annotations

import structlog
from prometheus_client import Counter

from gateway.ingest.events import AudioReceived

UNKNOWN_CODEC = "unknown_codec"
"""Reason of ``coverage.reduced``."""
UNREADABLE = Counter("callscreen_payloads_unreadable_total", "Payloads in a codec that was not agreed on.", ["source"])
MANY = 25
"""So many in a row, half a second of them, are told of; a few are a mistake of the sender."""


class CodecWatch:
    """Of one leg."""

    def __init__(self, source: str, logger: structlog.stdlib.BoundLogger) -> None:
        """`source` is the way in."""
        self._counter = UNREADABLE.labels(source)
        self._logger = logger
        self._in_a_row = 0

    def hear(self, audio: AudioReceived) -> bool:
        """Take a payload; return whether with it there are so many unreadable ones that it must be told."""
        if audio.unreadable is None:
            if audio.payload and self._in_a_row:
                if self._in_a_row >= MANY:
                    self._logger.info("codec is what was agreed on again")
                self._in_a_row = 0
            return False
        self._counter.inc()
        self._in_a_row += 1
        if self._in_a_row != MANY:
            return False
        self._logger.warning("codec was not agreed on", codec=audio.unreadable)
        return True
