"""Decides by the request line which process serves a connection.  [S]"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from gateway import paths

FIRST = 0
"""Number of the first process."""
MAX_LINE_BYTES = 8 * 1024
"""Longest request line that is examined; uvicorn accepts no longer head (h11, 64 KiB in all)."""


@dataclass(frozen=True, slots=True)
class Route:
    """What the request line says."""

    media: bool
    """Whether any process can serve it: media endpoints. Everything else goes to the first process."""
    call_id: str | None = None
    """The call, if the URL contains its id."""


FIRST_PROCESS = Route(media=False)


def route_of(head: bytes) -> Route:
    """Return the route of a request, given its first line or as much as there is (RFC 9112, section 3)."""
    line, ended, _ = head.partition(b"\n")
    parts = line.decode("latin-1").split()
    if not ended or len(parts) < 2:
        return FIRST_PROCESS
    try:
        target = urlsplit(parts[1])
        query = parse_qs(target.query, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        return FIRST_PROCESS
    path = unquote(target.path)
    if path.startswith(paths.WHIP):
        return Route(media=True, call_id=path.removeprefix(paths.WHIP).partition("/")[0].strip() or None)
    if path.startswith(paths.MEDIA):
        call_id = query.get("call_id", [""])[-1]  # the last of several, as the door reads it
        return Route(media=True, call_id=call_id.strip() or None)
    return FIRST_PROCESS


def owner(call_id: str, processes: int) -> int:
    """Return the process for a call, from 0 to ``processes - 1``; the same one for every connection of the call."""
    return zlib.crc32(call_id.encode()) % processes


def is_for(number: int, route: Route, processes: int) -> bool:
    """Whether process `number` may serve a request that has reached it."""
    if not route.media:
        return number == FIRST
    return route.call_id is None or owner(route.call_id, processes) == number
