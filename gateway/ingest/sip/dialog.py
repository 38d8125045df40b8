"""The state of a SIP dialog (RFC 3261 section 12, RFC 4028).  [S]"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sipmessage import URI, Request

from gateway.ingest.sip.message import ParsedRequest


class Flow(Protocol):
    """Sends to a peer: over its TCP or TLS connection, or over the UDP socket to the peer's address."""

    transport: str
    """``UDP``, ``TCP`` or ``TLS``."""
    peer: tuple[str, int]
    local: tuple[str, int]
    """Our address as the peer reaches it."""

    def send(self, data: bytes, port: int | None = None) -> None:
        """Send a message; on UDP to `port` instead of the peer's if it is given. Never waits or raises."""
        ...


@dataclass(slots=True)
class Dialog:
    """The dialog of one call, on the called side."""

    call_id: str
    local_tag: str
    remote_tag: str
    invitation: ParsedRequest
    flow: Flow
    """From which the last request came. Requests are sent over it, since Contact may be a name or a private address."""
    remote_target: str
    remote_sequence: int
    local_sequence: int = 0
    refresh_s: float | None = None
    """The peer's session timer in seconds; None: there is none."""
    expires_s: float | None = None
    """When the session ends unless it is refreshed."""
    is_over: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """Identifies the dialog of later requests."""
        return self.call_id, self.local_tag, self.remote_tag

    def refreshed(self, interval_s: float | None, now_s: float) -> None:
        """Restart the session timer, minus a margin for a lost response (RFC 4028 section 10)."""
        self.refresh_s = interval_s
        self.expires_s = now_s + interval_s - min(32, interval_s / 3) if interval_s else None

    def bye(self, branch: str) -> bytes:
        """Return the BYE request."""
        self.local_sequence += 1
        invite = self.invitation.message
        # Record-Route is already in the order for the called side (RFC 3261 section 12.1.1).
        request = Request("BYE", URI.parse(self.remote_target))
        host, port = self.flow.local
        via = f"SIP/2.0/{self.flow.transport} {_bracketed(host)}:{port};branch={branch};rport"
        request.headers.add("Via", via)
        request.headers.add("Max-Forwards", "70")
        for route in invite.headers.getlist("Record-Route"):
            request.headers.add("Route", route)
        request.headers.add("From", f"{invite.headers['To']};tag={self.local_tag}")
        request.headers.add("To", invite.headers["From"])
        request.headers.add("Call-ID", self.call_id)
        request.headers.add("CSeq", f"{self.local_sequence} BYE")
        request.headers.add("Content-Length", "0")
        return bytes(request)

    def contact(self, *, is_recording: bool, public_host: str | None) -> str:
        """Return our Contact header."""
        host, port = self.flow.local
        scheme = "sips" if self.flow.transport == "TLS" else "sip"
        transport = ";transport=tcp" if self.flow.transport == "TCP" else ""
        feature = ";+sip.srs" if is_recording else ""
        return f"<{scheme}:callscreen@{_bracketed(public_host or host)}:{port}{transport}>{feature}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
