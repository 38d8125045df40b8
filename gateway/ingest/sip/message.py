"""Frames, parses and answers SIP messages (RFC 3261 sections 7, 8.2.6 and 18).  [S]

`sipmessage` parses and prints; mandatory headers are checked here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sipmessage import Message, Request, Response

from gateway.errors import MessageTooBig, ProtocolError

SUPPORTED = ("siprec", "timer", "100rel")
"""100rel (RFC 3262) requires nothing of us: we send no provisional response except 100, which is never reliable."""
METHODS = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "UPDATE", "INFO")
REASONS = {
    100: "Trying",
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    405: "Method Not Allowed",
    415: "Unsupported Media Type",
    420: "Bad Extension",
    422: "Session Interval Too Small",
    481: "Call/Transaction Does Not Exist",
    486: "Busy Here",
    487: "Request Terminated",
    488: "Not Acceptable Here",
    500: "Server Internal Error",
    503: "Service Unavailable",
    513: "Message Too Large",
}
MAX_HEADERS = 256
"""Header lines per message; `sipmessage` compares each with all before, which takes seconds for 10,000."""
_LENGTH = re.compile(rb"^(?:content-length|l)\s*:\s*(\d{1,9})\s*$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ParsedRequest:
    """A request, with the fields that every step needs."""

    message: Request
    method: str
    call_id: str
    from_tag: str
    to_tag: str
    sequence: int
    branch: str
    contact: str | None
    """URI for requests to the sender."""

    @property
    def invite_key(self) -> tuple[str, str, int]:
        """Identifies an INVITE; equal for the ACK to it."""
        return self.call_id, self.from_tag, self.sequence


@dataclass(frozen=True, slots=True)
class ParsedResponse:
    """A response to a request of ours."""

    code: int
    branch: str


class Framer:
    """Splits a stream of bytes into messages by Content-Length (RFC 3261 section 18.3)."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = b""

    def push(self, data: bytes) -> Iterator[bytes]:
        """Add bytes; yield the complete messages one by one.

        Raises:
            MessageTooBig, ProtocolError: the stream cannot be split any further.
        """
        self._buffer += data
        while True:
            self._buffer = self._buffer.lstrip(b"\r\n")  # keep-alives (RFC 5626 section 3.5.1)
            head, end, _ = self._buffer.partition(b"\r\n\r\n")
            length = _LENGTH.search(head) if end else None
            if end and length is None:
                raise ProtocolError("Content-Length: expected on a stream, got none")
            size = len(head) + 4 + int(length.group(1)) if length else len(self._buffer)
            if size > self._max_bytes:
                raise MessageTooBig(f"message: expected at most {self._max_bytes} bytes")
            if not end or len(self._buffer) < size:
                return
            message, self._buffer = self._buffer[:size], self._buffer[size:]
            yield message


def read(data: bytes) -> ParsedRequest | ParsedResponse:
    """Parse a message. Raises ProtocolError if it is invalid, or lacks headers required by RFC 3261 section 8.1.1."""
    head, end, body = data.partition(b"\r\n\r\n")
    head = re.sub(rb"\r\n[ \t]+", b" ", head)  # folded lines
    if head.count(b"\r\n") > MAX_HEADERS:
        raise ProtocolError(f"sip: expected at most {MAX_HEADERS} header lines")
    try:
        message = Message.parse(head + end + body)
        if isinstance(message, Response):
            branches = [via.parameters.get("branch") or "" for via in message.via]
            return ParsedResponse(message.code, branches[0] if branches else "")
        length = message.content_length
        if length is not None:
            message.body = message.body[:length]
        via = message.via[0]
        if via.port is not None and not 0 < via.port < 1 << 16:
            raise ProtocolError(f"Via: expected a port from 1 to 65535, got {via.port}")
        return ParsedRequest(
            message=message,
            method=message.method,
            call_id=message.call_id,
            from_tag=message.from_address.parameters.get("tag") or "",
            to_tag=message.to_address.parameters.get("tag") or "",
            sequence=message.cseq.sequence,
            branch=f"{via.host}:{via.port}:{via.parameters.get('branch')}",
            contact=str(message.contact[0].uri) if message.headers.get("Contact") else None,
        )
    except (ValueError, LookupError, TypeError) as error:
        raise ProtocolError(f"sip: expected a message (RFC 3261 section 8.1.1): {error}") from None


def reply_port(request: ParsedRequest, source_port: int) -> int:
    """Return the UDP port for the response: that of the source, or that in the Via (RFC 3581 section 4)."""
    via = request.message.via[0]
    return source_port if "rport" in via.parameters else via.port or 5060


def respond(
    request: ParsedRequest,
    code: int,
    source: tuple[str, int],
    *,
    tag: str = "",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> bytes:
    """Return a response (RFC 3261 section 8.2.6.2).

    Args:
        request: the request to be answered.
        code: status code.
        source: address from which the request came; it is added to the Via.
        tag: our tag, added to To if it has none.
        headers: further headers.
        body: the body.
    """
    message = request.message
    response = Response(code, REASONS[code], body)
    first, *others = message.headers.getlist("Via")
    response.headers.setlist("Via", [_received(first, source), *others])
    for name in ("Record-Route", "From", "To", "Call-ID", "CSeq"):
        for value in message.headers.getlist(name):
            response.headers.add(name, value)
    if tag and not request.to_tag:
        response.headers.set("To", f"{response.headers['To']};tag={tag}")
    for name, value in (headers or {}).items():
        response.headers.add(name, value)
    response.headers.add("Content-Length", str(len(body)))
    return bytes(response)


def _received(via: str, source: tuple[str, int]) -> str:
    """Return the topmost Via with the actual source address (RFC 3261 section 18.2.1, RFC 3581)."""
    top, comma, rest = via.partition(",")
    top = re.sub(r";rport(?=;|$)", f";rport={source[1]}", top.rstrip())
    return f"{top};received={source[0]}{comma}{rest}"
