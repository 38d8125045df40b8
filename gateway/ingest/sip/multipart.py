"""A tolerant parser of SIP message bodies (RFC 2046, RFC 5621).  [S]

Seen in practice: bare line feeds, no final line end or closing delimiter, a quoted, unquoted or missing boundary, a
preamble, parts in any order.
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
    """The parts of an INVITE's body."""

    sdp: bytes | None
    metadata: bytes | None


def read(content_type: str | None, body: bytes) -> Body:
    """Parse a body. Raises UnsupportedMedia for an unsupported type."""
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
    # If the header is malformed, use the body's first delimiter line.
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
