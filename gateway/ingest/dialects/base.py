"""The interface of a dialect: a parser of one wire format, which turns messages into events.  [S]"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.ingest.events import IngestEvent, StreamStarted


@dataclass(frozen=True, slots=True)
class Handshake:
    """The facts of a websocket upgrade."""

    url: str
    """As the peer addressed it: under the public URL if one is configured."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """By lower-case name."""
    peer_ip: str
    time_s: float
    """Time of the upgrade in Unix time, since signatures expire."""

    @property
    def subprotocols(self) -> list[str]:
        """The subprotocols offered, except those with which browsers pass a token."""
        offered = (item.strip() for item in self.headers.get("sec-websocket-protocol", "").split(","))
        return [item for item in offered if item and not item.startswith("bearer.")]


class Dialect(Protocol):
    """Parses the messages of one stream; one object per connection. Implementations inherit the defaults."""

    subprotocol: str | None = None
    """The subprotocol accepted in the upgrade; one of those offered."""
    started: StreamStarted | None = None
    """Set if the URL alone starts the stream; otherwise a message does."""

    def receive(self, message: str | bytes) -> list[IngestEvent]:
        """Parse one websocket message: `str` for a text frame, `bytes` for a binary one.

        Raises:
            BadMessage: the message is invalid; the stream continues. Names the field, the expected and the actual
                value.
            ProtocolError: likewise, but the stream ends.
        """
        ...

    def awaits(self) -> str:
        """Return what is missing for the stream to start, for the error when it does not start in time."""
        return "a start"

    def replies(self) -> list[str | bytes]:
        """Return the messages to send now; called after the events of each `receive` were handled."""
        return []

    def goodbye(self, reason: str) -> list[str | bytes]:  # noqa: ARG002
        """Return the messages to send before the gateway closes the stream."""
        return []
