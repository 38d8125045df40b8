"""Bodies of SIP messages, taken apart with more patience than senders have care (RFC 2046, RFC 5621).  [S]

Seen in the field: line feeds alone, no final line end or closing delimiter, a boundary quoted or not or none named at
all, a preamble, parts in any order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.errors import UnsupportedMedia

SDP = "application/sdp"
METADATA = ("application/rs-metadata+xml", "application/rs-metadata")  # RFC 9806 corrected RFC 7866
ACCEPTED = (SDP, *METADATA, "multipart/mixed")


@dataclass(frozen=True, slots=True)
class Body:
    """What an invitation brings."""

    sdp: bytes | None
    metadata: bytes | None


def read(content_type: str | None, body: bytes) -> Body:
    """Take a body apart. Raises UnsupportedMedia when it is of another type than we take."""
    if not body.strip():
        return Body(None, None)
    kind = _kind(content_type or SDP)
    if kind.startswith("multipart/"):
        parts = dict(reversed(_parts(content_type or "", body)))
    elif kind in ACCEPTED:
        parts = {kind: body}
    else:
        raise UnsupportedMedia(f"Content-Type: expected one of {', '.join(ACCEPTED)}, got {kind!r:.60}")
    metadata = next((parts[name] for name in METADATA if name in parts), None)
    return Body(parts.get(SDP), metadata)


def _kind(content_type: str) -> str:
    return re.split(r"[;,\s]", content_type.strip(), maxsplit=1)[0].lower()


def _parts(content_type: str, body: bytes) -> list[tuple[str, bytes]]:
    body = body.replace(b"\r\n", b"\n")
    named = re.search(r'boundary\s*=\s*(?:"([^"]+)"|([^;,\s]+))', content_type, re.IGNORECASE)
    # Where the header is malformed, the body's first delimiter line tells.
    first = re.search(rb"^--([^\s]+)[ \t]*$", body, re.MULTILINE)
    boundary = (named.group(1) or named.group(2)).encode() if named else b""
    if b"--" + boundary not in body or not boundary:
        boundary = first.group(1) if first else b""
    if not boundary:
        raise UnsupportedMedia("Content-Type: expected a boundary, found none in the header or the body")
    parts = []
    for piece in (b"\n" + body).split(b"\n--" + boundary)[1:]:
        if piece.startswith(b"--"):
            break
        head, _, content = piece.partition(b"\n\n")
        kind = re.search(rb"^content-type\s*:\s*(.+)$", head, re.IGNORECASE | re.MULTILINE)
        if kind:
            parts.append((_kind(kind.group(1).decode("utf-8", "replace")), content))
    return parts
