"""SIP messages: framed, read and answered (RFC 3261 sections 7, 8.2.6 and 18).  [S]

`sipmessage` parses and prints; what a sender must have said for us to go on is checked here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sipmessage import Message, Request, Response

from gateway.errors import MessageTooBig, ProtocolError

SUPPORTED = ("siprec", "timer", "100rel")
"""100rel (RFC 3262) asks nothing of us: the only provisional response that we send is 100, which is never reliable."""
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
"""Lines of one message; `sipmessage` compares each with all before it, which of 10,000 takes seconds."""
_LENGTH = re.compile(rb"^(?:content-length|l)\s*:\s*(\d{1,9})\s*$", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Heard:
    """A request with what every step needs of it, read once."""

    request: Request
    method: str
    call_id: str
    from_tag: str
    to_tag: str
    sequence: int
    branch: str
    contact: str | None
    """The URI where the sender wants its requests."""

    @property
    def invitation(self) -> tuple[str, str, int]:
        """Of an INVITE and of the ACK to it: the same."""
        return self.call_id, self.from_tag, self.sequence


@dataclass(frozen=True, slots=True)
class Answer:
    """A response to a request of ours."""

    code: int
    branch: str


class Framer:
    """Cuts a stream of bytes into messages by their Content-Length (RFC 3261 section 18.3)."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = b""

    def push(self, data: bytes) -> Iterator[bytes]:
        """Take bytes as they come; yield the messages that are whole, one by one, so that a bad one can be the last.

        Raises:
            MessageTooBig, ProtocolError: the stream cannot be cut any more.
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


def read(data: bytes) -> Heard | Answer:
    """Read a message. Raises ProtocolError when it is none, or lacks what RFC 3261 section 8.1.1 demands."""
    head, end, body = data.partition(b"\r\n\r\n")
    head = re.sub(rb"\r\n[ \t]+", b" ", head)  # folded lines
    if head.count(b"\r\n") > MAX_HEADERS:
        raise ProtocolError(f"sip: expected at most {MAX_HEADERS} header lines")
    try:
        message = Message.parse(head + end + body)
        if isinstance(message, Response):
            branches = [via.parameters.get("branch") or "" for via in message.via]
            return Answer(message.code, branches[0] if branches else "")
        length = message.content_length
        if length is not None:
            message.body = message.body[:length]
        via = message.via[0]
        if via.port is not None and not 0 < via.port < 1 << 16:
            raise ProtocolError(f"Via: expected a port from 1 to 65535, got {via.port}")
        return Heard(
            request=message,
            method=message.method,
            call_id=message.call_id,
            from_tag=message.from_address.parameters.get("tag") or "",
            to_tag=message.to_address.parameters.get("tag") or "",
            sequence=message.cseq.sequence,
            branch=f"{via.host}:{via.port}:{via.parameters.get('branch')}",
            contact=str(message.contact[0].uri) if message.headers.get("Contact") else None,
        )
    except (ValueError, LookupError, TypeError) as error:
        raise ProtocolError(f"sip: not a message (RFC 3261 section 8.1.1): {error}") from None


def reply_port(heard: Heard, source_port: int) -> int:
    """Return where on UDP the answer goes: back where it came from, or as the Via says (RFC 3581 section 4)."""
    via = heard.request.via[0]
    return source_port if "rport" in via.parameters else via.port or 5060


def respond(
    heard: Heard,
    code: int,
    source: tuple[str, int],
    *,
    tag: str = "",
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> bytes:
    """Return a response (RFC 3261 section 8.2.6.2).

    Args:
        source: where the request came from; told to the sender in its Via.
        tag: ours, put into To where it has none yet.
    """
    request = heard.request
    response = Response(code, REASONS[code], body)
    first, *others = request.headers.getlist("Via")
    response.headers.setlist("Via", [_received(first, source), *others])
    for name in ("Record-Route", "From", "To", "Call-ID", "CSeq"):
        for value in request.headers.getlist(name):
            response.headers.add(name, value)
    if tag and not heard.to_tag:
        response.headers.set("To", f"{response.headers['To']};tag={tag}")
    for name, value in (headers or {}).items():
        response.headers.add(name, value)
    response.headers.add("Content-Length", str(len(body)))
    return bytes(response)


def _received(via: str, source: tuple[str, int]) -> str:
    """The topmost Via with the address it really came from (RFC 3261 section 18.2.1, RFC 3581)."""
    top, comma, rest = via.partition(",")
    top = re.sub(r";rport(?=;|$)", f";rport={source[1]}", top.rstrip())
    return f"{top};received={source[0]}{comma}{rest}"
