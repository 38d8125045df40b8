"""How many messages of no use a stream may send: each is counted by reason, and many in a row end it.  [S]

Peers change their messages without notice, and proxies and emulators get single ones wrong. A call must not end for
one of them; a stream of which nothing can be used must not go on for ever.
"""

from __future__ import annotations

from prometheus_client import Counter

from gateway.errors import BadMessage

MAX_BAD_MESSAGES = 10
"""In a row, each of which could not be used: the last of them ends the stream."""
IGNORED = Counter(
    "callscreen_messages_ignored_total", "Messages and payloads let pass without use.", ["source", "reason"]
)


class Tolerance:
    """Of one stream."""

    def __init__(self, source: str) -> None:
        """`source` is the door, for the metric."""
        self.last: BadMessage | None = None
        """The last bad message; None where none came."""
        self._source = source
        self._in_a_row = 0
        self._seen: set[str] = set()

    def good(self) -> None:
        """Count a message that was understood."""
        self._in_a_row = 0

    def ignore(self, reason: str) -> None:
        """Count a message that was understood and is not needed."""
        IGNORED.labels(self._source, reason).inc()

    def bad(self, error: BadMessage) -> bool:
        """Count a message that could not be used; return whether it is this stream's first of that reason.

        Raises:
            BadMessage: `error` itself, when `MAX_BAD_MESSAGES` came in a row.
        """
        self.ignore(error.reason)
        self.last = error
        self._in_a_row += 1
        if self._in_a_row >= MAX_BAD_MESSAGES:
            raise error
        is_first = error.reason not in self._seen
        self._seen.add(error.reason)
        return is_first
