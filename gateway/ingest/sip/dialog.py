"""What two ends remember of each other between requests (RFC 3261 section 12, RFC 4028).  [S]"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sipmessage import URI, Request

from gateway.ingest.sip.message import Heard


class Flow(Protocol):
    """The way back to a peer: a TCP or TLS connection, or our UDP socket and the peer's address."""

    transport: str
    """``UDP``, ``TCP`` or ``TLS``."""
    peer: tuple[str, int]
    local: tuple[str, int]
    """Our own address, as this peer reaches it."""

    def send(self, data: bytes, port: int | None = None) -> None:
        """Send a message; on UDP to another port than the peer's when one is given. Never waits or raises."""
        ...


@dataclass(slots=True)
class Dialog:
    """One call, as SIP sees it. We are always the one that was called."""

    call_id: str
    our_tag: str
    their_tag: str
    invitation: Heard
    flow: Flow
    """Where their last request came from. Ours go back there, whatever name or private address Contact holds."""
    remote_target: str
    remote_sequence: int
    our_sequence: int = 0
    refresh_s: float | None = None
    """The session timer they keep; None for none."""
    expires_s: float | None = None
    """When the session is over unless it was refreshed."""
    is_over: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """How later requests find it."""
        return self.call_id, self.our_tag, self.their_tag

    def refreshed(self, interval_s: float | None, now_s: float) -> None:
        """Start the session timer anew; a little is taken off for the answer to be lost (RFC 4028 section 10)."""
        self.refresh_s = interval_s
        self.expires_s = now_s + interval_s - min(32, interval_s / 3) if interval_s else None

    def bye(self, branch: str) -> bytes:
        """Return the request that ends it."""
        self.our_sequence += 1
        asked = self.invitation.request
        # Record-Route is already in the order a callee uses (RFC 3261 section 12.1.1).
        request = Request("BYE", URI.parse(self.remote_target))
        host, port = self.flow.local
        via = f"SIP/2.0/{self.flow.transport} {_bracketed(host)}:{port};branch={branch};rport"
        request.headers.add("Via", via)
        request.headers.add("Max-Forwards", "70")
        for route in asked.headers.getlist("Record-Route"):
            request.headers.add("Route", route)
        request.headers.add("From", f"{asked.headers['To']};tag={self.our_tag}")
        request.headers.add("To", asked.headers["From"])
        request.headers.add("Call-ID", self.call_id)
        request.headers.add("CSeq", f"{self.our_sequence} BYE")
        request.headers.add("Content-Length", "0")
        return bytes(request)

    def contact(self, *, is_recording: bool, public_host: str | None) -> str:
        """Return our Contact."""
        host, port = self.flow.local
        scheme = "sips" if self.flow.transport == "TLS" else "sip"
        transport = ";transport=tcp" if self.flow.transport == "TCP" else ""
        feature = ";+sip.srs" if is_recording else ""
        return f"<{scheme}:callscreen@{_bracketed(public_host or host)}:{port}{transport}>{feature}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
