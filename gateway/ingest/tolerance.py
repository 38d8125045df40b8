"""Tolerates a limited number of invalid messages per stream; each is counted, and many in a row end the stream.  [S]

Peers change their messages without notice, and proxies and emulators send single wrong ones. A call must not end
because of one, but a stream without any valid message must not continue for ever.
"""

from __future__ import annotations

from prometheus_client import Counter

from gateway.errors import BadMessage

MAX_BAD_MESSAGES = 10
"""Invalid messages in a row; the last one ends the stream."""
IGNORED = Counter(
    "callscreen_messages_ignored_total", "Messages and payloads let pass without use.", ["source", "reason"]
)


class Tolerance:
    """The tolerance of one stream."""

    def __init__(self, source: str) -> None:
        """`source` is the endpoint, for the metric."""
        self.last: BadMessage | None = None
        """The last invalid message, if any."""
        self._source = source
        self._in_a_row = 0
        self._seen: set[str] = set()

    def good(self) -> None:
        """Count a valid message."""
        self._in_a_row = 0

    def ignore(self, reason: str) -> None:
        """Count a valid message that is not needed."""
        IGNORED.labels(self._source, reason).inc()

    def bad(self, error: BadMessage) -> bool:
        """Count an invalid message; return whether it is this stream's first with that reason.

        Raises:
            BadMessage: `error` itself, after `MAX_BAD_MESSAGES` in a row.
        """
        self.ignore(error.reason)
        self.last = error
        self._in_a_row += 1
        if self._in_a_row >= MAX_BAD_MESSAGES:
            raise error
        is_first = error.reason not in self._seen
        self._seen.add(error.reason)
        return is_first
