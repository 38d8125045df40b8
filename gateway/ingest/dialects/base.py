"""What a dialect is: one wire format, as messages in and events out.  [S]"""

from __future__ import annotations

from typing import Protocol

from gateway.ingest.events import IngestEvent


class Dialect(Protocol):
    """Understands the messages of one stream. One object a connection."""

    def receive(self, message: str | bytes) -> list[IngestEvent]:
        """Take one websocket message: `str` for a text frame, `bytes` for a binary one.

        Raises:
            ProtocolError: names the field, what was expected and what came. The stream is then over.
        """
        ...
