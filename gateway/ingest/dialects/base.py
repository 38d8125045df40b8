"""What a dialect is: one wire format, as messages in and events and messages out.  [S]"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gateway.ingest.events import IngestEvent, StreamStarted


@dataclass(frozen=True, slots=True)
class Handshake:
    """What is known of a websocket before its first message."""

    url: str
    """As the peer called it: the public address where one is configured."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """By lower-case name."""
    peer_ip: str
    time_s: float
    """When it came, in Unix time: signatures age."""

    @property
    def subprotocols(self) -> list[str]:
        """What the peer offers to speak, without what browsers have to smuggle in there."""
        offered = (item.strip() for item in self.headers.get("sec-websocket-protocol", "").split(","))
        return [item for item in offered if item and not item.startswith("bearer.")]


class Dialect(Protocol):
    """Understands the messages of one stream. One object a connection. Implementations inherit, for the defaults."""

    subprotocol: str | None = None
    """Agreed upon in the upgrade; one of those that the handshake offered."""
    started: StreamStarted | None = None
    """For a dialect whose URL says it all; otherwise a message opens the stream."""

    def receive(self, message: str | bytes) -> list[IngestEvent]:
        """Take one websocket message: `str` for a text frame, `bytes` for a binary one.

        Raises:
            BadMessage: this message is of no use; the stream goes on. Names the field, what was expected, what came.
            ProtocolError: likewise, and the stream is over.
        """
        ...

    def awaits(self) -> str:
        """Return what is still missing for the stream to start, for the error when it does not come in time."""
        return "a start"

    def replies(self) -> list[str | bytes]:
        """Return what must be sent now; asked after each `receive`, when its events have had their effect."""
        return []

    def goodbye(self, reason: str) -> list[str | bytes]:  # noqa: ARG002
        """Return what must be sent before we close, because the gateway ends the stream."""
        return []
