"""Which process takes a connection, by the first line of its request.  [S]"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from gateway import paths

FIRST = 0
"""The number of the first process."""
LONGEST = 8 * 1024
"""Bytes of a request line that are looked at; uvicorn takes no longer one, either (h11, 64 KiB of a whole head)."""


@dataclass(frozen=True, slots=True)
class Route:
    """What the request line says."""

    media: bool
    """Whether it is for a door: any process can take it. All else is for the first."""
    call_id: str | None = None
    """The call that it is of, where the URL tells."""


HERE = Route(media=False)


def route_of(head: bytes) -> Route:
    """Return where a request goes that begins with `head`: its first line, or what there is of it (RFC 9112, 3)."""
    line, ended, _ = head.partition(b"\n")
    parts = line.decode("latin-1").split()
    if not ended or len(parts) < 2:
        return HERE
    try:
        target = urlsplit(parts[1])
        query = parse_qs(target.query, max_num_fields=100)
    except ValueError:
        return HERE
    path = unquote(target.path)
    if path.startswith(paths.WHIP):
        return Route(media=True, call_id=path.removeprefix(paths.WHIP).partition("/")[0] or None)
    if path.startswith(paths.MEDIA):
        return Route(media=True, call_id=next((ids[0] for ids in (query.get("call_id"),) if ids), None))
    return HERE


def owner(call_id: str, processes: int) -> int:
    """Return which of so many processes has a call, 0 to ``processes - 1``; always the same one."""
    return zlib.crc32(call_id.encode()) % processes


def is_for(number: int, route: Route, processes: int) -> bool:
    """Whether process `number` may serve a request that it has got, however it came by it."""
    if not route.media:
        return number == FIRST
    return route.call_id is None or owner(route.call_id, processes) == number
